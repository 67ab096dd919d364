"""Window arithmetic of Keras and TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pads = tuple[int, int, int, int]  # top, bottom, left, right


def same_pads(
    size: Sequence[int | None], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int] = (1, 1)
) -> Pads:
    """The zeros that `padding="same"` puts around an image of `size` (height, width): the odd one goes to the end."""
    top, bottom = same_along(size[0] or 0, window[0], strides[0], dilation[0])
    left, right = same_along(size[1] or 0, window[1], strides[1], dilation[1])
    return top, bottom, left, right


def same_along(size: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Along one axis."""
    span = (window - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True, slots=True)
class Transposed:
    """A transposed convolution along one axis, as a convolution of stride 1 that makes `stride` outputs at each place.

    before, after: zeros around the input; where negative, so many values are left out.
    taps: taps[a][r]: which tap of the layer's kernel output r at a place takes of its a-th value; None: it takes none.
    length: of the result, once the outputs of all places stand one after the other.
    """

    before: int
    after: int
    taps: tuple[tuple[int | None, ...], ...]
    length: int


def transposed(size: int, window: int, stride: int, dilation: int, padding: str, added: int | None) -> Transposed:
    """The transposed convolution of `size` values.

    Output o is the sum over inputs i of x[i] k[o + crop - stride·i]. With o = stride·q + r and t = q - i that is the
    sum over t of x[q - t] k[stride·t + r + crop]: for each r a convolution with every stride-th tap of the kernel.

    Args:
        dilation: of the kernel; its taps are numbered as if the zeros between them were taps.
        added: Keras' `output_padding`.
    """
    span = (window - 1) * dilation + 1
    whole = (size - 1) * stride + span
    if padding == "valid":
        length = whole + (max(stride - span, 0) if added is None else added)
    else:
        length = size * stride if added is None else (size - 1) * stride + span % 2 + added
    crop = max(whole - length, 0) // 2
    first, last = -((stride - 1 + crop) // stride), (span - 1 - crop) // stride
    taps = tuple(
        tuple(tap if 0 <= tap < span else None for tap in range(stride * t + crop, stride * (t + 1) + crop))
        for t in range(last, first - 1, -1)
    )
    return Transposed(last, -(-length // stride) - first - size, taps, length)


def same_counts(size: Sequence[int], window: Sequence[int], strides: Sequence[int]) -> NDArray[np.float64]:
    """How many cells of each `same` window lie inside an image or a volume. The mean divides by that."""
    whole = np.ones((), np.float64)
    for length, pool, stride in zip(size, window, strides, strict=True):
        before, _ = same_along(length, pool, stride)
        starts = np.arange(-before, -before + -(-length // stride) * stride, stride)
        inside = np.minimum(starts + pool, length) - np.maximum(starts, 0)
        whole = np.multiply.outer(whole, inside.astype(np.float64))
    return whole


def adaptive_windows(size: int, count: int) -> list[range]:
    """`count` windows over `size` places, as equal as can be; neighbours may share a place."""
    return [range(at * size // count, -(-(at + 1) * size // count)) for at in range(count)]
