"""What is done with bits: formulas of them, and numbers selected by them or made of them. All of it is exact.

Bytes are those of all three parties a value. Sources are with the protocols.
"""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from keras_private.plan import cost, gates, working
from keras_private.plan.interval import Interval
from keras_private.plan.ops.dealt import Dealt, unit
from keras_private.plan.ops.kind import Array, Attributes, Domain, Local, broadcast, equal_frac, values
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import Op, Plan, Shape, Tensor, Weight

LOGIC = (Domain((True,), True),)


class Bitwise(Local, abstract=True):
    """Of bits, without messages. A bit has no fractional ones, and nothing of it is truncated."""

    weights = (0, 0)
    attrs: ClassVar[Attributes] = {}
    recorded: ClassVar[Attributes | None] = {}
    executable: ClassVar[Attributes | None] = {}
    domains = LOGIC
    elementwise = True
    public_linear = False
    carries = False
    pads_zeros = False

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        return broadcast(op, xs)

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return unit(self.plain(op, [x.low for x in xs], ws))

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return 1.0

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return False

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return op.attrs

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.join(op, xs)

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.WORSE


class Not(Bitwise):
    name = "not"
    inputs = (1, 1)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return 1.0 - xs[0]


class Xor(Bitwise):
    name = "xor"
    inputs = (2, 2)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return np.abs(xs[0] - xs[1])


class And(Dealt):
    """2 rounds; 3 bits."""

    name = "and"
    inputs = (2, 2)
    domains = LOGIC

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return xs[0] * xs[1]

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return Interval(self.plain(op, [x.low for x in xs], ws), self.plain(op, [x.high for x in xs], ws))

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        return gates.cost(gates.AND, cost.plane_words(values(op, plan, batch)))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return working.LOCAL * count


# --- numbers of bits


class Select(Dealt):
    """x where a bit is set, else y. 2 rounds; 32 bytes."""

    name = "select"
    inputs = (3, 3)
    domains = (Domain((True, False), False),)

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        return equal_frac(op, xs[1:], ws)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return xs[0] * xs[1] + (1.0 - xs[0]) * xs[2]

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        shape = np.broadcast_shapes(*(x.low.shape for x in xs))
        low = np.minimum(xs[1].low, xs[2].low) + np.zeros(shape)
        return Interval(low, np.maximum(xs[1].high, xs[2].high) + np.zeros(shape))

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return max(sizes[1:])

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        return cost.select(values(op, plan, batch))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return (working.SELECT + 2 * working.SHARE) * count


class ToNumber(Dealt):
    """The numbers 0 and 1, without fractional bits. 2 rounds; 24 bytes."""

    name = "to_number"
    inputs = (1, 1)
    domains = (Domain((True,), False),)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return xs[0]

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return xs[0]

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        return cost.number(values(op, plan, batch))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return working.NUMBER * count
