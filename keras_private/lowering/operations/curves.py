"""Functions of one number that are read from tables or made of steps: roots, powers of e, logarithms, rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_private.lowering import functions as fn
from keras_private.lowering.operation import Operand, Operation, anything, operates
from keras_private.lowering.operations.values import is_public, numbers
from keras_private.lowering.registry import Refusal, array

_CURVES: Mapping[str, Callable[[Any, Any], Any]] = {
    "Sqrt": fn.sqrt,
    "Rsqrt": fn.rsqrt,
    "Exp": fn.exp,
    "Exp2": lambda prot, x: fn.exp(prot, prot.mul(x, math.log(2))),
    "Expm1": lambda prot, x: prot.add(fn.exp(prot, x), -1.0),
    "Log": fn.log,
    "Log2": lambda prot, x: prot.mul(fn.log(prot, x), 1 / math.log(2)),
    "Log10": lambda prot, x: prot.mul(fn.log(prot, x), 1 / math.log(10)),
    "Log1p": lambda prot, x: fn.log(prot, prot.add(x, 1.0)),
    "Erf": fn.curve("erf"),
    "Erfc": lambda prot, x: prot.add(prot.negative(prot.spline(x, "erf")), 1.0),
    "Absolute": fn.absolute,
    "Fabs": fn.absolute,
    "Sign": fn.sign,
    "Floor": fn.floor,
    "Ceil": lambda prot, x: prot.negative(fn.floor(prot, prot.negative(x))),
    "Trunc": lambda prot, x: prot.sub(fn.floor(prot, prot.relu(x)), fn.floor(prot, prot.relu(prot.negative(x)))),
}


@operates(*_CURVES, check=anything)
def lower_curve(prot: Any, op: Operation, x: Any) -> Any:
    return _CURVES[op.kind](prot, numbers(prot, x))


def _check_divisor(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    del op
    if not isinstance(x, Operand) or isinstance(y, Operand) or not is_public(y) or not float(array(y)) > 0:
        yield Refusal("only a tensor and a positive number are possible", "divide by a number")


@operates("FloorDivide", "Mod", check=_check_divisor)
def lower_remainder(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    divisor, x = float(array(y)), numbers(prot, x)
    whole = fn.floor(prot, x, divisor)
    return whole if op.kind == "FloorDivide" else prot.sub(x, prot.mul(whole, divisor))


def _check_bins(op: Operation, x: Any, bins: Any) -> Iterator[Refusal]:
    del op
    if not isinstance(x, Operand) or isinstance(bins, Operand) or np.ndim(array(bins)) != 1:
        yield Refusal("its bins are no fixed list", "use fixed ones")
    elif not 1 <= len(array(bins)) <= fn.MAX_STEPS or np.any(np.diff(array(bins)) <= 0):
        yield Refusal("its bins do not grow, or are too many", f"use up to {fn.MAX_STEPS}, each above the one before")


@operates("Digitize", check=_check_bins)
def lower_digitize(prot: Any, op: Operation, x: Any, bins: Any) -> Any:
    del op
    return fn.steps(prot, numbers(prot, x), array(bins).tolist())
