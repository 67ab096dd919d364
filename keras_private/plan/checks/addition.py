"""Ops that are added to an executable plan, and the verdict that several checks end in.

Theory of operation. A check brings what it looks at into the form of *margins*: numbers that are negative, as signed
words of 64 bits, exactly where something is wrong. All margins of all tensors are compared in the same rounds; the bits
are added up as numbers, and the count is compared with 0. So there is one bit a row, and it is exact.

Nothing is proven of the numbers that a check looks at: they may be any word, if a client made them. The tensors added
here have no bound then, and the comparison takes all 64 bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.plan.attributes import plain
from keras_private.plan.builder import Names
from keras_private.plan.ops import infer
from keras_private.plan.plan import BIT, Draft, Op, Output, Shape, Tensor, Weight

_JOINED = 1024  # inputs of one concat


class Addition:
    """What is added to an executable draft, in order.

    Args:
        layer: one of plan.CHECKS.
        name: of the new tensors and weights.
    """

    def __init__(self, draft: Draft, layer: str, name: str) -> None:
        self._draft = draft
        self._layer = layer
        self._name = name
        self._tensors = dict(draft.plan.tensors)
        self._weights: dict[str, Weight] = dict(draft.plan.weights)
        self._values = dict(draft.values)
        self._fresh = Names(self._tensors), Names(self._values)
        self._ops: list[Op] = []

    def shape(self, tensor: str) -> Shape:
        return self._tensors[tensor].shape

    def frac(self, tensor: str) -> int:
        return self._tensors[tensor].frac

    def op(self, kind: str, *inputs: str, weights: Sequence[str] = (), bound: int | None = None, **attrs: Any) -> str:
        """Add one op; returns its output.

        Args:
            bound: of the output, if it is proven for all words that inputs may be.
        """
        output = self._fresh[0].fresh(self._name)
        op = Op(kind, inputs, tuple(weights), output, {key: plain(value) for key, value in attrs.items()}, self._layer)
        given = [self._tensors[name] for name in inputs]
        made = infer(op, given, [self._weights[name] for name in weights], self._draft.plan.precision)
        self._tensors[output] = replace(made, bound=bound)
        self._ops.append(op)
        return output

    def weight(self, value: NDArray[np.float64], frac: int) -> str:
        """Add a constant that the parties hold in shares."""
        name = self._fresh[1].fresh(self._name)
        self._weights[name], self._values[name] = Weight(value.shape, frac), value
        return name

    def flat(self, tensor: str) -> str:
        """`tensor` with one axis."""
        shape = self.shape(tensor)
        return tensor if len(shape) == 1 else self.op("reshape", tensor, shape=(math.prod(shape),))

    def margins(self, tensor: str, low: int | None, high: int | None) -> str:
        """How far the raw values, of one axis, are above `low` and below `high`, |low|, |high| < 2^62: negative as
        signed words where one is outside, of any two at least one.

        For raw - low is negative for the 2^63 words below `low`, and high - raw for those above `high`: if both are
        given these are all words that are not between the two. With one end, words beyond 2^62 must be excluded
        otherwise.
        """
        sides = [(tensor, low, -1)] if low is not None else []
        sides += [(self.op("scale_int", tensor, multiplier=-1, shift=0), high, 1)] if high is not None else []
        return self.joined([self._beside(side, end, sign) for side, end, sign in sides])

    def _beside(self, tensor: str, end: int, sign: int) -> str:
        frac = self.frac(tensor)
        name = self.weight(np.array([math.ldexp(sign * end, -frac)]), frac)
        return self.op("add", tensor, weights=[name])

    def joined(self, tensors: Sequence[str]) -> str:
        """Tensors of one axis, one behind the other: the same raw values, whatever they stood for."""
        frac = max(map(self.frac, tensors))
        alike = [self._restated(name, frac) for name in tensors]
        while len(alike) > 1:
            groups = [alike[at : at + _JOINED] for at in range(0, len(alike), _JOINED)]
            alike = [self.op("concat", *group, axis=0) for group in groups]
        return alike[0]

    def _restated(self, tensor: str, frac: int) -> str:
        """The same raw values, written with more fractional bits: so much smaller numbers."""
        up = frac - self.frac(tensor)
        return self.op("scale_int", tensor, multiplier=1, shift=up) if up else tensor

    def none_negative(self, margins: Sequence[str]) -> str:
        """A bit a row: whether none of all the margins is negative."""
        together = self.joined(margins)
        count = math.prod(self.shape(together))
        bits = self.op("below", together, bound=_bits(1), threshold=0)
        numbers = self.op("to_number", bits, bound=_bits(1))
        found = self.op("sum", numbers, bound=_bits(count), axes=(0,), keepdims=False)
        return self.op("equal_to", found, bound=_bits(1), value=0)

    def number(self, bit: str) -> str:
        """A bit as the number that an output is."""
        return self.op("to_number", bit, bound=_bits(1))

    def notice(self, reveal: str, tensor: str) -> Output:
        """The output that says so."""
        names = {made.name for made in self._draft.plan.outputs}
        name = f"({reveal})"
        while name in names:
            name = f"({name})"
        return Output(name, tensor, BIT, reveal=reveal)

    def taken(self) -> tuple[Op, ...]:
        """The ops added since this was called last."""
        found, self._ops = tuple(self._ops), []
        return found

    def finished(self, ops: Sequence[Op], outputs: Sequence[Output]) -> Draft:
        """The draft with these ops and outputs."""
        tensors: Mapping[str, Tensor] = self._tensors
        plan = replace(self._draft.plan, ops=tuple(ops), outputs=tuple(outputs), tensors=tensors, weights=self._weights)
        return replace(self._draft, plan=plan, values=self._values)


def _bits(largest: int) -> int:
    """The bound of a number from 0 to `largest`."""
    return largest.bit_length()
