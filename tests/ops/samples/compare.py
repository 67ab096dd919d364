from __future__ import annotations

from tests.ops.sample import Sample

PAIRS = [
    Sample(((3, 1, 5), (1, 2, 5))),
    Sample(((7, 11), (7, 11)), bound=61),
    Sample(((3,), (3,)), bound=1),
    Sample(((), ())),
]
THRESHOLDS = [
    Sample(((3, 23),), {"threshold": 1.0 / 3.0}),
    Sample(((3, 23),), {"threshold": 0.0}, bound=2),
    Sample(((3, 23),), {"threshold": -1e18}, bound=62),
    Sample(((),), {"threshold": -7.0}),
]

SAMPLES = {
    "less": PAIRS,
    "below": THRESHOLDS,
    "above": THRESHOLDS,
    "equal": PAIRS,
    "equal_to": [
        Sample(((3, 23),), {"value": 2.0**-8}, bound=2),
        Sample(((3, 23),), {"value": -4096.0}, bound=2),  # beyond the bound, and 0 in all bits that x has
        Sample(((),), {"value": 0.0}),
    ],
}
