from __future__ import annotations

from tests.ops.sample import Sample

BITS = [
    Sample(((3, 1, 5), (1, 2, 5)), bits=(0, 1)),
    Sample(((70,), (70,)), bits=(0, 1)),
    Sample(((), ()), bits=(0, 1)),
]

SAMPLES = {
    "not": [Sample(((3, 25),), bits=(0,)), Sample(((),), bits=(0,))],
    "xor": BITS,
    "and": BITS,
    "select": [
        Sample(((3, 1, 5), (3, 2, 5), (1, 2, 5)), bits=(0,)),
        Sample(((70,), (70,), (1,)), bits=(0,), bound=61),
        Sample(((), (), ()), bits=(0,)),
    ],
    "to_number": [Sample(((3, 25),), bits=(0,)), Sample(((),), bits=(0,))],
}
