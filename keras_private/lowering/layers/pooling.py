"""Average and maximum pooling of images and sequences, over windows and over all of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from keras_private.lowering.geometry import same_counts
from keras_private.lowering.layout import along, images, sizes
from keras_private.lowering.registry import lowers


@lowers("AveragePooling1D", "AveragePooling2D")
def lower_average_pooling(prot: Any, layer: Any, x: Any) -> Any:
    pool, strides = along(layer.pool_size, x), along(layer.strides, x)
    y, back = images(prot, x, layer.data_format)
    size = sizes(y)[1:]
    y = prot.avgpool2d(y, pool, strides, layer.padding.upper())
    if layer.padding == "valid":
        return back(y)
    # The protocol divides by the window's area everywhere, Keras at the border by the part inside the image.
    correction = pool[0] * pool[1] / same_counts(size, pool, strides)
    return back(y if np.all(correction == 1) else prot.mul(y, prot.define_constant(correction[None])))


@lowers("MaxPooling1D", "MaxPooling2D")
def lower_max_pooling(prot: Any, layer: Any, x: Any) -> Any:
    y, back = images(prot, x, layer.data_format)
    return back(prot.maxpool2d(y, along(layer.pool_size, x), along(layer.strides, x), layer.padding.upper()))


@lowers("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D")
def lower_global_average_pooling(prot: Any, layer: Any, x: Any) -> Any:
    return _whole(prot, layer, x, prot.avgpool2d)


@lowers("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D")
def lower_global_max_pooling(prot: Any, layer: Any, x: Any) -> Any:
    return _whole(prot, layer, x, prot.maxpool2d)


def _whole(prot: Any, layer: Any, x: Any, pooled: Any) -> Any:
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
