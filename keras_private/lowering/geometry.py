"""Window arithmetic of Keras and TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Pads = tuple[int, int, int, int]  # top, bottom, left, right


def same_pads(
    size: Sequence[int | None], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int] = (1, 1)
) -> Pads:
    """The zeros that `padding="same"` puts around an image of `size` (height, width): the odd one goes to the end."""
    top, bottom = _same(size[0] or 0, window[0], strides[0], dilation[0])
    left, right = _same(size[1] or 0, window[1], strides[1], dilation[1])
    return top, bottom, left, right


def _same(size: int, window: int, stride: int, dilation: int) -> tuple[int, int]:
    span = (window - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    return total // 2, total - total // 2


def transposed_places(
    size: int, window: int, stride: int, dilation: int, padding: str, added: int | None
) -> list[int | None]:
    """What a stride-1 `valid` convolution has to see along one axis to be the transposed convolution of `size` values.

    Args:
        added: Keras' `output_padding`.

    Returns:
        for each place the index of the value there, None for a zero.
    """
    span = (window - 1) * dilation + 1
    whole = (size - 1) * stride + span
    if padding == "valid":
        length = whole + (max(stride - span, 0) if added is None else added)
    else:
        length = size * stride if added is None else (size - 1) * stride + span % 2 + added
    before = span - 1 - max(whole - length, 0) // 2
    return [
        at // stride if at % stride == 0 and 0 <= at < size * stride else None
        for at in range(-before, length + span - 1 - before)
    ]


def same_counts(size: Sequence[int], window: Sequence[int], strides: Sequence[int]) -> NDArray[np.float64]:
    """(rows, columns): how many cells of each `same` window lie inside the image. The mean divides by that."""
    rows, columns = (
        np.array(
            [
                min(start + window[axis], size[axis]) - max(start, 0)
                for start in range(-before, -before + -(-size[axis] // strides[axis]) * strides[axis], strides[axis])
            ],
            dtype=np.float64,
        )
        for axis, before in enumerate(same_pads(size, window, strides)[::2])
    )
    return np.outer(rows, columns)
