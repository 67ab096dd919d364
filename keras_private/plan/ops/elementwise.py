"""Ops on each value by itself, but for products with a secret (`linear.py`)."""

# ruff: noqa: ARG001, ARG002 - every kind has the same methods
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan import cost, working
from keras_private.plan.interval import Interval, monotone, signed
from keras_private.plan.ops.dealt import Dealt
from keras_private.plan.ops.kind import (
    NUMBERS,
    Array,
    Attributes,
    Kind,
    Local,
    broadcast,
    describe,
    dropped,
    equal_frac,
    truncation_error,
    values,
)
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import Op, Plan, Shape, Tensor, Weight

DROP = at.integer(0, at.MAX_TRUNCATION)


class Elementwise(Kind, abstract=True):
    domains = NUMBERS
    any_ranks = False
    elementwise = True
    pads_zeros = False

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return False

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return op.attrs


# --- sums


class Additive(Elementwise, Local, abstract=True):
    """Of two tensors (of equal rank in an executable plan, see `infer`), or of a tensor and a weight that does not
    enlarge it."""

    inputs = (1, 2)
    weights = (0, 1)
    attrs: ClassVar[Attributes] = {}
    recorded: ClassVar[Attributes | None] = {}
    executable: ClassVar[Attributes | None] = {}
    public_linear = True
    carries = True

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        if len(xs) + len(ws) != 2:
            raise PlanError(f"{describe(op)} takes two inputs, or one input and one weight")
        shape = broadcast(op, (*xs, *ws))
        if ws and shape != xs[0]:
            raise PlanError(f"{describe(op)}: a weight of shape {ws[0]} does not fit an input of shape {xs[0]}")
        return shape

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return max(sizes)

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.join(op, xs)

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.AS_GOOD


class Add(Additive):
    name = "add"

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        left, right = sides(xs, ws)
        return left + right

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return monotone(self.plain, op, xs, ws)


class Sub(Additive):
    name = "sub"

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        left, right = sides(xs, ws)
        return left - right

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        """It grows in the first input and falls in the second."""
        if len(xs) == 1:
            return monotone(self.plain, op, xs, ws)
        left, right = xs
        return Interval(self.plain(op, [left.low, right.high], []), self.plain(op, [left.high, right.low], []))


def sides(xs: Sequence[Array], ws: Sequence[Array]) -> tuple[Array, Array]:
    """Broadcasting is over the per-sample axes: missing ones go in behind the batch axis."""
    if len(xs) == 1:
        return xs[0], ws[0]
    rank = max(x.ndim for x in xs)
    left, right = (x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:]) for x in xs)
    return left, right


# --- public factors


class Factor(Elementwise, Local, abstract=True):
    """A public constant that broadcasts to the input's shape."""

    inputs = (1, 1)
    weights = (0, 0)
    public_linear = True
    carries = False
    constant: ClassVar[str]
    """The attribute that holds it."""

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        return check_factor(op, xs[0], at.constant_shape(op.attrs[self.constant]))

    @abstractmethod
    def factor(self, op: Op) -> Array:
        """The constant, as a real number or an array of them."""

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return _times(op, xs, [self.factor(op)])

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return signed(_times, op, xs, [self.factor(op)])

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return sizes[0] * float(np.max(np.abs(self.factor(op))))

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None  # two factors in a row become one


class Scale(Factor):
    """By a real number; of recorded plans."""

    name = "scale"
    constant = "factor"
    attrs: ClassVar[Attributes] = {"factor": at.real_constant}
    recorded: ClassVar[Attributes | None] = {}
    executable = None

    def factor(self, op: Op) -> Array:
        return at.constant_array(op.attrs["factor"]).astype(np.float64)

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return bool(op.attrs["factor"] == 1)

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        x, whole, shift = writer.whole(op, xs[0], self.factor(op))
        scaled = Op("scale_int", op.inputs, (), op.output, {}, op.layer)
        return writer.emit(scaled, [x], multiplier=at.constant(whole), shift=shift)

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.WORSE


class ScaleInt(Factor):
    """By an integer, and `shift` more fractional bits: by multiplier / 2^shift. Of executable plans."""

    name = "scale_int"
    constant = "multiplier"
    attrs: ClassVar[Attributes] = {"multiplier": at.integer_constant, "shift": at.integer(0, at.MAX_SHIFT)}
    recorded = None
    executable: ClassVar[Attributes | None] = {}

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        return xs[0].frac + int(op.attrs["shift"])

    def factor(self, op: Op) -> Array:
        factor: Array = np.ldexp(at.constant_array(op.attrs["multiplier"]).astype(np.float64), -op.attrs["shift"])
        return factor


def _times(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    return xs[0] * ws[0]


def check_factor(op: Op, given: Shape, factor: Shape) -> Shape:
    """`given`, which `factor` broadcasts to.

    Raises:
        PlanError: it does not.
    """
    try:
        if tuple(np.broadcast_shapes(given, factor)) == given:
            return given
    except ValueError:
        pass
    raise PlanError(f"{describe(op)}: a factor of shape {factor} does not fit an input of shape {given}")


# --- with messages


class Truncating(Dealt, abstract=True):
    """Of one number; the low bits that it drops go in the rounds that it takes anyway."""

    inputs = (1, 1)
    domains = NUMBERS

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        return equal_frac(op, xs, ws) - dropped(op)

    def error(self, op: Op, plan: Plan) -> float:
        return truncation_error(op)


class Dropping(Truncating, abstract=True):
    """Of executable plans alone: real numbers do not notice it."""

    recorded = None
    write = Kind.write  # which refuses
    truncate_later = Kind.truncate_later

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return xs[0]

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return xs[0]


class Truncate(Dropping):
    """Drops low bits."""

    name = "truncate"
    attrs: ClassVar[Attributes] = {"drop": at.integer(1, at.MAX_TRUNCATION)}

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        return cost.truncation(values(op, plan, batch), dropped(op))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return working.truncation(count)


class Floor(Dropping):
    """Drops low bits, always downwards: floor(x / 2^drop), which depends on nothing but x. With a ReLU, if `relu`
    says so, of one exchange more.

    2 + levels rounds for a window of `drop` bits; of many values and 16 bits 52 bytes beside a truncation's 14.
    """

    name = "floor"
    attrs: ClassVar[Attributes] = {"drop": at.integer(1, at.MAX_TRUNCATION), "relu": at.boolean}

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        bound, relu = plan.tensors[op.inputs[0]].bound, bool(op.attrs["relu"])
        return cost.floor(values(op, plan, batch), dropped(op), bound, relu=relu)

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        compared = working.comparison(count, cost.window(dropped(op), 0, count))
        compared += working.truncation(count) + working.NUMBER * count + 4 * working.SHARE * count
        bound = plan.tensors[op.inputs[0]].bound
        return compared + (working.relu(count, bound, dropped(op)) if op.attrs["relu"] else 0)


class Relu(Truncating):
    """max(x, 0), and a truncation that costs no more rounds."""

    name = "relu"
    executable: ClassVar[Attributes | None] = {"drop": DROP}
    rectifies = True

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return np.maximum(xs[0], 0.0)

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return monotone(self.plain, op, xs, ws)

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return factor if public and np.all(factor > 0) else None

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.emit(op, xs, drop=max(0, xs[0].frac - writer.target(op.output)))

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.BETTER

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        return cost.relu(values(op, plan, batch), plan.tensors[op.inputs[0]].bound, dropped(op))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return working.relu(count, plan.tensors[op.inputs[0]].bound, dropped(op))
