"""What networks are made of, as operations: softmax, normalisation, convolution, pooling."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from keras_private.lowering.layers.merge import unit
from keras_private.lowering.operation import Operand, Operation, operates
from keras_private.lowering.operations.values import BATCH, axes_of, numbers
from keras_private.lowering.registry import Refusal, array, find, secret
from keras_private.lowering.resize import resized

_EPSILON = 1e-7  # Keras' own, where none is given
_LEAST, _MOST = 1e-9, 1.0


def _fixed(value: Any) -> bool:
    return not isinstance(value, Operand)


def _check_norm(op: Operation, x: Operand, *weights: Any) -> Iterator[Refusal]:
    if 0 in axes_of(op["axis"], len(x.shape)):
        yield BATCH
    elif not all(map(_fixed, (*weights, *(op[name] for name in ("gamma", "beta", "scale"))))):
        yield Refusal("its factors depend on the input", "multiply and add them")
    elif op["rms_scaling"]:
        yield Refusal("rms_scaling=True divides by the variance of what it does not centre", "use rms_normalization")
    elif not _LEAST <= _epsilon(op) <= _MOST:
        yield Refusal(f"epsilon {op['epsilon']} is not supported", f"use one from {_LEAST:g} to {_MOST:g}")


def _epsilon(op: Operation) -> float:
    return _EPSILON if op["epsilon"] is None else float(op["epsilon"])


@operates("LayerNorm", "RMSNorm", check=_check_norm)
def lower_normalised(prot: Any, op: Operation, x: Any, gamma: Any = None, beta: Any = None) -> Any:
    gamma = next((each for each in (gamma, op["gamma"], op["scale"]) if each is not None), None)
    beta = op["beta"] if beta is None else beta
    x = numbers(prot, x)
    y = prot.normalise(x, axes_of(op["axis"], len(x.shape)), _epsilon(op), centre=op.kind == "LayerNorm")
    y = y if gamma is None else prot.mul(y, secret(prot, gamma, "gamma"))
    return y if beta is None else prot.add(y, secret(prot, beta, "beta"))


def _check_normalize(op: Operation, x: Operand) -> Iterator[Refusal]:
    axes = axes_of(op["axis"], len(x.shape))
    if 0 in axes:
        yield BATCH
    elif len(axes) > 1 or op["order"] not in (None, 2):
        yield Refusal("only rows along one axis can be divided by their Euclidean norm", "use order=2 and one axis")


@operates("Normalize", "L2Normalize", check=_check_normalize)
def lower_normalize(prot: Any, op: Operation, x: Any) -> Any:
    return unit(prot, numbers(prot, x), axes_of(op["axis"], len(x.shape))[0])


def _check_batch_norm(op: Operation, x: Operand, *statistics: Any) -> Iterator[Refusal]:
    if not isinstance(x, Operand) or not all(map(_fixed, (*statistics, op["offset"], op["scale"]))):
        yield Refusal("its statistics or factors depend on the input", "use layer_normalization")
    elif op["axis"] % len(x.shape) == 0:
        yield BATCH


@operates("BatchNorm", check=_check_batch_norm)
def lower_batch_norm(
    prot: Any, op: Operation, x: Any, mean: Any, variance: Any, offset: Any = None, scale: Any = None
) -> Any:
    """One secret factor and one secret addend."""
    offset, scale = (op["offset"] if offset is None else offset), (op["scale"] if scale is None else scale)
    factor = (1.0 if scale is None else array(scale)) / np.sqrt(array(variance) + float(op["epsilon"]))
    addend = (0.0 if offset is None else array(offset)) - array(mean) * factor
    shape = [1] * (len(x.shape) - 1)
    shape[op["axis"] % len(x.shape) - 1] = -1
    y = prot.mul(numbers(prot, x), secret(prot, factor.reshape(shape), "scale"))
    return prot.add(y, secret(prot, addend.reshape(shape), "offset"))


def _check_resize(op: Operation, x: Operand) -> Iterator[Refusal]:
    if op["data_format"] not in (None, "channels_last") or len(x.shape) != 4:
        yield Refusal("only batches of images with the channels last can be resized", "transpose them")


@operates("Resize", check=_check_resize)
def lower_resize(prot: Any, op: Operation, x: Any) -> Any:
    number = op.operands[0].number
    return resized(prot, numbers(prot, x), lambda image: op.compute({number: np.asarray(image)})[0], "channels_last")


# --- windows: as the layers that do the same


def _tuple(value: Any, count: int) -> tuple[int, ...]:
    return (int(value),) * count if np.ndim(value) == 0 else tuple(int(each) for each in value)


def _layer(op: Operation, rank: int, kernels: tuple[Any, ...]) -> Any:
    """What stands for the layer of keras that does the same without a bias, for its lowering."""
    count = rank - 2
    kind = {"MaxPool": "MaxPooling", "AveragePool": "AveragePooling"}.get(op.kind, op.kind) + f"{count}D"
    said: dict[str, Any] = {
        "padding": str(op["padding"]).lower(),
        "data_format": op["data_format"] or "channels_last",
        "use_bias": False,
        "bias": None,
        "activation": None,
        "rank": count,
    }
    strides = op["strides"] if op["strides"] is not None else op["pool_size"]
    said["strides"] = _tuple(1 if strides is None else strides, count)
    if op["pool_size"] is not None:
        said["pool_size"] = _tuple(op["pool_size"], count)
    if kernels:
        said["dilation_rate"] = _tuple(op["dilation_rate"] or 1, count)
        said["kernel_size"] = tuple(kernels[0].shape[:count])
        names = ("kernel",) if op.kind == "Conv" else ("depthwise_kernel", "pointwise_kernel")
        said.update(zip(names, kernels, strict=False))
        said["depth_multiplier"] = kernels[0].shape[-1]
        said["groups"] = 1
    return type(kind, (SimpleNamespace,), {"__module__": "keras.layers.operation"})(**said)


def _check_window(op: Operation, x: Any, *kernels: Any) -> Iterator[Refusal]:
    if not isinstance(x, Operand) or not all(map(_fixed, kernels)):
        yield Refusal("its kernel depends on the input", "use a fixed one")
        return
    layer = _layer(op, len(x.shape), tuple(map(array, kernels)))
    lowering = find(layer)
    if lowering is None:
        yield Refusal(f"windows over {len(x.shape) - 2} axes are not supported", "fold axes into others")
        return
    yield from lowering.check(layer)


@operates("Conv", "DepthwiseConv", "SeparableConv", "MaxPool", "AveragePool", check=_check_window)
def lower_window(prot: Any, op: Operation, x: Any, *kernels: Any) -> Any:
    x = numbers(prot, x)
    layer = _layer(op, len(x.shape), tuple(map(array, kernels)))
    lowering = find(layer)
    assert lowering is not None, "checked before lowering"  # noqa: S101
    return lowering.function(prot, layer, x)
