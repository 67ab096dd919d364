from __future__ import annotations

from tests.ops.sample import Sample

PAIRS = [
    Sample(((3, 1, 5), (1, 2, 5))),
    Sample(((7, 11), (7, 11)), bound=61),
    Sample(((), ())),
]
ALONG = [
    Sample(((3, 5, 2),), {"axis": 1}),
    Sample(((7, 2),), {"axis": 0}, bound=61),  # two outputs: one would have too many bits for a joint view
    Sample(((10, 3),), {"axis": 0}, bound=3),
    Sample(((2,),), {"axis": 0}),
]
LARGEST = [Sample(one.inputs, {**one.attrs, "coarse": 0}, bound=one.bound) for one in ALONG]
LARGEST.insert(0, Sample(((9, 3),), {"axis": 0, "coarse": 9}, bound=12))

SAMPLES = {
    "abs": [Sample(((63,),)), Sample(((3, 7),), bound=62), Sample(((),))],
    "clip": [
        Sample(((3, 23),), {"low": 0.0, "high": 6.0, "drop": 0}),
        Sample(((3, 23),), {"low": -1.0 / 3.0, "high": 0.2, "drop": 0}, bound=9),
        Sample(((3, 23),), {"low": -9.0, "high": 1e9, "drop": 7}, bound=44),
        Sample(((),), {"low": 0.0, "high": 6.0, "drop": 3, "cut": True}),
    ],
    "maximum": PAIRS,
    "minimum": PAIRS,
    "reduce_max": LARGEST,
    "reduce_min": LARGEST,
    "argmax": ALONG,
    "argmin": ALONG,
    "top_k": [
        Sample(((3, 5),), {"k": 5, "places": False}, bound=3),
        Sample(((2, 3, 9),), {"k": 3, "places": True}, bound=3),
        Sample(((20,),), {"k": 2, "places": False}, bound=61),
        Sample(((3,),), {"k": 1, "places": True}),
        Sample(((3,),), {"k": 1, "places": False}),
    ],
}
