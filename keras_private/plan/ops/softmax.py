"""The softmax, without looking for a maximum where that is possible."""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan.interval import ROUNDING, Interval
from keras_private.plan.ops.composite import PRODUCT_FRAC, Composite, like
from keras_private.plan.ops.kind import Array, Attributes, describe
from keras_private.plan.ops.order import decisions
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import Op, Shape

MAX_SHIFTS = 32  # of a softmax without a maximum
MAX_COPIES = 1000  # of numbers that are shifted: some fifteen rounds for a maximum are worth as much
SHIFT_BITS = 15  # octaves of a window, and bits of the number of classes: fractional bits of a product bound them
INVERSE_FRAC = 24
SHORT = 0.5  # what a maximum may fall short by


def _mask(value: Any) -> bool:
    """1, or (shape, zeros and ones) with a 1 in every row."""
    if not at.integer_constant(value) or type(value) is not tuple:
        return value == 1 and type(value) is int
    found = at.constant_array(value)
    return bool(found.ndim and np.all((found == 0) | (found == 1)) and np.all(found.max(axis=-1)))


class Softmax(Composite):
    """e^x over its sum along an axis of n numbers; or of those that are `kept`, by a public mask, and 0 at the others.

    No maximum is looked for. Instead every number is shifted by T public ones, tau_1 < … < tau_T, so far apart that
    their powers are by a factor of 2^m: e_t = e^(x - tau_t), which ends at some number above 1, and S_t = sum of e_t.
    Where S_t < 1 none of its summands has ended, so that e_t = e^x·c_t and S_t = 2^m·S_(t + 1). With the window
    kappa(S) = (psi(S) - psi(2^m·S)) / S (`window_reciprocal`), which is 0 for S >= 1,

        sum over t of e_t·kappa(S_t)  =  softmax(x)·sum over t of (psi(S_t) - psi(2^m·S_t)),

    and the last sum telescopes to psi(S_T) - psi(2^m·S_1) = 1 - 0, as tau_T is so high that S_T <= 1/4, and tau_1 so
    low that 2^m·S_1 >= 1, whatever the row. Between which numbers a row's largest one lies must be proven for that.
    Where it is not, or where shifts would cost more, the maximum is taken off first, and one e^x and 1/S will do.

    Private: nothing is opened on the way, and which t a row needs shows nowhere: every row goes through the same sums,
    splines and product, each of them private by itself, and shares go from one to the next.

    Range: any numbers. Largest error of a probability: below 2^-10, as swept for 2 to 1,000 classes, in the middle of
    windows and where two meet (2^-10.5 was the largest found). The tables' errors are a relative 2^-12 of e^x, or 2^-10
    of a row's sum for all its small numbers together, and 2^-12.5 of 1/S; where two windows meet, psi turns what S_t
    and S_(t + 1) differ by in their errors into 1.1 times as much. Were all of them largest and of one sign at once, a
    probability would be off by 2^-7.8.
    Rounds: 6 or 7 with the product before it, for any n; with a maximum, those of its tournament, and 7.
    Bytes: of T splines a number, T a row, and 46 a number.

    A mask has the shape of the last axes, up to that of the numbers. Where it is 0 nothing is computed: the others
    are laid side by side, as a value of one axis in place of these, until their powers are back among zeros.

    Source: this project; shifts instead of a maximum are found nowhere in print.
    """

    name = "softmax"
    inputs = (1, 1)
    attrs: ClassVar[Attributes] = {"axis": at.integer(0, at.MAX_RANK), "kept": _mask}
    recorded: ClassVar[Attributes | None] = {}

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        axis, masked = op.attrs["axis"], at.constant_shape(op.attrs["kept"])
        if axis >= len(xs[0]):
            raise PlanError(f"{describe(op)}: an input of shape {xs[0]} has no axis {axis}")
        if masked and (masked != xs[0][len(xs[0]) - len(masked) :] or axis != len(xs[0]) - 1):
            raise PlanError(f"{describe(op)}: a mask of shape {masked} is not that of the last axes of {xs[0]}")
        return xs[0]

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        axis = op.attrs["axis"] + 1
        x = _without_masked(op, xs[0])
        powers = np.exp(x - np.max(x, axis=axis, keepdims=True))
        found: Array = powers / np.sum(powers, axis=axis, keepdims=True)
        return found

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        """Lowest where the number itself is lowest and all others are highest."""
        (x,), axis = xs, op.attrs["axis"] + 1
        low, high = _without_masked(op, x.low), _without_masked(op, x.high)
        with np.errstate(over="ignore"):
            return Interval(_against(low, high, axis), _against(high, low, axis)).widened(ROUNDING)

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return 1.0

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return {**op.attrs, "axis": perm[op.attrs["axis"]]} if op.attrs["kept"] == 1 else None

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.BETTER

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        (x,), axis = xs, int(op.attrs["axis"])
        rows = _Rows.of(op, x.tensor.shape)
        lowest, highest = _largest_of_rows(op, x.interval, axis + 1)
        shifts = _Shifts.of(lowest, highest, x.tensor.shape[axis])
        if shifts is None or (shifts.number - 1) * rows.count > MAX_COPIES:
            return _with_maximum(op, x, rows, writer)
        return _with_shifts(op, x, rows, shifts, writer)


def _without_masked(op: Op, x: Array) -> Array:
    return np.where(at.constant_array(op.attrs["kept"]) == 1, x, -np.inf)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where the numbers are that a softmax is taken of.

    shape: of the input. axis: of the rows. masked: how many axes the mask has; 0: there is none. kept: places along
    these axes, made one.
    """

    shape: Shape
    axis: int
    masked: int = 0
    kept: tuple[int, ...] = ()

    @classmethod
    def of(cls, op: Op, shape: Shape) -> _Rows:
        kept = op.attrs["kept"]
        if kept == 1:
            return cls(shape, op.attrs["axis"])
        return cls(shape, op.attrs["axis"], len(kept[0]), tuple(np.flatnonzero(at.constant_array(kept)).tolist()))

    @property
    def count(self) -> int:
        """Of the numbers."""
        return math.prod(self.shape[: len(self.shape) - self.masked]) * (len(self.kept) if self.masked else 1)

    @property
    def width(self) -> int:
        """Of one row."""
        return self.shape[self.axis]

    def beside(self, op: Op, x: V, places: Sequence[int], writer: Writer[V]) -> V:
        """The numbers at these places of the masked axes side by side. `x` may have an axis more in front."""
        if not self.masked:
            return x
        shape = x.tensor.shape
        lead = shape[: len(shape) - self.masked]
        flat = writer.emit(like(op, "reshape"), [x], shape=(*lead, math.prod(shape[len(lead) :])))
        return writer.emit(like(op, "gather"), [flat], axis=len(lead), indices=tuple(places))

    @property
    def stand_ins(self) -> tuple[int, ...]:
        """For every place of the masked axes itself, or, if it is masked, the first of its row that is not."""
        own = self.shape[len(self.shape) - self.masked :]
        places = np.arange(math.prod(own)).reshape(-1, self.width)
        mask = np.isin(places, self.kept)
        first = np.take_along_axis(places, mask.argmax(axis=1, keepdims=True), axis=1)
        return tuple(np.where(mask, places, first).reshape(-1).tolist())

    def of_rows(self, op: Op, largest: V, writer: Writer[V]) -> V:
        """For every number that is kept what its row has."""
        shape = largest.tensor.shape
        lead = shape[: len(shape) - self.masked + 1]
        flat = writer.emit(like(op, "reshape"), [largest], shape=(*lead, math.prod(shape[len(lead) :])))
        rows = tuple(place // self.width for place in self.kept)
        return writer.emit(like(op, "gather"), [flat], axis=len(lead), indices=rows)

    def spread(self, op: Op, x: V, writer: Writer[V]) -> V:
        """Numbers that lie side by side where they belong, and zeros at all other places."""
        if not self.masked:
            return x
        lead, own = x.tensor.shape[:-1], self.shape[len(self.shape) - self.masked :]
        found = np.full(math.prod(own), len(self.kept))
        found[list(self.kept)] = np.arange(len(self.kept))
        padded = writer.emit(like(op, "pad"), [x], paddings=(*((0, 0),) * len(lead), (0, 1)))
        whole = writer.emit(like(op, "gather"), [padded], axis=len(lead), indices=tuple(found.tolist()))
        return writer.emit(like(op, "reshape"), [whole], shape=(*lead, *own))


def _against(mine: Array, others: Array, axis: int) -> Array:
    """e^mine over the sum of that and of all e^others but the one at the same place."""
    before = np.logaddexp.accumulate(others, axis=axis)
    behind = np.flip(np.logaddexp.accumulate(np.flip(others, axis), axis=axis), axis)
    none = np.full_like(np.take(others, [0], axis), -np.inf)
    count = others.shape[axis]
    before = np.concatenate([none, np.take(before, range(count - 1), axis)], axis)
    behind = np.concatenate([np.take(behind, range(1, count), axis), none], axis)
    found: Array = 1.0 / (1.0 + np.exp(np.logaddexp(before, behind) - mine))
    return found


def _largest_of_rows(op: Op, x: Interval | None, axis: int) -> tuple[float, float]:
    """Between which numbers the largest of every row is proven to lie."""
    if x is None:
        return -math.inf, math.inf
    return float(np.min(np.max(_without_masked(op, x.low), axis=axis))), float(np.max(_without_masked(op, x.high)))


class _Shifts(NamedTuple):
    """Which numbers rows are shifted by.

    number: of them. octaves: from one to the next, as a power of two. last: the highest one.
    """

    number: int
    octaves: int
    last: float

    @classmethod
    def of(cls, lowest: float, highest: float, classes: int) -> _Shifts | None:
        """For rows whose largest number lies between two; None: they are too many."""
        octaves = max(3, SHIFT_BITS - _digits(classes))
        span = (highest - lowest + math.log(4 * classes) + 0.25) / math.log(2)  # a little more, for the tables' errors
        count = min(math.ceil(span / octaves), MAX_SHIFTS + 1) if span < math.inf else MAX_SHIFTS + 1
        if count > MAX_SHIFTS:
            return None
        return cls(count, max(3, math.ceil(span / count)), highest + math.log(4 * classes) + 0.1)


def _digits(classes: int) -> int:
    return math.ceil(math.log2(classes))


def _with_shifts(op: Op, x: V, rows: _Rows, shifts: _Shifts, writer: Writer[V]) -> V:
    x = rows.beside(op, x, rows.kept, writer)
    steps = np.arange(1 - shifts.number, 1).reshape(-1, *(1,) * len(x.tensor.shape))
    taken = np.asarray(-(shifts.last + shifts.octaves * math.log(2) * steps), np.float64)
    x = writer.raised(x, taken, op.layer)
    stacked = writer.emit(like(op, "stack"), [x] * shifts.number, axis=0)
    stacked = writer.emit(like(op, "add"), [stacked], [writer.encode(op, "shift", x.frac, taken)])
    small = shifts.octaves + _digits(rows.width) - 1  # below 2^-small a number hardly counts in any sum
    power = rows.spread(op, _power(op, stacked, 0.25, small, writer), writer)
    total = writer.emit(like(op, "sum"), [power], axes=(rows.axis + 1,), keepdims=False)
    attrs: dict[str, Any] = {"function": "window_reciprocal", "parameters": (float(shifts.octaves),), "goal": 25}
    inverse = writer.emit(like(op, "spline"), [total], frac=INVERSE_FRAC, **attrs)
    return _product(op, power, inverse, rows.axis + 1, writer, shifted=True)


def _with_maximum(op: Op, x: V, rows: _Rows, writer: Writer[V]) -> V:
    """The largest number of every row is taken off it: then sums are 1 at least."""
    classes = rows.width
    below = _less_its_maximum(op, x, rows, writer)
    power = rows.spread(op, _power(op, below, SHORT, max(0, _digits(classes) - 2), writer), writer)
    total = writer.emit(like(op, "sum"), [power], axes=(rows.axis,), keepdims=False)
    frac = min(_digits(classes) + 20, PRODUCT_FRAC - power.frac)
    stretch = (0.5, 2.0 ** (_digits(classes) + 1), min(1.0, 2.0 ** (20 - frac)))
    attrs: dict[str, Any] = {"function": "reciprocal", "parameters": stretch, "goal": 24}
    inverse = writer.emit(like(op, "spline"), [total], frac=frac, **attrs)
    return _product(op, power, inverse, rows.axis, writer, shifted=False)


def _power(op: Op, x: V, high: float, small: int, writer: Writer[V]) -> V:
    """e^x up to e^high, as exact as sums of numbers need it that are 2^-small or more."""
    small = min(small, 30)
    attrs: dict[str, Any] = {"function": "exp", "parameters": (high, 2.0**-small), "goal": 24}
    return writer.emit(like(op, "spline"), [x], frac=min(small + 22, 36), **attrs)


def _product(op: Op, power: V, inverse: V, along: int, writer: Writer[V], *, shifted: bool) -> V:
    """Of the powers, whose axis `along` is that of the classes, and of what has one number for each row;
    `shifted`: summed over the shifts, the first axis."""
    rank = len(power.tensor.shape)
    whole = string.ascii_lowercase[:rank]
    kept = whole[:along] + whole[along + 1 :]
    left = whole[1:] if shifted else whole
    drop = max(0, power.frac + inverse.frac - writer.target(op.output))
    attrs: dict[str, Any] = {"equation": f"{whole},{kept}->{left}", "drop": drop, "relu": False}
    return writer.emit(like(op, "einsum"), [power, inverse], within=(-0.01, 1.01), **attrs)


def _less_its_maximum(op: Op, x: V, rows: _Rows, writer: Writer[V]) -> V:
    """Rows whose largest number lies between 0 and SHORT, side by side if there is a mask."""
    x = writer.settled(x, op.layer)
    shape, axis = rows.shape, rows.axis
    lost = decisions(shape[axis])
    coarse = max(0, math.floor(math.log2(SHORT / lost)) + x.frac) if lost else 0
    largest = writer.emit(like(op, "reduce_max"), [_unmasked(op, x, rows, writer)], axis=axis, coarse=coarse)
    if rows.masked:
        largest = rows.of_rows(op, largest, writer)
        x = rows.beside(op, x, rows.kept, writer)
    else:
        largest = writer.emit(like(op, "reshape"), [largest], shape=(*shape[:axis], 1, *shape[axis + 1 :]))
    return writer.emit(like(op, "sub"), [x, largest], within=(-math.inf, SHORT))


def _unmasked(op: Op, x: V, rows: _Rows, writer: Writer[V]) -> V:
    """`x` with another number of the same row in the place of every masked one."""
    if not rows.masked:
        return x
    own = rows.shape[len(rows.shape) - rows.masked :]
    whole = rows.beside(op, x, rows.stand_ins, writer)
    return writer.emit(like(op, "reshape"), [whole], shape=(*whole.tensor.shape[:-1], *own))
