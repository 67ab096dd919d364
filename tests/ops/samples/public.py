from __future__ import annotations

from tests.ops.sample import Sample

SAMPLES = {
    "sum": [
        Sample(((3, 5, 2),), {"axes": (0, 2), "keepdims": False}),
        Sample(((3, 5, 2),), {"axes": (1,), "keepdims": True}),
        Sample(((1, 4),), {"axes": (0,), "keepdims": True}),
        Sample(((3,),), {"axes": (0,), "keepdims": False}),
    ],
    "public_matmul": [
        Sample(((2, 3),), {"matrix": ((3, 2), (5, -(2**20), 0, 1, 7, -3)), "shift": 4}),
        Sample(((2, 3, 1),), {"matrix": ((1, 2), (3, -1)), "shift": 0}),
    ],
    "project": [
        Sample(((2, 70),), {"signs": 40}),
        Sample(((3,),), {"signs": 1}),
    ],
}
