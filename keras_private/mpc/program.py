"""A program: an executable plan bound to one party's shares of the weights, ready to run on batches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from keras_private.errors import PlanError
from keras_private.mpc.ops import Opening, Run, bind
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.reveal import refresh
from keras_private.mpc.rounds import Protocol, together
from keras_private.mpc.rows import apart, side_by_side
from keras_private.plan.ops import describe, kind_of
from keras_private.plan.plan import Plan, Shape
from keras_private.plan.schedule import Stage, stages
from keras_private.sharing.share import Share


class Timing(NamedTuple):
    """How long a run of so many `rows` took, in seconds: each stage of the plan, waiting included."""

    rows: int
    seconds: tuple[float, ...]


class Program:
    """What one party runs. Holds weight shares: its repr shows shapes and counts only.

    Attributes:
        timing: of the last run that came to its end; None before the first.

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
        self._bound(plan, [bind(op, plan, [weights[name] for name in op.weights]) for op in plan.ops])

    def followed_by(self, plan: Plan) -> Program:
        """A program with the same weights and further ops behind these.

        Args:
            plan: an executable plan that begins with this one's ops; those behind them have no weights.

        Raises:
            PlanError: it does not.
        """
        old, new = self.plan, plan.ops[len(self.plan.ops) :]
        alike = all(plan.tensors.get(name) == tensor for name, tensor in old.tensors.items())
        if not alike or plan.ops[: len(old.ops)] != old.ops:
            raise PlanError("only what begins with a program's ops can follow it")
        if any(op.weights for op in new):
            raise PlanError("what follows a program has no weights of its own")
        found = Program.__new__(Program)
        found._bound(plan, [*self._runs, *(bind(op, plan, []) for op in new)])
        return found

    def _bound(self, plan: Plan, runs: list[Run]) -> None:
        self.plan = plan
        self._runs = runs
        self._stages = stages(plan)
        self.timing: Timing | None = None
        self._last_use = {name: position for position, op in enumerate(plan.ops) for name in op.inputs}

    def run(self, party: Party, x: Share) -> Share:
        """Run the plan on a batch in lockstep with the two other parties.

        Args:
            x: this party's share of all inputs, shape (batch, plan.input_words): of each row all inputs, flattened,
                one behind the other in the plan's order.

        Returns:
            its share of all outputs, shape (batch, plan.output_words), in the same way, refreshed for the client's
            eyes.

        Raises:
            PlanError: a value has another shape than the plan says; it was not used.
            LinkError: a peer is gone, silent, or sent something other than what was due.
        """
        return party.run(self.protocol(party, x))

    def protocol(self, party: Party, x: Share) -> Protocol[Share]:
        """The whole plan as one protocol.

        `parse` has proven every shape. They are compared all the same, batch included: a value of another shape would
        be one in which the rows of different clients have met, or one that a kernel has no room for.
        """
        batch = x.shape[0]
        _check("the input", x, (batch, self.plan.input_words), bit=False)
        values = apart(self.plan, x)
        del x
        ends = [time.perf_counter()]
        for stage in self._stages:
            party.layer = self.plan.ops[stage.first].layer or self.plan.ops[stage.first].kind
            party.take_turns(stage.turns)
            if stage.first == stage.last:
                yield from self._alone(party, stage.first, values, batch)
            else:
                yield from self._joined(party, stage, values, batch)
            for position in range(stage.first, stage.last + 1):
                for name in {*self.plan.ops[position].inputs} - self.plan.ends:
                    if self._last_use[name] <= stage.last and name in values:
                        del values[name]
            ends.append(time.perf_counter())
        self.timing = Timing(batch, tuple(end - start for start, end in pairwise(ends)))
        return refresh(party, side_by_side([values[made.tensor] for made in self.plan.outputs]))

    def _alone(self, party: Party, position: int, values: dict[str, Share], batch: int) -> Protocol[None]:
        op = self.plan.ops[position]
        shape = (batch, *self.plan.tensors[op.output].shape)
        values[op.output] = yield from self._runs[position](party, [values[name] for name in op.inputs], shape)
        _check(op.kind, values[op.output], shape, bit=self.plan.tensors[op.output].bit)

    def _joined(self, party: Party, stage: Stage, values: dict[str, Share], batch: int) -> Protocol[None]:
        """Ops in the same rounds. What the products make is filled in while the others run, see `schedule`."""
        running: list[Protocol[Share | None]] = []
        for position in range(stage.first, stage.last + 1):
            op, run = self.plan.ops[position], self._runs[position]
            xs, shape = [values[name] for name in op.inputs], (batch, *self.plan.tensors[op.output].shape)
            if isinstance(run, Opening):
                values[op.output] = empty_share(shape)
                running.append(run.into(party, xs, values[op.output]))
            elif not kind_of(op).interactive:
                values[op.output] = _room(shape, bit=self.plan.tensors[op.output].bit)
                running.append(_filled(party, run, xs, values[op.output]))
            elif kind_of(op).opens(op):
                raise PlanError(f"{describe(op)}: there is no protocol that opens its result at once")
            else:
                running.append(run(party, xs, shape))
        ops = self.plan.ops[stage.first : stage.last + 1]
        for op, result in zip(ops, (yield from together(*running)), strict=True):
            if result is not None:  # of a protocol; the others' are filled in
                values[op.output] = result
            made = self.plan.tensors[op.output]
            _check(op.kind, values[op.output], (batch, *made.shape), bit=made.bit)

    def __repr__(self) -> str:
        return f"Program({len(self.plan.ops)} ops, {len(self.plan.weights)} weights)"


def _room(shape: Shape, *, bit: bool) -> Share:
    dtype = np.uint8 if bit else np.uint64
    return Share(np.empty(shape, dtype), np.empty(shape, dtype))


def _filled(party: Party, run: Run, xs: Sequence[Share], out: Share) -> Protocol[None]:
    """A local op whose inputs the dealer knows at once, and the pair after a round."""
    if not party.is_dealer:
        yield party.pair_step()
    result = yield from run(party, xs, out.shape)
    _check("a local op's result", result, out.shape, bit=out.bit)
    np.copyto(out.mine, result.mine)
    np.copyto(out.next, result.next)
    if party.is_dealer:
        yield party.dealer_step()


def _check(what: str, value: Share, shape: tuple[int, ...], *, bit: bool) -> None:
    if value.bit != bit:
        raise PlanError(f"{what} is {'bits' if value.bit else 'numbers'}, the plan says otherwise; the run was stopped")
    if value.shape != shape:
        raise PlanError(f"{what} has shape {value.shape}, the plan says {shape} (batch first); the run was stopped")
