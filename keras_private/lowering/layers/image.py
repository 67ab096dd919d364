"""Layers that give images another size: Resizing, CenterCrop, RandomCrop, UpSampling."""

from __future__ import annotations

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
