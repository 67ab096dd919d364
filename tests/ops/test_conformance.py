"""Every kind keeps to what it declares: protocol, plain meaning, interval, cost, privacy. Samples are in `samples/`.

A kind without samples fails here, and a protocol that is right for one cyclic order of the roles only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.mpc.ops import bind
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol
from keras_private.plan import bounds
from keras_private.plan.evaluate import apply
from keras_private.plan.interval import Interval
from keras_private.plan.ops import KINDS, rectified
from keras_private.plan.plan import Plan
from keras_private.sharing.share import Share, reconstruct
from tests.mpc import lockstep
from tests.mpc.test_joint_view import SHARINGS, VALUES, deficits
from tests.mpc.test_privacy import LIMIT, chi_square
from tests.mpc.three import Three, shares_of
from tests.mpc.view import views_of

from .sample import Sample
from .samples import FAMILIES, SAMPLES

TURNS = (0, 1, 2)
ALL = [(kind, number) for kind, samples in SAMPLES.items() for number in range(len(samples))]
EXECUTABLE = [(kind, number) for kind, number in ALL if KINDS[kind].executable is not None]
INTERACTIVE = [kind for kind, known in KINDS.items() if known.interactive]

every_sample = pytest.mark.parametrize(("kind", "number"), ALL)
every_executable_sample = pytest.mark.parametrize(("kind", "number"), EXECUTABLE)


def runs_of(plan: Plan, weights: Sequence[list[Share]]) -> list[Callable[..., Protocol[Share]]]:
    """The op of a plan, bound at each party."""
    (op,) = plan.ops
    return [bind(op, plan, [shares[i] for shares in weights]) for i in range(3)]


def protocol(party: Party, run: Callable[..., Protocol[Share]], shape: tuple[int, ...], *xs: Share) -> Protocol[Share]:
    return run(party, xs, shape)


def raw_words(x: np.ndarray) -> np.ndarray:
    """What is shared of a raw input."""
    return x if x.dtype == np.uint8 else x.view(np.uint64)


def test_every_kind_has_samples() -> None:
    assert SAMPLES.keys() == KINDS.keys()
    assert all(SAMPLES.values())


def test_samples_are_in_files_of_the_families_names() -> None:
    for family, samples in FAMILIES.items():
        for kind in samples:
            assert type(KINDS[kind]).__module__.rpartition(".")[2] == family


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("turn", TURNS)
@every_executable_sample
def test_the_protocol_computes_what_the_kind_means_for_what_it_declares(
    memory_three: Three, kind: str, number: int, turn: int, batch: int
) -> None:
    sample = SAMPLES[kind][number]
    plan, random = sample.plan(kind), np.random.default_rng(number)
    (op,) = plan.ops
    raw, weights = sample.raw_inputs(random, batch), sample.raw_weights(random)
    shape = (batch, *plan.tensors["y"].shape)
    runs = runs_of(plan, [shares_of(weight.view(np.uint64)) for weight in weights])
    for party in memory_three.parties:
        party.take_turn(turn)
    outputs = memory_three.run(protocol, runs, shape, *(shares_of(raw_words(x)) for x in raw))
    for party in memory_three.parties:
        party.take_turn(0)

    result = reconstruct(outputs)
    result = result.astype(np.int64) if plan.tensors["y"].bit else result.view(np.int64)
    assert result.shape == shape
    for i in range(3):  # what two parties hold is the same
        np.testing.assert_array_equal(outputs[i].next, outputs[(i + 1) % 3].mine)
    plain = apply(
        op,
        [np.ldexp(x.astype(np.float64), -plan.tensors[name].frac) for name, x in zip(op.inputs, raw, strict=True)],
        [np.ldexp(w.astype(np.float64), -plan.weights[name].frac) for name, w in zip(op.weights, weights, strict=True)],
    )
    error = np.abs(result - np.ldexp(plain, plan.tensors["y"].frac))
    assert error.max(initial=0) <= KINDS[kind].error(op, plan)
    assert not rectified(op) or result.min(initial=0) >= 0

    declared = KINDS[kind].cost(op, plan, batch)
    rounds, sent = memory_three.counted()
    assert (rounds, sent) == (declared.rounds, tuple(declared.sent[(i + turn) % 3] for i in range(3)))
    assert KINDS[kind].interactive or not rounds


@pytest.mark.parametrize("turn", TURNS)
@every_executable_sample
def test_rows_do_not_meet(kind: str, number: int, turn: int) -> None:
    """In batches as large as an axis of an operand too, so that rows would find an axis that they fit to."""
    sample = SAMPLES[kind][number]
    plan, random = sample.plan(kind), np.random.default_rng(number)

    def words(shape: tuple[int, ...], dtype: Any = np.uint64) -> list[np.ndarray]:
        return [random.integers(0, 2 if dtype == np.uint8 else 2**64, shape, dtype) for _ in range(3)]

    weights = [[Share(parts[i], parts[(i + 1) % 3]) for i in range(3)] for parts in map(words, sample.weights)]
    runs = runs_of(plan, weights)
    assert KINDS[kind].rowwise
    for batch in sorted({axis for shape in sample.inputs for axis in shape if 2 <= axis <= 8} | {2}):
        shape = (batch, *plan.tensors["y"].shape)

        def compute(xs: Sequence[Sequence[np.ndarray]], shape: tuple[int, ...] = shape) -> list[Share]:
            def of(party: Party) -> Protocol[Share]:
                own = [Share(x[party.index], x[(party.index + 1) % 3]) for x in xs]
                return runs[party.index](party, own, shape)

            return lockstep.run(of, b"rows", turn)

        def drawn(batch: int = batch) -> list[list[np.ndarray]]:
            return [words((batch, *shape), sample.dtype(at)) for at, shape in enumerate(sample.inputs)]

        for share in lockstep.assert_rows_apart(compute, drawn, int(random.integers(batch))):
            assert share.shape == shape


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([1e-3, 1.0, 1e6]))
@every_sample
def test_the_interval_holds(kind: str, number: int, seed: int, size: float) -> None:
    sample = SAMPLES[kind][number]
    plan, random = sample.plan(kind), np.random.default_rng(seed)
    (op,) = plan.ops
    weights = [random.normal(size=shape) for shape in sample.weights]
    ends = sample.ends(random, size)
    xs = [Interval(low, high, attained=True, independent=True) for low, high in ends]
    proven = KINDS[kind].interval(op, xs, weights)
    assert proven.low.shape == proven.high.shape == (1, *plan.tensors["y"].shape)

    def inside(found: Interval, part: Callable[[tuple[int, ...]], np.ndarray], meaning: Any) -> None:
        values = meaning(op, [low + part((9, *low.shape[1:])) * (high - low) for low, high in ends], weights)
        slack = 1e-12 * (np.abs(found.low) + np.abs(found.high))
        assert np.all(found.low - slack <= values)
        assert np.all(values <= found.high + slack)

    final = bounds.after_product(op, proven, bounds.error(op, plan) if plan.executable else 0.0)
    assert final is not None
    for found, meaning in ((proven, KINDS[kind].plain), (final, apply)):
        inside(found, random.random, meaning)
        inside(found, lambda shape: random.integers(0, 2, shape).astype(np.float64), meaning)  # corners


@every_sample
def test_an_attained_interval_is_reached(kind: str, number: int) -> None:
    """By inputs at the ends that one element depends on; they are found by trying one value at a time."""
    sample = SAMPLES[kind][number]
    plan, random = sample.plan(kind), np.random.default_rng(number)
    (op,) = plan.ops
    weights = [random.normal(size=shape) for shape in sample.weights]
    ends = sample.ends(random, 1.0)
    proven = KINDS[kind].interval(op, [Interval(*pair, attained=True, independent=True) for pair in ends], weights)
    if not proven.attained:
        return
    (low, high), meaning = ends[0], KINDS[kind].plain
    middle = (low + high) / 2
    for place in range(min(3, proven.low.size)):
        x = middle.copy()
        for at in np.ndindex(*middle.shape):  # the value at `place` grows with x[at], or falls with it
            up, down = middle.copy(), middle.copy()
            up[at], down[at] = high[at], low[at]
            above = meaning(op, [up], weights).reshape(-1)[place]
            x[at] = high[at] if above >= meaning(op, [down], weights).reshape(-1)[place] else low[at]
        reached = meaning(op, [x], weights).reshape(-1)[place]
        assert reached == pytest.approx(proven.high.reshape(-1)[place], rel=1e-6, abs=1e-9)


# --- privacy


def alone(kind: str) -> Sample:
    """The last sample: one value of output a row."""
    return SAMPLES[kind][-1]


def constant_shares(shape: tuple[int, ...], summands: tuple[int, int, int], dtype: Any = np.uint64) -> list[Share]:
    """Of bits (uint8) by the summands' lowest ones."""
    modulus = 2 if dtype == np.uint8 else 2**64
    arrays = [np.full(shape, summand % modulus, dtype) for summand in summands]
    return [Share(arrays[i].copy(), arrays[(i + 1) % 3].copy()) for i in range(3)]


@pytest.mark.parametrize("secret", [0, 2**19 - 77])
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("kind", INTERACTIVE)
def test_what_is_received_is_uniform(memory_three: Three, kind: str, turn: int, secret: int) -> None:
    sample = alone(kind)
    plan = sample.plan(kind)
    runs = runs_of(plan, [shares_of(np.full(shape, 3, np.uint64)) for shape in sample.weights])
    xs = [
        shares_of(np.full((VALUES, *shape), secret & 1 if at in sample.bits else secret, sample.dtype(at)))
        for at, shape in enumerate(sample.inputs)
    ]
    shape = (VALUES, *plan.tensors["y"].shape)
    views = views_of(memory_three, turn, protocol, runs, [shape] * 3, *xs)
    received = [data for view in views for data in view.received if data.size >= VALUES]
    assert received
    assert all(chi_square(data) < LIMIT for data in received)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("kind", INTERACTIVE)
def test_masks_and_messages_together_add_up_to_no_constant(memory_three: Three, kind: str, turn: int) -> None:
    sample = alone(kind)
    plan = sample.plan(kind)
    shape = (VALUES, *plan.tensors["y"].shape)
    assert np.prod(shape) == VALUES
    runs = runs_of(plan, [constant_shares(shape, (3, 5, 7)) for shape in sample.weights])
    for sharing in SHARINGS:
        xs = [constant_shares((VALUES, *shape), sharing, sample.dtype(at)) for at, shape in enumerate(sample.inputs)]
        assert deficits(memory_three, turn, protocol, runs, [shape] * 3, *xs) == [0, 0, 0]
