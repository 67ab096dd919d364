"""A recorded plan under the knife: find neighbours, replace ops, and keep shapes and names right.

A pass is a list of rules. A rule looks at one op and either changes the graph and returns True, or leaves it alone and
returns False; `rewrite` applies the rules until none does anything. Ops that nobody uses any more disappear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan.attributes import constant_array
from keras_private.plan.builder import fresh_name
from keras_private.plan.ops import infer
from keras_private.plan.plan import Draft, Op, Shape, Tensor, Weight

Array = NDArray[np.float64]


class Graph:
    """The ops of a recorded draft, in order, open for changes."""

    def __init__(self, draft: Draft) -> None:
        if draft.plan.executable:
            raise PlanError("this pass works on recorded plans only; the plan is executable already")
        self._plan = draft.plan
        self._values = dict(draft.values)
        self._tensors: dict[str, Tensor] = dict(draft.plan.tensors)
        self._output = draft.plan.output
        self.ops: list[Op] = list(draft.plan.ops)
        self._index()

    # --- looking

    def shape(self, tensor: str) -> Shape:
        return self._tensors[tensor].shape

    def value(self, weight: str) -> Array:
        return self._values[weight]

    def producer(self, tensor: str) -> Op | None:
        """The op that makes `tensor`; None for the plan's input."""
        return self._producers.get(tensor)

    def before(self, op: Op, *kinds: str) -> Op | None:
        """The op that makes `op`'s first input, if it is of one of these kinds and `op` is its only user."""
        made = self.producer(op.inputs[0])
        if made is None or (kinds and made.kind not in kinds) or self._uses[made.output] != 1:
            return None
        return made

    def after(self, op: Op) -> Op | None:
        """The only user of `op`'s output, if there is exactly one and it is not the plan's output."""
        if self._uses[op.output] != 1 or op.output == self._output:
            return None
        return next((user for user in self.ops if op.output in user.inputs), None)

    def factor(self, op: Op) -> Array:
        """The array that a `mul`, `scale` or one-input `add` applies, as float64."""
        return self.value(op.weights[0]) if op.weights else constant_array(op.attrs["factor"]).astype(np.float64)

    # --- changing

    def weight(self, value: Array, like: str) -> str:
        """A new weight, named after an old one."""
        name = fresh_name(like.partition(":")[0] + ":1", self._values)
        self._values[name] = np.array(value, dtype=np.float64, order="C")
        return name

    def new(self, kind: str, source: str | Sequence[str], like: Op, *, weights: Sequence[str] = (), **attrs: Any) -> Op:
        """A new op of the same layer as `like`; insert it with `replace`."""
        inputs = (source,) if isinstance(source, str) else tuple(source)
        output = fresh_name(like.output.partition(":")[0] + ":1", self._tensors)
        op = Op(kind, inputs, tuple(weights), output, attrs, like.layer)
        self._tensors[output] = self._infer(op)
        return op

    def replace(self, old: Op, *new: Op) -> None:
        """Put `new` ops where `old` was; the last one's output takes the name of `old`'s."""
        renamed = replace(new[-1], output=old.output)
        at = self.ops.index(old)
        self.ops[at : at + 1] = [*new[:-1], renamed]
        self._tensors[old.output] = self._infer(renamed)
        self._index()

    def drop(self, op: Op) -> None:
        """Take an op out; its users get its first input instead."""
        source, gone = op.inputs[0], op.output
        self.ops = [
            replace(other, inputs=tuple(source if name == gone else name for name in other.inputs))
            if gone in other.inputs
            else other
            for other in self.ops
            if other is not op
        ]
        self._output = source if self._output == gone else self._output
        self._index()

    def finish(self) -> Draft:
        """The rewritten draft, every shape inferred anew."""
        used = {name for op in self.ops for name in op.weights}
        values = {name: value for name, value in self._values.items() if name in used}
        weights = {name: Weight(value.shape) for name, value in values.items()}
        tensors = {self._plan.input: self._tensors[self._plan.input]}
        for op in self.ops:
            tensors[op.output] = infer(
                op, [tensors[name] for name in op.inputs], [weights[name] for name in op.weights], 0
            )
        plan = replace(self._plan, output=self._output, tensors=tensors, weights=weights, ops=tuple(self.ops))
        return Draft(plan, values)

    def _infer(self, op: Op) -> Tensor:
        weights = [Weight(self._values[name].shape) for name in op.weights]
        return infer(op, [self._tensors[name] for name in op.inputs], weights, 0)

    def _index(self) -> None:
        needed = {self._output}
        alive: list[Op] = []
        for op in reversed(self.ops):
            if op.output in needed:
                alive.append(op)
                needed |= set(op.inputs)
        self.ops = alive[::-1]
        self._producers = {op.output: op for op in self.ops}
        self._uses = Counter(name for op in self.ops for name in op.inputs)
        self._uses[self._output] += 1


Rule = Callable[[Graph, Op], bool]


def rewrite(draft: Draft, rules: Sequence[Rule]) -> Draft:
    """Apply the rules until none changes anything."""
    graph = Graph(draft)
    changed = True
    while changed:
        changed = False
        for op in tuple(graph.ops):  # those that a rule has replaced or made useless meanwhile are left out
            if graph.producer(op.output) is op and any(rule(graph, op) for rule in rules):
                changed = True
    return graph.finish()


def has_factor(op: Op) -> bool:
    """Whether `op` applies a constant or a weight to its input, value by value or channel by channel."""
    return bool(op.weights) or "factor" in op.attrs


def full_rank(value: Array, rank: int) -> Array:
    """`value` with leading axes of one, so that it has `rank` axes."""
    return value.reshape((1,) * (rank - value.ndim) + value.shape)


def channels_only(value: Array, shape: Shape) -> Array | None:
    """`value`, which broadcasts to `shape`, as a vector over the last axis; None if it varies along another axis."""
    full = full_rank(value, len(shape))
    if any(axis != 1 for axis in full.shape[:-1]):
        return None
    return np.array(np.broadcast_to(full.reshape(-1), (shape[-1],)))
