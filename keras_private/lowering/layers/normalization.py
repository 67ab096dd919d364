"""BatchNormalization, Normalization, Rescaling: y = x·scale + offset, both computed here, at the owner."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_private.lowering.registry import Refusal, array, lowers, secret

_EPSILON = 1e-7  # what keras.layers.Normalization divides by at least (backend.epsilon())


def _check_batch_normalization(layer: Any) -> Iterable[Refusal]:
    if not isinstance(layer.axis, int) and len(layer.axis) != 1:
        yield Refusal(f"axis {tuple(layer.axis)} is not supported", "normalise along one axis")


@lowers("BatchNormalization", check=_check_batch_normalization)
def lower_batch_normalization(prot: Any, layer: Any, x: Any) -> Any:
    """With the moving statistics, as at inference."""
    scale = 1.0 / np.sqrt(array(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * array(layer.gamma)
    offset = -array(layer.moving_mean) * scale
    if layer.center:
        offset = offset + array(layer.beta)
    axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
    rank = len(x.shape)
    behind = (1,) * (rank - 1 - axis % rank)  # axes after the normalised one
    y = prot.mul(x, secret(prot, scale.reshape(-1, *behind), "scale"))
    return prot.add(y, secret(prot, offset.reshape(-1, *behind), "offset"))


@lowers("Normalization")
def lower_normalization(prot: Any, layer: Any, x: Any) -> Any:
    mean = array(layer.mean)
    deviation = np.maximum(np.sqrt(array(layer.variance)), _EPSILON)
    scale, offset = (deviation, mean) if layer.invert else (1.0 / deviation, -mean / deviation)
    if scale.ndim == len(x.shape):  # statistics with an axis of 1 for the batch
        scale, offset = scale[0], offset[0]
    y = prot.mul(x, secret(prot, scale, "scale"))
    return prot.add(y, secret(prot, offset, "offset"))


@lowers("Rescaling")
def lower_rescaling(prot: Any, layer: Any, x: Any) -> Any:
    """Its numbers are part of the architecture, so the scale is a public constant."""
    scale, offset = array(layer.scale), array(layer.offset)
    y = x if np.all(scale == 1) else prot.mul(x, prot.define_constant(scale))
    return y if np.all(offset == 0) else prot.add(y, prot.define_constant(offset))
