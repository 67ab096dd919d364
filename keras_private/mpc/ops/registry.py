"""Which protocol runs an op of which kind.

Theory of operation. When a model is loaded, each op is *bound*: a function registered for its kind takes the op, its
plan and this party's shares of the op's weights, and returns what runs it on a batch. What can be laid out once is laid
out then. A kind that has declared everything in `plan/ops/` and has no protocol here is refused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from keras_private.errors import PlanError
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, Words
from keras_private.plan.ops import describe, kind_of
from keras_private.plan.plan import Op, Plan, Shape
from keras_private.sharing.share import Share

# party, the inputs' shares, shape of the output with the batch -> share of the output
Run: TypeAlias = Callable[[Party, Sequence[Share], Shape], Protocol[Share]]


class Opening(ABC):
    """A `Run` of an op that `Kind.opens`: it can put its result where others, in the same rounds, wait for it."""

    @abstractmethod
    def __call__(self, party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]: ...

    @abstractmethod
    def into(self, party: Party, xs: Sequence[Share], out: Share) -> Protocol[Share]:
        """The result in `out`, the dealer's part of it before the first round."""


# op, plan, shares of the op's weights -> Run
Bind: TypeAlias = Callable[[Op, Plan, Sequence[Share]], Run]
# op, one summand of each operand, shape of the output with the batch -> that summand of the output
LocalOp: TypeAlias = Callable[[Op, Sequence[Words], Shape], Words]

_PROTOCOLS: dict[str, Bind] = {}
PROTOCOLS: Mapping[str, Bind] = MappingProxyType(_PROTOCOLS)


def runs(*kinds: str) -> Callable[[Bind], Bind]:
    """Register what binds ops of these kinds."""

    def register(bind: Bind) -> Bind:
        for kind in kinds:
            if kind in _PROTOCOLS:
                raise TypeError(f"there are two protocols for {kind}")
            _PROTOCOLS[kind] = bind
        return bind

    return register


def runs_locally(kind: str) -> Callable[[LocalOp], LocalOp]:
    """Register an op that needs no message: it is applied to both of a party's summands alike."""

    def register(function: LocalOp) -> LocalOp:
        runs(kind)(_locally(function))
        return function

    return register


def bind(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    """What runs `op` at this party.

    Raises:
        PlanError: its kind is unknown, or has no protocol.
    """
    found = PROTOCOLS.get(kind_of(op).name)
    if found is None:
        raise PlanError(f"{describe(op)}: there is no protocol for ops of this kind")
    return found(op, plan, weights)


def _locally(function: LocalOp) -> Bind:
    def bind(op: Op, _: Plan, weights: Sequence[Share]) -> Run:
        def run(_: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
            yield from ()
            if len({len(share.shape) for share in xs}) > 1:
                raise PlanError(f"{op.kind}: inputs of unequal rank would mix the rows of a batch")
            operands = (*xs, *weights)
            mine = function(op, [share.mine for share in operands], shape)
            return Share(mine, function(op, [share.next for share in operands], shape))

        return run

    return bind
