from __future__ import annotations

from tests.ops.sample import FRAC, Sample

SUMS = [
    Sample(((3, 5), (3, 5))),
    Sample(((3, 1, 5), (1, 2, 5))),
    Sample(((3, 5),), weights=((5,),), fracs=(FRAC,)),
    Sample(((),), weights=((),), fracs=(FRAC,)),
]

SAMPLES = {
    "add": SUMS,
    "sub": SUMS,
    "scale": [
        Sample(((3, 5),), {"factor": -0.75}),
        Sample(((3, 5),), {"factor": ((5,), (0.5, -2.0, 0.0, 1.0, 3.25))}),
    ],
    "scale_int": [
        Sample(((3, 5),), {"multiplier": -5, "shift": 3}),
        Sample(((3, 2),), {"multiplier": ((2,), (7, -(2**20))), "shift": 0}),
    ],
    "truncate": [
        Sample(((65,),), {"drop": 5}),
        Sample(((3, 7),), {"drop": 1}, bound=50),
        Sample(((),), {"drop": 8}),
    ],
    "floor": [
        Sample(((65,),), {"drop": 5, "relu": False}),
        Sample(((3, 7),), {"drop": 1, "relu": True}, bound=50),
        Sample(((2,),), {"drop": 8, "relu": False}, bound=62),
        Sample(((65,),), {"drop": 8, "relu": True}),
        Sample(((),), {"drop": 3, "relu": True}),
    ],
    "relu": [
        Sample(((63,),), {"drop": 0}),
        Sample(((3, 7),), {"drop": 7}, bound=44),
        Sample(((),), {"drop": 3}),
    ],
}
