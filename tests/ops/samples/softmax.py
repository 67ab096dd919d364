from __future__ import annotations

from tests.ops.sample import Sample

SAMPLES = {
    "softmax": [
        Sample(((3, 5),), {"axis": 1, "kept": 1}),
        Sample(((4, 2, 3),), {"axis": 0, "kept": 1}),
        Sample(((1,),), {"axis": 0, "kept": 1}),
        Sample(((2, 3, 3),), {"axis": 2, "kept": ((3, 3), (1, 0, 0, 1, 1, 0, 1, 1, 1))}),
        Sample(((3,),), {"axis": 0, "kept": ((3,), (0, 1, 0))}),
    ],
}
