"""A program: an executable plan bound to one party's shares of the weights, ready to run on batches."""

from __future__ import annotations

from collections.abc import Mapping

from keras_private.errors import PlanError
from keras_private.mpc.ops import bind
from keras_private.mpc.party import Party
from keras_private.mpc.reveal import refresh
from keras_private.mpc.rounds import Protocol
from keras_private.plan.plan import Plan
from keras_private.plan.schedule import turns
from keras_private.sharing.share import Share


class Program:
    """What one party runs. Holds weight shares: its repr shows shapes and counts only.

    Args:
        plan: an executable plan that `plan.parse` has checked.
        weights: this party's share of every weight of the plan.

    Raises:
        PlanError: a weight is missing, left over, or of another shape than the plan says; a kind of op is unknown.
    """

    def __init__(self, plan: Plan, weights: Mapping[str, Share]) -> None:
        if not plan.executable:
            raise PlanError("only an executable plan can be run; call plan.optimise first")
        if missing := plan.weights.keys() ^ weights.keys():
            raise PlanError(f"the weights do not match the plan: {', '.join(sorted(missing))}")
        for name, weight in plan.weights.items():
            if weights[name].shape != weight.shape:
                raise PlanError(f"weight {name!r} has shape {weights[name].shape}, the plan says {weight.shape}")
        self.plan = plan
        self._runs = [bind(op, plan, [weights[name] for name in op.weights]) for op in plan.ops]
        self._turns = turns(plan)
        self._last_use = {name: position for position, op in enumerate(plan.ops) for name in op.inputs}

    def run(self, party: Party, x: Share) -> Share:
        """Run the plan on a batch in lockstep with the two other parties.

        Args:
            x: this party's share of the input, shape (batch, *plan.input_shape).

        Returns:
            its share of the output, shape (batch, *plan.output_shape), with plan.precision fractional bits, refreshed
            for the client's eyes.

        Raises:
            PlanError: a value has another shape than the plan says; it was not used.
            LinkError: a peer is gone, silent, or sent something else than what was due.
        """
        return party.run(self.protocol(party, x))

    def protocol(self, party: Party, x: Share) -> Protocol[Share]:
        """The whole plan as one protocol.

        `parse` has proven every shape. They are compared all the same, batch included: a value of another shape would
        be one in which the rows of different clients have met, or one that a kernel has no room for.
        """
        batch = x.shape[0]
        _check("the input", x, (batch, *self.plan.input_shape), bit=False)
        values = {self.plan.input: x}
        for position, op in enumerate(self.plan.ops):
            party.layer = op.layer or op.kind
            party.take_turn(self._turns[op.output])
            operands = [values[name] for name in op.inputs]
            made = self.plan.tensors[op.output]
            shape = (batch, *made.shape)
            values[op.output] = yield from self._runs[position](party, operands, shape)
            _check(op.kind, values[op.output], shape, bit=made.bit)
            for name in op.inputs:
                if self._last_use[name] == position and name in values and name != self.plan.output:
                    del values[name]
        return refresh(party, values[self.plan.output])

    def __repr__(self) -> str:
        return f"Program({len(self.plan.ops)} ops, {len(self.plan.weights)} weights)"


def _check(what: str, value: Share, shape: tuple[int, ...], *, bit: bool) -> None:
    if value.bit != bit:
        raise PlanError(f"{what} is {'bits' if value.bit else 'numbers'}, the plan says otherwise; the run was stopped")
    if value.shape != shape:
        raise PlanError(f"{what} has shape {value.shape}, the plan says {shape} (batch first); the run was stopped")
