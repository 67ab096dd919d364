from __future__ import annotations

from typing import Any

from tests.ops.sample import Sample


def pool(size: tuple[int, int], **attrs: Any) -> dict[str, Any]:
    return {"pool": size, "strides": size, "pads": (0, 0, 0, 0), **attrs}


SAMPLES = {
    "sum_pool2d": [
        Sample(((5, 7, 2),), pool((2, 3), pads=(1, 0, 2, 2))),
        Sample(((3, 3, 1),), pool((2, 2), strides=(1, 1))),
    ],
    "max_pool2d": [
        Sample(((5, 7, 2),), pool((2, 3), pads=(1, 0, 2, 2), relu=True)),
        Sample(((3, 5, 3),), pool((3, 1), strides=(1, 2), relu=False), bound=40),
        Sample(((3, 2, 1),), pool((1, 1), relu=False)),
        Sample(((2, 3, 2),), pool((2, 2), pads=(1, 1, 0, 1), relu=False)),
        Sample(((1, 2, 1),), pool((1, 2), relu=True)),
    ],
}
