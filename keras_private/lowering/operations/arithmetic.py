"""Sums, products and quotients of tensors and constants, place by place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_private.lowering import functions as fn
from keras_private.lowering.operation import Operand, Operation, anything, operates
from keras_private.lowering.operations.values import (
    both,
    check_pair,
    constant,
    is_public,
    is_tensor,
    numbers,
    spread,
)
from keras_private.lowering.registry import Refusal, array, secret

MAX_POWER = 16


@operates("Add", check=check_pair)
def lower_add(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    x, y = both(prot, op, x, y)
    return prot.add(x, y if is_tensor(y) else constant(prot, y))


def _check_sum(op: Operation, xs: Any) -> Iterator[Refusal]:
    if not all(isinstance(x, Operand) and x.shape == op.shape for x in xs):
        yield Refusal("what it adds up is not all of one shape, or no tensor", "use + for each two")


@operates("AddN", check=_check_sum)
def lower_add_n(prot: Any, op: Operation, xs: Any) -> Any:
    del op
    return prot.add_n([numbers(prot, x) for x in xs])


@operates("Subtract", check=check_pair)
def lower_subtract(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    first = is_tensor(x)
    left, right = both(prot, op, x, y)
    if not first:
        return prot.add(prot.negative(left), constant(prot, right))
    return prot.sub(left, right if is_tensor(right) else constant(prot, right))


@operates("SquaredDifference", check=check_pair)
def lower_squared_difference(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    return prot.square(lower_subtract(prot, op, x, y))


@operates("Multiply", check=check_pair)
def lower_multiply(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    same = x is y
    x, y = both(prot, op, x, y)
    return fn.multiply(prot, x, x if same else y) if is_tensor(y) else prot.mul(x, constant(prot, y))


@operates("Negative", check=anything)
def lower_negative(prot: Any, op: Operation, x: Any) -> Any:
    del op
    return prot.negative(numbers(prot, x))


@operates("Square", check=anything)
def lower_square(prot: Any, op: Operation, x: Any) -> Any:
    del op
    return prot.square(numbers(prot, x))


@operates("Deg2rad", "Rad2deg", check=anything)
def lower_degrees(prot: Any, op: Operation, x: Any) -> Any:
    return prot.mul(numbers(prot, x), math.pi / 180 if op.kind == "Deg2rad" else 180 / math.pi)


# --- quotients


def _check_quotient(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    if not isinstance(y, Operand) and not np.all(array(y)):
        yield Refusal("it divides by zero", "use another divisor")
    else:
        yield from check_pair(op, x, y)


@operates("Divide", "TrueDivide", check=_check_quotient)
def lower_divide(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    """By a constant, a product; by a tensor, if it is proven to keep away from 0."""
    if not is_tensor(y):
        x = spread(prot, numbers(prot, x), op.shape[1:])
        return prot.mul(x, 1.0 / float(array(y)) if is_public(y) else secret(prot, 1.0 / array(y), "constant"))
    y = numbers(prot, y)
    if is_tensor(x):
        return fn.divide(prot, numbers(prot, x), y)
    inverse = spread(prot, fn.reciprocal(prot, y), op.shape[1:])
    return inverse if is_public(x) and float(array(x)) == 1 else prot.mul(inverse, constant(prot, x))


@operates("Reciprocal", check=anything)
def lower_reciprocal(prot: Any, op: Operation, x: Any) -> Any:
    del op
    return fn.reciprocal(prot, numbers(prot, x))


# --- powers


def _check_power(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    del op
    if isinstance(y, Operand) or not isinstance(x, Operand) or not is_public(y):
        yield Refusal("only a tensor to the power of a number is possible", "write it with products")
    elif abs(float(array(y))) not in {0.5, *range(1, MAX_POWER + 1)}:
        yield Refusal(
            f"a power of {float(array(y)):g} is not supported", f"use a whole one up to {MAX_POWER}, or 0.5 (sqrt)"
        )


@operates("Power", check=_check_power)
def lower_power(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    del op
    x, exponent = numbers(prot, x), float(array(y))
    if abs(exponent) == 0.5:
        return fn.sqrt(prot, x) if exponent > 0 else fn.rsqrt(prot, x)
    return fn.power(prot, x, int(exponent)) if exponent > 0 else fn.power(prot, fn.reciprocal(prot, x), -int(exponent))


# --- the larger and the smaller


@operates("Maximum", "Fmax", check=check_pair)
def lower_maximum(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    x, y = both(prot, op, x, y)
    return fn.maximum(prot, x, y if is_tensor(y) else constant(prot, y))


@operates("Minimum", "Fmin", check=check_pair)
def lower_minimum(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    x, y = both(prot, op, x, y)
    return fn.minimum(prot, x, y if is_tensor(y) else constant(prot, y))


@operates("Logaddexp", check=check_pair)
def lower_logaddexp(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    """log(e^x + e^y) = y + log(1 + e^(x - y))."""
    x, y = both(prot, op, x, y)
    y = y if is_tensor(y) else constant(prot, y)
    return prot.add(prot.spline(prot.sub(x, y), "softplus"), y)
