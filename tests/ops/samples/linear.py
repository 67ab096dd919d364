from __future__ import annotations

from typing import Any

from tests.ops.sample import FRAC, Sample

PLAIN = {"drop": 0, "relu": False, "bound": 48}
DROP = {"drop": 9, "relu": False, "bound": 48}
FUSED = {"drop": 9, "relu": True, "bound": 40}


def conv(**attrs: Any) -> dict[str, Any]:
    return {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilation": (1, 1), **attrs}


SAMPLES = {
    "matmul": [
        Sample(((5,),), PLAIN, ((5, 3), (3,)), (9, FRAC + 9)),
        Sample(((2, 3, 7),), DROP, ((7, 5),), (9,)),
        Sample(((7,),), {"drop": 33, "relu": True}, ((7, 13), (13,)), (30, FRAC + 30)),
        Sample(((3, 4), (4, 5)), PLAIN),
        Sample(((2, 3, 4), (2, 4, 1)), FUSED),
        Sample(((3, 1, 2, 4), (2, 4, 3)), {**DROP, "drop": 16}),  # leading axes that broadcast
        Sample(((4,), (2, 4, 3)), DROP),
        Sample(((2, 3, 4), (4,)), PLAIN),
        Sample(((4,), (4,)), DROP),
        Sample(((2,),), FUSED, ((2, 1),), (9,)),
    ],
    "conv2d": [
        Sample(((5, 4, 2),), {**PLAIN, **conv(pads=(1, 0, 2, 1))}, ((3, 2, 2, 3), (3,)), (9, FRAC + 9)),
        Sample(((7, 5, 3),), {**DROP, **conv(strides=(2, 3), dilation=(2, 1))}, ((2, 3, 3, 1),), (9,)),
        Sample(((5, 4, 2), (3, 2, 2, 3)), {**DROP, **conv(strides=(2, 1), pads=(1, 0, 2, 1))}),
        Sample(((3, 2, 1), (3, 1, 1, 1)), {**FUSED, **conv(pads=(0, 0, 1, 0))}),
        Sample(((3, 1, 1),), {**FUSED, **conv()}, ((3, 1, 1, 1),), (9,)),
    ],
    "depthwise_conv2d": [
        Sample(((5, 4, 2),), {**PLAIN, **conv(pads=(1, 0, 2, 1))}, ((3, 2, 2, 3), (6,)), (9, FRAC + 9)),
        Sample(((7, 5, 3),), {**DROP, **conv(strides=(2, 3), dilation=(2, 1))}, ((2, 3, 3, 1),), (9,)),
        Sample(((5, 4, 2), (3, 2, 2, 3)), {**DROP, **conv(pads=(1, 0, 2, 1), dilation=(1, 2))}),
        Sample(((1, 3, 1),), {**FUSED, **conv()}, ((1, 3, 1, 1),), (9,)),
    ],
}
