from __future__ import annotations

from typing import Any

from tests.ops.sample import FRAC, Sample

PLAIN = {"truncate": 0, "relu": False, "bits": 45}
DROP = {"truncate": 9, "relu": False, "bits": 45}
FUSED = {"truncate": 9, "relu": True, "bits": 40}


def conv(**attrs: Any) -> dict[str, Any]:
    return {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilation": (1, 1), **attrs}


SAMPLES = {
    "matmul": [
        Sample(((5,),), PLAIN, ((5, 3), (3,)), (9, FRAC + 9)),
        Sample(((2, 3, 7),), DROP, ((7, 5),), (9,)),
        Sample(((7,),), {"truncate": 33, "relu": True}, ((7, 13), (13,)), (30, FRAC + 30)),
        Sample(((2,),), FUSED, ((2, 1),), (9,)),
    ],
    "conv2d": [
        Sample(((5, 4, 2),), {**PLAIN, **conv(pads=(1, 0, 2, 1))}, ((3, 2, 2, 3), (3,)), (9, FRAC + 9)),
        Sample(((7, 5, 3),), {**DROP, **conv(strides=(2, 3), dilation=(2, 1))}, ((2, 3, 3, 1),), (9,)),
        Sample(((3, 1, 1),), {**FUSED, **conv()}, ((3, 1, 1, 1),), (9,)),
    ],
    "depthwise_conv2d": [
        Sample(((5, 4, 2),), {**PLAIN, **conv(pads=(1, 0, 2, 1))}, ((3, 2, 2, 3), (6,)), (9, FRAC + 9)),
        Sample(((7, 5, 3),), {**DROP, **conv(strides=(2, 3), dilation=(2, 1))}, ((2, 3, 3, 1),), (9,)),
        Sample(((1, 3, 1),), {**FUSED, **conv()}, ((1, 3, 1, 1),), (9,)),
    ],
    "mul": [
        Sample(((3, 5),), {"truncate": 0, "bits": 45}, ((5,),), (9,)),
        Sample(((3, 1, 5),), {"truncate": 9, "bits": 45}, ((3, 1, 1),), (9,)),
        Sample(((7,),), {"truncate": 20}, ((),), (20,)),
        Sample(((1,),), {"truncate": 9, "bits": 45}, ((1,),), (9,)),
    ],
}
