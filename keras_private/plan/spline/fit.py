"""Tables of a function: where its cells are.

Theory of operation. A cell is small enough if its row (`rows.py`) is off by less than 15/16 of 2^(-goal/2), in the
function's measure, where that is looked at: a row is off most at the ends and about the middle, since within a cell the
functions are nearly parabolas. Tests sweep what is between.

- *Uniform*: the widest cells that are small enough, between the places where the function has come to its lines.
- *Compared*: the same cells and one more on either side, and lines of the truncated x.
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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan.spline.functions import Function
from keras_private.plan.spline.request import MAX_FRAC, MIN_FRAC, Request
from keras_private.plan.spline.rows import MARGIN, REMAINDER_BITS, UNUSED, Rows
from keras_private.plan.spline.table import (
    PLAIN_BITS,
    SPARE_BITS,
    WORD_BITS,
    Compared,
    Level,
    Periodic,
    Refined,
    Table,
    Uniform,
)

MAX_CELLS = 2048  # of a table
MAX_TABLES = 256  # kept


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
        if isinstance(table, Compared):
            found.update(repr((table.below, table.above, table.down)).encode())
        inner = table.inner if isinstance(table, Compared) else table
        levels: Sequence[Level | Uniform] = inner.levels if isinstance(inner, Refined) else [inner]
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
        return _fit_refined(Rows(request))
    except _NoTableError:
        return None


@lru_cache(maxsize=MAX_TABLES)
def uniform(request: Request) -> Fitted | None:
    """The uniform table; None if it would have too many cells, or numbers or lines that it cannot have.

    Raises:
        PlanError: the numbers are malformed.
    """
    try:
        return _fit_uniform(Rows(request))
    except _NoTableError:
        return None


@lru_cache(maxsize=MAX_TABLES)
def compared(request: Request) -> Fitted | None:
    """The table to be compared with; None if it would have too many cells, or if x may not be beside them.

    Raises:
        PlanError: the numbers are malformed.
    """
    try:
        return _fit_compared(Rows(request))
    except _NoTableError:
        return None


def _fit_compared(source: Rows) -> Fitted | None:
    request = source.request
    source.down = max(0, request.x_frac - request.frac)
    below, above = source.line(source.function.below, source.low), source.line(source.function.above, source.high)
    if below is None or above is None:
        return None
    if not below[1] and not above[1]:
        source.down = 0
    for width in range(request.bound - 2, 0, -1):
        first, end = source.last_below(below, width) + 1, source.first_above(above, width)
        cells = end - first + 2
        if cells > 1 << PLAIN_BITS:
            return None
        beyond = max(-(first << width), (end + 1 << width) - 1) + (1 << width - 1) > 1 << request.bound
        places = max((max(1 - first, end + 1) - 1).bit_length() + 1, WORD_BITS)
        if cells < 3 or beyond or places > PLAIN_BITS or width + places > 62:
            continue
        for drop in reversed(source.drops(width)):
            rows = source.good_rows(range(first - 1, end + 1), width, drop)
            if rows is not None:
                inner = Periodic(
                    width + places, width, drop, first - 1, source.taken(rows), (0, 0), (0, 0), request.frac
                )
                source.take_line(below, (first + 1 << width + 2) - 8)
                source.take_line(above, end << width + 2)
                return _fitted(source, Compared(request.bound, inner, below, above, source.down))
    return None


def _fit_refined(source: Rows) -> Fitted:
    for beside in (0, 1):
        levels = [_everywhere(source.bits, count) for count in range(1, SPARE_BITS + 1)]
        source.error = source.anywhere = 0.0
        while levels[-1].refined[0] < levels[-1].refined[1]:
            levels.append(_next(source, levels[-1], beside))
            if sum(level.rows.shape[1] for level in levels) > MAX_CELLS:
                raise _NoTableError
        if source.error <= source.goal:
            break
    return _fitted(source, Refined(source.request.bound, source.request.frac, tuple(levels)))


def _next(source: Rows, parent: Level, beside: int) -> Level:
    """The level below `parent`; so many cells on either side of those that are too large are split as well."""
    width, first = parent.width - 1, 2 * parent.refined[0]
    count = 2 * (parent.refined[1] - parent.refined[0]) + 1
    if width < 0:
        raise _NoTableError
    trials = [(drop, [source.row(first + k, width, drop) for k in range(count)]) for drop in source.drops(width)]
    drop, rows = min(trials, key=lambda trial: [row.error > source.goal for row in trial[1]].count(True))
    bad = [k for k, row in enumerate(rows) if row.error > source.goal]
    low = high = 1
    if bad:
        low, high = max(bad[0] - beside, 1), min(bad[-1] + 1 + beside, count - 1)
    leaves = [UNUSED if low <= k < high else row for k, row in enumerate(rows)]
    return Level(width, drop, (first + low, first + high), first, source.taken(leaves))


def _everywhere(bits: int, count: int) -> Level:
    """A level all of whose cells are split."""
    half = 1 << (count - 1)
    return Level(bits - count, 0, (-half, half), -half, np.zeros((2, 0), np.int64))


def _fit_uniform(source: Rows) -> Fitted | None:
    request = source.request
    below, above = source.line(source.function.below, source.low), source.line(source.function.above, source.high)
    if below is None or above is None:
        return None
    for width in range(request.bound - 1, -1, -1):
        first, end = source.last_below(below, width) + 1, source.first_above(above, width)
        if end - first > MAX_CELLS:
            return None
        for drop in reversed(source.drops(width)):
            rows = source.good_rows(range(first, end), width, drop)
            if rows is not None:
                table = Uniform(request.bound, width, drop, first, source.taken(rows), below, above, request.frac)
                source.take_line(below, (first + 1 << width + 2) - 8)
                source.take_line(above, end << width + 2)
                return _fitted(source, table)
    return None


def _fitted(source: Rows, table: Table) -> Fitted:
    if source.error > source.goal:
        raise _NoTableError
    return Fitted(table, source.error / MARGIN, source.anywhere / MARGIN)


def least_frac(found: Function, goal: int) -> int:
    """Fractional bits that a table's values should have, so that rounding slopes does not take many cells."""
    smallest = 1.0
    if found.floor == 0:
        ends = [end for end in (found.low, found.high) if end is not None]
        smallest = min((abs(float(found(np.array(end)))) for end in ends), default=smallest)
    needed = math.ceil(goal / 2 - math.log2(smallest)) + REMAINDER_BITS[0] + 1
    return min(max(needed, MIN_FRAC), MAX_FRAC)
