"""Average and maximum pooling, over windows and over whole images."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_private.lowering.geometry import same_counts
from keras_private.lowering.layout import from_nchw, sizes, to_nchw
from keras_private.lowering.registry import lowers, pair


@lowers("AveragePooling2D")
def lower_average_pooling(prot: Any, layer: Any, x: Any) -> Any:
    pool, strides = pair(layer.pool_size), pair(layer.strides)
    x = to_nchw(prot, x, layer.data_format)
    size = sizes(x)[1:]
    y = from_nchw(prot, prot.avgpool2d(x, pool, strides, layer.padding.upper()), layer.data_format)
    if layer.padding == "valid":
        return y
    # The protocol divides by the window's area everywhere, Keras at the border by the part inside the image.
    correction = pool[0] * pool[1] / same_counts(size, pool, strides)
    if np.all(correction == 1):
        return y
    shape = (1, *correction.shape) if layer.data_format == "channels_first" else (*correction.shape, 1)
    return prot.mul(y, prot.define_constant(correction.reshape(shape)))


@lowers("MaxPooling2D")
def lower_max_pooling(prot: Any, layer: Any, x: Any) -> Any:
    x = to_nchw(prot, x, layer.data_format)
    y = prot.maxpool2d(x, pair(layer.pool_size), pair(layer.strides), layer.padding.upper())
    return from_nchw(prot, y, layer.data_format)


@lowers("GlobalAveragePooling2D")
def lower_global_average_pooling(prot: Any, layer: Any, x: Any) -> Any:
    return _whole_image(prot, layer, x, prot.avgpool2d)


@lowers("GlobalMaxPooling2D")
def lower_global_max_pooling(prot: Any, layer: Any, x: Any) -> Any:
    return _whole_image(prot, layer, x, prot.maxpool2d)


def _whole_image(prot: Any, layer: Any, x: Any, pooled: Any) -> Any:
    x = to_nchw(prot, x, layer.data_format)
    channels, *size = sizes(x)
    y = pooled(x, tuple(size), tuple(size), "VALID")
    if layer.keepdims:
        return from_nchw(prot, y, layer.data_format)
    return prot.reshape(y, [-1, channels])
