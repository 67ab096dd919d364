"""Rows of a secret table, by a private index: embeddings."""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan import cost, working
from keras_private.plan.interval import Interval
from keras_private.plan.ops.kind import NUMBERS, Array, Attributes, Kind, describe, values
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import Op, Plan, Shape, Tensor, Weight

MAX_PLACES = 1 << 20  # rows of a table: a party's work for an index is proportional to them


class Lookup(Kind):
    """table[x] for every index x, a whole number; table is a weight of (places, *row), the output (*x's shape, *row).

    Range: 0 <= x < places. Another whole number below the proven bound, and in plain numbers whatever is none, gets a
    row of zeros: so it is defined, and whoever declares too wide a range gets what the plan says. Exact.
    Two rounds. Over all parties 6·(16·levels + 8) bytes an index, with levels one more than the bits of the
    index (its bound) or the table (the larger): 1.5 kB for 10,000 places; and 32 bytes a value of the output.
    Sources: `mpc/one_hot.py`, and `mpc/dpf.py` for what is assumed.
    """

    name = "lookup"
    inputs = (1, 1)
    weights = (1, 1)
    attrs: ClassVar[Attributes] = {}
    recorded: ClassVar[Attributes | None] = {}
    executable: ClassVar[Attributes | None] = {}
    optional = frozenset()
    domains = NUMBERS
    rowwise = True
    interactive = True
    any_ranks = True
    elementwise = False
    public_linear = False
    carries = False
    pads_zeros = False
    rectifies = False

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        if not ws[0] or ws[0][0] > MAX_PLACES:
            raise PlanError(f"{describe(op)}: a table of shape {ws[0]}; it needs from 1 to 2^20 rows")
        return (*xs[0], *ws[0][1:])

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        if xs[0].frac:
            raise PlanError(
                f"{describe(op)}: an index is a whole number, not one with {xs[0].frac} fractional bits; give the "
                "model's input an integer dtype"
            )
        return ws[0].frac

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        (x,), (table,) = xs, ws
        there = (x >= 0) & (x < len(table)) & (x == np.floor(x))
        rows: Array = table[np.where(there, x, 0).astype(np.int64)]
        rows[~there] = 0.0
        return rows

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        """Of all rows, and of one of zeros."""
        table, shape = ws[0], (*xs[0].low.shape, *ws[0].shape[1:])
        low, high = np.minimum(table.min(axis=0), 0.0), np.maximum(table.max(axis=0), 0.0)
        return Interval(np.broadcast_to(low, shape), np.broadcast_to(high, shape))

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return float(np.max(np.abs(ws[0])))

    def opens(self, op: Op) -> bool:
        return False

    def deals_first(self, op: Op) -> bool:
        return False  # every party deals in the first round, and needs the index for that

    def part_cost(self, op: Op, plan: Plan, count: int) -> cost.Cost | None:
        return None

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return False

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return None

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.table(op, xs[0])

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.WORSE

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        return cost.lookup(*self._sizes(op, plan, batch))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return working.lookup(*self._sizes(op, plan, count // values(op, plan, 1)))

    def _sizes(self, op: Op, plan: Plan, batch: int) -> tuple[int, int, int | None, int]:
        """Indices, places, the bound of an index, and values."""
        x, table = plan.tensors[op.inputs[0]], plan.weights[op.weights[0]]
        return batch * math.prod(x.shape), table.shape[0], x.bound, values(op, plan, batch)

    def error(self, op: Op, plan: Plan) -> float:
        return 0.0
