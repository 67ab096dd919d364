"""TF Encrypted's images are NCHW, Keras' usually NHWC. These transposes cancel when the plan is optimised.

A sequence is an image of one row, so every layer that has a 1D form has one lowering for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering.registry import array, pair


def images(prot: Any, x: Any, data_format: str) -> tuple[Any, Callable[[Any], Any]]:
    """A batch of images or sequences as NCHW, and the way back to its own layout and rank."""
    first = data_format == "channels_first"
    if len(x.shape) == 4:
        if first:
            return x, lambda y: y
        return prot.transpose(x, [0, 3, 1, 2]), lambda y: prot.transpose(y, [0, 2, 3, 1])
    one, two = sizes(x)
    if first:
        return prot.reshape(x, [-1, one, 1, two]), lambda y: prot.reshape(y, [-1, sizes(y)[0], sizes(y)[2]])

    def back(y: Any) -> Any:
        channels, _, steps = sizes(y)
        return prot.reshape(prot.transpose(y, [0, 2, 3, 1]), [-1, steps, channels])

    return prot.transpose(prot.reshape(x, [-1, 1, one, two]), [0, 3, 1, 2]), back


def along(value: Any, x: Any) -> tuple[int, int]:
    """A window, stride or dilation of a layer on `x`, for images and (one row) for sequences."""
    if len(x.shape) == 4:
        return pair(value)
    (steps,) = (value,) if isinstance(value, int) else value
    return 1, int(steps)


def kernel_of(variable: Any) -> NDArray[np.float64]:
    """A kernel of a 1D or 2D layer as (height, width, …)."""
    kernel = array(variable)
    return kernel[None] if kernel.ndim == 3 else kernel


def sizes(x: Any) -> tuple[int, ...]:
    """Per-sample shape of a protocol's tensor."""
    return tuple(int(size) for size in tuple(x.shape)[1:])


def spatial_axes(x: Any, data_format: str) -> range:
    """The axes of `x`, batch first, that are neither batch nor channels."""
    return range(2, len(x.shape)) if data_format == "channels_first" else range(1, len(x.shape) - 1)


def keep(prot: Any, x: Any, axis: int, indices: Sequence[int]) -> Any:
    """The places `indices` of one axis; nothing is recorded for all of them in order."""
    places = list(indices)
    if places == list(range(sizes(x)[axis - 1])):
        return x
    step = places[1] - places[0] if len(places) > 1 else 1
    if step < 1 or places != list(range(places[0], places[-1] + 1, step)):
        return prot.gather(x, places, axis)
    begin, end, strides = [0] * len(x.shape), [0, *sizes(x)], [1] * len(x.shape)
    begin[axis], end[axis], strides[axis] = places[0], places[-1] + 1, step
    return prot.strided_slice(x, begin, end, strides, begin_mask=1, end_mask=1)
