from __future__ import annotations

from tests.ops.sample import Sample

SAMPLES = {
    "divide": [
        Sample(((3, 5), (3, 5)), {"low": 0.25, "high": 64.0}),
        Sample(((4, 2), (4, 1)), {"low": 1.0, "high": 1024.0}),
    ],
    "normalise": [
        Sample(((3, 5),), {"axes": (1,), "epsilon": 1e-3, "centre": True}),
        Sample(((2, 3, 4),), {"axes": (0, 2), "epsilon": 1e-5, "centre": False}),
    ],
}
