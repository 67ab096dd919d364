"""Quotients, and rows divided by their own size: with a table of 1/y or of 1/sqrt(s), and a product."""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan.interval import Interval, corners
from keras_private.plan.ops.composite import PRODUCT_FRAC, Composite, like, multiplied, ranked
from keras_private.plan.ops.elementwise import sides
from keras_private.plan.ops.kind import Array, Attributes, broadcast, describe
from keras_private.plan.ops.writer import V, Writer
from keras_private.plan.plan import Op, Shape
from keras_private.plan.spline import fit
from keras_private.plan.spline.functions import MAX_EXPONENT, function

GOAL = 23  # half bits, of tables
WIDE, WIDE_GOAL = 36, 21  # of a table over more octaves than that, which would have too many cells
COARSER = 3  # fractional bits that a table can do without, for more cells
SQUARE_BITS = 60  # of a sum of squares
LEAST_FRAC = 6  # fractional bits of a factor
END = 1.06  # by how much a table may be off about its ends


class Divide(Composite):
    """x / y, for y between two powers of two, `low` > 0 and `high`; a y beyond them counts as the nearer one.

    Largest error: |x / y|·2^-11.5 and 2 units of the result. Rounds: 2 for 1/y, 2 for the product. Bytes: some 2 kB a
    value of y, by the octaves between low and high (a y of size one along an axis serves all of it), and 46 a value.
    """

    name = "divide"
    inputs = (2, 2)
    attrs: ClassVar[Attributes] = {"low": at.real, "high": at.real}
    recorded: ClassVar[Attributes | None] = {}

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        try:
            function("reciprocal", _stretch(op))
        except PlanError as error:
            raise PlanError(f"{describe(op)}: {error}") from error
        return broadcast(op, xs)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        left, right = sides(xs, [])
        return left / np.clip(right, op.attrs["low"], op.attrs["high"])

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        x, y = xs
        return corners(lambda left, right: self.plain(op, [left, right], []), x, y)

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return float(sizes[0] / max(op.attrs["low"], min(sizes[1], op.attrs["high"])))

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return op.attrs

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        x, y = writer.settled(xs[0], op.layer), writer.raised(xs[1], op.attrs["low"] / 64, op.layer)
        rank = max(len(x.tensor.shape), len(y.tensor.shape))
        largest = 1.0 if x.interval is None else x.interval.size / op.attrs["low"]
        room = PRODUCT_FRAC - max(0, math.ceil(math.log2(largest)))
        frac = _table_frac("reciprocal", _stretch(op), room - x.frac)
        attrs: dict[str, Any] = {"function": "reciprocal", "parameters": _stretch(op), "goal": GOAL, "frac": frac}
        inverse = ranked(op, writer.emit(like(op, "spline"), [y], **attrs), rank, writer)
        return multiplied(op, ranked(op, _kept(op, x, room - frac, writer), rank, writer), inverse, writer)


def _stretch(op: Op) -> tuple[float, float, float]:
    return float(op.attrs["low"]), float(op.attrs["high"]), 0.0


def _positive(value: Any) -> bool:
    return bool(at.real(value) and 1e-9 <= value <= 1.0)


class Normalise(Composite):
    """x / sqrt(mean(x²) + epsilon) over `axes`, or, with `centre`, of x less its mean: RMS and layer normalisation.

    With n numbers along the axes and nu = n / 2^L, L = round(log2(n)), all is a sum of squares and one table:
    d = nu·(x - mean(x)) = (n·x - sum(x)) / 2^L is exact and local, and y = d·sqrt(n) / sqrt(sum(d²) + nu²·n·epsilon).

    Range: any; where the proof of x leaves no room for a sum of squares below 2^60, raw, d keeps fewer bits, for two
    rounds more; without a proof, what is reckoned with counts for it. The table ends where the sum of squares is proven
    to. Without a proof below 2^30 it ends where it would for the sizes that are reckoned with (those seen, with a
    margin), and at 2^30 at most. Larger sums count as that: such rows come out larger than they should, and intervals
    take that into account.
    Largest error: |y|·2^-11.5 (2^-10.5 where the table spans more than 36 octaves, from epsilon to its end), and
    what half a unit of d is of its row's size. Rounds: 1 for the squares, in the round
    that opens a product before it if that needs no truncation; 2 for the root (one of them the squares' own), 2 for the
    product. Bytes: 78 a number and some 2.4 kB a row.
    """

    name = "normalise"
    inputs = (1, 1)
    attrs: ClassVar[Attributes] = {"axes": at.axes, "epsilon": _positive, "centre": at.boolean}
    recorded: ClassVar[Attributes | None] = {}

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        if op.attrs["axes"][-1] >= len(xs[0]):
            raise PlanError(f"{describe(op)}: an input of shape {xs[0]} has no axis {op.attrs['axes'][-1]}")
        return xs[0]

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        (x,), axes = xs, tuple(axis + 1 for axis in op.attrs["axes"])
        if op.attrs["centre"]:
            x = x - np.mean(x, axis=axes, keepdims=True)
        found: Array = x / np.sqrt(np.mean(x * x, axis=axes, keepdims=True) + op.attrs["epsilon"])
        return found

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        """At most sqrt(n), which one number reaches that all of the row's size is in."""
        (x,) = xs
        most = math.sqrt(summed(op, x.low.shape[1:])) * (1 + 1e-9)
        if op.attrs["centre"]:
            return Interval(np.full_like(x.low, -most), np.full_like(x.high, most))
        return Interval(np.where(x.low < 0, -most, 0.0), np.where(x.high > 0, most, 0.0))

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return 1.0

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return {**op.attrs, "axes": tuple(sorted(perm[axis] for axis in op.attrs["axes"]))}

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        x, axes = writer.settled(xs[0], op.layer), op.attrs["axes"]
        x = writer.raised(x, op.attrs["epsilon"], op.layer)
        count, unit = summed(op, x.tensor.shape), 1.0
        if op.attrs["centre"]:
            up = round(math.log2(count))
            unit = count / 2**up
            total = writer.emit(like(op, "sum"), [x], axes=axes, keepdims=True)
            total = writer.emit(like(op, "scale_int"), [total], multiplier=1, shift=up)
            x = writer.emit(
                like(op, "sub"), [writer.emit(like(op, "scale_int"), [x], multiplier=count, shift=up), total]
            )
        seen = 2 * unit * writer.reckoned(op.inputs[0])
        size = seen if x.interval is None else x.interval.size
        room = (SQUARE_BITS - math.ceil(math.log2(count * max(1.0, size) ** 2))) // 2
        x = _kept(op, x, max(room, LEAST_FRAC) if x.interval is None else room, writer)
        square = writer.emit(like(op, "square"), [x], drop=0)
        total = writer.emit(like(op, "sum"), [square], axes=axes, keepdims=True)
        more = unit * unit * count * op.attrs["epsilon"]
        shape = (1,) * len(total.tensor.shape)
        total = writer.emit(like(op, "add"), [total], [writer.encode(op, "epsilon", total.frac, np.full(shape, more))])
        low = max(math.floor(math.log2(more)), 8 - total.frac, -MAX_EXPONENT)
        high = MAX_EXPONENT + 1 if total.interval is None else math.ceil(math.log2(total.interval.size))
        if high > MAX_EXPONENT:
            high = math.ceil(math.log2(count * max(seen, 2.0**-MAX_EXPONENT) ** 2 + more))
        root = math.sqrt(count)
        high = max(low + 1, min(high, MAX_EXPONENT))
        stretch = (2.0**low, 2.0**high, root)
        room = PRODUCT_FRAC - math.ceil(math.log2(root))
        frac = _table_frac("rsqrt", stretch, room - x.frac)
        goal = GOAL if high - low <= WIDE else WIDE_GOAL
        attrs: dict[str, Any] = {"function": "rsqrt", "parameters": stretch, "goal": goal, "frac": frac}
        inverse = writer.emit(like(op, "spline"), [total], **attrs)
        x = _kept(op, x, room - frac, writer)
        if x.interval is None:
            return multiplied(op, x, inverse, writer)
        most = END * root * max(1.0, x.interval.size / math.sqrt(stretch[1]))  # beyond the table's end y grows with d
        return multiplied(op, x, inverse, writer, (-most, most))


def summed(op: Op, shape: Shape) -> int:
    """How many numbers a `normalise` sums the squares of."""
    return math.prod(shape[axis] for axis in op.attrs["axes"])


def _table_frac(name: str, parameters: tuple[float, ...], room: int) -> int:
    """Fractional bits of a table's values, fewer where that helps the product behind it."""
    frac = fit.least_frac(function(name, parameters), GOAL)
    return max(min(frac, room), frac - COARSER)


def _kept(op: Op, x: V, frac: int, writer: Writer[V]) -> V:
    """`x` with so many fractional bits at most.

    Raises:
        PlanError: that would be hardly any.
    """
    if x.frac <= frac:
        return x
    if frac < LEAST_FRAC:
        raise PlanError(
            f"{describe(op)}: its input may be so large that products of it have no room; narrow input_range"
        )
    return writer.emit(like(op, "truncate"), [x], drop=x.frac - frac)
