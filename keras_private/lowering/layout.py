"""TF Encrypted's images are NCHW, Keras' usually NHWC. These transposes cancel when the plan is optimised."""

from __future__ import annotations

from typing import Any


def to_nchw(prot: Any, x: Any, data_format: str) -> Any:
    return x if data_format == "channels_first" else prot.transpose(x, [0, 3, 1, 2])


def from_nchw(prot: Any, x: Any, data_format: str) -> Any:
    return x if data_format == "channels_first" else prot.transpose(x, [0, 2, 3, 1])


def sizes(x: Any) -> tuple[int, ...]:
    """Per-sample shape of a protocol's tensor."""
    return tuple(int(size) for size in tuple(x.shape)[1:])
