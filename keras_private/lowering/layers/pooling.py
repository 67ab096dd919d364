"""Average and maximum pooling of sequences, images and volumes: over windows, over all of them, to a given size.

Channels are pooled each by itself, and so may be what looks like channels: a volume is pooled along height and width
as an image of depth x channels, then along the depth as an image of one column for each place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_private.lowering.geometry import adaptive_windows, same_counts
from keras_private.lowering.layout import along, images, sizes, times_matrix
from keras_private.lowering.registry import lowers

Pool = Callable[[Any, Sequence[int], Sequence[int], str], Any]  # the protocol's, of images: window, strides, padding


@lowers("AveragePooling1D", "AveragePooling2D", "AveragePooling3D")
def lower_average_pooling(prot: Any, layer: Any, x: Any) -> Any:
    pool, strides = along(layer.pool_size, x), along(layer.strides, x)
    y, back = images(prot, x, layer.data_format)
    size = sizes(y)[1:]
    y = _pooled(prot, prot.avgpool2d, y, pool, strides, layer.padding)
    if layer.padding == "valid":
        return back(y)
    # The protocol divides by the window's area everywhere, Keras at the border by the part inside the image.
    correction = math.prod(pool) / same_counts(size, pool, strides)
    return back(y if np.all(correction == 1) else prot.mul(y, prot.define_constant(correction[None])))


@lowers("MaxPooling1D", "MaxPooling2D", "MaxPooling3D")
def lower_max_pooling(prot: Any, layer: Any, x: Any) -> Any:
    y, back = images(prot, x, layer.data_format)
    return back(_pooled(prot, prot.maxpool2d, y, along(layer.pool_size, x), along(layer.strides, x), layer.padding))


def _pooled(prot: Any, pool: Pool, y: Any, window: Sequence[int], strides: Sequence[int], padding: str) -> Any:
    """Of NCHW images or NCDHW volumes."""
    if len(y.shape) == 4:
        return pool(y, window, strides, padding.upper())
    channels, depth, height, width = sizes(y)
    y = pool(prot.reshape(y, [-1, channels * depth, height, width]), window[1:], strides[1:], padding.upper())
    height, width = sizes(y)[1:]
    y = prot.reshape(y, [-1, channels, depth, height * width])
    y = pool(y, (window[0], 1), (strides[0], 1), padding.upper())
    return prot.reshape(y, [-1, channels, sizes(y)[1], height, width])


# --- to a given size


@lowers("AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D")
def lower_adaptive_average_pooling(prot: Any, layer: Any, x: Any) -> Any:
    """Where windows are not all equal, by a public matrix for each axis."""

    def unequal(y: Any, axis: int, windows: list[range]) -> Any:
        matrix = np.zeros((sizes(y)[axis - 1], len(windows)))
        for column, window in enumerate(windows):
            matrix[window.start : window.stop, column] = 1 / len(window)
        return times_matrix(prot, y, axis, matrix)

    return _adaptive(prot, layer, x, prot.avgpool2d, unequal)


@lowers("AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D")
def lower_adaptive_max_pooling(prot: Any, layer: Any, x: Any) -> Any:
    """Where windows are not all equal, each axis by itself; the last place of a smaller window comes twice."""

    def unequal(y: Any, axis: int, windows: list[range]) -> Any:
        longest = max(map(len, windows))
        places = [window[min(at, len(window) - 1)] for window in windows for at in range(longest)]
        given, channels, size = sizes(y), math.prod(sizes(y)[: axis - 1]), math.prod(sizes(y)[axis:])
        y = prot.reshape(prot.gather(y, places, axis), [-1, channels, len(places), size])
        y = prot.maxpool2d(y, (longest, 1), (longest, 1), "VALID")
        return prot.reshape(y, [-1, *given[: axis - 1], len(windows), *given[axis:]])

    return _adaptive(prot, layer, x, prot.maxpool2d, unequal)


def _adaptive(prot: Any, layer: Any, x: Any, pool: Pool, unequal: Callable[[Any, int, list[range]], Any]) -> Any:
    """Windows as Keras spreads them over every axis; those that are equal are one pooling."""
    y, back = images(prot, x, layer.data_format)
    windows = [
        adaptive_windows(size, count) for size, count in zip(sizes(y)[1:], along(layer.output_size, x), strict=True)
    ]
    even = [size // len(each) if size % len(each) == 0 else 1 for size, each in zip(sizes(y)[1:], windows, strict=True)]
    if max(even) > 1:
        y = _pooled(prot, pool, y, even, even, "valid")
    for axis, each in enumerate(windows, 2):
        if sizes(y)[axis - 1] != len(each):
            y = unequal(y, axis, each)
    return back(y)


# --- over all of them


@lowers("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D")
def lower_global_average_pooling(prot: Any, layer: Any, x: Any) -> Any:
    return _whole(prot, layer, x, prot.avgpool2d)


@lowers("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D")
def lower_global_max_pooling(prot: Any, layer: Any, x: Any) -> Any:
    return _whole(prot, layer, x, prot.maxpool2d)


def _whole(prot: Any, layer: Any, x: Any, pooled: Pool) -> Any:
    first = layer.data_format == "channels_first"
    if len(x.shape) == 5:  # two of three axes are as good as one here
        a, b, c, d = sizes(x)
        x = prot.reshape(x, [-1, a, b, c * d] if first else [-1, a, b * c, d])
        kept = [a, 1, 1, 1] if first else [1, 1, 1, d]
    else:
        kept = [size if axis == (0 if first else len(x.shape) - 2) else 1 for axis, size in enumerate(sizes(x))]
    y, _ = images(prot, x, layer.data_format)
    size = sizes(y)[1:]
    y = pooled(y, size, size, "VALID")
    return prot.reshape(y, [-1, *kept] if layer.keepdims else [-1, math.prod(kept)])
