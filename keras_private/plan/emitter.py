"""Appends ops to an executable plan, each with what it proves: shape, fractional bits, interval, bound.

What is written is decided in `fixed_point.py`, op by op of the recorded plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_private.errors import PlanError
from keras_private.plan import bounds
from keras_private.plan.builder import Alike, Names, input_tensor
from keras_private.plan.fractions import Fractions
from keras_private.plan.interval import Interval
from keras_private.plan.ops import CONTRACT_BITS, Product, describe, dropped, infer, kind_of
from keras_private.plan.plan import Draft, Input, Op, Tensor, Weight
from keras_private.plan.simulate import rounded

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Value:
    """An executable tensor and all that is known of it."""

    name: str
    tensor: Tensor
    interval: Interval | None
    recorded: str  # the recorded tensor that it is, or is on the way to

    @property
    def frac(self) -> int:
        return self.tensor.frac


class Emitter:
    """The plan so far, beginning with the inputs.

    Args:
        draft: the recorded plan that it is the executable one of.
        fractions: how many fractional bits its values have.

    Raises:
        PlanError: an input's declared range does not fit its fractional bits.
    """

    def __init__(self, draft: Draft, fractions: Fractions) -> None:
        self.draft = draft
        self.fractions = fractions
        self.precision = fractions.precision
        plan = draft.plan
        self.values = {given.tensor: self.start(number, given) for number, given in enumerate(plan.inputs)}
        """By recorded name."""
        self.tensors = {value.name: value.tensor for value in self.values.values()}
        self.weights: dict[str, Array] = {}
        self.encoded: dict[str, Weight] = {}
        self.ops: list[Op] = []
        self._names = Names(self.weights)
        self._alike = Alike(self.weights)
        self._settled: dict[str, Value] = {}  # by executable name: the same value truncated
        # Operands so far, for the kinds that are asked about an op.
        self._written = replace(plan, precision=self.precision, tensors=self.tensors, weights=self.encoded)

    def start(self, number: int, given: Input) -> Value:
        """An input of the plan."""
        shape, frac = self.draft.plan.shape(given), self.fractions.target(given.tensor)
        interval = bounds.of_input(given, shape, frac)
        bound = bounds.bound(interval, frac)
        if interval is not None and bound is None:
            raise PlanError(
                f"input_range {given.range} of {given.name!r} does not fit {frac} fractional bits; narrow the range"
            )
        return Value(input_tensor(number), Tensor(shape, frac, bound), interval, given.tensor)

    def target(self, tensor: str) -> int:
        """Fractional bits that a recorded tensor has when it has been truncated."""
        return self.fractions.target(tensor)

    def kept(self, x: Value) -> int:
        """Fractional bits that `x` keeps when it is truncated."""
        return self.target(x.recorded)

    def settled(self, x: Value, layer: str) -> Value:
        """`x` with no more fractional bits than such a value keeps."""
        if x.name not in self._settled:
            self._settled[x.name] = self.truncated(x, self.kept(x), layer)
        return self._settled[x.name]

    def settled_before(self, x: Value) -> Value:
        """`x` as it has been settled for another op, or else as it is."""
        return self._settled.get(x.name, x)

    def raised(self, x: Value, beside: ArrayLike, layer: str) -> Value:
        """`x` with the precision's fractional bits, if it has fewer and those cannot write the numbers beside it."""
        numbers = np.asarray(beside, np.float64)
        if x.frac >= self.precision or np.array_equal(numbers, rounded(numbers, x.frac)):
            return x
        return self.shifted(x, self.precision, layer)

    def truncated(self, x: Value, frac: int, layer: str) -> Value:
        if x.frac <= frac:
            return x
        return self.emit(Op("truncate", (), (), "", {}, layer), [x], drop=x.frac - frac)

    def shifted(self, x: Value, frac: int, layer: str) -> Value:
        up = frac - x.frac
        return x if up == 0 else self.emit(Op("scale_int", (), (), "", {}, layer), [x], multiplier=1 << up, shift=up)

    def grown(self, x: Value, rank: int, layer: str) -> Value:
        """Broadcasting among tensors is spelt out: equal ranks."""
        missing = rank - len(x.tensor.shape)
        if missing == 0:
            return x
        return self.emit(Op("reshape", (), (), "", {}, layer), [x], shape=(1,) * missing + x.tensor.shape)

    def encode(self, op: Op, name: str, frac: int, value: Array) -> str:
        """A weight of the executable plan, named after a recorded one; the same one for all who need the same."""
        if value.size and float(np.max(np.abs(value))) >= 2.0 ** (CONTRACT_BITS - frac):
            raise PlanError(
                f"{describe(op)}: weight {name!r} is too large for {self.precision} fractional bits; "
                "lower precision_fractional or rescale the layer"
            )
        new = self._alike.name((name, frac), value, lambda: self._names.fresh(name.partition(":")[0]))
        self.encoded[new] = Weight(value.shape, frac)
        return new

    def emit(
        self,
        like: Op,
        xs: Sequence[Value],
        weights: Sequence[str] = (),
        *,
        within: tuple[float, float] | None = None,
        **attrs: Any,
    ) -> Value:
        """Append an op of `like`'s kind, with what it proves."""
        kept = {name: value for name, value in like.attrs.items() if name not in ("data_format", "factor")}
        output = f"t{len(self.ops)}"
        op = Op(like.kind, tuple(x.name for x in xs), tuple(weights), output, {**kept, **attrs}, like.layer)
        tensor = infer(op, [x.tensor for x in xs], [self.encoded[name] for name in weights], self.precision)
        encoded = [rounded(self.weights[name], self.encoded[name].frac) for name in weights]
        product = bounds.propagate(op, [x.interval for x in xs], encoded)
        if within is not None:
            product = bounds.narrowed(product, within, tensor.shape)
        raw_frac = tensor.frac + dropped(op)
        product = self.checked(op, product, raw_frac)
        if isinstance(kind_of(op), Product):
            op = replace(op, attrs={**op.attrs, "bound": bounds.bound(product, raw_frac) or CONTRACT_BITS})
        self.tensors[output] = tensor
        interval = bounds.after_product(op, product, bounds.error(op, self._written))
        tensor = replace(tensor, bound=bounds.bound(interval, tensor.frac))
        self.ops.append(op)
        self.tensors[output] = tensor
        return Value(output, tensor, interval, like.output or xs[0].recorded)

    def checked(self, op: Op, product: Interval | None, frac: int) -> Interval | None:
        """Drop a bound that proves nothing; refuse one that proves an overflow."""
        if product is None or bounds.bound(product, frac) is not None:
            return product
        limit = 2.0 ** (CONTRACT_BITS - frac)
        if product.attained or bool(np.any(product.low >= limit) or np.any(product.high <= -limit)):
            ranges = ", ".join(str(given.range) for given in self.draft.plan.inputs)
            raise PlanError(
                f"{describe(op)}: with input_range {ranges} its values reach 2^"
                f"{bounds.needed_bits(product, frac) - frac}, and 2^{CONTRACT_BITS - frac} is the limit; "
                "narrow input_range or lower precision_fractional"
            )
        return None
