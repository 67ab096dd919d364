"""The rows of a function's tables, and how far each is off.

Theory of operation. All that decides is in integers, so that every party comes to the same table (`exact.py`). A row
is the chord of the function over its cell's doubled stretch, shifted so that it is off as much above as below; the
slope is rounded first, and the shift takes half of what that does. How far a row is off is looked at where the eighths
of the stretch are, and, of a large one, at places where these functions bend (`_BENDS`); what `drop` may add is added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan.spline.exact import exact_context
from keras_private.plan.spline.functions import Function, Line, function
from keras_private.plan.spline.request import Request
from keras_private.plan.spline.table import SPARE_BITS, Integers

REMAINDER_BITS = (12, 9)
MARGIN = 15 / 16  # of the goal that what is looked at may take

KEPT = 1 << 16  # values of functions

_FINEST = 14  # fractional bits of x that count, where a function is as steep as x
_GUARD = 40  # binary places of exact values behind those of the table
_SCALE = 64  # binary places of errors, likewise
_BENDS = 10  # every quarter from minus this to this
_FAR = 2  # from here on outwards the functions come nearer and nearer to their lines


class Row(NamedTuple):
    """The numbers T0 and T1 of a cell (`table.py`), and how far they are off: where the function is defined, in its
    measure, and anywhere."""

    offset: int
    slope: int
    error: float
    anywhere: float


UNUSED = Row(0, 0, 0.0, 0.0)  # of a cell that is split


@lru_cache(maxsize=KEPT)
def exact_value(name: str, parameters: tuple[float, ...], numerator: int, places: int) -> Decimal:
    """A function at numerator / 2^places, in lowest terms: tables of other fractional bits ask for the same ones."""
    with exact_context():
        return function(name, parameters).exact(Decimal(numerator) / (1 << places))


class Rows:
    """Makes the rows of one function on raw values, and remembers how far those that were taken are off.

    Places are counted in quarters of a raw unit, values in 2^-_GUARD of the table's unit, errors in 2^-_SCALE of it.
    (Quotients of integers are rounded correctly, so comparing them is as good on every machine.)
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.function: Function = function(request.name, request.parameters)
        request.check()
        self.bits = request.bound + SPARE_BITS
        self.goal: float = math.ldexp(MARGIN * math.sqrt(2.0 ** (request.goal % 2)), -((request.goal + 1) // 2))
        self.one = 1 << request.x_frac + 2
        self.edge = (1 << request.bound + 2) - 4
        start, stop = self.function.low, self.function.high
        self.low = -self.edge if start is None else max(-self.edge, self.place(start))
        self.high = self.edge if stop is None else min(self.edge, self.place(stop))
        if self.low >= self.high or (start is not None and start > 0 and self.low < 4):
            raise PlanError(f"function {request.name!r} is not defined for numbers of this bound and fractional bits")
        self.bends = [k * self.one // 4 for k in range(-4 * _BENDS, 4 * _BENDS + 1)]
        self.values: dict[int, int] = {}
        self.down = 0  # bits that x is truncated by before a line
        self.error = self.anywhere = 0.0

    # --- the function

    def place(self, x: float) -> int:
        """Where a real number is, or the next place towards zero."""
        return int(Fraction(x) * self.one)

    def value(self, place: int) -> int:
        """At the nearest place where it is defined and x may be."""
        place = min(max(place, self.low), self.high)
        found = self.values.get(place)
        if found is None:
            down = min((place & -place).bit_length() - 1, self.request.x_frac + 2) if place else self.request.x_frac + 2
            at = place >> down, self.request.x_frac + 2 - down
            with exact_context():
                exact = exact_value(self.request.name, self.request.parameters, *at)
                found = self.values[place] = int((exact * (1 << self.request.frac + _GUARD)).to_integral_value())
        return found

    def measured(self, error: int, place: int) -> float:
        """An error in the function's measure."""
        one = 1 << self.request.frac + _SCALE
        if self.function.inverse:
            return error * place / (one * self.one)
        if self.function.floor is None:
            return error / one
        return error / max(int(self.function.floor * one), abs(self.value(place)) << _SCALE - _GUARD)

    # --- cells

    def drops(self, width: int) -> list[int]:
        """How many low bits may be left out at this width; the most last."""
        candidates = [width + 1 - bits for bits in REMAINDER_BITS]
        coarse = [min(max(drop, 0), width) for drop in candidates]
        finest = min(max(self.request.x_frac - _FINEST, 0), width)
        return sorted({finest, *coarse}) if finest < coarse[0] else sorted({*coarse})

    def row(self, index: int, width: int, drop: int) -> Row:
        start, end = index << width + 2, (index + 2 << width + 2) - 8
        first, last = max(start, self.low), min(end, self.high)
        if first > last:  # nowhere defined
            edge = self.value(end)
            return Row(_rounded(edge, _GUARD), 0, 0.0, 2.0**-self.request.frac)
        places = {first + (last - first) * eighth // 8 for eighth in range(9)}
        if last - first > 4 * self.one:
            places.update(bend for bend in self.bends if first < bend < last)
        run = last - first
        slope = _rounded((self.value(last) - self.value(first) << drop + 2) // run, _GUARD) if run else 0
        up, lack = _SCALE - drop - 2, (1 << _SCALE) - (1 << _SCALE - drop)

        def off(place: int) -> int:
            """What the row without its offset is off, if the remainder lacks the half of what it may lack."""
            return slope * ((place - start << up) - lack) - (self.value(place) << _SCALE - _GUARD)

        inside = {place: off(place) for place in places}
        offset = _rounded(-(min(inside.values()) + max(inside.values())) // 2, _SCALE)
        shift, spread = offset << _SCALE, abs(slope) * lack
        error = max(self.measured(abs(at + shift) + spread, place) for place, at in inside.items())
        everywhere = [*inside.values(), off(max(start, -self.edge)), off(min(end, self.edge))]
        anywhere = max(abs(at + shift) for at in everywhere) + spread
        return Row(offset, slope, error, anywhere / (1 << self.request.frac + _SCALE))

    def good_rows(self, indices: Iterable[int], width: int, drop: int) -> list[Row] | None:
        """The rows of these cells, if all of them are small enough."""
        rows = []
        for index in indices:
            rows.append(self.row(index, width, drop))
            if rows[-1].error > self.goal:
                return None
        return rows

    # --- lines: (offset, slope) of the truncated x

    def line(self, line: Line | None, end: int) -> tuple[int, int] | None:
        """A line in the table's numbers, or the level of the last value if there is none; None: its slope is none."""
        if line is None:
            return _rounded(self.value(end), _GUARD), 0
        offset, slope = line
        down = self.request.x_frac - self.down - self.request.frac
        if slope and down > 0:
            return None
        with exact_context():
            level = (offset * (1 << self.request.frac)).to_integral_value()
        return int(level), slope << -down if slope else 0

    def off_line(self, line: tuple[int, int], place: int) -> int:
        at = (line[0] << _SCALE) + (line[1] * place << _SCALE - 2 >> self.down)
        rounded = abs(line[1]) << _SCALE if self.down else 0
        return abs(at - (self.value(place) << _SCALE - _GUARD)) + rounded

    def near_line(self, line: tuple[int, int], place: int) -> bool:
        return self.measured(self.off_line(line, place), place) <= self.goal

    def last_below(self, line: tuple[int, int], width: int) -> int:
        """The last cell that `below` does for, which ends where the function is near it; or one before all."""
        low = -(1 << self.request.bound - width) - 2
        limit = min(-_FAR * self.one if self.function.low is None else self.low, self.high)
        high = (limit + 8 >> width + 2) - 2
        while low < high:
            middle = low + high + 1 >> 1
            if self.near_line(line, (middle + 2 << width + 2) - 8):
                low = middle
            else:
                high = middle - 1
        return low

    def first_above(self, line: tuple[int, int], width: int) -> int:
        """The first cell that `above` does for; or one behind all."""
        high = 1 << self.request.bound - width
        limit = max(_FAR * self.one if self.function.high is None else self.high, self.low)
        low = -(-limit >> width + 2)
        while low < high:
            middle = low + high >> 1
            if self.near_line(line, middle << width + 2):
                high = middle
            else:
                low = middle + 1
        return min(low, high)

    # --- what is taken

    def taken(self, rows: Sequence[Row]) -> Integers:
        """As an array, modulo 2^64: where nothing is proven of x, values at the far ends are larger than any that can
        come. Their errors count from now on."""
        for row in rows:
            self.error, self.anywhere = max(self.error, row.error), max(self.anywhere, row.anywhere)
        numbers = [[row.offset % (1 << 64) for row in rows], [row.slope % (1 << 64) for row in rows]]
        return np.array(numbers, np.uint64).reshape(2, len(rows)).view(np.int64)

    def take_line(self, line: tuple[int, int], place: int) -> None:
        off, one = self.off_line(line, place), 1 << self.request.frac + _SCALE
        self.anywhere = max(self.anywhere, off / one)
        if self.low <= place <= self.high:
            self.error = max(self.error, self.measured(off, place))


def _rounded(number: int, bits: int) -> int:
    """number / 2^bits to the nearest integer."""
    return (number + (1 << bits - 1)) >> bits
