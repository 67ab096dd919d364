"""Functions that are made of several ops: one op of a recorded plan, which is written as what the parties run.

Theory of operation. As long as numbers are real these are single ops, so that rewritings, measurements and intervals
know what they mean: that a softmax lies between 0 and 1 is nothing that an interval of its parts would show. Only
when the executable plan is written are they taken apart, by what is proven of their input.
"""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from keras_private.errors import PlanError
from keras_private.plan.cost import Cost
from keras_private.plan.ops.kind import NUMBERS, Array, Kind, describe
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import Op, Plan, Shape, Tensor, Weight

PRODUCT_FRAC = 60  # of a product of tables' values


class Composite(Kind, abstract=True):
    """Of recorded plans."""

    weights = (0, 0)
    executable = None
    optional = frozenset()
    rowwise = True
    interactive = True
    domains = NUMBERS
    any_ranks = False
    elementwise = False
    public_linear = False
    carries = False
    pads_zeros = False
    rectifies = False

    @abstractmethod
    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        """Have the ops written down that it is made of."""

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        raise PlanError(f"{describe(op)} does not belong in an executable plan")

    def opens(self, op: Op) -> bool:
        return False

    def deals_first(self, op: Op) -> bool:
        return False

    def part_cost(self, op: Op, plan: Plan, count: int) -> Cost | None:
        return None

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return False

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.WORSE


def like(op: Op, kind: str) -> Op:
    """For the writer: an op of another kind that belongs to the same layer and stands for the same tensor."""
    return Op(kind, op.inputs, (), op.output, {}, op.layer)


def ranked(op: Op, x: V, rank: int, writer: Writer[V]) -> V:
    """`x` with axes of size one before its own."""
    shape = x.tensor.shape
    if len(shape) == rank:
        return x
    return writer.emit(like(op, "reshape"), [x], shape=(1,) * (rank - len(shape)) + shape)


def multiplied(op: Op, x: V, y: V, writer: Writer[V], within: tuple[float, float] | None = None) -> V:
    """x·y, of equal ranks, with the fractional bits that `op`'s result keeps; `within`: known of it."""
    drop = max(0, x.frac + y.frac - writer.target(op.output))
    return writer.emit(like(op, "mul"), [x, y], drop=drop, relu=False, within=within)
