"""Absolute values, clips, and the largest and smallest of several numbers. Bytes as in `compare.py`."""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan import cost, tournament, working
from keras_private.plan.interval import Interval, combined, monotone
from keras_private.plan.ops.dealt import Dealt, largest_bound
from keras_private.plan.ops.elementwise import DROP
from keras_private.plan.ops.kind import (
    NUMBERS,
    Array,
    Attributes,
    describe,
    dropped,
    equal_frac,
    truncation_error,
    values,
)
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import CONTRACT_BITS, Op, Plan, Shape, Tensor, Weight

MAX_RANKED = 1 << 10  # numbers whose order is found by comparing all pairs
MAX_CANDIDATES = 1 << 18


class Abs(Dealt):
    """|x|, exact. 2 + levels rounds; 46 to 51 bytes."""

    name = "abs"
    inputs = (1, 1)
    domains = NUMBERS

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return np.abs(xs[0])

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        (x,) = xs
        low = np.maximum(np.maximum(x.low, -x.high), 0.0)
        return Interval(low, np.maximum(-x.low, x.high), x.attained, x.independent)

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return factor if public and np.all(factor > 0) else None

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.emit(op, [writer.settled(xs[0], op.layer)])

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        return cost.absolute(values(op, plan, batch), plan.tensors[op.inputs[0]].bound)

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return working.relu(count, plan.tensors[op.inputs[0]].bound, 0) + working.SHARE * count


class Clip(Dealt):
    """min(max(x, low), high), and a truncation that costs no more rounds: 2 + levels, as a ReLU; 90 bytes and those of
    the truncation. Exact to half a unit, by which the ends are rounded; to one unit more with a truncation.

    cut: the model has no such op; values beyond the ends are not reckoned with (`saturate.py`).
    """

    name = "clip"
    inputs = (1, 1)
    domains = NUMBERS
    attrs: ClassVar[Attributes] = {"low": at.real, "high": at.real, "cut": lambda value: value is True}
    optional = frozenset({"cut"})
    executable: ClassVar[Attributes | None] = {"drop": DROP}

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        if not op.attrs["low"] <= op.attrs["high"]:
            raise PlanError(f"{describe(op)}: low {op.attrs['low']} is above high {op.attrs['high']}")
        return xs[0]

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        found = xs[0].frac - dropped(op)
        if found >= 0:
            self.ends(op, found)
        return found

    @staticmethod
    def ends(op: Op, frac: int) -> tuple[int, int]:
        """Low and high as raw values with so many fractional bits.

        Raises:
            PlanError: one is beyond the contract.
        """
        low, high = (math.ldexp(op.attrs[name], frac) for name in ("low", "high"))
        if max(abs(low), abs(high)) >= 2.0 ** (CONTRACT_BITS - 1):
            raise PlanError(f"{describe(op)}: its ends {op.attrs['low']}, {op.attrs['high']} do not fit {frac} bits")
        return round(low), round(high)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return np.clip(xs[0], op.attrs["low"], op.attrs["high"])

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return monotone(self.plain, op, xs, ws)

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return min(max(sizes), float(max(abs(op.attrs["low"]), abs(op.attrs["high"]))))

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        x = writer.raised(xs[0], [op.attrs["low"], op.attrs["high"]], op.layer)
        return writer.emit(op, [x], drop=max(0, x.frac - writer.target(op.output)))

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.BETTER

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        return cost.clip(values(op, plan, batch), plan.tensors[op.inputs[0]].bound, dropped(op))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        bound, drop = plan.tensors[op.inputs[0]].bound, dropped(op)
        return 2 * working.relu(count + 64, None if bound is None else cost.further(bound), drop)

    def error(self, op: Op, plan: Plan) -> float:
        frac = plan.tensors[op.output].frac
        exact = [math.ldexp(op.attrs[name], frac) for name in ("low", "high")]
        off = max(abs(raw - end) for raw, end in zip(self.ends(op, frac), exact, strict=True))
        return truncation_error(op) + off


# --- of two tensors


class Extreme(Dealt, abstract=True):
    """Exact. 2 + levels rounds; 46 to 51 bytes."""

    inputs = (2, 2)
    domains = NUMBERS

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return monotone(self.plain, op, xs, ws)

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        return tournament.maximum(values(op, plan, batch), 2, cost.further(largest_bound(op, plan)))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return working.maximum(count, 2, cost.further(largest_bound(op, plan)), None)


class Maximum(Extreme):
    """The larger one of each two."""

    name = "maximum"

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return np.maximum(xs[0], xs[1])


class Minimum(Extreme):
    """The smaller one of each two."""

    name = "minimum"

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return np.minimum(xs[0], xs[1])


# --- along an axis


class Along(Dealt, abstract=True):
    """Of the values along one axis, which goes."""

    inputs = (1, 1)
    domains = NUMBERS
    elementwise = False
    attrs: ClassVar[Attributes] = {"axis": at.integer(0, at.MAX_RANK)}
    channels: ClassVar[int]

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        axis = op.attrs["axis"]
        if axis >= len(xs[0]) or not 2 <= xs[0][axis] <= MAX_CANDIDATES:
            raise PlanError(f"{describe(op)}: axis {axis} of an input of shape {xs[0]} needs 2 to 2^18 values")
        return (*xs[0][:axis], *xs[0][axis + 1 :])

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return None

    def coarse(self, op: Op) -> int:
        """Low bits that comparisons may ignore."""
        return 0

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        size, bound = plan.tensors[op.inputs[0]].shape[op.attrs["axis"]], cost.further(largest_bound(op, plan))
        coarse, channels = self.coarse(op), self.channels
        return tournament.maximum(values(op, plan, batch), size, bound, coarse=coarse, channels=channels)

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        size, bound = plan.tensors[op.inputs[0]].shape[op.attrs["axis"]], cost.further(largest_bound(op, plan))
        return working.maximum(count, size, bound, None, coarse=self.coarse(op), channels=self.channels)


class Largest(Along, abstract=True):
    """One of the values. Where comparisons ignore `coarse` low bits, it may be short of the extreme one by less than
    2^coarse for each of the decisions on its way, at most about 2·log2 of the number of values.

    1 + for each level (levels + 1, or + 2 where four meet) rounds; about 50 bytes a value of the input.
    """

    executable: ClassVar[Attributes | None] = {"coarse": at.integer(0, at.MAX_TRUNCATION)}
    channels = 1

    def coarse(self, op: Op) -> int:
        return int(op.attrs.get("coarse", 0))

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.emit(op, [writer.settled(xs[0], op.layer)], coarse=0)

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return combined(self.plain, op, xs, ws)

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        axis = op.attrs["axis"]
        if not public or not np.all(factor > 0) or (self.coarse(op) and not np.all(factor == 1)):
            return None
        if back:
            return np.expand_dims(factor, axis)
        return np.squeeze(factor, axis) if factor.shape[axis] == 1 else None

    def error(self, op: Op, plan: Plan) -> float:
        size, coarse = plan.tensors[op.inputs[0]].shape[op.attrs["axis"]], self.coarse(op)
        return float(decisions(size) * 2**coarse) if coarse else 0.0


class ReduceMax(Largest):
    name = "reduce_max"

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        found: Array = np.max(xs[0], axis=op.attrs["axis"] + 1)
        return found


class ReduceMin(Largest):
    name = "reduce_min"

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        found: Array = np.min(xs[0], axis=op.attrs["axis"] + 1)
        return found


class Place(Along, abstract=True):
    """A place along the axis, as a number without fractional bits; of equal values the first. Exact.

    Rounds as `reduce_max`; about 75 bytes a value of the input.
    """

    channels = 2

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.emit(op, [writer.settled(xs[0], op.layer)])

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        return 0

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        found = self.plain(op, [xs[0].low], ws)
        return Interval(np.zeros(found.shape), np.full(found.shape, xs[0].low.shape[op.attrs["axis"] + 1] - 1.0))

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return float(MAX_CANDIDATES)


class ArgMax(Place):
    name = "argmax"

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        found: Array = np.argmax(xs[0], axis=op.attrs["axis"] + 1).astype(np.float64)
        return found


class ArgMin(Place):
    name = "argmin"

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        found: Array = np.argmin(xs[0], axis=op.attrs["axis"] + 1).astype(np.float64)
        return found


class TopK(Dealt):
    """The k largest along the last axis, the largest first, or, with `places`, where they stand, as numbers without
    fractional bits; of equal values the first comes first. Exact.

    All pairs are compared at once: 4 + levels + exchanges of an equality of log2(n) bits, at most 9 rounds; 8 bytes a
    pair, and 16·k a value.
    """

    name = "top_k"
    inputs = (1, 1)
    domains = NUMBERS
    elementwise = False
    attrs: ClassVar[Attributes] = {"k": at.integer(1, MAX_RANKED), "places": at.boolean}

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        k = op.attrs["k"]
        if not xs[0] or not 2 <= xs[0][-1] <= MAX_RANKED or k > xs[0][-1]:
            raise PlanError(f"{describe(op)}: the first {k} of an input of shape {xs[0]}; 2 to 1024 can be ranked")
        return (*xs[0][:-1], k)

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        return 0 if op.attrs["places"] else equal_frac(op, xs, ws)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        order = np.argsort(-xs[0], axis=-1, kind="stable")[..., : op.attrs["k"]]
        return order.astype(np.float64) if op.attrs["places"] else np.take_along_axis(xs[0], order, -1)

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        if not op.attrs["places"]:
            return combined(self.plain, op, xs, ws)
        found = self.plain(op, [xs[0].low], ws)
        return Interval(np.zeros(found.shape), np.full(found.shape, xs[0].low.shape[-1] - 1.0))

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return float(MAX_RANKED) if op.attrs["places"] else max(sizes)

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return None

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.emit(op, [writer.settled(xs[0], op.layer)])

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        size, k = plan.tensors[op.inputs[0]].shape[-1], op.attrs["k"]
        rows, bound = values(op, plan, batch) // k, cost.further(largest_bound(op, plan))
        return tournament.top(rows, size, k, bound, places=op.attrs["places"])

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        size, k = plan.tensors[op.inputs[0]].shape[-1], op.attrs["k"]
        return working.top(count // k, size, k, cost.further(largest_bound(op, plan)))


@lru_cache(maxsize=1024)
def decisions(candidates: int) -> int:
    """How many candidates the largest of so many loses against at most, whatever levels a tournament has."""
    if candidates == 1:
        return 0
    found = []
    for ways, lost in ((2, 1), (4, 2)):
        if ways <= candidates + 1:
            groups = max(1, candidates // ways)
            found.append(lost + decisions(groups + max(0, candidates - ways * groups)))
    return max(found)
