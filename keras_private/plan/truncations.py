"""Where truncations go: which are put off to what follows, and how many fractional bits a value may have until then.

Theory of operation. A product has as many fractional bits as its operands have together, and its own truncation is
fused into it. Where what follows is local (sums, pooling, reshapes) it may be put off: to a ReLU, which takes it along
for free, or to a sum of several products, which then needs one instead of many. A product of two tensors takes its
operands untruncated where that is proven to fit and the larger truncation behind it is cheaper than one more.

What is added up or joined must have equal fractional bits, so tensors between which there is nothing but such local ops
are *carried* together: the largest of them says how many bits a product among them may have.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from keras_private.plan.cost import ROUND_BYTES, truncation
from keras_private.plan.fractions import FREE_DROPS, MAX_PRODUCT, ROUNDED, SAFE_BITS, Fractions
from keras_private.plan.ops import Later, Product, kind_of
from keras_private.plan.ops.piecewise import Spline, frac_at_least
from keras_private.plan.plan import Draft, Op


class Carried(NamedTuple):
    """What a product becomes before its truncation, itself included.

    proven: the largest magnitude, infinite if one has no proof. seen: the largest that is reckoned with. limit:
    fractional bits that the products of two tensors leave room for which take it untruncated.
    """

    proven: float
    seen: float
    limit: int

    def __or__(self, other: Carried) -> Carried:
        return Carried(max(self.proven, other.proven), max(self.seen, other.seen), min(self.limit, other.limit))


class Truncations:
    """Decides for one recorded draft."""

    def __init__(self, draft: Draft, fractions: Fractions) -> None:
        self._plan = draft.plan
        self._fractions = fractions
        self._users: dict[str, list[Op]] = {}
        for op in self._plan.ops:
            for name in op.inputs:
                self._users.setdefault(name, []).append(op)
        self._products = {op.output for op in self._plan.ops if isinstance(kind_of(op), Product)}
        self._untruncated = self._fracs_at_least()
        self._limits: dict[str, int] = {}
        self._put_off = self._what_is_put_off()
        self._groups = self._carried_together()

    def put_off(self, tensor: str) -> bool:
        """Whether the truncation of a recorded tensor is better left to what follows."""
        return tensor in self._put_off

    def carried(self, tensor: str) -> Carried:
        """What a product is carried with, as the recorded `tensor`, until it is truncated."""
        return self._groups[tensor] if tensor in self._put_off else self._alone(tensor)

    def only_relu(self, op: Op) -> Op | None:
        """The ReLU that is the only user of `op`'s output."""
        users = self._users.get(op.output, [])
        alone = len(users) == 1 and users[0].kind == "relu" and op.output not in self._plan.ends
        return users[0] if alone else None

    def later(self, op: Op) -> Later:
        """Whether the result of `op` is a better place for a truncation than its first input."""
        return kind_of(op).truncate_later(op, self._plan.tensors[op.inputs[0]].shape)

    def price(self, tensor: str, drop: int) -> int:
        """What dropping so many bits of a recorded tensor costs, of one row: bytes, and the round."""
        if drop <= 0:
            return 0
        return ROUND_BYTES + sum(truncation(math.prod(self._plan.tensors[tensor].shape), drop).sent)

    # --- what is put off

    def _what_is_put_off(self) -> set[str]:
        found: set[str] = set()
        inputs = (given.tensor for given in self._plan.inputs)
        for name in (*(op.output for op in reversed(self._plan.ops)), *inputs):  # users first
            users = self._users.get(name, [])
            if name not in self._plan.ends and users and all(self._takes(user, name, found) for user in users):
                found.add(name)
        return found

    def _takes(self, user: Op, name: str, put_off: set[str]) -> bool:
        """Whether the truncation of `name` is better left to what comes after `user`."""
        if isinstance(kind_of(user), Product) and not user.weights:
            return self._multiplies(user, name, put_off)
        later = self.later(user)
        if later is Later.AS_GOOD and len(user.inputs) == 2 and self._products.issuperset(user.inputs):
            return True  # of two products added: one truncation instead of two
        return later is Later.BETTER or (later is Later.AS_GOOD and user.output in put_off)

    def _multiplies(self, user: Op, name: str, put_off: set[str]) -> bool:
        """Whether a product of tensors is proven to take `name` untruncated, beside what it takes so already."""
        if user.output not in self._fractions.proven:
            return False
        target = self._fractions.target(user.output)
        room = SAFE_BITS - math.frexp(self._fractions.proven[user.output] * ROUNDED)[1]
        room = min(room, target + FREE_DROPS[1])  # to drop more is dear
        factors = user.inputs if len(user.inputs) == 2 else user.inputs * 2  # of a square
        whole = {factor for factor in factors if factor == name or factor in put_off}
        rest = sum(self._fractions.target(factor) for factor in factors if factor not in whole)
        raw = rest + sum(self._untruncated[factor] for factor in factors if factor in whole)
        own = self._untruncated[name] - self._fractions.target(name)
        before = self.price(user.output, raw - target - own * factors.count(name)) + self.price(name, own)
        if raw > room or self.price(user.output, raw - target) > before:
            return False
        for factor in whole:
            limit = (room - rest) // factors.count(factor) if len(whole) == 1 else self._untruncated[factor]
            self._limits[factor] = min(limit, self._limits.get(factor, MAX_PRODUCT))
        return True

    def _fracs_at_least(self) -> dict[str, int]:
        """For every recorded tensor the fractional bits that it has at least if no truncation comes first."""
        target = self._fractions.target
        found = {given.tensor: target(given.tensor) for given in self._plan.inputs}
        for op in self._plan.ops:
            kind = kind_of(op)
            if isinstance(kind, Product):
                second = self._fractions.working if op.weights else target(op.inputs[-1])
                found[op.output] = target(op.inputs[0]) + second
            elif isinstance(kind, Spline):
                found[op.output] = frac_at_least(op, target(op.output))
            elif kind.carries:
                found[op.output] = max(found[name] for name in op.inputs)
            else:
                found[op.output] = target(op.output) + (0 if kind.interactive else self._fractions.working)
        return found

    # --- what is carried together

    def _carried_together(self) -> dict[str, Carried]:
        """For every tensor what the inputs and outputs of local ops, one behind the other, come to together."""
        parent = {name: name for name in self._plan.tensors}

        def root(name: str) -> str:
            while parent[name] != name:
                parent[name] = parent[parent[name]]
                name = parent[name]
            return name

        for op in self._plan.ops:
            if kind_of(op).carries:
                for name in op.inputs:
                    parent[root(name)] = root(op.output)
        groups: dict[str, Carried] = {}
        for name in parent:
            top, alone = root(name), self._alone(name)
            groups[top] = groups[top] | alone if top in groups else alone
        return {name: groups[root(name)] for name in parent}

    def _alone(self, name: str) -> Carried:
        proven = self._fractions.proven.get(name, math.inf)
        return Carried(proven, self._fractions.sizes[name], self._limits.get(name, MAX_PRODUCT))
