"""Layers that only move values about: Flatten, Reshape, Permute, padding with zeros, cropping, repeating."""

from __future__ import annotations

import math
from typing import Any

from keras_private.lowering.layout import keep, sizes, spatial_axes
from keras_private.lowering.registry import lowers, pair


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


@lowers("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
def lower_zero_padding(prot: Any, layer: Any, x: Any) -> Any:
    paddings = [[0, 0] for _ in x.shape]
    for axis, (before, after) in zip(_axes(layer, x), _pairs(layer.padding), strict=True):
        paddings[axis] = [before, after]
    return prot.pad(x, paddings)


@lowers("Cropping1D", "Cropping2D", "Cropping3D")
def lower_cropping(prot: Any, layer: Any, x: Any) -> Any:
    for axis, (before, after) in zip(_axes(layer, x), _pairs(layer.cropping), strict=True):
        x = keep(prot, x, axis, range(before, sizes(x)[axis - 1] - after))
    return x


@lowers("RepeatVector")
def lower_repeat_vector(prot: Any, layer: Any, x: Any) -> Any:
    return keep(prot, prot.reshape(x, [-1, 1, sizes(x)[0]]), 1, [0] * int(layer.n))


def _axes(layer: Any, x: Any) -> range:
    return spatial_axes(x, getattr(layer, "data_format", "channels_last"))  # some 1D layers know no other


def _pairs(amounts: Any) -> list[tuple[int, int]]:
    """A 1D layer keeps (before, after), the others one pair for each axis."""
    return [pair(each) for each in ([amounts] if isinstance(amounts[0], int) else amounts)]
