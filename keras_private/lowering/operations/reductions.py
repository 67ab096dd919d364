"""What is made of all values along some axes: sums, extremes, statistics, norms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_private.lowering import functions as fn
from keras_private.lowering.layers.softmax import logsumexp
from keras_private.lowering.layout import sizes, together
from keras_private.lowering.operation import Operand, Operation, operates
from keras_private.lowering.operations.values import (
    BATCH,
    axes_of,
    check_axes,
    numbers,
    truth,
    with_axes,
)
from keras_private.lowering.registry import Refusal, array
from keras_private.lowering.rows import largest, smallest

MAX_FACTORS = 64


def _count(x: Any, axes: list[int]) -> int:
    return math.prod(sizes(x)[axis - 1] for axis in axes)


def _mean(prot: Any, x: Any, axes: list[int], *, keepdims: bool) -> Any:
    return prot.mul(prot.reduce_sum(x, axes, keepdims), 1.0 / _count(x, axes))


def _variance(prot: Any, x: Any, axes: list[int], *, keepdims: bool) -> Any:
    return _mean(prot, prot.square(prot.sub(x, _mean(prot, x, axes, keepdims=True))), axes, keepdims=keepdims)


@operates("Sum", "Mean", "Var", "Std", check=check_axes)
def lower_statistic(prot: Any, op: Operation, x: Any) -> Any:
    x, keepdims = numbers(prot, x), bool(op["keepdims"])
    axes = axes_of(op["axis"], len(x.shape))
    if op.kind == "Sum":
        return prot.reduce_sum(x, axes, keepdims)
    if op.kind == "Mean":
        return _mean(prot, x, axes, keepdims=keepdims)
    variance = _variance(prot, x, axes, keepdims=keepdims)
    return variance if op.kind == "Var" else fn.sqrt(prot, variance)


def _check_moments(op: Operation, x: Operand) -> Iterator[Refusal]:
    if 0 in axes_of(op["axes"], len(x.shape)):
        yield BATCH


@operates("Moments", check=_check_moments)
def lower_moments(prot: Any, op: Operation, x: Any) -> Any:
    x, keepdims, axes = numbers(prot, x), bool(op["keepdims"]), axes_of(op["axes"], len(x.shape))
    return [_mean(prot, x, axes, keepdims=keepdims), _variance(prot, x, axes, keepdims=keepdims)]


def _check_average(op: Operation, x: Any) -> Iterator[Refusal]:
    weights = op["weights"]
    if isinstance(weights, Operand):
        yield Refusal("its weights depend on the input", "multiply, sum and divide")
    elif weights is not None and (not isinstance(op["axis"], int) or np.ndim(array(weights)) != 1):
        yield Refusal("its weights are not those of one axis", "use a list of them and one axis")
    elif weights is not None and float(np.sum(array(weights))) == 0:
        yield Refusal("its weights add up to zero", "use others")
    else:
        yield from check_axes(op, x)


@operates("Average", check=_check_average)
def lower_average(prot: Any, op: Operation, x: Any) -> Any:
    x, axes = numbers(prot, x), axes_of(op["axis"], len(x.shape))
    if op["weights"] is None:
        return _mean(prot, x, axes, keepdims=False)
    weights = array(op["weights"]) / np.sum(array(op["weights"]))
    shape = [1] * (len(x.shape) - 1)
    shape[axes[0] - 1] = -1
    weighted = prot.mul(x, prot.define_private_variable(weights.reshape(shape), name="weights"))
    return prot.reduce_sum(weighted, axes)


# --- the largest, the smallest


def _check_extreme(op: Operation, x: Operand) -> Iterator[Refusal]:
    if op["initial"] is not None:
        yield Refusal("it starts from a number", "use keras.ops.maximum or minimum with that number")
    else:
        yield from check_axes(op, x)


@operates("Max", "Min", "Amax", "Amin", check=_check_extreme)
def lower_extreme(prot: Any, op: Operation, x: Any) -> Any:
    x = numbers(prot, x)
    row, _ = together(prot, x, axes_of(op["axis"], len(x.shape)))
    return with_axes(prot, op, (largest if op.kind.endswith("ax") else smallest)(prot, row))


@operates("Ptp", check=check_axes)
def lower_peak_to_peak(prot: Any, op: Operation, x: Any) -> Any:
    x = numbers(prot, x)
    row, _ = together(prot, x, axes_of(op["axis"], len(x.shape)))
    return with_axes(prot, op, prot.sub(largest(prot, row), smallest(prot, row)))


@operates("Argmax", "Argmin", check=check_axes)
def lower_place(prot: Any, op: Operation, x: Any) -> Any:
    x = numbers(prot, x)
    axis = axes_of(op["axis"], len(x.shape))[0]
    if sizes(x)[axis - 1] == 1:
        place = prot.mul(prot.reduce_sum(x, [axis]), 0.0)
    else:
        place = (prot.argmax if op.kind == "Argmax" else prot.argmin)(x, axis)
    return with_axes(prot, op, place)


# --- of bits


@operates("Any", "All", "CountNonzero", check=check_axes)
def lower_votes(prot: Any, op: Operation, x: Any) -> Any:
    """Bits are counted: fewer rounds than a tree of ands."""
    axes = axes_of(op["axis"], len(x.shape))
    votes = prot.reduce_sum(prot.to_number(truth(prot, x, op.operands[0])), axes, bool(op["keepdims"]))
    if op.kind == "CountNonzero":
        return votes
    return prot.above(votes, 0.5 if op.kind == "Any" else _count(x, axes) - 0.5)


# --- products, powers


def _check_product(op: Operation, x: Operand) -> Iterator[Refusal]:
    axes = axes_of(op["axis"], len(x.shape))
    if 0 in axes:
        yield BATCH
    elif math.prod(x.shape[axis] or 1 for axis in axes) > MAX_FACTORS:
        yield Refusal("it multiplies too many values", f"multiply up to {MAX_FACTORS}")


@operates("Prod", check=_check_product)
def lower_product(prot: Any, op: Operation, x: Any) -> Any:
    """In pairs, and pairs of pairs."""
    x = numbers(prot, x)
    row, _ = together(prot, x, axes_of(op["axis"], len(x.shape)))
    factors = prot.split(row, sizes(row)[-1], axis=len(row.shape) - 1)
    while len(factors) > 1:
        pairs = [prot.mul(*factors[at : at + 2]) for at in range(0, len(factors) - 1, 2)]
        factors = pairs + factors[len(pairs) * 2 :]
    return prot.reshape(factors[0], [-1, *op.shape[1:]])


@operates("Logsumexp", check=check_axes)
def lower_logsumexp(prot: Any, op: Operation, x: Any) -> Any:
    x = numbers(prot, x)
    return with_axes(prot, op, logsumexp(prot, together(prot, x, axes_of(op["axis"], len(x.shape)))[0]))


def _check_norm(op: Operation, x: Operand) -> Iterator[Refusal]:
    axes = axes_of(op["axis"], len(x.shape))
    if 0 in axes:
        yield BATCH
    elif op["ord"] not in (None, "fro", 1, 2, math.inf, -math.inf) or (
        len(axes) > 1 and op["ord"] not in (None, "fro")
    ):
        yield Refusal(f"a norm of order {op['ord']} along {len(axes)} axes is not supported", "use 1, 2 or inf of rows")


@operates("Norm", check=_check_norm)
def lower_norm(prot: Any, op: Operation, x: Any) -> Any:
    x, order = numbers(prot, x), op["ord"]
    row, _ = together(prot, x, axes_of(op["axis"], len(x.shape)))
    last = [len(row.shape) - 1]
    if order in (1, math.inf, -math.inf):
        size = fn.absolute(prot, row)
        if order == 1:
            return with_axes(prot, op, prot.reduce_sum(size, last))
        return with_axes(prot, op, (largest if order > 0 else smallest)(prot, size))
    return with_axes(prot, op, fn.sqrt(prot, prot.reduce_sum(prot.square(row), last)))
