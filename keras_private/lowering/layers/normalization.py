"""BatchNormalization, Normalization, Rescaling: y = x·scale + offset, both computed here, at the owner.

By statistics of each input, which only the parties can compute: norms.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_private.lowering.registry import array, lowers, secret

_EPSILON = 1e-7  # what keras.layers.Normalization divides by at least (backend.epsilon())


@lowers("BatchNormalization", arguments=("mask",))
def lower_batch_normalization(prot: Any, layer: Any, x: Any, mask: Any = None) -> Any:
    """With the moving statistics, as at inference; then a mask changes nothing."""
    del mask
    scale = 1.0 / np.sqrt(array(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * array(layer.gamma)
    offset = -array(layer.moving_mean) * scale
    if layer.center:
        offset = offset + array(layer.beta)
    axes = {axis % len(x.shape) for axis in ([layer.axis] if isinstance(layer.axis, int) else layer.axis)}
    shape = [int(size) if axis in axes else 1 for axis, size in enumerate(x.shape)][1:]  # None is the batch
    y = prot.mul(x, secret(prot, scale.reshape(shape), "scale"))
    return prot.add(y, secret(prot, offset.reshape(shape), "offset"))


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
