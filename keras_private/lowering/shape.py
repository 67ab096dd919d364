"""Layers that only move values about: Flatten, Reshape, Permute, ZeroPadding2D."""

from __future__ import annotations

import math
from typing import Any

from keras_private.lowering.layout import sizes
from keras_private.lowering.registry import lowers


@lowers("Flatten")
def lower_flatten(prot: Any, layer: Any, x: Any) -> Any:
    shape = sizes(x)
    if layer.data_format == "channels_first" and len(shape) > 1:  # Keras flattens in channels-last order always
        x = prot.transpose(x, [0, *range(2, len(shape) + 1), 1])
    return x if len(shape) == 1 else prot.reshape(x, [-1, math.prod(shape)])


@lowers("Reshape")
def lower_reshape(prot: Any, layer: Any, x: Any) -> Any:
    target = [int(size) for size in layer.target_shape]
    known = math.prod(size for size in target if size != -1)
    return prot.reshape(x, [-1, *(math.prod(sizes(x)) // known if size == -1 else size for size in target)])


@lowers("Permute")
def lower_permute(prot: Any, layer: Any, x: Any) -> Any:
    return prot.transpose(x, [0, *(int(axis) for axis in layer.dims)])


@lowers("ZeroPadding2D")
def lower_zero_padding(prot: Any, layer: Any, x: Any) -> Any:
    rows, columns = ([int(low), int(high)] for low, high in layer.padding)
    if layer.data_format == "channels_first":
        return prot.pad(x, [[0, 0], [0, 0], rows, columns])
    return prot.pad(x, [[0, 0], rows, columns, [0, 0]])
