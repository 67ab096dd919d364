"""TF Encrypted's images are NCHW, Keras' usually NHWC. These transposes cancel when the plan is optimised.

A sequence is an image of one row, so every layer that has a 1D form has one lowering for both. A volume has an axis
more than an image; `convolve.py` and the pooling layers make images of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering.registry import array


def images(prot: Any, x: Any, data_format: str) -> tuple[Any, Callable[[Any], Any]]:
    """A batch of sequences, images or volumes as NCHW or NCDHW, and the way back to its own layout and rank."""
    first, rank = data_format == "channels_first", len(x.shape)
    if rank > 3:
        if first:
            return x, lambda y: y
        last = [0, *range(2, rank), 1]
        return prot.transpose(x, [0, rank - 1, *range(1, rank - 1)]), lambda y: prot.transpose(y, last)
    one, two = sizes(x)
    if first:
        return prot.reshape(x, [-1, one, 1, two]), lambda y: prot.reshape(y, [-1, sizes(y)[0], sizes(y)[2]])

    def back(y: Any) -> Any:
        channels, _, steps = sizes(y)
        return prot.reshape(prot.transpose(y, [0, 2, 3, 1]), [-1, steps, channels])

    return prot.transpose(prot.reshape(x, [-1, 1, one, two]), [0, 3, 1, 2]), back


def along(value: Any, x: Any, missing: Any = 1) -> tuple[Any, ...]:
    """A window, stride or dilation of a layer on `x`, one for every axis of `images`; sequences have one row."""
    axes = len(x.shape) - 2
    given = (value,) * axes if isinstance(value, int) else tuple(int(each) for each in value)
    return (missing, *given) if axes == 1 else given


def kernel_of(variable: Any) -> NDArray[np.float64]:
    """A kernel as (height, width, …), or (depth, height, width, …)."""
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


def times_matrix(prot: Any, x: Any, axis: int, matrix: NDArray[np.float64]) -> Any:
    """One axis times a public matrix (its size, another); by choosing places where that is all that the matrix does."""
    chosen = matrix.argmax(axis=0)
    if np.array_equal(matrix, np.eye(len(matrix))[:, chosen]):
        return keep(prot, x, axis, chosen.tolist())
    last = len(x.shape) - 1
    order = [*(each for each in range(last + 1) if each != axis), axis]
    x = prot.transpose(x, order) if axis != last else x
    y = prot.matmul(x, prot.define_constant(matrix))
    return prot.transpose(y, np.argsort(order).tolist()) if axis != last else y


def together(prot: Any, x: Any, axes: Sequence[int]) -> tuple[Any, Any]:
    """`x` with these axes as one, the last; and the way back."""
    rank, whole = len(x.shape), sizes(x)
    chosen = sorted({axis % rank for axis in axes})
    if chosen == [rank - 1]:
        return x, lambda y: y
    order = [axis for axis in range(rank) if axis not in chosen] + chosen
    turned = prot.transpose(x, order) if order != list(range(rank)) else x
    shape = sizes(turned)
    lead, together = shape[: len(shape) - len(chosen)], math.prod(whole[axis - 1] for axis in chosen)
    inverse = [order.index(axis) for axis in range(rank)]

    def back(y: Any) -> Any:
        y = prot.reshape(y, [-1, *shape])
        return prot.transpose(y, inverse) if order != list(range(rank)) else y

    return prot.reshape(turned, [-1, *lead, together]), back
