"""A recorded plan under the knife: find neighbours, replace ops, and keep shapes and names right.

A pass is a list of rules. A rule looks at one op and either changes the graph and returns True, or leaves it alone and
returns False; `rewrite` applies the rules until none does anything. Ops that nobody uses any more disappear.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan.attributes import constant_array
from keras_private.plan.builder import Alike, Names
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
        self._names = Names(self._tensors)
        self._weight_names = Names(self._values)
        self._alike = Alike(self._values)
        self._outputs = list(draft.plan.outputs)
        self._producers: dict[str, Op] = {}
        self._users: defaultdict[str, Counter[str]] = defaultdict(Counter)  # outputs of the ops that use a tensor
        self._uses: Counter[str] = Counter(made.tensor for made in self._outputs)
        ops = _needed(draft.plan.ops, draft.plan.ends)
        self._slots: list[list[Op]] = [[op] for op in ops]  # what stands where an op of the draft was
        self._slot_of = {op.output: slot for op, slot in zip(ops, self._slots, strict=True)}
        for op in ops:
            self._link(op)

    # --- looking

    @property
    def ops(self) -> list[Op]:
        """All ops, in execution order."""
        return [op for slot in self._slots for op in slot]

    @property
    def has_unused(self) -> bool:
        """Whether the draft came with ops or weights that no output depends on."""
        ops = self.ops
        return len(ops) < len(self._plan.ops) or self._values.keys() != {name for op in ops for name in op.weights}

    def shape(self, tensor: str) -> Shape:
        return self._tensors[tensor].shape

    def value(self, weight: str) -> Array:
        return self._values[weight]

    def producer(self, tensor: str) -> Op | None:
        """The op that makes `tensor`; None for an input of the plan."""
        return self._producers.get(tensor)

    def before(self, op: Op, *kinds: str, place: int = 0) -> Op | None:
        """The op that makes `op`'s first (or another) input, if it is of one of these kinds and `op` its only user."""
        made = self.producer(op.inputs[place])
        if made is None or (kinds and made.kind not in kinds) or self._uses[made.output] != 1:
            return None
        return made

    def after(self, op: Op) -> Op | None:
        """The only user of `op`'s output, if there is exactly one and it is no output of the plan."""
        users = self._users[op.output]
        if self._uses[op.output] != 1 or not users:
            return None
        (user,) = users
        return self._producers[user]

    @staticmethod
    def is_factor(op: Op) -> bool:
        """Whether it multiplies a tensor by a constant, secret or public."""
        return op.kind == "scale" or (op.kind == "mul" and bool(op.weights))

    def factor(self, op: Op) -> Array:
        """The array that a `scale`, or a `mul`, `add` or `sub` of a weight, applies, as float64."""
        return self.value(op.weights[0]) if op.weights else constant_array(op.attrs["factor"]).astype(np.float64)

    def applied(self, op: Op) -> list[Array]:
        """All weights and the `factor` that an elementwise op applies."""
        constants = [constant_array(op.attrs["factor"]).astype(np.float64)] if "factor" in op.attrs else []
        return [*(self.value(name) for name in op.weights), *constants]

    # --- changing

    def weight(self, value: Array, like: str) -> str:
        """A new weight, named after an old one; the same one for all ops that come to the same."""
        base = like.partition(":")[0] + ":1"
        new = np.array(value, dtype=np.float64, order="C")
        return self._alike.name(base, new, lambda: self._weight_names.fresh(base))

    def new(self, kind: str, source: str | Sequence[str], like: Op, *, weights: Sequence[str] = (), **attrs: Any) -> Op:
        """A new op of the same layer as `like`; insert it with `replace`."""
        inputs = (source,) if isinstance(source, str) else tuple(source)
        output = self._names.fresh(like.output.partition(":")[0] + ":1")
        op = Op(kind, inputs, tuple(weights), output, attrs, like.layer)
        self._tensors[output] = self._infer(op)
        return op

    def replace(self, old: Op, *new: Op) -> None:
        """Put `new` ops where `old` was; the last one's output takes the name of `old`'s."""
        renamed = replace(new[-1], output=old.output)
        placed = [*new[:-1], renamed]
        slot = self._slot_of[old.output]
        at = slot.index(old)
        slot[at : at + 1] = placed
        self._unlink(old)
        for op in placed:
            self._slot_of[op.output] = slot
            self._link(op)
        self._tensors[old.output] = self._infer(renamed)
        self._sweep([*old.inputs, *(op.output for op in placed)])

    def drop(self, op: Op) -> None:
        """Take an op out; its users get its first input instead."""
        source, gone = op.inputs[0], op.output
        for name in list(self._users[gone]):
            user = self._producers[name]
            turned = replace(user, inputs=tuple(source if name == gone else name for name in user.inputs))
            slot = self._slot_of[name]
            slot[slot.index(user)] = turned
            self._unlink(user)
            self._link(turned)
        for place, made in enumerate(self._outputs):
            if made.tensor == gone:
                self._uses[gone] -= 1
                self._uses[source] += 1
                self._outputs[place] = replace(made, tensor=source)
        self._sweep([gone])

    def finish(self) -> Draft:
        """The rewritten draft, every shape inferred anew."""
        ops = self.ops
        used = {name for op in ops for name in op.weights}
        values = {name: value for name, value in self._values.items() if name in used}
        weights = {name: Weight(value.shape) for name, value in values.items()}
        tensors = {given.tensor: self._tensors[given.tensor] for given in self._plan.inputs}
        for op in ops:
            tensors[op.output] = infer(
                op, [tensors[name] for name in op.inputs], [weights[name] for name in op.weights], 0
            )
        outputs = tuple(self._outputs)
        plan = replace(self._plan, outputs=outputs, tensors=tensors, weights=weights, ops=tuple(ops))
        return Draft(plan, values)

    def _infer(self, op: Op) -> Tensor:
        weights = [Weight(self._values[name].shape) for name in op.weights]
        return infer(op, [self._tensors[name] for name in op.inputs], weights, 0)

    def _link(self, op: Op) -> None:
        self._producers[op.output] = op
        for name in op.inputs:
            self._users[name][op.output] += 1
            self._uses[name] += 1

    def _unlink(self, op: Op) -> None:
        del self._producers[op.output]
        for name in set(op.inputs):
            self._uses[name] -= self._users[name].pop(op.output)

    def _sweep(self, names: list[str]) -> None:
        """Take out the ops that make these tensors, where nobody uses them, and what only they used."""
        while names:
            op = self._producers.get(names.pop())
            if op is not None and not self._uses[op.output]:
                self._slot_of.pop(op.output).remove(op)
                self._unlink(op)
                names += op.inputs


def _needed(ops: Sequence[Op], outputs: Collection[str]) -> list[Op]:
    """The ops that these tensors depend on."""
    needed, found = set(outputs), []
    for op in reversed(ops):
        if op.output in needed:
            found.append(op)
            needed.update(op.inputs)
    return found[::-1]


Rule = Callable[[Graph, Op], bool]


def rewrite(draft: Draft, rules: Sequence[Rule]) -> Draft:
    """Apply the rules until none changes anything."""
    graph = Graph(draft)
    changed, rewritten = True, False
    while changed:
        changed = False
        for op in graph.ops:  # those that a rule has replaced or made useless meanwhile are left out
            if graph.producer(op.output) is op and any(rule(graph, op) for rule in rules):
                changed = rewritten = True
    return graph.finish() if rewritten or graph.has_unused else draft


def full_rank(value: Array, rank: int) -> Array:
    """`value` with leading axes of one, so that it has `rank` axes."""
    return value.reshape((1,) * (rank - value.ndim) + value.shape)


def channels_only(value: Array, shape: Shape) -> Array | None:
    """`value`, which broadcasts to `shape`, as a vector over the last axis; None if it varies along another axis, or if
    there is none."""
    full = full_rank(value, len(shape))
    if not shape or any(axis != 1 for axis in full.shape[:-1]):
        return None
    return np.array(np.broadcast_to(full.reshape(-1), (shape[-1],)))
