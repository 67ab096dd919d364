"""Intervals, and the rules by which the kinds carry them along; `bounds.py` says what they prove.

Ops that only add with signs are propagated as centre and radius: op(c; w) and op(r; |w|) around it, so zero padding,
dilation and strides are exact for free; most of the rest is monotone. Products of two intervals have their own rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from keras_private.plan.plan import Op

Array: TypeAlias = NDArray[np.float64]
Plain: TypeAlias = Callable[[Op, Sequence[Array], Sequence[Array]], Array]
Multiply: TypeAlias = Callable[[Array, Array], Array]

ROUNDING = 1e-9  # relative, far above what float64 sums of millions of terms lose


@dataclass(frozen=True, slots=True, repr=False)
class Interval:
    """Lowest and highest value of every element of one sample, shape (1, *tensor shape).

    attained: every element reaches both of its ends for some input in range. independent: and does so whatever the
    others do.
    """

    low: Array
    high: Array
    attained: bool = False
    independent: bool = False

    def widened(self, by: float) -> Interval:
        return replace(self, low=self.low - by, high=self.high + by)

    @property
    def size(self) -> float:
        """The largest magnitude of any element, a little rounded up."""
        return max(float(np.max(np.abs(self.low))), float(np.max(np.abs(self.high)))) * (1 + ROUNDING)


def monotone(plain: Plain, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
    """Of an op that grows in every input, each element with one element of one input at most."""
    alone = len(xs) == 1
    low = plain(op, [x.low for x in xs], ws)
    high = plain(op, [x.high for x in xs], ws)
    return Interval(low, high, alone and xs[0].attained, alone and xs[0].independent)


def combined(plain: Plain, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
    """Of an op that grows in its input, each element with several elements of it."""
    found = monotone(plain, op, xs, ws)
    return replace(found, attained=found.attained and xs[0].independent, independent=False)


def signed(plain: Plain, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
    """Of an op that multiplies each element by a number of `ws[0]`; `ws[1]`, if there is one, is added."""
    (x,) = xs
    centre, radius = (x.low + x.high) / 2, (x.high - x.low) / 2
    middle = plain(op, [centre], ws)
    reach = plain(op, [radius], [np.abs(ws[0])])
    slack = ROUNDING * (np.abs(middle) + reach)
    return Interval(middle - reach - slack, middle + reach + slack, x.attained, x.independent)


def signed_sum(plain: Plain, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
    """Of an op that adds up products of several elements with numbers."""
    found = signed(plain, op, xs, ws)
    return replace(found, attained=found.attained and xs[0].independent, independent=False)


def squared(x: Interval) -> Interval:
    """Of x·x: never negative, and 0 where x may be 0."""
    ends = np.square(x.low), np.square(x.high)
    low = np.where((x.low < 0) & (x.high > 0), 0.0, np.minimum(*ends))
    return replace(x, low=low, high=np.maximum(*ends))


def corners(multiply: Multiply, x: Interval, y: Interval) -> Interval:
    """Of products of one element with one element: an end is the product of two ends."""
    found = [multiply(a, b) for a in (x.low, x.high) for b in (y.low, y.high)]
    return Interval(np.minimum.reduce(found), np.maximum.reduce(found))


def bilinear(multiply: Multiply, x: Interval, y: Interval) -> Interval:
    """Of sums of products of an element with an element.

    With one side that is never negative the ends are sums of products of ends. Otherwise by centres c and radii r:
    |x·y - c_x·c_y| <= |c_x|·r_y + r_x·(|c_y| + r_y).
    """
    if np.all(y.low >= 0) and not np.all(x.low >= 0):
        return bilinear(lambda a, b: multiply(b, a), y, x)
    if np.all(x.low >= 0):
        low = multiply(x.low, np.maximum(y.low, 0.0)) + multiply(x.high, np.minimum(y.low, 0.0))
        high = multiply(x.high, np.maximum(y.high, 0.0)) + multiply(x.low, np.minimum(y.high, 0.0))
        reach = multiply(x.high, np.maximum(np.abs(y.low), np.abs(y.high)))
    else:
        (cx, rx), (cy, ry) = (((each.low + each.high) / 2, (each.high - each.low) / 2) for each in (x, y))
        reach = multiply(np.abs(cx), ry) + multiply(rx, np.abs(cy) + ry)
        middle = multiply(cx, cy)
        low, high = middle - reach, middle + reach
        reach += multiply(np.abs(cx), np.abs(cy))
    slack = ROUNDING * reach
    if np.all(x.low >= 0) and np.all(y.low >= 0):
        return Interval(np.maximum(low - slack, 0.0), high + slack)
    return Interval(low - slack, high + slack)
