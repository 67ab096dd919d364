"""Comparisons, which make bits; formulas of bits; and what is selected by them, or made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_private.lowering.layout import sizes
from keras_private.lowering.operation import Operand, Operation, anything, operates
from keras_private.lowering.operations.values import (
    both,
    check_pair,
    constant,
    filled,
    is_public,
    is_tensor,
    numbers,
    spread,
    truth,
)
from keras_private.lowering.registry import Refusal, array

MAX_CLASSES = 1 << 12


def _below(prot: Any, x: Any, y: Any) -> Any:
    """[x < y]; one of them may be a constant."""
    if is_tensor(x) and is_tensor(y):
        return prot.less(x, y)
    if is_tensor(x):
        return prot.below(x, float(array(y))) if is_public(y) else prot.below(prot.sub(x, constant(prot, y)), 0.0)
    return prot.above(y, float(array(x))) if is_public(x) else prot.above(prot.sub(y, constant(prot, x)), 0.0)


def _same(prot: Any, x: Any, y: Any) -> Any:
    x, y = (x, y) if is_tensor(x) else (y, x)
    if is_tensor(y):
        return prot.equal(x, y)
    return prot.equal_to(x, float(array(y))) if is_public(y) else prot.equal_to(prot.sub(x, constant(prot, y)), 0.0)


_COMPARISONS: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "Less": _below,
    "Greater": lambda prot, x, y: _below(prot, y, x),
    "GreaterEqual": lambda prot, x, y: prot.logical_not(_below(prot, x, y)),
    "LessEqual": lambda prot, x, y: prot.logical_not(_below(prot, y, x)),
    "Equal": _same,
    "NotEqual": lambda prot, x, y: prot.logical_not(_same(prot, x, y)),
}


@operates(*_COMPARISONS, check=check_pair)
def lower_comparison(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    first = is_tensor(x)
    left, right = both(prot, op, x, y)
    return _COMPARISONS[op.kind](prot, left, right) if first else _COMPARISONS[op.kind](prot, right, left)


def _check_logic(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    if not (isinstance(x, Operand) and isinstance(y, Operand)):
        yield Refusal("a constant is among its operands", "use tensors")
    else:
        yield from check_pair(op, x, y)


@operates("LogicalAnd", "LogicalOr", "LogicalXor", check=_check_logic)
def lower_logic(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    x, y = (truth(prot, each, operand) for each, operand in zip((x, y), op.operands, strict=True))
    if op.kind.endswith("Xor"):
        return prot.logical_xor(x, y)
    return prot.logical_and(x, y) if op.kind.endswith("And") else prot.logical_or(x, y)


@operates("LogicalNot", check=anything)
def lower_not(prot: Any, op: Operation, x: Any) -> Any:
    return prot.logical_not(truth(prot, x, op.operands[0]))


# --- made of bits


def _check_where(op: Operation, condition: Any, x: Any = None, y: Any = None) -> Iterator[Refusal]:
    if x is None or y is None:
        yield Refusal("the places that it finds depend on the input", "give it two values to choose from")
        return
    tensors = [each for each in (condition, x, y) if isinstance(each, Operand)]
    constants = [np.shape(array(each)) for each in (condition, x, y) if not isinstance(each, Operand)]
    rank = len(op.shape)
    if any(len(tensor.shape) != rank for tensor in tensors) or op.shape[0] is not None or None in op.shape[1:]:
        yield Refusal("its tensors have different ranks, and the batch of one would meet another axis", "use Reshape")
    elif any(len(shape) > rank or (len(shape) == rank and shape[0] != 1) for shape in constants):
        yield Refusal("a constant does not fit every sample", "use one that does")


@operates("Where", check=_check_where)
def lower_where(prot: Any, op: Operation, condition: Any, x: Any, y: Any) -> Any:
    shape = tuple(int(size or 1) for size in op.shape[1:])
    some = next(each for each in (x, y, condition) if is_tensor(each))
    left, right = (
        spread(prot, numbers(prot, each), shape) if is_tensor(each) else filled(prot, numbers(prot, some), each, shape)
        for each in (x, y)
    )
    if not is_tensor(condition):
        mask = np.broadcast_to(array(condition) != 0, (1, *shape)).astype(np.float64)[0]
        left = prot.mul(left, prot.define_private_variable(mask, name="condition"))
        return prot.add(left, prot.mul(right, prot.define_private_variable(1.0 - mask, name="condition")))
    return prot.select(truth(prot, condition, op.operands[0]), left, right)


def _check_select(op: Operation, conditions: Any, choices: Any, default: Any = 0) -> Iterator[Refusal]:
    if not all(isinstance(condition, Operand) for condition in conditions):
        yield Refusal("a constant is among its conditions", "use tensors")
    for choice in (*conditions, *choices, default):
        yield from _check_where(op, conditions[0], choice, default)


@operates("Select", check=_check_select)
def lower_select(prot: Any, op: Operation, conditions: Any, choices: Any, default: Any = 0) -> Any:
    """The choice of the first condition that holds."""
    shape = tuple(int(size or 1) for size in op.shape[1:])

    def whole(x: Any) -> Any:
        if is_tensor(x):
            return spread(prot, numbers(prot, x), shape)
        return filled(prot, numbers(prot, conditions[0]), x, shape)

    y = whole(default)
    for condition, operand, x in [*zip(conditions, op.operands[0], choices, strict=True)][::-1]:
        y = prot.select(truth(prot, condition, operand), whole(x), y)
    return y


def _check_cast(op: Operation, x: Operand) -> Iterator[Refusal]:
    if x.dtype != op.dtype and "int" in op.dtype and "float" in x.dtype:
        yield Refusal(f"it casts {x.dtype} to {op.dtype}", "round with keras.ops.floor, or keep float values")
    elif "complex" in op.dtype:
        yield Refusal(f"it casts to {op.dtype}", "keep float values")


@operates("Cast", "SaturateCast", "ConvertToTensor", "StopGradient", "Copy", "NanToNum", check=_check_cast)
def lower_cast(prot: Any, op: Operation, x: Any) -> Any:
    if op.dtype == "bool":
        return truth(prot, x, op.operands[0])
    return numbers(prot, x)


@operates("ZerosLike", "OnesLike", "FullLike", check=anything)
def lower_filled(prot: Any, op: Operation, x: Any, value: Any = None) -> Any:
    given = {"ZerosLike": 0.0, "OnesLike": 1.0}.get(op.kind, value)
    return filled(prot, numbers(prot, x), given, sizes(x))


def _check_one_hot(op: Operation, x: Operand) -> Iterator[Refusal]:
    if op["sparse"]:
        yield Refusal("its result is sparse", "use sparse=False")
    elif not 1 <= int(op["num_classes"]) <= MAX_CLASSES:
        yield Refusal(f"{op['num_classes']} classes are not supported", f"use up to {MAX_CLASSES}")
    elif int(op["axis"]) % (len(x.shape) + 1) == 0:
        yield Refusal("it moves the batch axis", "use another axis")


@operates("OneHot", check=_check_one_hot)
def lower_one_hot(prot: Any, op: Operation, x: Any) -> Any:
    """By an equality with each class."""
    count, axis, shape = int(op["num_classes"]), int(op["axis"]), sizes(numbers(prot, x))
    axis %= len(shape) + 2
    near = prot.reshape(numbers(prot, x), [-1, *shape[: axis - 1], 1, *shape[axis - 1 :]])
    places = np.arange(count, dtype=np.float64).reshape(-1, *(1,) * (len(shape) + 1 - axis))
    wide = prot.sub(prot.gather(near, [0] * count, axis), prot.define_private_variable(places, name="classes"))
    found = prot.equal_to(wide, 0.0)
    return found if op.dtype == "bool" else prot.to_number(found)
