"""What operations between layers compute: arithmetic and activations. What moves values about is in `moves.py`.

A constant is public if it is a single number in the model's code, as in `x * 0.5`, and secret if it is an array or a
variable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_private.errors import PlanError
from keras_private.lowering.layers import activation as act
from keras_private.lowering.layers import merge
from keras_private.lowering.layers.softmax import log_softmax, softmax
from keras_private.lowering.operation import Operand, Operation, operates
from keras_private.lowering.registry import Refusal, array, secret
from keras_private.plan.ops.equation import without_batch


def _nothing(op: Operation, *operands: Any) -> Iterable[Refusal]:
    del op, operands
    return ()


# --- arithmetic


def _is_public(value: Any) -> bool:
    """A number that was written down, not trained: a variable, of whatever shape, counts as a weight."""
    return np.ndim(value) == 0 and not hasattr(value, "assign")


def _constant(prot: Any, value: Any) -> Any:
    return float(array(value)) if _is_public(value) else secret(prot, value, "constant")


def _check_pair(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    """Two tensors of one rank, or a tensor and a constant that does not enlarge it."""
    tensors = [operand for operand in (x, y) if isinstance(operand, Operand)]
    if len({len(tensor.shape) for tensor in tensors}) > 1:
        yield Refusal("its tensors have different ranks, and the batch of one would meet another axis", "use Reshape")
    if len(tensors) == 2:
        return
    constant = np.shape(array(y if tensors[0] is x else x))
    shape = tensors[0].shape
    if op.shape != shape or (len(constant) == len(shape) and constant[0] != 1):
        yield Refusal(f"a constant of shape {constant} does not fit {shape}", "use one that fits every sample")


def _check_product(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    if op.kind in ("Divide", "TrueDivide") and isinstance(y, Operand):
        yield Refusal("it divides by a value that depends on the input", "use a constant divisor and train again")
    elif op.kind in ("Divide", "TrueDivide") and not np.all(array(y)):
        yield Refusal("it divides by zero", "use another divisor")
    else:
        yield from _check_pair(op, x, y)


def _is_tensor(x: Any) -> bool:
    """Whether an operand is a protocol's tensor, and no constant of the model."""
    return hasattr(x, "prot")


@operates("Add", check=_check_pair)
def lower_add(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    del op
    x, y = (x, y) if _is_tensor(x) else (y, x)
    return prot.add(x, y if _is_tensor(y) else _constant(prot, y))


@operates("Subtract", check=_check_pair)
def lower_subtract(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    del op
    if not _is_tensor(x):
        return prot.add(prot.negative(y), _constant(prot, x))
    return prot.sub(x, y if _is_tensor(y) else _constant(prot, y))


@operates("Multiply", check=_check_product)
def lower_multiply(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    del op
    x, y = (x, y) if _is_tensor(x) else (y, x)
    return prot.mul(x, y if _is_tensor(y) else _constant(prot, y))


@operates("Divide", "TrueDivide", check=_check_product)
def lower_divide(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    del op
    return prot.mul(x, 1.0 / float(array(y)) if _is_public(y) else secret(prot, 1.0 / array(y), "constant"))


@operates("Negative", check=_nothing)
def lower_negative(prot: Any, op: Operation, x: Any) -> Any:
    del op
    return prot.negative(x)


@operates("Maximum", "Minimum", check=_check_pair)
def lower_extreme(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    x, y = (x, y) if _is_tensor(x) else (y, x)
    return (merge.maximum if op.kind == "Maximum" else merge.minimum)(
        prot, x, y if _is_tensor(y) else _constant(prot, y)
    )


def _check_matmul(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    del op
    if isinstance(x, Operand) and isinstance(y, Operand):
        if len(x.shape) != len(y.shape) or len(x.shape) < 3:
            yield Refusal("it would multiply the rows of a batch with each other", "give both tensors the same axes")
    elif not isinstance(x, Operand) or np.ndim(array(y)) != 2:
        yield Refusal("only a tensor times a tensor or a fixed matrix is possible", "use Dense or einsum")


@operates("Matmul", check=_check_matmul)
def lower_matmul(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    del op
    return prot.matmul(x, y if _is_tensor(y) else secret(prot, y, "matrix"))


def _check_einsum(op: Operation, *operands: Any) -> Iterator[Refusal]:
    tensors = [isinstance(each, Operand) for each in operands]
    if len(operands) != 2 or not any(tensors):
        yield Refusal("only two factors are possible, one of which is a tensor", "take two at a time")
        return
    ranks = [len(each.shape) if isinstance(each, Operand) else np.ndim(array(each)) for each in operands]
    try:
        without_batch(op["subscripts"], ranks, tensors)
    except PlanError as error:
        yield Refusal(str(error), "keep the batch where it is")


@operates("Einsum", check=_check_einsum)
def lower_einsum(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    return prot.einsum(
        op["subscripts"], *(each if _is_tensor(each) else secret(prot, each, "factor") for each in (x, y))
    )


@operates("Square", check=_nothing)
def lower_square(prot: Any, op: Operation, x: Any) -> Any:
    del op
    return prot.mul(x, x)


# --- activations


def _check_clip(op: Operation, x: Any) -> Iterator[Refusal]:
    del x
    if not (_is_public(op["x_min"]) and _is_public(op["x_max"])):
        yield Refusal("its limits are no numbers", "clip at two numbers")


@operates("Clip", check=_check_clip)
def lower_clip(prot: Any, op: Operation, x: Any) -> Any:
    return act.clip(prot, x, float(array(op["x_min"])), float(array(op["x_max"])))


_NAMED = {
    "Relu": "relu",
    "Relu6": "relu6",
    "HardSigmoid": "hard_sigmoid",
    "HardTanh": "hard_tanh",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Silu": "silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Selu": "selu",
    "SparsePlus": "sparse_plus",
    "LogSigmoid": "log_sigmoid",
    "TanhShrink": "tanh_shrink",
}


@operates(*_NAMED, check=_nothing)
def lower_named(prot: Any, op: Operation, x: Any) -> Any:
    """Those without arguments."""
    return act.activate(prot, _NAMED[op.kind], x)


@operates("LeakyRelu", check=_nothing)
def lower_leaky_relu(prot: Any, op: Operation, x: Any) -> Any:
    return act.leaky_relu(prot, x, float(op["negative_slope"]))


@operates("ReLU", check=_nothing)
def lower_relu(prot: Any, op: Operation, x: Any) -> Any:
    """keras.activations.relu with its arguments."""
    ceiling = None if op["max_value"] is None else float(op["max_value"])
    return act.relu(prot, x, float(op["negative_slope"]), ceiling, float(op["threshold"]))


@operates("Abs", "Absolute", check=_nothing)
def lower_absolute(prot: Any, op: Operation, x: Any) -> Any:
    del op
    return prot.sub(prot.mul(prot.relu(x), 2.0), x)


def _check_softmax(op: Operation, x: Any) -> Iterator[Refusal]:
    axes = [op["axis"]] if isinstance(op["axis"], int) else op["axis"]
    if axes is None or any(axis % len(x.shape) == 0 for axis in axes):
        yield Refusal("its axes include the batch", "take it over other axes")


@operates("Softmax", check=_check_softmax)
def lower_softmax(prot: Any, op: Operation, x: Any) -> Any:
    return softmax(prot, x, [op["axis"]] if isinstance(op["axis"], int) else op["axis"])


@operates("LogSoftmax", check=_check_softmax)
def lower_log_softmax(prot: Any, op: Operation, x: Any) -> Any:
    return log_softmax(prot, x, op["axis"])


def _check_cast(op: Operation, x: Any) -> Iterator[Refusal]:
    del x
    if "float" not in str(op["dtype"]):
        yield Refusal(f"it casts to {op['dtype']}", "keep float values")


@operates("Cast", check=_check_cast)
def lower_cast(prot: Any, op: Operation, x: Any) -> Any:
    del prot, op
    return x
