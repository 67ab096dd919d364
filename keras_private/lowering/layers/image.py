"""Layers that give images another size: Resizing, CenterCrop, RandomCrop, UpSampling."""

from __future__ import annotations

import math
from typing import Any

from keras_private.errors import PlanError
from keras_private.lowering.layout import keep, sizes, spatial_axes
from keras_private.lowering.registry import lowers
from keras_private.lowering.resize import Resize, resized

WITHOUT_TRAINING = ("Resizing", "CenterCrop", "RandomCrop", "AutoContrast")


def _format(layer: Any) -> str:
    return str(getattr(layer, "data_format", None) or "channels_last")  # some know no other


def _channels_last(layer: Any) -> Resize:
    """The same layer for images whose channels come last."""
    settings = layer.get_config()
    if "data_format" in settings:
        layer = type(layer).from_config({**settings, "data_format": "channels_last"})
    return lambda image: layer(image)


@lowers("Resizing")
def lower_resizing(prot: Any, layer: Any, x: Any) -> Any:
    return resized(prot, x, _channels_last(layer), _format(layer))


@lowers("CenterCrop")
def lower_center_crop(prot: Any, layer: Any, x: Any) -> Any:
    """Of an image that is too small it is a resizing."""
    return resized(prot, x, _channels_last(layer), _format(layer))


@lowers("RandomCrop")
def lower_random_crop(prot: Any, layer: Any, x: Any) -> Any:
    """At inference tf_keras resizes; keras leaves the image as it is, and promises another size all the same."""
    if not type(layer).__module__.startswith("keras."):
        return resized(prot, x, lambda image: layer(image, training=False), _format(layer))
    size = [sizes(x)[axis - 1] for axis in spatial_axes(x, _format(layer))]
    if size != [layer.height, layer.width]:
        raise PlanError(
            f"{layer.name} (RandomCrop): Keras leaves images of {tuple(size)} as they are at inference, although it "
            f"says that they become {(layer.height, layer.width)}; use CenterCrop"
        )
    return x


@lowers("UpSampling1D", "UpSampling2D", "UpSampling3D")
def lower_up_sampling(prot: Any, layer: Any, x: Any) -> Any:
    if getattr(layer, "interpolation", "nearest") != "nearest":
        return resized(prot, x, _channels_last(layer), _format(layer))
    size = [layer.size] if isinstance(layer.size, int) else layer.size
    for axis, times in zip(spatial_axes(x, _format(layer)), size, strict=True):
        x = keep(prot, x, axis, [place // times for place in range(times * sizes(x)[axis - 1])])
    return x


@lowers("AutoContrast")
def lower_auto_contrast(prot: Any, layer: Any, x: Any) -> Any:
    """(x - lowest) / (highest - lowest) of every channel, over all of the range. A channel of one colour stays as it
    is; one whose values differ by less than 2^-10 of the range is stretched 2^10 times only."""
    low, high = layer.value_range
    rows, columns, channels = sizes(x)  # Keras takes the channels to be last, always
    x = prot.reshape(x, [-1, rows * columns, channels])
    least, most = (prot.reshape(find(x, 1), [-1, 1, channels]) for find in (prot.reduce_min, prot.reduce_max))
    spread = prot.sub(most, least)
    octave = math.ceil(math.log2(high - low))
    y = prot.divide(prot.sub(x, least), spread, 2.0 ** (octave - 10), 2.0**octave)
    y = prot.add(prot.mul(y, float(high - low)), float(low)) if low else prot.mul(y, float(high - low))
    return prot.reshape(prot.select(prot.equal_to(spread, 0.0), x, y), [-1, rows, columns, channels])
