"""Interval bounds: what values a tensor can hold, given the declared range of the input and the actual weights.

Theory of operation. Every tensor carries the lowest and highest value of each of its elements (per sample; float64
arrays that stay in the owner's memory). Each kind carries them along by its own rule (`interval.py`). Fixed point is
part of the proof: weights enter as they are encoded, and encodings and the ops themselves widen the interval by the
error that their kinds declare.

The plan gets only the power of two above the largest of all elements, so that little is told of the weights.

`attained` says that every element really reaches both of its ends for some input in range: true up to and with the
first sum over independent values. A bound that is attained and too large is a proof of overflow; one that is not
attained proves nothing, and the tensor counts as unproven.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keras_private.plan.interval import Array, Interval
from keras_private.plan.ops import kind_of, rectified
from keras_private.plan.plan import CONTRACT_BITS, REAL, Input, Op, Plan, Shape

_ABSURD = 900  # bits that nothing sensible reaches, and float64 can still be multiplied with


def of_input(given: Input, shape: Shape, frac: int) -> Interval | None:
    """The interval of an input of the plan: what the client checks, and half a unit of encoding; None without a range.

    Args:
        frac: fractional bits that real numbers are encoded with. Whole ones are encoded as they are.
    """
    if given.range is None:
        return None
    low, high = (np.full((1, *shape), end) for end in given.range)
    found = Interval(low, high, attained=True, independent=True)
    return found if given.kind != REAL else found.widened(2.0 ** -(frac + 1))


def propagate(op: Op, inputs: Sequence[Interval | None], weights: Sequence[Array]) -> Interval | None:
    """The interval of `op`'s value before its truncation and before a fused ReLU; None if an input has none.

    Args:
        weights: the real values that the encoded weights stand for.

    Raises:
        PlanError: the op's kind is unknown.
    """
    kind = kind_of(op)
    known = [interval for interval in inputs if interval is not None]
    return kind.interval(op, known, weights) if len(known) == len(inputs) else None


def narrowed(interval: Interval | None, within: tuple[float, float], shape: Shape) -> Interval:
    """The part of an interval, of values of this shape, that lies within two numbers."""
    if interval is None:
        return Interval(np.full((1, *shape), within[0]), np.full((1, *shape), within[1]))
    return Interval(np.clip(interval.low, *within), np.clip(interval.high, *within))


def error(op: Op, plan: Plan) -> float:
    """By how much the parties' result of `op` may be off, as a real number."""
    return math.ldexp(kind_of(op).error(op, plan), -plan.tensors[op.output].frac)


def after_product(op: Op, product: Interval | None, by: float) -> Interval | None:
    """The interval of the output: `product`, off `by` so much at most, and after the fused ReLU."""
    if product is None:
        return None
    result = product.widened(by) if by else product
    if rectified(op):
        result = replace(result, low=np.maximum(result.low, 0.0), high=np.maximum(result.high, 0.0))
    return result


def bound(interval: Interval | None, frac: int) -> int | None:
    """The smallest b with |raw| < 2^b proven; None if there is none up to the contract's."""
    if interval is None:
        return None
    needed = needed_bits(interval, frac)
    return needed if needed <= CONTRACT_BITS else None


def needed_bits(interval: Interval, frac: int) -> int:
    size = interval.size
    if not size < 2.0**_ABSURD:  # NaN too
        return _ABSURD + frac
    raw = math.ldexp(size, frac) + 1.0
    return max(1, math.floor(math.log2(raw)) + 1)
