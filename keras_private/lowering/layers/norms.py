"""Layers that divide every input by statistics of its own: Layer-, Group-, RMS- and UnitNormalization.

All are the recorder's `normalise` over some axes, and then a secret factor and offset. SpectralNormalization divides a
kernel, and only while it is trained: at inference it is the layer that it wraps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from keras_private.lowering.layout import sizes
from keras_private.lowering.registry import Refusal, array, find, lowers, secret

_LEAST, _MOST = 1e-9, 1.0  # of epsilon


def _axes(layer: Any, rank: int) -> list[int]:
    return sorted(axis % rank for axis in ([layer.axis] if isinstance(layer.axis, int) else layer.axis))


def _check(layer: Any) -> Iterable[Refusal]:
    if not _LEAST <= layer.epsilon <= _MOST:
        yield Refusal(f"epsilon {layer.epsilon} is not supported", f"use one from {_LEAST:g} to {_MOST:g}")


def _check_layer(layer: Any) -> Iterable[Refusal]:
    yield from _check(layer)
    if getattr(layer, "rms_scaling", False):
        yield Refusal("rms_scaling=True divides by the variance of what it does not centre", "use RMSNormalization")


def _scaled(prot: Any, y: Any, shape: Sequence[int], **weights: Any) -> Any:
    """y·gamma + beta, those of them that there are, in the shape of a sample of `y` but for axes of one."""
    if weights.get("gamma") is not None:
        y = prot.mul(y, secret(prot, array(weights["gamma"]).reshape(shape), "gamma"))
    if weights.get("beta") is not None:
        y = prot.add(y, secret(prot, array(weights["beta"]).reshape(shape), "beta"))
    return y


@lowers("LayerNormalization", check=_check_layer)
def lower_layer_normalization(prot: Any, layer: Any, x: Any) -> Any:
    axes = _axes(layer, len(x.shape))
    shape = [size if axis in axes else 1 for axis, size in enumerate(sizes(x), 1)]
    y = prot.normalise(x, axes, float(layer.epsilon), centre=True)
    return _scaled(prot, y, shape, gamma=layer.gamma, beta=layer.beta)


@lowers("RMSNormalization", check=_check)
def lower_rms_normalization(prot: Any, layer: Any, x: Any) -> Any:
    """Keras lays the scale along the last axes, whichever are normalised."""
    y = prot.normalise(x, _axes(layer, len(x.shape)), float(layer.epsilon), centre=False)
    return prot.mul(y, secret(prot, layer.scale, "scale"))


@lowers("GroupNormalization", check=_check)
def lower_group_normalization(prot: Any, layer: Any, x: Any) -> Any:
    (axis,), whole = _axes(layer, len(x.shape)), sizes(x)
    channels = whole[axis - 1]
    grouped = prot.reshape(x, [-1, *whole[: axis - 1], layer.groups, channels // layer.groups, *whole[axis:]])
    others = [other for other in range(1, len(grouped.shape)) if other != axis]
    y = prot.reshape(prot.normalise(grouped, others, float(layer.epsilon), centre=True), [-1, *whole])
    shape = [channels if other == axis else 1 for other in range(1, len(x.shape))]
    return _scaled(
        prot, y, shape, gamma=layer.gamma if layer.scale else None, beta=layer.beta if layer.center else None
    )


@lowers("UnitNormalization")
def lower_unit_normalization(prot: Any, layer: Any, x: Any) -> Any:
    """x / sqrt(sum(x²)) is x / sqrt(mean(x²)), divided by the root of their number; rows of zeros stay zeros."""
    axes = _axes(layer, len(x.shape))
    count = math.prod(sizes(x)[axis - 1] for axis in axes)
    return prot.mul(prot.normalise(x, axes, _LEAST, centre=False), 1.0 / math.sqrt(count))


def _check_wrapped(layer: Any) -> Iterable[Refusal]:
    inner = find(layer.layer)
    if inner is None:
        kind = type(layer.layer).__name__
        yield Refusal(f"no lowering is known for the {kind} that it wraps", "train without SpectralNormalization")
    else:
        yield from inner.check(layer.layer)


def _taken(layer: Any) -> tuple[float, float] | None:
    inner = find(layer.layer)
    return inner.takes(layer.layer) if inner is not None else None


@lowers("SpectralNormalization", check=_check_wrapped, takes=_taken)
def lower_spectral_normalization(prot: Any, layer: Any, x: Any) -> Any:
    inner = find(layer.layer)
    assert inner is not None, "checked before lowering"  # noqa: S101
    return inner.function(prot, layer.layer, x)
