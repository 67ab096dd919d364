"""Intervals, and the rules by which the kinds carry them along; `bounds.py` says what they prove.

Ops that only add with signs are propagated as centre and radius: op(c; w) and op(r; |w|) around it, so zero padding,
dilation and strides are exact for free; the rest is monotone.
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
