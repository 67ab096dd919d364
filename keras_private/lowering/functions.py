"""Functions of numbers, place by place, as calls on a protocol: what activations, layers and operations have in common.

A comparison is dear and everything else here is free, so each function is written with as few of them as it can be:
leaky_relu(x) = a·x + (1 - a)·relu(x), one ReLU. What is cut off at both ends is one `clip` of the recorder's, whose
range is known exactly; TF Encrypted's protocols have none, and take a difference of two ReLUs. Curves are read from
tables (`spline` of the recorder's), which no protocol of TF Encrypted's has.

Tables of 1/x, its root or its logarithm are made for a stretch of numbers. Where it begins and ends is proven from
what goes into the model (`reach` of the recorder's): nobody is asked, and nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras_private.errors import PlanError
from keras_private.plan.spline.functions import MAX_EXPONENT

MAX_EXP = 16.0  # a table of e^x goes no further
_LEAST = 2.0**-20  # roots and logarithms of less are those of this
_FINE = 24  # half bits: the goal of tables whose errors are parts of the value


def relu(prot: Any, x: Any, slope: float = 0.0, ceiling: float | None = None, threshold: float = 0.0) -> Any:
    """Keras' ReLU: x above the threshold and 0 below, cut off at the ceiling; plus slope·(x - threshold) below."""
    if threshold == 0:
        if ceiling is None:
            return leaky_relu(prot, x, slope)
        if slope == 0:
            return clip(prot, x, 0.0, ceiling)
        positive = prot.relu(x)
        y = prot.sub(positive, prot.relu(prot.add(x, -ceiling)))  # from x, so that both ReLUs run at once
    else:
        x = prot.add(x, -threshold)  # Keras allows no negative threshold
        positive, y = _jump(prot, x, threshold)
        if ceiling is not None:
            y = prot.sub(y, prot.relu(prot.add(y, -ceiling)))
    if slope == 0:
        return y
    return prot.add(y, prot.mul(prot.sub(x, positive), slope))  # x - relu(x) is min(x, 0)


def leaky_relu(prot: Any, x: Any, slope: float) -> Any:
    """x where positive, slope·x elsewhere."""
    if slope == 0:
        return prot.relu(x)
    if slope == 1:
        return x
    return prot.add(prot.mul(x, slope), prot.mul(prot.relu(x), 1.0 - slope))


def clip(prot: Any, x: Any, low: float, high: float) -> Any:
    """x where between low and high, else the nearer of the two. One of them may be infinite: then one ReLU will do."""
    if math.isinf(low) and low < 0:
        return x if high == math.inf else prot.add(prot.negative(prot.relu(prot.add(prot.negative(x), high))), high)
    if high == math.inf and low < high:
        return prot.add(prot.relu(prot.add(x, -low)), low)
    if hasattr(prot, "clip") and low <= high:
        return prot.clip(x, low, high)
    raised = prot.add(x, -low)
    return prot.add(prot.sub(prot.relu(raised), prot.relu(prot.add(raised, low - high))), low)


def hard_sigmoid(prot: Any, x: Any) -> Any:
    """A line from 0 at -3 to 1 at 3."""
    return clip(prot, prot.add(prot.mul(x, 1 / 6), 0.5), 0.0, 1.0)


def _jump(prot: Any, x: Any, height: float) -> tuple[Any, Any]:
    """relu(x), and the same raised by `height` where x > 0.

    A protocol's ReLU is exact on fixed-point values, and on those "x > 0" is the same as "x ≥ e" with e the smallest of
    them. So relu(x) - relu(x - e) is e above 0 and 0 elsewhere, a step. Both ReLUs must see the same fixed-point value,
    whatever x was rounded from: relu(x + 1), minus 1, is one, because the output of a ReLU is rounded already.
    """
    smallest = 1.0 / prot.fixedpoint_config.scaling_factor
    rounded = prot.relu(prot.add(x, 1.0))
    positive = prot.relu(prot.add(rounded, -1.0))
    shifted = prot.relu(prot.add(rounded, -1.0 - smallest))
    return positive, prot.add(positive, prot.mul(prot.sub(positive, shifted), height / smallest))


def multiply(prot: Any, x: Any, y: Any) -> Any:
    """Of two tensors; a number times itself is never negative."""
    return prot.square(x) if x is y else prot.mul(x, y)


# --- the larger, the smaller, the size


def maximum(prot: Any, x: Any, y: Any) -> Any:
    """Of tensors with as many axes, or of a tensor and a constant."""
    if hasattr(prot, "minimum"):  # TF Encrypted's ABY3 has a maximum, and that takes what is no tensor for one
        return prot.maximum(x, y)
    return prot.add(prot.relu(prot.sub(x, y)), y)


def minimum(prot: Any, x: Any, y: Any) -> Any:
    """Of tensors with as many axes, or of a tensor and a constant."""
    if hasattr(prot, "minimum"):
        return prot.minimum(x, y)
    return prot.sub(x, prot.relu(prot.sub(x, y)))


def absolute(prot: Any, x: Any) -> Any:
    return prot.abs(x) if hasattr(prot, "abs") else prot.sub(prot.mul(prot.relu(x), 2.0), x)


def sign(prot: Any, x: Any) -> Any:
    """1 above 0, -1 below."""
    return prot.sub(prot.to_number(prot.above(x, 0.0)), prot.to_number(prot.below(x, 0.0)))


# --- zero on a stretch: a bit times what it selects


def kept_above(prot: Any, x: Any, threshold: float, otherwise: float) -> Any:
    """x above the threshold, else a public number."""
    part = prot.add(x, -otherwise)
    return prot.add(prot.select(prot.above(x, threshold), part, prot.mul(part, 0.0)), otherwise)


def hard_shrink(prot: Any, x: Any, threshold: float) -> Any:
    """x where it is larger than the threshold in size, else 0."""
    return prot.select(prot.above(prot.abs(x), threshold), x, prot.mul(x, 0.0))


def soft_shrink(prot: Any, x: Any, threshold: float) -> Any:
    """x less what lies between the thresholds."""
    return prot.sub(x, clip(prot, x, -threshold, threshold))


# --- steps


def steps(prot: Any, x: Any, places: list[float]) -> Any:
    """How many of these public numbers x reaches, a whole number."""
    shape = tuple(x.shape)[1:]
    spread = prot.gather(prot.reshape(x, [-1, *shape, 1]), [0] * len(places), len(shape) + 1)
    beyond = prot.sub(spread, prot.define_private_variable(places, name="steps"))
    return prot.reduce_sum(prot.to_number(prot.logical_not(prot.below(beyond, 0.0))), [len(shape) + 1])


MAX_STEPS = 256


def floor(prot: Any, x: Any, unit: float = 1.0) -> Any:
    """How often a public number goes into x, rounded down: one comparison for each that there can be.

    Raises:
        PlanError: they are too many, or not proven to be few.
    """
    low, high = (math.floor(end / unit) for end in prot.reach(x))
    if high - low > MAX_STEPS:
        raise PlanError(
            f"rounding to whole numbers takes a comparison for each, and its input is not proven to lie within "
            f"{MAX_STEPS} of them; clip it first, or declare an input_range"
        )
    if low == high:
        return prot.add(prot.mul(x, 0.0), float(low))
    return prot.add(steps(prot, x, [place * unit for place in range(low + 1, high + 1)]), float(low))


# --- curves


def curve(name: str, *parameters: float) -> Callable[[Any, Any], Any]:
    return lambda prot, x: prot.spline(x, name, *parameters)


def celu(prot: Any, x: Any, alpha: float) -> Any:
    """x where positive, alpha·(e^(x / alpha) - 1) elsewhere."""
    if alpha == 1:
        return prot.spline(x, "elu", 1.0)
    return prot.mul(prot.spline(prot.mul(x, 1.0 / alpha), "elu", 1.0), alpha)


def exp(prot: Any, x: Any) -> Any:
    """e^x; above e^16 it is that."""
    high = min(max(math.ceil(prot.reach(x)[1]), 0), MAX_EXP)
    return prot.spline(x, "exp", float(high), 2.0**-4, goal=_FINE)


def log(prot: Any, x: Any) -> Any:
    """The natural logarithm.

    Raises:
        PlanError: x is not proven to be positive.
    """
    low, high = _positive(prot, x, "a logarithm of")
    return prot.spline(x, "log", *_stretch(low, high))


def sqrt(prot: Any, x: Any) -> Any:
    """The root; of less than 2^-20 it is 2^-10."""
    low, high = prot.reach(x)
    return prot.spline(x, "sqrt", *_stretch(max(low, _LEAST), max(high, 2 * _LEAST)), goal=_FINE)


def rsqrt(prot: Any, x: Any) -> Any:
    """1 / sqrt(x).

    Raises:
        PlanError: x is not proven to be positive.
    """
    low, high = _positive(prot, x, "the root of 1 by")
    return prot.spline(x, "rsqrt", *_stretch(low, high), 1.0, goal=_FINE)


def reciprocal(prot: Any, x: Any) -> Any:
    """1 / x.

    Raises:
        PlanError: x is not proven to be away from 0.
    """
    x, ends, turned = _away_from_zero(prot, x)
    y = prot.spline(x, "reciprocal", *_stretch(*ends), 0.0, goal=_FINE)
    return prot.negative(y) if turned else y


def divide(prot: Any, x: Any, y: Any) -> Any:
    """x / y.

    Raises:
        PlanError: y is not proven to be away from 0.
    """
    y, ends, turned = _away_from_zero(prot, y)
    return prot.divide(prot.negative(x) if turned else x, y, *_stretch(*ends))


def power(prot: Any, x: Any, exponent: int) -> Any:
    """By squares and products."""
    if exponent == 1:
        return x
    half = power(prot, x, exponent // 2)
    whole = prot.square(half)
    return prot.mul(whole, x) if exponent % 2 else whole


def _positive(prot: Any, x: Any, what: str) -> tuple[float, float]:
    low, high = prot.reach(x)
    if low <= 0:
        raise PlanError(
            f"{what} a number that is not proven to be positive ({_said(low, high)}) cannot be computed; add a small "
            "number to what is never negative (keras.ops.square(x) + 1e-3), or raise it: keras.ops.maximum(x, 1e-3)"
        )
    return low, high


def _away_from_zero(prot: Any, x: Any) -> tuple[Any, tuple[float, float], bool]:
    """x or -x, whichever is positive, its ends, and whether it was turned."""
    low, high = prot.reach(x)
    if low > 0:
        return x, (low, high), False
    if high < 0:
        return prot.negative(x), (-high, -low), True
    raise PlanError(
        f"a quotient cannot be computed whose divisor is not proven to be away from 0 ({_said(low, high)}); add a "
        "small number to what is never negative (keras.ops.abs(x) + 1e-3), raise it: keras.ops.maximum(x, 1e-3), or "
        "declare an input_range that proves it"
    )


def _said(low: float, high: float) -> str:
    return f"proven is {low:.3g} to {high:.3g}"


def _stretch(low: float, high: float) -> tuple[float, float]:
    """The powers of two around two positive numbers, as far as tables go."""
    first = min(max(math.floor(math.log2(low)), -MAX_EXPONENT), MAX_EXPONENT - 1)
    return 2.0**first, 2.0 ** max(first + 1, min(math.ceil(math.log2(high)), MAX_EXPONENT))
