"""Comparisons, which make bits of numbers. All of them are exact.

Bytes are those of all three parties a value, of 21 bits and many values; they and the rounds depend on the proven bound
and on how many values there are (`plan.cost.window`, `plan.gates.conjunction`). Sources are with the protocols.
"""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan import cost, gates, working
from keras_private.plan.interval import Interval
from keras_private.plan.ops.dealt import Dealt, largest_bound, unit
from keras_private.plan.ops.kind import Array, Attributes, Domain, describe, equal_frac, values
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import CONTRACT_BITS, Op, Plan, Shape, Tensor, Weight

COMPARISON = (Domain((False,), True),)


def bits_of(result: NDArray[np.bool_]) -> Array:
    return result.astype(np.float64)


class Comparison(Dealt, abstract=True):
    """Bits of numbers; compared as they come, so that a truncation before it is saved."""

    domains = COMPARISON

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        equal_frac(op, xs, ws)
        return 0

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return unit(self.plain(op, [x.low for x in xs], ws))

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return 1.0

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.BETTER

    def compared(self, op: Op, plan: Plan) -> int | None:
        """The bound of what is compared with 0."""
        return cost.further(largest_bound(op, plan))


class Ordering(Comparison, abstract=True):
    """By a sign: 1 + levels rounds; 3 to 4 and 14 to 19 bytes."""

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        count = values(op, plan, batch)
        return cost.sign(count, cost.window(self.compared(op, plan), 0, count))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return working.compared(count, self.compared(op, plan))


class Less(Ordering):
    """[x < y]."""

    name = "less"
    inputs = (2, 2)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return bits_of(xs[0] < xs[1])


class Threshold(Ordering, abstract=True):
    """With one public number."""

    inputs = (1, 1)
    attrs: ClassVar[Attributes] = {"threshold": at.real}

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.emit(op, xs)


class Below(Threshold):
    """[x < threshold]."""

    name = "below"

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return bits_of(xs[0] < op.attrs["threshold"])


class Above(Threshold):
    """[x > threshold]."""

    name = "above"

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return bits_of(xs[0] > op.attrs["threshold"])


class Equality(Comparison, abstract=True):
    """1 + exchanges rounds; 3 to 4 and 10 to 20 bytes."""

    def width(self, op: Op, plan: Plan) -> int:
        """Bits in which what is compared with 0 differs from it, if it does."""
        return cost.further(largest_bound(op, plan))

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        return gates.equal(values(op, plan, batch), self.width(op, plan))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return working.equal(count, self.width(op, plan))


class Equal(Equality):
    """[x = y]."""

    name = "equal"
    inputs = (2, 2)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return bits_of(xs[0] == xs[1])


class EqualTo(Equality):
    """[x = value], of a public value that x can have: one with as many fractional bits."""

    name = "equal_to"
    inputs = (1, 1)
    attrs: ClassVar[Attributes] = {"value": at.real}

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        self.raw(op, xs[0].frac)
        return 0

    @staticmethod
    def raw(op: Op, frac: int) -> int:
        """The value with so many fractional bits.

        Raises:
            PlanError: it has more.
        """
        found = math.ldexp(op.attrs["value"], frac)
        if found != int(found) or abs(found) >= 2.0**CONTRACT_BITS:
            raise PlanError(f"{describe(op)}: no number of {frac} fractional bits equals {op.attrs['value']}")
        return int(found)

    def width(self, op: Op, plan: Plan) -> int:
        return self.differing(op, plan)

    @staticmethod
    def differing(op: Op, plan: Plan) -> int:
        """Bits in which x and the value can differ."""
        raw = EqualTo.raw(op, plan.tensors[op.inputs[0]].frac)
        return max(largest_bound(op, plan), raw.bit_length()) + 1

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return bits_of(xs[0] == op.attrs["value"])

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.emit(op, [writer.raised(xs[0], op.attrs["value"], op.layer)])
