"""Tables of a function: where its cells are, and the row of each.

Theory of operation. All that decides is in integers, so that every party comes to the same table (`exact.py`). A row
is the chord of the function over its cell's doubled stretch, shifted so that it is off as much above as below; the
slope is rounded first, and the shift takes half of what that does. How far a row is off is looked at where the eighths
of the stretch are, and, of a large one, at places where these functions bend (`_BENDS`); what `drop` may add is added.
A cell is small enough if that is below 15/16 of 2^(-goal/2), in the function's measure: a row is off most at the ends
and about the middle, since within a cell the functions are nearly parabolas. Tests sweep what is between.

- *Uniform*: the widest cells that are small enough, between the places where the function has come to its lines.
- *Refined*: from the top, the cells of each level that are too large are split, with what lies between them. A cell
  beside them is part of one that was small enough a level above; so the split ones of a level are never its first or
  last ones. (For want of fractional bits they may be, and then a second attempt splits one more on each side.)

Choices of `drop` are tried for every width: those that leave remainders of 12 or 9 bits, so that slopes may be small;
and one that keeps x to a 2^14th, for lines as steep as x.

Work is bounded by MAX_CELLS: what a plan asks for in good faith takes a few hundred, nine decades of a reciprocal a
thousand.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan.plan import CONTRACT_BITS
from keras_private.plan.spline.exact import exact_context
from keras_private.plan.spline.functions import Function, Line, function
from keras_private.plan.spline.table import SPARE_BITS, Integers, Level, Refined, Table, Uniform

MAX_CELLS = 2048  # of a table
MIN_GOAL, MAX_GOAL = 12, 30
MIN_FRAC, MAX_FRAC = 16, 40  # fractional bits of the values
MAX_TABLES = 256  # kept

_REMAINDER_BITS = (12, 9)
_FINEST = 14  # fractional bits of x that count, where a function is as steep as x
_GUARD = 40  # binary places of exact values behind those of the table
_SCALE = 64  # binary places of errors, likewise
_MARGIN = 15 / 16
_BENDS = 10  # every quarter from minus this to this
_FAR = 2  # from here on outwards the functions come nearer and nearer to their lines


class Request(NamedTuple):
    """What a table is of, and for.

    Args:
        name: of the function.
        parameters: its own.
        bound: |x| < 2^bound, raw.
        x_frac: fractional bits of x.
        frac: fractional bits of the values.
        goal: half bits: the largest error is below 2^(-goal/2), in the function's measure.
    """

    name: str
    parameters: tuple[float, ...]
    bound: int
    x_frac: int
    frac: int
    goal: int


@dataclass(frozen=True, eq=False, repr=False)
class Fitted:
    """A table and how far it is off.

    Args:
        table: it.
        error: largest |value - function| where the function is defined, in the function's measure.
        anywhere: largest |value - function|, for every x below the bound.
    """

    table: Table
    error: float
    anywhere: float

    @property
    def digest(self) -> str:
        """SHA-256 of all numbers of the table, hex."""
        table, found = self.table, hashlib.sha256()
        levels: Sequence[Level | Uniform] = table.levels if isinstance(table, Refined) else [table]
        if isinstance(table, Uniform):
            found.update(repr((table.below, table.above)).encode())
        found.update(repr((type(table).__name__, table.bound, table.frac)).encode())
        for level in levels:
            refined = level.refined if isinstance(level, Level) else None
            found.update(repr((level.width, level.drop, level.first, refined, level.rows.tolist())).encode())
        return found.hexdigest()


class _NoTableError(Exception):
    """What is asked for cannot be had. Does not leave this module."""


def refined(request: Request) -> Fitted:
    """The refined table.

    Raises:
        PlanError: it cannot be had: the numbers are malformed, or it would need too many cells.
    """
    found = _refined(request)
    if found is None:
        name, _, bound, x_frac, frac, goal = request
        raise PlanError(
            f"there is no table of {name!r} as exact as 2^-{goal / 2:g} for inputs below 2^{bound - x_frac} with "
            f"{x_frac} fractional bits, values with {frac}; declare a narrower range, or ask for less"
        )
    return found


@lru_cache(maxsize=MAX_TABLES)
def _refined(request: Request) -> Fitted | None:
    """That there is none is kept too: parties ask in every run."""
    try:
        return _fit_refined(_Fit(request))
    except _NoTableError:
        return None


@lru_cache(maxsize=MAX_TABLES)
def uniform(request: Request) -> Fitted | None:
    """The uniform table; None if it would have too many cells, or numbers or lines that it cannot have.

    Raises:
        PlanError: the numbers are malformed.
    """
    try:
        return _fit_uniform(_Fit(request))
    except _NoTableError:
        return None


def _fit_refined(fit: _Fit) -> Fitted:
    for beside in (0, 1):
        levels = [_everywhere(fit.bits, count) for count in range(1, SPARE_BITS + 1)]
        fit.error = fit.anywhere = 0.0
        while levels[-1].refined[0] < levels[-1].refined[1]:
            levels.append(_next(fit, levels[-1], beside))
            if sum(level.rows.shape[1] for level in levels) > MAX_CELLS:
                raise _NoTableError
        if fit.error <= fit.goal:
            break
    return fit.fitted(Refined(fit.request.bound, fit.request.frac, tuple(levels)))


def _next(fit: _Fit, parent: Level, beside: int) -> Level:
    """The level below `parent`; so many cells on either side of those that are too large are split as well."""
    width, first = parent.width - 1, 2 * parent.refined[0]
    count = 2 * (parent.refined[1] - parent.refined[0]) + 1
    if width < 0:
        raise _NoTableError
    trials = [(drop, [fit.row(first + k, width, drop) for k in range(count)]) for drop in fit.drops(width)]
    drop, rows = min(trials, key=lambda trial: [row.error > fit.goal for row in trial[1]].count(True))
    bad = [k for k, row in enumerate(rows) if row.error > fit.goal]
    low = high = 1
    if bad:
        low, high = max(bad[0] - beside, 1), min(bad[-1] + 1 + beside, count - 1)
    leaves = [_UNUSED if low <= k < high else row for k, row in enumerate(rows)]
    return Level(width, drop, (first + low, first + high), first, fit.taken(leaves))


def _everywhere(bits: int, count: int) -> Level:
    """A level all of whose cells are split."""
    half = 1 << (count - 1)
    return Level(bits - count, 0, (-half, half), -half, np.zeros((2, 0), np.int64))


def _fit_uniform(fit: _Fit) -> Fitted | None:
    request = fit.request
    below, above = fit.line(fit.function.below, fit.low), fit.line(fit.function.above, fit.high)
    if below is None or above is None:
        return None
    for width in range(request.bound - 1, -1, -1):
        first, end = fit.last_below(below, width) + 1, fit.first_above(above, width)
        if end - first > MAX_CELLS:
            return None
        for drop in reversed(fit.drops(width)):
            rows = fit.good_rows(range(first, end), width, drop)
            if rows is not None:
                table = Uniform(request.bound, width, drop, first, fit.taken(rows), below, above, request.frac)
                fit.take_line(below, (first + 1 << width + 2) - 8)
                fit.take_line(above, end << width + 2)
                return fit.fitted(table)
    return None


def least_frac(found: Function, goal: int) -> int:
    """Fractional bits that a table's values should have, so that rounding slopes does not take many cells."""
    smallest = 1.0
    if found.floor == 0:
        ends = [end for end in (found.low, found.high) if end is not None]
        smallest = min((abs(float(found(np.array(end)))) for end in ends), default=smallest)
    needed = math.ceil(goal / 2 - math.log2(smallest)) + _REMAINDER_BITS[0] + 1
    return min(max(needed, MIN_FRAC), MAX_FRAC)


class _Row(NamedTuple):
    offset: int
    slope: int
    error: float  # as of `Fitted`
    anywhere: float


_UNUSED = _Row(0, 0, 0.0, 0.0)


class _Fit:
    """A function on raw values, in integers.

    Places are counted in quarters of a raw unit, values in 2^-_GUARD of the table's unit, errors in 2^-_SCALE of it.
    (Quotients of integers are rounded correctly, so comparing them is as good on every machine.)
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.function: Function = function(request.name, request.parameters)
        for what, value, low, high in (
            ("bound", request.bound, 1, CONTRACT_BITS),
            ("fractional bits of the input", request.x_frac, 0, CONTRACT_BITS),
            ("fractional bits", request.frac, MIN_FRAC, MAX_FRAC),
            ("goal", request.goal, MIN_GOAL, MAX_GOAL),
        ):
            if type(value) is not int or not low <= value <= high:
                raise PlanError(f"the {what} of a table must be from {low} to {high}, not {str(value)[:20]}")
        self.bits = request.bound + SPARE_BITS
        self.goal: float = math.ldexp(_MARGIN * math.sqrt(2.0 ** (request.goal % 2)), -((request.goal + 1) // 2))
        self.one = 1 << request.x_frac + 2
        self.edge = (1 << request.bound + 2) - 4
        start, stop = self.function.low, self.function.high
        self.low = -self.edge if start is None else max(-self.edge, self.place(start))
        self.high = self.edge if stop is None else min(self.edge, self.place(stop))
        if self.low >= self.high or (start is not None and start > 0 and self.low < 4):
            raise PlanError(f"function {request.name!r} is not defined for numbers of this bound and fractional bits")
        self.bends = [k * self.one // 4 for k in range(-4 * _BENDS, 4 * _BENDS + 1)]
        self.values: dict[int, int] = {}
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
            with exact_context():
                exact = self.function.exact(Decimal(place) / self.one) * (1 << self.request.frac + _GUARD)
                found = self.values[place] = int(exact.to_integral_value())
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
        candidates = [width + 1 - bits for bits in _REMAINDER_BITS]
        coarse = [min(max(drop, 0), width) for drop in candidates]
        finest = min(max(self.request.x_frac - _FINEST, 0), width)
        return sorted({finest, *coarse}) if finest < coarse[0] else sorted({*coarse})

    def row(self, index: int, width: int, drop: int) -> _Row:
        start, end = index << width + 2, (index + 2 << width + 2) - 8
        first, last = max(start, self.low), min(end, self.high)
        if first > last:  # nowhere defined
            edge = self.value(end)
            return _Row(_rounded(edge, _GUARD), 0, 0.0, 2.0**-self.request.frac)
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
        return _Row(offset, slope, error, anywhere / (1 << self.request.frac + _SCALE))

    def good_rows(self, indices: Iterable[int], width: int, drop: int) -> list[_Row] | None:
        """The rows of these cells, if all of them are small enough."""
        rows = []
        for index in indices:
            rows.append(self.row(index, width, drop))
            if rows[-1].error > self.goal:
                return None
        return rows

    # --- lines

    def line(self, line: Line | None, end: int) -> tuple[int, int] | None:
        """A line in the table's numbers, or the level of the last value if there is none; None: its slope is none."""
        if line is None:
            return _rounded(self.value(end), _GUARD), 0
        offset, slope = line
        down = self.request.x_frac - self.request.frac
        if slope and down > 0:
            return None
        with exact_context():
            level = (offset * (1 << self.request.frac)).to_integral_value()
        return int(level), slope << -down if slope else 0

    def off_line(self, line: tuple[int, int], place: int) -> int:
        at = (line[0] << _SCALE) + (line[1] * place << _SCALE - 2)
        return abs(at - (self.value(place) << _SCALE - _GUARD))

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

    def taken(self, rows: Sequence[_Row]) -> Integers:
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

    def fitted(self, table: Table) -> Fitted:
        if self.error > self.goal:
            raise _NoTableError
        return Fitted(table, self.error / _MARGIN, self.anywhere / _MARGIN)


def _rounded(number: int, bits: int) -> int:
    """number / 2^bits to the nearest integer."""
    return (number + (1 << bits - 1)) >> bits
