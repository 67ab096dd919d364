"""PlanBuilder: writes a recorded plan down, op by op, and infers every shape on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_private.errors import PlanError
from keras_private.plan.attributes import plain
from keras_private.plan.ops import DEFAULTS, KINDS, infer, shape_fits
from keras_private.plan.plan import BIT, REAL, Draft, Input, Op, Output, Plan, Shape, Tensor, Weight, identifier
from keras_private.plan.ports import BIT_RANGE, check_ports
from keras_private.plan.reach import Reach

__all__ = ["Draft", "PlanBuilder"]

_TOLD_APART_BY = 16  # elements: few weights of one name begin alike


class PlanBuilder:
    """Records a plan.

    Args:
        input_shape: of a plan with one input of real numbers, called "input": its shape per sample, without the batch
            axis. None: inputs are added one by one.
        input_range: (lowest, highest) value that this input may hold; the client checks it. None: nothing is promised.

    Raises:
        PlanError: a shape or range that cannot be.
    """

    def __init__(self, input_shape: Sequence[int] | None = None, input_range: Sequence[float] | None = None) -> None:
        self._inputs: list[Input] = []
        self._tensors: dict[str, Tensor] = {}
        self._values: dict[str, NDArray[np.float64]] = {}
        self._names = Names(self._values)
        self._alike = Alike(self._values)
        self._ops: list[Op] = []
        self._reach = Reach()
        if input_shape is not None:
            self.add_input("input", input_shape, range=input_range)

    @property
    def input(self) -> str:
        """The tensor of the first input."""
        return self._inputs[0].tensor

    def add_input(
        self,
        name: str,
        shape: Sequence[int],
        *,
        kind: str = REAL,
        range: Sequence[float] | None = None,  # noqa: A002 - as in `Input`
    ) -> str:
        """Record another input; returns its tensor.

        Args:
            name: what clients know it by.
            shape: per sample, without the batch axis.
            kind: "real", "integer" or "bit".
            range: (lowest, highest) value. An integer has one; a bit's is (0, 1).

        Raises:
            PlanError: a shape or range that cannot be.
        """
        axes = tuple(int(axis) for axis in shape)
        if not shape_fits(axes):
            raise PlanError(f"an input of shape {axes} cannot be shared; every axis must be 1 or more")
        tensor = input_tensor(len(self._inputs))
        self._inputs.append(Input(name, tensor, kind, BIT_RANGE if kind == BIT else check_range(range)))
        self._tensors[tensor] = Tensor(axes)
        return tensor

    def shape(self, tensor: str) -> Shape:
        """Per-sample shape of a tensor recorded so far."""
        return self._tensor(tensor).shape

    def is_bits(self, tensor: str) -> bool:
        """Whether a tensor recorded so far is bits."""
        return self._tensor(tensor).bit

    def reach(self, tensor: str) -> tuple[float, float]:
        """The lowest and the highest value that a tensor of numbers recorded so far is proven to have."""
        self._tensor(tensor)
        inputs = [(given, self._tensors[given.tensor].shape) for given in self._inputs]
        return self._reach.of(tensor, inputs, self._ops, self._values)

    def weight(self, value: ArrayLike, name: str) -> str:
        """Take a secret constant in; returns its unique name in the plan. The same one under the same name is one: a
        layer that is called again, or in every step, is sent once.

        Raises:
            PlanError: it holds NaN or infinity, or has more than 2^28 elements.
        """
        array = np.array(value, dtype=np.float64, order="C")
        if not np.all(np.isfinite(array)):
            raise PlanError(f"weight {identifier(name)!r} holds NaN or infinite values; the model cannot be shared")
        if not shape_fits(array.shape):
            raise PlanError(f"weight {identifier(name)!r} has an impossible shape {array.shape}")
        base = identifier(name)
        return self._alike.name(base, array, lambda: self._names.fresh(base))

    def op(
        self,
        kind: str,
        inputs: str | Sequence[str],
        *,
        weights: str | Sequence[str] = (),
        layer: str = "",
        **attrs: Any,
    ) -> str:
        """Record one op; returns the name of its output.

        Raises:
            PlanError: unknown kind, tensor or attribute, or shapes that do not fit.
        """
        sources = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        named = (weights,) if isinstance(weights, str) else tuple(weights)
        known = KINDS.get(kind)
        allowed = {**known.attrs, **(known.recorded or {})} if known else {}
        given = {name: value for name, value in DEFAULTS.items() if name in allowed}
        given |= {name: plain(value) for name, value in attrs.items()}
        output = f"t{len(self._ops)}"
        op = Op(kind, sources, named, output, given, identifier(layer) if layer else "")
        self._tensors[output] = infer(
            op, [self._tensor(name) for name in sources], [Weight(self._weight(name).shape) for name in named], 0
        )
        self._ops.append(op)
        return output

    def finish(
        self,
        outputs: str | Sequence[Output],
        final_activation: str = "",
        *,
        takes: str | None = None,
        gives: str | None = None,
    ) -> Draft:
        """The recorded plan that computes the outputs, with its weights.

        Args:
            outputs: or one tensor, which is then the output called "output".
            final_activation: of that one: what the client applies to it, see `Output`.
            takes, gives: see `Plan`; None: "array" for one, "list" for several.

        Raises:
            PlanError: an output that cannot be, or an input that none depends on.
        """
        if isinstance(outputs, str):
            outputs = [Output("output", outputs, final_activation=final_activation)]
        made = tuple(outputs)
        for output in made:
            self._tensor(output.tensor)
        weights = {name: Weight(value.shape) for name, value in self._values.items()}
        inputs, tensors, ops = tuple(self._inputs), dict(self._tensors), tuple(self._ops)
        takes, gives = takes or _form(inputs), gives or _form(made)
        plan = Plan(0, inputs, made, tensors, weights, ops, takes, gives)
        check_ports(plan)
        needed = set(plan.ends)
        for op in reversed(ops):
            needed.update(op.inputs if op.output in needed else ())
        for given in inputs:
            if given.tensor not in needed:
                raise PlanError(f"no output depends on the input {given.name!r}; leave it out of the model")
        return Draft(plan, dict(self._values))

    def _tensor(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise PlanError(f"no tensor {name[:40]!r} has been recorded")
        return self._tensors[name]

    def _weight(self, name: str) -> NDArray[np.float64]:
        if name not in self._values:
            raise PlanError(f"no weight {name[:40]!r} has been recorded")
        return self._values[name]


def input_tensor(number: int) -> str:
    """The tensor of a plan's input of this number, from 0 on."""
    return f"input{number}" if number else "input"


def _form(ports: Sequence[object]) -> str:
    return "array" if len(ports) == 1 else "list"


def check_range(given: Sequence[float] | None) -> tuple[float, float] | None:
    """(low, high) as floats.

    Raises:
        PlanError: not two finite numbers in order.
    """
    if given is None:
        return None
    try:
        low, high = (float(bound) for bound in given)
    except (TypeError, ValueError) as error:
        raise PlanError("input_range must be two numbers (lowest, highest), or None") from error
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise PlanError(f"input_range must be two finite numbers in order, not ({low}, {high})")
    return low, high


class Names:
    """Finds names that are free in `taken`, which names are never taken out of."""

    def __init__(self, taken: Container[str]) -> None:
        self._taken = taken
        self._counts: dict[str, int] = {}

    def fresh(self, base: str) -> str:
        """`base`, or `base.1`, `base.2`, … whichever is free. Those found before are not tried again."""
        count = self._counts.get(base, 0)
        while (name := f"{base}.{count}" if count else base) in self._taken:
            count += 1
        self._counts[base] = count
        return name


class Alike:
    """Weights that are the same under the same name: they are one.

    Args:
        values: all weights by their unique names; new ones are put there.
    """

    def __init__(self, values: dict[str, NDArray[np.float64]]) -> None:
        self._values = values
        self._known: dict[Hashable, list[str]] = {}

    def name(self, base: Hashable, value: NDArray[np.float64], fresh: Callable[[], str]) -> str:
        """The unique name of `value`, which belongs to `base`: `fresh` makes one if it is new."""
        begin = value.reshape(-1)[:_TOLD_APART_BY].tobytes()
        same = self._known.setdefault((base, value.shape, begin), [])
        for known in same:
            if np.array_equal(self._values[known], value):
                return known
        same.append(fresh())
        self._values[same[-1]] = value
        return same[-1]
