"""What the kinds have in common whose protocols deal ahead and take no weights."""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from keras_private.plan import cost
from keras_private.plan.interval import Interval
from keras_private.plan.ops.kind import Array, Attributes, Kind, broadcast, equal_frac
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import CONTRACT_BITS, Op, Plan, Shape, Tensor, Weight


class Dealt(Kind, abstract=True):
    """On tensors alone, which broadcast; in the first round only the dealer sends."""

    weights = (0, 0)
    attrs: ClassVar[Attributes] = {}
    recorded: ClassVar[Attributes | None] = {}
    executable: ClassVar[Attributes | None] = {}
    optional = frozenset()
    any_ranks = False
    rowwise = True
    interactive = True
    elementwise = True
    public_linear = False
    carries = False
    pads_zeros = False
    rectifies = False

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        return broadcast(op, xs)

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        return equal_frac(op, xs, ws)

    def opens(self, op: Op) -> bool:
        return False

    def deals_first(self, op: Op) -> bool:
        return True

    def part_cost(self, op: Op, plan: Plan, count: int) -> cost.Cost | None:
        return None

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return max(sizes)

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

    def error(self, op: Op, plan: Plan) -> float:
        return 0.0


def unit(result: Array) -> Interval:
    """From 0 to 1, for every element of such a result."""
    return Interval(np.zeros(result.shape), np.ones(result.shape))


def largest_bound(op: Op, plan: Plan) -> int:
    """The bound of all its inputs."""
    found = [plan.tensors[name].bound for name in op.inputs]
    return max(CONTRACT_BITS if bound is None else bound for bound in found)
