from __future__ import annotations

from tests.ops.sample import Sample

SAMPLES = {
    "softmax": [
        Sample(((3, 5),), {"axis": 1}),
        Sample(((4, 2, 3),), {"axis": 0}),
        Sample(((1,),), {"axis": 0}),
    ],
}
