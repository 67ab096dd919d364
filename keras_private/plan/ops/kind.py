"""What a kind of op is: one class that declares everything about it but its protocol.

Theory of operation. A plan names kinds. Whoever has to know something of an op (its shape, its plain meaning, how far
its values reach, how exact it is, what it costs, whether a rewriting may pass it) asks `kind_of(op)`, which refuses a
kind that it does not know. Nothing has a default: a class that leaves out a declaration cannot be defined, so that
nobody can forget to say how large a new function's values get, or what it costs. What a family of kinds has in common
it declares in an abstract class. Only its protocol is elsewhere, under the same name in `mpc/ops/`.

No op of an executable plan may let rows of a batch meet, since they may be different clients'. Shapes leave the batch
axis out, so each rule has to keep to the axes behind it: inputs that broadcast have equal ranks, and so a weight or
constant never has more axes than the input.

Attributes of three names mean the same in every kind that takes them: `relu`, that negative results become 0;
`drop`, that so many low bits of the result are dropped; `factor`, a public constant that broadcasts to the input.
"""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan import working
from keras_private.plan.cost import Cost
from keras_private.plan.interval import Interval
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import Op, Plan, Shape, Tensor, Weight

Array: TypeAlias = NDArray[np.float64]
Attributes: TypeAlias = Mapping[str, at.Check]

MAX_ELEMENTS = 1 << 28  # of one tensor or weight


class Domain(NamedTuple):
    """Which operands of an op are bits; the others are numbers. `inputs`: by position, the last one for those behind it
    too."""

    inputs: tuple[bool, ...]
    output: bool

    def takes(self, bits: Sequence[bool]) -> bool:
        """Whether it is that of an op with such inputs."""
        return all(bit == self.inputs[min(at, len(self.inputs) - 1)] for at, bit in enumerate(bits))


NUMBERS: Final = (Domain((False,), False),)
ALIKE: Final = (*NUMBERS, Domain((True,), True))
"""Bits make bits, numbers make numbers."""


class Kind(ABC):
    """One kind of op. Subclasses without `abstract=True` are registered in `KINDS`, with one instance each.

    Raises:
        TypeError: a subclass leaves out a declaration, has the name of another, or inherits from a kind.
    """

    name: ClassVar[str]
    inputs: ClassVar[tuple[int, int]]
    """How many tensors it takes, lowest and highest number."""
    weights: ClassVar[tuple[int, int]]
    attrs: ClassVar[Attributes]
    """The attributes that it takes in both forms of a plan."""
    recorded: ClassVar[Attributes | None]
    """Further ones of that form; None: not in it."""
    executable: ClassVar[Attributes | None]
    optional: ClassVar[frozenset[str]]
    """Attributes that an executable op may leave out."""
    rowwise: ClassVar[bool]
    """Each row of the output depends on the same row of the inputs alone. Others are in no executable plan."""
    interactive: ClassVar[bool]
    """Its protocol sends messages."""
    domains: ClassVar[tuple[Domain, ...]]
    """Which operands may be bits: one of these holds for every op."""
    any_ranks: ClassVar[bool]
    """Its inputs may differ in rank in an executable plan too: it says itself which axes meet. Those of others that
    broadcast may not."""
    elementwise: ClassVar[bool]
    """Each value of the output depends on the values at its own place alone: of the inputs, and of its weights and its
    `factor`, broadcast."""
    public_linear: ClassVar[bool]
    """The output is made of the input by moving, adding and public factors; an addend may be secret."""
    carries: ClassVar[bool]
    """Without messages, and the output has the fractional bits of its inputs, however many those are."""
    pads_zeros: ClassVar[bool]
    """It has windows, and its attribute `pads` lays zeros around the image."""
    rectifies: ClassVar[bool]
    """Its results are never negative."""

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        super().__init_subclass__()
        if any(base in _CLASSES for base in cls.__mro__[1:]):
            raise TypeError(f"{cls.__name__} inherits from a kind: what kinds share belongs in an abstract family")
        if abstract:
            return
        missing = [name for name in _DECLARATIONS if not hasattr(cls, name)]
        methods = [name for name, value in vars(Kind).items() if getattr(value, "__isabstractmethod__", False)]
        if not missing:
            methods += [name for name in _RECORDED if cls.recorded is not None]
            methods += [name for name in _EXECUTABLE if cls.executable is not None]
        missing += [name for name in methods if getattr(cls, name) is getattr(Kind, name)]
        if missing:
            raise TypeError(f"kind {cls.__name__} does not declare: {', '.join(missing)}")
        if cls.recorded is None and cls.executable is None:
            raise TypeError(f"kind {cls.__name__} is in no form of a plan")
        if cls.name in _KINDS:
            raise TypeError(f"there are two kinds of the name {cls.name!r}")
        _CLASSES.add(cls)
        _KINDS[cls.name] = cls()

    # --- what it computes

    @abstractmethod
    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        """The output's shape, for inputs and weights of these shapes.

        Raises:
            PlanError: they do not fit.
        """

    @abstractmethod
    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        """Fractional bits of the output in an executable plan.

        Raises:
            PlanError: those of the operands do not fit.
        """

    @abstractmethod
    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        """The output in real numbers, without a fused ReLU; xs of (batch, *shape). Either form of a plan."""

    @abstractmethod
    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        """Where every element of `plain` lies. `interval.py` has the usual rules."""

    @abstractmethod
    def opens(self, op: Op) -> bool:
        """Whether its protocol is one `reshare`: one round, before which the dealer has its part of the result."""

    @abstractmethod
    def deals_first(self, op: Op) -> bool:
        """Whether in the first round of its protocol only the dealer sends, by its own summands and masks, and the pair
        looks at no input before that round is over."""

    @abstractmethod
    def part_cost(self, op: Op, plan: Plan, count: int) -> Cost | None:
        """What `count` values of its output cost, if different parties may deal different values of it; else None."""

    @abstractmethod
    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        """The largest magnitude to reckon with in its output.

        Args:
            seen: what has been seen of its first input.
            sizes: what is reckoned with in all inputs.
        """

    # --- what a rewriting may do with it

    @abstractmethod
    def does_nothing(self, op: Op, given: Shape) -> bool:
        """Whether it returns its first input, of shape `given`, as it is."""

    @abstractmethod
    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        """The attributes with which op(transpose(x, perm)) = transpose(op'(x), perm); None: there are none.

        Weights, and a constant `factor`, are turned by the caller, which takes them to broadcast to the input.
        """

    @abstractmethod
    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        """The factor g with op(factor · x) = g · op(x), for an x of shape `given`; None: there is none.

        Args:
            factor: with as many axes as what it is applied to; so has the result.
            back: the other way round, the g with op(g · x) = factor · op(x).
            public: otherwise the plan, which is public, must not depend on the factor's values.
        """

    # --- how it gets into fixed point: of kinds of recorded plans

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        """Have `writer` write a recorded op down."""
        raise PlanError(f"{describe(op)} does not belong in a recorded plan")

    def truncate_later(self, op: Op, given: Shape) -> Later:
        """Whether its result is the better place for a truncation than its first input, of shape `given`."""
        raise PlanError(f"{describe(op)} does not belong in a recorded plan")

    # --- what it takes: of kinds of executable plans

    def cost(self, op: Op, plan: Plan, batch: int) -> Cost:
        """Rounds, and bytes sent by the roles P0, P1 and P2."""
        raise PlanError(f"{describe(op)} does not belong in an executable plan")

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        """Bytes that a party needs beside its operands and its output of `count` values: an estimate from above."""
        raise PlanError(f"{describe(op)} does not belong in an executable plan")

    # --- how exact it is: of kinds of executable plans

    def error(self, op: Op, plan: Plan) -> float:
        """How far a value of its protocol may be from the plain meaning of the same operands, at most: in units of the
        last place of the output. 0: it never is. `plan` has the tensors and weights up to this op's output."""
        raise PlanError(f"{describe(op)} does not belong in an executable plan")


_DECLARATIONS = tuple(Kind.__annotations__)
_RECORDED = ("write", "truncate_later")
_EXECUTABLE = ("cost", "memory", "error")
_CLASSES: set[type] = set()
_KINDS: dict[str, Kind] = {}
KINDS: Mapping[str, Kind] = MappingProxyType(_KINDS)


def kind_of(op: Op) -> Kind:
    """The kind of `op`.

    Raises:
        PlanError: there is no such kind.
    """
    found = KINDS.get(op.kind)
    if found is None:
        raise PlanError(f"unknown op kind {op.kind[:40]!r}")
    return found


def dropped(op: Op) -> int:
    """Low bits of the result that `op` drops."""
    return int(op.attrs.get("drop", 0))


def rectified(op: Op) -> bool:
    """Whether negative results of `op` become 0."""
    return kind_of(op).rectifies or bool(op.attrs.get("relu", False))


def describe(op: Op) -> str:
    return f"layer {op.layer!r}: {op.kind[:40]}" if op.layer else op.kind[:40]


def shape_fits(shape: Shape) -> bool:
    return len(shape) <= at.MAX_RANK and all(axis >= 1 for axis in shape) and math.prod(shape) <= MAX_ELEMENTS


# --- families


class Local(Kind, abstract=True):
    """Without messages: applied to every summand alike."""

    any_ranks = False
    rowwise = True
    interactive = False
    rectifies = False
    optional = frozenset()

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        return equal_frac(op, xs, ws)

    def opens(self, op: Op) -> bool:
        return False

    def deals_first(self, op: Op) -> bool:
        return False

    def part_cost(self, op: Op, plan: Plan, count: int) -> Cost | None:
        return None

    def cost(self, op: Op, plan: Plan, batch: int) -> Cost:
        return Cost()

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return working.local(count)

    def error(self, op: Op, plan: Plan) -> float:
        return 0.0


def equal_frac(op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
    """The fractional bits that all operands have.

    Raises:
        PlanError: they have not.
    """
    frac = xs[0].frac
    if any(tensor.frac != frac for tensor in xs):
        raise PlanError(f"{describe(op)}: inputs with {[tensor.frac for tensor in xs]} fractional bits cannot meet")
    if any(weight.frac != frac for weight in ws):
        raise PlanError(f"{describe(op)}: the weight needs {frac} fractional bits, not {ws[0].frac}")
    return frac


def broadcast(op: Op, shapes: Sequence[Shape]) -> Shape:
    """The shape that these have together.

    Raises:
        PlanError: they do not broadcast.
    """
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError as error:
        raise PlanError(f"{describe(op)}: shapes {list(shapes)} do not broadcast") from error


def truncation_error(op: Op) -> float:
    """What truncating to one of the two neighbours does, and of a fused ReLU the sign of what is below one unit."""
    return 1.0 if dropped(op) else 0.0


def values(op: Op, plan: Plan, batch: int) -> int:
    """How many values the output has."""
    return batch * math.prod(plan.tensors[op.output].shape)
