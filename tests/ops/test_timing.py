"""Who knows what when: what a kind says of the order of its protocol's messages, on which stages rely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from keras_private.mpc.ops import Opening
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol
from keras_private.plan.cost import Cost, parts
from keras_private.plan.ops import KINDS
from keras_private.plan.ops.kind import values
from keras_private.sharing.share import Share
from tests.mpc import lockstep
from tests.mpc.three import Three, shares_of

from .bound import EXECUTABLE, every_turn, held, protocol, runs_of, summands
from .samples import SAMPLES

BATCH = 3


def of_the_kinds_that(declaration: str) -> pytest.MarkDecorator:
    chosen = [
        (kind, number)
        for kind, number in EXECUTABLE
        if getattr(KINDS[kind], declaration)(SAMPLES[kind][number].op(kind))
    ]
    assert chosen
    return pytest.mark.parametrize(("kind", "number"), chosen)


class Sampled:
    """A sample that is run on anything: bound at the three parties, with its inputs and the output's shape."""

    def __init__(self, kind: str, number: int) -> None:
        sample, random = SAMPLES[kind][number], np.random.default_rng(number)
        self.plan = sample.plan(kind)
        (self.op,) = self.plan.ops
        self.runs = runs_of(self.plan, [held(summands(random, shape)) for shape in sample.weights])
        self.shape = (BATCH, *self.plan.tensors["y"].shape)
        shapes = [(BATCH, *shape) for shape in sample.inputs]
        self.xs = [held(summands(random, shape, sample.dtype(at))) for at, shape in enumerate(shapes)]

    def of(self, party: Party) -> list[Share]:
        return [x[party.index] for x in self.xs]

    def run(self, party: Party) -> Protocol[Share]:
        return self.runs[party.index](party, self.of(party), self.shape)


def assert_equal(found: Sequence[Share], expected: Sequence[Share]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.mine, other.mine)
        np.testing.assert_array_equal(one.next, other.next)


@every_turn
@of_the_kinds_that("deals_first")
def test_in_the_first_round_only_the_dealer_sends_and_the_pair_looks_at_no_input(
    kind: str, number: int, turn: int
) -> None:
    sampled = Sampled(kind, number)
    expected = lockstep.run(sampled.run, b"timing", turn)

    def without_inner(party: Party) -> Protocol[Share]:
        """The pair's inner summands are there after the first round; until then something else is."""
        inner = [] if party.is_dealer else [party.inner(x) for x in sampled.of(party)]
        kept = [words.copy() for words in inner]
        for words in inner:
            words[:] = 1 - (words & np.array(1, words.dtype))
        running = sampled.run(party)
        step = next(running)
        assert party.is_dealer or not any(part.size for part in (*step.to_next, *step.to_prev))
        received = yield step
        for words, correct in zip(inner, kept, strict=True):
            words[:] = correct
        try:
            step = running.send(received)
            while True:
                step = running.send((yield step))
        except StopIteration as stop:
            result: Share = stop.value
            return result

    assert_equal(lockstep.run(without_inner, b"timing", turn), expected)


@every_turn
@of_the_kinds_that("opens")
def test_an_opening_is_one_round_before_which_the_dealer_has_its_part(kind: str, number: int, turn: int) -> None:
    sampled = Sampled(kind, number)
    expected = lockstep.run(sampled.run, b"timing", turn)
    assert KINDS[kind].cost(sampled.op, sampled.plan, BATCH).rounds == 1

    def into(party: Party) -> Protocol[Share]:
        run, out = sampled.runs[party.index], empty_share(sampled.shape)
        assert isinstance(run, Opening)
        running = run.into(party, sampled.of(party), out)
        step = next(running)
        if party.is_dealer:
            assert_equal([out], [expected[party.index]])
        with pytest.raises(StopIteration):
            running.send((yield step))
        return out

    assert_equal(lockstep.run(into, b"timing", turn), expected)


DIVISIBLE = [
    (kind, number)
    for kind, number in EXECUTABLE
    if KINDS[kind].interactive
    and KINDS[kind].part_cost(SAMPLES[kind][number].op(kind), SAMPLES[kind][number].plan(kind), 64) is not None
]


@pytest.mark.parametrize("turns", [(1, 0), (0, 2, 1)])
@pytest.mark.parametrize(("kind", "number"), DIVISIBLE)
def test_values_dealt_by_several_parties_cost_what_their_parts_do(
    memory_three: Three, kind: str, number: int, turns: tuple[int, ...]
) -> None:
    """What they are then is looked at where plans are run."""
    sample, random = SAMPLES[kind][number], np.random.default_rng(number)
    plan = sample.plan(kind)
    (op,) = plan.ops
    batch = -(-200 // sample.outputs(kind))  # several parts of some planes' words
    weights = [shares_of(weight.view(np.uint64)) for weight in sample.raw_weights(random)]
    xs = [held(summands(random, (batch, *shape), sample.dtype(at))) for at, shape in enumerate(sample.inputs)]
    for party in memory_three.parties:
        party.take_turns(turns)
    memory_three.run(protocol, runs_of(plan, weights), (batch, *plan.tensors["y"].shape), *xs)
    for party in memory_three.parties:
        party.take_turn(0)
    declared = Cost()
    for turn, (start, stop) in zip(turns, parts(values(op, plan, batch), len(turns)), strict=True):
        part = KINDS[kind].part_cost(op, plan, stop - start)
        assert part is not None
        declared |= Cost(part.rounds, (part.sent[turn], part.sent[(1 + turn) % 3], part.sent[(2 + turn) % 3]))
    assert memory_three.counted() == (declared.rounds, declared.sent)
