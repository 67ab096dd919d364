"""Tables of a function of one number, in the two forms that the protocols read, and what they give in integers.

Theory of operation. A secret raw value is x = u + v mod 2^64, u known to the pair, v to the dealer, and |x| < 2^bound
is proven. Its low `bits` = bound + 2 bits say everything; below, u and v stand for their low `bits` bits. A *cell* of
width s has the index i = (u >> s) + (v >> s) mod 2^(bits - s), taken as a signed number. No carry is resolved: with
c the carry out of the low s bits, floor(x / 2^s) = i + c, so that cell i holds the raw values in
[i·2^s, (i + 2)·2^s - 1), twice as wide as the cell. Indices so found lie between -2^(bound - s) - 1 and
2^(bound - s) - 1: one more than `bound + 1` bits have room for, hence the further bit; none wraps around.

The *remainder* in a cell is r = ((u mod 2^s) >> drop) + ((v mod 2^s) >> drop), in units of 2^drop; and the cell's *row*
T gives the value y = T0 + T1·r mod 2^64, with `frac` fractional bits. Because of `drop`, and because the same x is in
cell floor(x / 2^s) or the one before it, y depends a little on u, that is, on chance. A second degree would save cells
and cost bytes: one more word a level, which small cells need less of.

- `Uniform`: cells of one width from index `first` on, and a line for all that lies below and for all above.
- `Periodic`: the same cells of x modulo 2^bits, whatever x may be: the row of any x outside the cells is some row or 0.
- `Compared`: a periodic table, and two comparisons of x with the ends of its cells. Beside them y is a line of the
  truncated x, so that the slope may be 1 however many fractional bits x has. For |x| far beyond the cells this is the
  cheapest: a bit that is compared costs a tenth of a bit of the index. About either end is a cell in which both the row
  and the line are near enough, so that comparisons may ignore the bits below half a cell (`compare_from`).
- `Refined`: a binary tree over the high bits, most significant first. Level l = 1, 2, … has cells of width bits - l.
  Those of index in `refined` = [a, b) are split further; the children of all of them, for a given u, are the 2(b - a)
  cells with indices 2a + e, 2a + e + 1, …, 2b + e - 1, where e is the bit of u at the child's width (the two children
  of cell i are 2i + e and 2i + e + 1). The root is one cell of index 0. Children that are not refined are leaves, and
  rows[:, k] is the row of index `first` + k, `first` = 2a. A level is of one of two sorts, so that the number of its
  nodes of either sort does not depend on u:
    - all its 2^l cells are refined, [-2^(l-1), 2^(l-1)), and it has no rows. Indices go around: child m has the index
      2a + e + m mod 2^l. These levels come first, two at least.
    - 2a + 1 <= a' and b' <= 2b, where [a', b') are its own refined cells (a' = b' at the last level): the first
      a' - 2a - e children are leaves, the next b' - a' are refined, and the rest are leaves. x never lies in a cell
      whose index goes around.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError

Words: TypeAlias = NDArray[np.uint64]
Integers: TypeAlias = NDArray[np.int64]

WORD_BITS = 6  # of a place at least: a whole word of places
PLAIN_BITS = 10  # up to so many bits a place is dealt as one bit of 2^bits, without a tree
SPARE_BITS = 2  # that the index needs beside the bound: the sign, and a place for the cell below the lowest


@dataclass(frozen=True, eq=False, repr=False)
class Uniform:
    """Cells of one width, and a line on either side.

    Args:
        bound: |x| < 2^bound.
        width: of a cell, in bits.
        drop: low bits of the remainder that are left out.
        first: index of the first cell.
        rows: int64 (2, K), the rows (T0, T1) of K cells.
        below: (offset, slope): for cells before the first one y = offset + slope·x mod 2^64.
        above: the same for those behind the last one.
        frac: fractional bits of y.

    Raises:
        PlanError: they do not fit together.
    """

    bound: int
    width: int
    drop: int
    first: int
    rows: Integers
    below: tuple[int, int]
    above: tuple[int, int]
    frac: int

    def __post_init__(self) -> None:
        fits = self.rows.ndim == 2 and self.rows.dtype == np.int64 and self.rows.shape[0] == 2
        if not fits or not 0 <= self.drop <= self.width < self.bits <= 64:
            raise PlanError("a uniform table needs rows of two numbers and widths within its bits")
        half = 1 << (self.bits - self.width - 1)
        if not -half <= self.first <= self.first + self.rows.shape[1] <= half:
            raise PlanError("the cells of a uniform table lie outside its domain")

    @property
    def bits(self) -> int:
        """Low bits of u and v that take part."""
        return self.bound + SPARE_BITS

    @property
    def cells(self) -> int:
        return int(self.rows.shape[1])

    @property
    def indices(self) -> range:
        """Of the cells that x may be in."""
        edge = 1 << max(self.bits - self.width, WORD_BITS) - 2
        return range(*np.clip([self.first, self.first + self.cells], -edge - 1, edge).tolist())

    def value(self, x: Integers, u: Words) -> Integers:
        """y for raw values x whose share at the pair is u, exactly as the parties compute it; all of one shape."""
        v, u = _rest(x, u, self.bits)
        at = signed((u >> _word(self.width)) + (v >> _word(self.width)), self.bits - self.width) - self.first
        inside = (at >= 0) & (at < self.cells)
        y = 0 * u
        if self.cells:
            y = _row_value(self.rows[:, np.where(inside, at, 0)], u, v, self.width, self.drop)
        for here, (offset, slope) in ((at < 0, self.below), (at >= self.cells, self.above)):
            y = np.where(here, _word(offset) + _word(slope) * x.view(np.uint64), y)
        return y.view(np.int64)


class Periodic(Uniform):
    """A uniform table of x modulo 2^bound, for any x. Without lines."""

    @property
    def bits(self) -> int:
        return self.bound

    @property
    def indices(self) -> range:
        return range(self.first, self.first + self.cells)


@dataclass(frozen=True, eq=False, repr=False)
class Compared:
    """Cells that x is compared with the ends of, and lines of the truncated x beside them.

    Args:
        bound: |x| < 2^bound.
        inner: the cells, all in use; the first and the last one are half beside.
        below: (offset, slope): where x < `low`, y = offset + slope·(x / 2^down) mod 2^64.
        above: the same where x > `high`.
        down: bits that x is truncated by, 0 for none.

    Raises:
        PlanError: they do not fit together.
    """

    bound: int
    inner: Periodic
    below: tuple[int, int]
    above: tuple[int, int]
    down: int

    def __post_init__(self) -> None:
        furthest = max(-self.low, self.high) + (1 << self.compare_from)
        if self.inner.width < 1 or furthest > 1 << self.bound or not 0 <= self.down < 61 or self.inner.cells < 3:
            raise PlanError("the cells of a table to be compared with lie outside its domain")

    @property
    def frac(self) -> int:
        return self.inner.frac

    @property
    def low(self) -> int:
        return (self.inner.first + 1) << self.inner.width

    @property
    def high(self) -> int:
        return ((self.inner.first + self.inner.cells) << self.inner.width) - 1

    @property
    def compare_from(self) -> int:
        """The lowest bit that comparisons have to look at."""
        return self.inner.width - 1

    def value(self, x: Integers, u: Words) -> Integers:
        """y as the parties compute it, but for the unit of a truncation, and for which is taken about either end."""
        y = self.inner.value(x, u).view(np.uint64)
        for here, (offset, slope) in ((x < self.low, self.below), (x > self.high, self.above)):
            y = np.where(here, _word(offset) + _word(slope) * (x >> np.int64(self.down)).view(np.uint64), y)
        return y.view(np.int64)


@dataclass(frozen=True, eq=False, repr=False)
class Level:
    """The cells of one width, see above.

    Args:
        width: in bits.
        drop: low bits of the remainder that are left out; 0 at a level without rows.
        refined: (a, b): cells with indices in [a, b) are split further.
        first: index of the cell of rows[:, 0].
        rows: int64 (2, number), the rows (T0, T1) of every cell that may be a leaf, for either value of u's bit. Those
            of refined cells among them are zeros and not used.
    """

    width: int
    drop: int
    refined: tuple[int, int]
    first: int
    rows: Integers


@dataclass(frozen=True, eq=False, repr=False)
class Refined:
    """A tree of cells that are smaller where the function bends.

    Args:
        bound: |x| < 2^bound.
        frac: fractional bits of y.
        levels: from the root's children on; the last one has no refined cells.

    Raises:
        PlanError: they do not fit together.
    """

    bound: int
    frac: int
    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        a, b, full = 0, 1, True
        for count, level in enumerate(self.levels, 1):
            low, high = level.refined
            everything = full and low == -(1 << (count - 1)) and high == -low
            if level.width != self.bits - count or not 0 <= level.drop <= level.width or level.rows.dtype != np.int64:
                raise PlanError(f"level {count} of a table has the wrong width or malformed rows")
            if level.rows.shape != (2, 0 if everything else 2 * (b - a) + 1):
                raise PlanError(f"level {count} of a table has {level.rows.shape} rows")
            if not everything and not (level.first == 2 * a and 2 * a + 1 <= low <= high <= 2 * b):
                raise PlanError(f"level {count} of a table refines cells that its parents may not have")
            if full and not everything and count <= SPARE_BITS:
                raise PlanError("the first two levels of a table are refined everywhere")
            (a, b), full = level.refined, everything
        if a != b or full or not 0 < self.bits <= 64:
            raise PlanError("the last level of a table has leaves only")

    @property
    def bits(self) -> int:
        """Low bits of u and v that take part."""
        return self.bound + SPARE_BITS

    @property
    def leaves(self) -> int:
        """How many leaves there are, for any u."""
        return 2 + sum(high - low for low, high in (level.refined for level in self.levels))

    def value(self, x: Integers, u: Words) -> Integers:
        """y for raw values x whose share at the pair is u, exactly as the parties compute it; all of one shape."""
        v, u = _rest(x, u, self.bits)
        y, open_ = np.zeros(x.shape, np.uint64), np.ones(x.shape, bool)
        for level in self.levels:
            index = signed((u >> _word(level.width)) + (v >> _word(level.width)), self.bits - level.width)
            low, high = level.refined
            leaf = open_ & ~((low <= index) & (index < high))
            if level.rows.size:
                at = np.where(leaf, index - level.first, 0)
                y = np.where(leaf, _row_value(level.rows[:, at], u, v, level.width, level.drop), y)
            open_ &= ~leaf
        return y.view(np.int64)


Table: TypeAlias = Uniform | Compared | Refined


def signed(index: Words, bits: int) -> Integers:
    """The low `bits` bits of each as a signed number."""
    up = _word(64 - bits)
    found: Integers = (index << up).view(np.int64) >> np.int64(64 - bits)
    return found


def _rest(x: Integers, u: Words, bits: int) -> tuple[Words, Words]:
    """The dealer's part, and the pair's: their low bits."""
    mask = _word((1 << bits) - 1)
    v: Words = x.view(np.uint64) - u
    return v & mask, u & mask


def _row_value(row: Integers, u: Words, v: Words, width: int, drop: int) -> Words:
    mask = _word((1 << width) - 1)
    remainder = ((u & mask) >> _word(drop)) + ((v & mask) >> _word(drop))
    offset, slope = row.view(np.uint64)
    y: Words = offset + slope * remainder
    return y


def _word(value: int) -> np.uint64:
    return np.uint64(value % (1 << 64))
