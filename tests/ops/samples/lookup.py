from __future__ import annotations

from tests.ops.sample import Sample

SAMPLES = {
    "lookup": [
        Sample(((2, 3),), {}, ((7, 2, 5),), (9,), bound=3, whole=(0,)),
        Sample(((65,),), {}, ((1, 3),), (20,), bound=1, whole=(0,)),
        Sample(((2,),), {}, ((300, 4),), (0,), bound=8, whole=(0,)),
        Sample(((3,),), {}, ((70, 2),), (9,), bound=5, whole=(0,)),  # fewer indices than rows
        Sample(((3,),), {}, ((5,),), (9,), bound=62, whole=(0,)),  # nearly all indices beside the table
        Sample(((),), {}, ((4,),), (9,), bound=3, whole=(0,)),
    ],
}

BENCH = {"lookup": Sample(((1,),), {}, ((1000, 16),), (9,), bound=10, whole=(0,))}
