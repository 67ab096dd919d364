"""Products of two secrets: of two tensors, or of a tensor and a weight.

One class a kind takes both forms: the second operand is the second input, or, if there is none, the first weight.
`linear.py` has those that a network's layers are made of. `bound` of an executable product: proven |raw| < 2^bound
before its truncation; without it only the contract holds.

Range and error are the same for all of them. The product before its truncation must stay below 2^62; its operands may
have any fractional bits. A party computes exactly in the ring; the truncation errs by one unit of the result at most.
Rounds and bytes are those of `cost.linear`: 32 bytes a value and one round without a truncation, 46 bytes and two
rounds with one by up to 16 bits (52 by up to 32, 64 beyond), over all parties. (Araki et al., CCS 2016, section 2.2;
Mohassel and Rindal, *ABY3*, CCS 2018, section 3; the reshare and the truncation are described in `mpc/`.)
"""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan import cost, working
from keras_private.plan.interval import Interval, bilinear, corners, signed, signed_sum, squared
from keras_private.plan.ops.elementwise import DROP, check_factor, sides
from keras_private.plan.ops.equation import Equation, letters
from keras_private.plan.ops.kind import (
    NUMBERS,
    Array,
    Attributes,
    Kind,
    broadcast,
    describe,
    dropped,
    truncation_error,
    values,
)
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import Op, Plan, Shape, Tensor, Weight

PRODUCT: Attributes = {"drop": DROP, "bound": at.integer(1, at.MAX_SHIFT)}
FUSED: Attributes = {**PRODUCT, "relu": at.boolean}


class Product(Kind, abstract=True):
    """What ends in a reshare, a truncation and, where it has that attribute, a ReLU."""

    optional = frozenset({"bound"})
    domains = NUMBERS
    rowwise = True
    interactive = True
    public_linear = False
    carries = False

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return False

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.product(op, xs)

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.WORSE

    def opens(self, op: Op) -> bool:
        return not dropped(op) and not op.attrs.get("relu")

    def deals_first(self, op: Op) -> bool:
        return False

    def part_cost(self, op: Op, plan: Plan, count: int) -> cost.Cost:
        return cost.linear(count, dropped(op), _relu_bound(op))

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        return self.part_cost(op, plan, values(op, plan, batch))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        rows = count // math.prod(plan.tensors[op.output].shape)
        return working.linear(count, dropped(op), _relu_bound(op)) + self.laid_out(op, plan, rows)

    @abstractmethod
    def laid_out(self, op: Op, plan: Plan, rows: int) -> int:
        """Bytes of the copies of operands, and of the product, that a party multiplies in. A second operand in panels
        takes up to twice its size."""

    def error(self, op: Op, plan: Plan) -> float:
        return truncation_error(op)


def _relu_bound(op: Op) -> int | None:
    return cost.product_bound(op) if op.attrs.get("relu") else None


class Bilinear(Product, abstract=True):
    """Of two operands: of which the second is a tensor or a weight."""

    inputs = (1, 2)
    weights = (0, 1)
    executable = FUSED
    rectifies = False

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        if len(xs) == 2 if ws else len(xs) == 1:
            raise PlanError(f"{describe(op)} takes two inputs and no weight, or one input and a weight")
        return self.shape_of(op, xs[0], (*xs[1:], *ws)[0], of_batch=not ws)

    @abstractmethod
    def shape_of(self, op: Op, left: Shape, right: Shape, *, of_batch: bool) -> Shape:
        """The output's shape, for operands of these shapes, the second of which is a tensor (`of_batch`) or a weight.

        Raises:
            PlanError: they do not fit.
        """

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        second = xs[1].frac if len(xs) == 2 else ws[0].frac
        return xs[0].frac + second - dropped(op)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return self.multiply(op, xs[0], (*xs[1:], *ws)[0], of_batch=len(xs) == 2)

    @abstractmethod
    def multiply(self, op: Op, x: Array, y: Array, *, of_batch: bool) -> Array:
        """The product of x of (batch, *shape) with y alike, or, without `of_batch`, with one weight for all rows."""

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        """Sums of products. Those of two tensors whose signs are open are enclosed by centre and radius."""
        if len(xs) == 2:
            return bilinear(lambda x, y: self.multiply(op, x, y, of_batch=True), *xs)
        return signed_sum(self.plain, op, xs, ws)

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        """Of two tensors: at least one product of their largest values. Their sums are seen."""
        return sizes[0] * sizes[1] if len(sizes) == 2 else seen * self.gain(op, ws[0])

    def laid_out(self, op: Op, plan: Plan, rows: int) -> int:
        sizes = [math.prod(plan.tensors[name].shape) for name in op.inputs]
        return rows * (24 * sizes[0] + 72 * sum(sizes[1:]) + 8 * math.prod(plan.tensors[op.output].shape))

    @abstractmethod
    def fan_in(self, op: Op, left: Shape, right: Shape) -> int:
        """How many products one output adds up, for operands of these shapes."""

    # --- of the form with a weight

    @abstractmethod
    def gain(self, op: Op, weight: Array) -> float:
        """By what factor an output may well be larger than the inputs."""

    @abstractmethod
    def rows(self, op: Op, weight: Array) -> Array:
        """The largest weight of each input channel."""

    @abstractmethod
    def reach(self, op: Op, largest: Array, weight: Array) -> float:
        """The root of the sum of squares of the inputs that one output adds up, if each is at its `largest`."""


class Mul(Bilinear):
    """Value by value, of two tensors that broadcast (of equal rank in an executable plan, see `infer`), or by a weight
    that broadcasts to the input's shape."""

    name = "mul"
    attrs: ClassVar[Attributes] = {}
    recorded: ClassVar[Attributes | None] = {}
    any_ranks = False
    elementwise = True
    pads_zeros = False

    def shape_of(self, op: Op, left: Shape, right: Shape, *, of_batch: bool) -> Shape:
        if not of_batch:
            return check_factor(op, left, right)
        return broadcast(op, (left, right))

    def multiply(self, op: Op, x: Array, y: Array, *, of_batch: bool) -> Array:
        left, right = sides([x, y], []) if of_batch else (x, y)
        return left * right

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        if len(xs) == 2:
            return corners(lambda x, y: self.multiply(op, x, y, of_batch=True), *xs)
        return signed(self.plain, op, xs, ws)

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return op.attrs

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None  # two factors in a row become one

    def laid_out(self, op: Op, plan: Plan, rows: int) -> int:
        return rows * 24 * math.prod(plan.tensors[op.output].shape)

    def fan_in(self, op: Op, left: Shape, right: Shape) -> int:
        return 1

    def gain(self, op: Op, weight: Array) -> float:
        return float(np.max(np.abs(weight)))

    def rows(self, op: Op, weight: Array) -> Array:
        return weight.reshape(-1)

    def reach(self, op: Op, largest: Array, weight: Array) -> float:
        return float(np.max(largest))


class Square(Product):
    """Each value times itself: never negative."""

    name = "square"
    inputs = (1, 1)
    weights = (0, 0)
    attrs: ClassVar[Attributes] = {}
    recorded: ClassVar[Attributes | None] = {}
    executable: ClassVar[Attributes | None] = PRODUCT
    any_ranks = False
    elementwise = True
    pads_zeros = False
    rectifies = True

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        return xs[0]

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        return 2 * xs[0].frac - dropped(op)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return np.square(xs[0])

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return squared(xs[0])

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return sizes[0] ** 2

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return op.attrs

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None if back else np.square(factor)

    def laid_out(self, op: Op, plan: Plan, rows: int) -> int:
        return rows * 16 * math.prod(plan.tensors[op.output].shape)


def _readable(value: Any) -> bool:
    try:
        return type(value) is str and len(value) < 60 and str(Equation.read(value)) != ""
    except PlanError:
        return False


class Einsum(Bilinear):
    """Any sum of products of two operands, by an `equation` for one sample: `equation.py`."""

    name = "einsum"
    attrs: ClassVar[Attributes] = {"equation": _readable}
    recorded: ClassVar[Attributes | None] = {}
    any_ranks = True
    elementwise = False
    pads_zeros = False

    def shape_of(self, op: Op, left: Shape, right: Shape, *, of_batch: bool) -> Shape:
        return shape_by(op, equation_of(op), left, right)

    def multiply(self, op: Op, x: Array, y: Array, *, of_batch: bool) -> Array:
        return equation_of(op).multiply(x, y, of_batch=of_batch)

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        """Weights that meet one and the same value in a sum may cancel out, so that its ends are not reached then."""
        found = super().interval(op, xs, ws)
        if len(xs) == 2 or not found.attained:
            return found
        equation = equation_of(op)
        of_input = dict(zip(equation.left, xs[0].low.shape[1:], strict=True))
        alone = [
            size > 1 == of_input.get(label, 1) and label not in equation.out
            for label, size in zip(equation.right, ws[0].shape, strict=True)
        ]
        return replace(found, attained=not any(alone))

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return None

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None

    def fan_in(self, op: Op, left: Shape, right: Shape) -> int:
        equation = equation_of(op)
        sizes = equation.sizes(left, right)
        return math.prod(size for label, size in sizes.items() if label not in equation.out)

    def gain(self, op: Op, weight: Array) -> float:
        equation = equation_of(op)
        kept = [label for label in dict.fromkeys(equation.right) if label in equation.out]
        return float(np.sqrt(np.max(np.einsum(f"{letters(equation.right)}->{letters(kept)}", np.square(weight)))))

    def rows(self, op: Op, weight: Array) -> Array:
        equation = equation_of(op)
        kept = tuple(axis for axis, label in enumerate(equation.right) if label not in equation.left)
        found: Array = weight.max(axis=kept).reshape(-1)
        return found

    def reach(self, op: Op, largest: Array, weight: Array) -> float:
        return float(np.max(largest)) * math.sqrt(self.fan_in(op, largest.shape[1:], weight.shape))


def equation_of(op: Op) -> Equation:
    return Equation.read(op.attrs["equation"])


def shape_by(op: Op, equation: Equation, left: Shape, right: Shape) -> Shape:
    """The shape that an equation gives.

    Raises:
        PlanError: the operands do not fit; names the op.
    """
    try:
        return equation.shape(left, right)
    except PlanError as error:
        raise PlanError(f"{describe(op)}: {error}") from error
