"""Activations as operations: `keras.ops.relu(x)`, `keras.activations.gelu(x)`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_private.lowering import functions as fn
from keras_private.lowering.layers.activation import activate
from keras_private.lowering.layers.softmax import log_softmax, softmax
from keras_private.lowering.operation import Operand, Operation, anything, operates
from keras_private.lowering.operations.values import BATCH, axes_of, is_public, numbers
from keras_private.lowering.registry import Refusal, array
from keras_private.lowering.rows import glu, sparsemax
from keras_private.plan.spline.functions import MAX_PARAMETER

_NAMED = {
    "Relu": "relu",
    "Relu6": "relu6",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "HardTanh": "hard_tanh",
    "Sigmoid": "sigmoid",
    "SparseSigmoid": "sparse_sigmoid",
    "Tanh": "tanh",
    "Silu": "silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Selu": "selu",
    "SparsePlus": "sparse_plus",
    "LogSigmoid": "log_sigmoid",
    "TanhShrink": "tanh_shrink",
}


@operates(*_NAMED, check=anything)
def lower_named(prot: Any, op: Operation, x: Any) -> Any:
    """Those without arguments."""
    return activate(prot, _NAMED[op.kind], numbers(prot, x))


@operates("LeakyRelu", check=anything)
def lower_leaky_relu(prot: Any, op: Operation, x: Any) -> Any:
    return fn.leaky_relu(prot, numbers(prot, x), float(op["negative_slope"]))


@operates("ReLU", check=anything)
def lower_relu(prot: Any, op: Operation, x: Any) -> Any:
    """keras.activations.relu with its arguments."""
    ceiling = None if op["max_value"] is None else float(op["max_value"])
    return fn.relu(prot, numbers(prot, x), float(op["negative_slope"]), ceiling, float(op["threshold"]))


def _check_clip(op: Operation, x: Any) -> Iterator[Refusal]:
    del x
    if not (is_public(op["x_min"]) and is_public(op["x_max"])):
        yield Refusal("its limits are no numbers", "clip at two numbers")
    elif not float(array(op["x_min"])) <= float(array(op["x_max"])):
        yield Refusal("its lower limit is above the upper one", "give the smaller number first")


@operates("Clip", check=_check_clip)
def lower_clip(prot: Any, op: Operation, x: Any) -> Any:
    return fn.clip(prot, numbers(prot, x), float(array(op["x_min"])), float(array(op["x_max"])))


@operates("Gelu", check=anything)
def lower_gelu(prot: Any, op: Operation, x: Any) -> Any:
    return prot.spline(numbers(prot, x), "gelu_tanh" if op["approximate"] else "gelu")


def _check_parameter(op: Operation, x: Any) -> Iterator[Refusal]:
    del x
    for name in ("alpha", "b"):
        if op[name] is not None and not 0 < float(op[name]) <= MAX_PARAMETER:
            yield Refusal(f"{name} {op[name]} is not supported", f"use one above 0, {MAX_PARAMETER:g} at most")


@operates("Elu", "Celu", check=_check_parameter)
def lower_elu(prot: Any, op: Operation, x: Any) -> Any:
    alpha = 1.0 if op["alpha"] is None else float(op["alpha"])
    x = numbers(prot, x)
    return fn.celu(prot, x, alpha) if op.kind == "Celu" else prot.spline(x, "elu", alpha)


@operates("Squareplus", check=_check_parameter)
def lower_squareplus(prot: Any, op: Operation, x: Any) -> Any:
    return prot.spline(numbers(prot, x), "squareplus", float(op["b"]))


def _check_threshold(op: Operation, x: Any) -> Iterator[Refusal]:
    del x
    if op.kind != "Threshold" and op["threshold"] < 0:
        yield Refusal(f"threshold {op['threshold']} is negative", "use one that is not")


@operates("HardShrink", "SoftShrink", "Threshold", check=_check_threshold)
def lower_threshold(prot: Any, op: Operation, x: Any) -> Any:
    x, threshold = numbers(prot, x), float(op["threshold"])
    if op.kind == "Threshold":
        return fn.kept_above(prot, x, threshold, float(op["default_value"]))
    return (fn.hard_shrink if op.kind == "HardShrink" else fn.soft_shrink)(prot, x, threshold)


def _check_row(op: Operation, x: Operand) -> Iterator[Refusal]:
    if not isinstance(op["axis"], int) or op["axis"] % len(x.shape) == 0:
        yield BATCH


@operates("Glu", "Sparsemax", check=_check_row)
def lower_row(prot: Any, op: Operation, x: Any) -> Any:
    return (glu if op.kind == "Glu" else sparsemax)(prot, numbers(prot, x), op["axis"])


def _check_softmax(op: Operation, x: Operand) -> Iterator[Refusal]:
    if op["axis"] is None or 0 in axes_of(op["axis"], len(x.shape)):
        yield BATCH


@operates("Softmax", check=_check_softmax)
def lower_softmax(prot: Any, op: Operation, x: Any) -> Any:
    return softmax(prot, numbers(prot, x), axes_of(op["axis"], len(x.shape)))


@operates("LogSoftmax", check=_check_row)
def lower_log_softmax(prot: Any, op: Operation, x: Any) -> Any:
    return log_softmax(prot, numbers(prot, x), op["axis"])
