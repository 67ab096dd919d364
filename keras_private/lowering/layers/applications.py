"""Layers that are found in the networks of `keras.applications` only."""

from __future__ import annotations

from typing import Any

from keras_private.lowering.layers.noise import lower_identity
from keras_private.lowering.registry import array, lowers, secret

lowers("StochasticDepth")(lower_identity)  # of ConvNeXt: it leaves branches out while it is trained


@lowers("LayerScale")
def lower_layer_scale(prot: Any, layer: Any, x: Any) -> Any:
    """Of ConvNeXt: a trained factor for every channel."""
    return prot.mul(x, secret(prot, layer.gamma, "gamma"))


@lowers("CustomScaleLayer")
def lower_custom_scale(prot: Any, layer: Any, xs: Any) -> Any:
    """Of InceptionResNetV2: a residual sum, with a number of the architecture's."""
    return prot.add(xs[0], prot.mul(xs[1], float(array(layer.scale))))
