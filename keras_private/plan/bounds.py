"""Interval bounds: what values a tensor can hold, given the declared range of the input and the actual weights.

Theory of operation. Every tensor carries the lowest and highest value of each of its elements (per sample; float64
arrays that stay in the owner's memory). Ops that only add with signs are propagated as centre and radius: op(c; w) and
op(r; |w|) around it, so zero padding, dilation and strides are exact for free; the rest is monotone. Fixed point is
part of the proof: weights enter as they are encoded, and encodings and truncations widen the interval by their error.

The plan gets only the power of two above the largest of all elements, so that little is told of the weights.

`attained` says that every element really reaches both of its ends for some input in range: true up to and with the
first sum over independent values. A bound that is attained and too large is a proof of overflow; one that is not
attained proves nothing, and the tensor counts as unproven.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keras_private.plan.attributes import constant, constant_array
from keras_private.plan.evaluate import apply
from keras_private.plan.ops import CONTRACT_BITS, LINEAR
from keras_private.plan.plan import Op, Shape

Array = NDArray[np.float64]

_ROUNDING = 1e-9  # relative, far above what float64 sums of millions of terms lose
_ABSURD = 900  # bits that nothing sensible reaches, and float64 can still be multiplied with
TRUNCATION_UNITS = 2  # a truncation errs by less than this many units of its result, the sign of such a value included


@dataclass(frozen=True, slots=True, repr=False)
class Interval:
    """Lowest and highest value of every element of one sample, shape (1, *tensor shape)."""

    low: Array
    high: Array
    attained: bool = False
    independent: bool = False

    def widened(self, by: float) -> Interval:
        return replace(self, low=self.low - by, high=self.high + by)

    @property
    def size(self) -> float:
        """The largest magnitude of any element, a little rounded up."""
        return max(float(np.max(np.abs(self.low))), float(np.max(np.abs(self.high)))) * (1 + _ROUNDING)


def of_input(shape: Shape, declared: tuple[float, float] | None, precision: int) -> Interval | None:
    """The interval of the plan's input: what the client checks, and half a unit of encoding."""
    if declared is None:
        return None
    low, high = np.full((1, *shape), declared[0]), np.full((1, *shape), declared[1])
    return Interval(low, high, attained=True, independent=True).widened(2.0 ** -(precision + 1))


def propagate(op: Op, inputs: Sequence[Interval | None], weights: Sequence[Array]) -> Interval | None:
    """The interval of `op`'s value before its truncation and before a fused ReLU; None if an input has none.

    Args:
        weights: the real values that the encoded weights stand for.
    """
    known = [interval for interval in inputs if interval is not None]
    if len(known) != len(inputs):
        return None
    plain = replace(op, attrs={**op.attrs, "relu": False})
    local = op.kind in ("reshape", "transpose", "pad", "concat", "gather", "truncate")
    first = known[0]
    attained = first.attained and len(known) == 1
    if op.kind in LINEAR or op.kind in ("sum_pool2d", "max_pool2d"):
        attained = attained and first.independent
    if op.kind in ("add", "sub") and len(known) == 2:
        left, right = known
        other = (right.low, right.high) if op.kind == "add" else (right.high, right.low)
        return Interval(apply(plain, [left.low, other[0]], []), apply(plain, [left.high, other[1]], []))
    if local or op.kind in ("relu", "max_pool2d", "add", "sub", "sum_pool2d"):  # monotone in every input
        low = apply(plain, [interval.low for interval in known], weights)
        high = apply(plain, [interval.high for interval in known], weights)
    else:
        centre, radius = (first.low + first.high) / 2, (first.high - first.low) / 2
        middle = apply(plain, [centre], weights)
        reach = apply(_unsigned(plain), [radius], [np.abs(weight) for weight in weights[:1]])
        slack = _ROUNDING * (np.abs(middle) + reach)
        low, high = middle - reach - slack, middle + reach + slack
    independent = first.independent and len(known) == 1 and op.kind not in LINEAR | {"sum_pool2d", "max_pool2d"}
    if op.kind == "gather":
        independent = independent and len(set(op.attrs["indices"])) == len(op.attrs["indices"])
    return Interval(low, high, attained, independent)


def after_product(op: Op, product: Interval | None, frac: int) -> Interval | None:
    """The interval of the output: `product` after truncation to `frac` bits and the fused ReLU."""
    if product is None:
        return None
    result = product
    if op.kind == "relu" or op.attrs.get("relu"):
        result = replace(result, low=np.maximum(result.low, 0.0), high=np.maximum(result.high, 0.0))
    if op.kind == "truncate" or op.attrs.get("truncate"):
        result = result.widened(TRUNCATION_UNITS * 2.0**-frac)
    return result


def bits(interval: Interval | None, frac: int) -> int | None:
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


def _unsigned(op: Op) -> Op:
    """The op with the magnitudes of its public constant."""
    for name in ("factor", "multiplier"):
        if name in op.attrs:
            return replace(op, attrs={**op.attrs, name: constant(np.abs(constant_array(op.attrs[name])))})
    return op
