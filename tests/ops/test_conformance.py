"""Every kind keeps to what it declares: protocol, plain meaning, interval, cost, rows. Samples are in `samples/`; what
they send is looked at in `test_privacy.py` and `test_timing.py`, what they allocate in `test_memory.py`.

A kind without samples fails here, and a protocol that is right for one cyclic order of the roles only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol
from keras_private.plan import bounds
from keras_private.plan.evaluate import apply
from keras_private.plan.interval import Interval
from keras_private.plan.ops import KINDS, rectified
from keras_private.sharing.share import Share, reconstruct
from tests.mpc import lockstep
from tests.mpc.three import Three, shares_of

from .bound import (
    EXECUTABLE,
    every_executable_sample,
    every_sample,
    every_turn,
    held,
    protocol,
    raw_words,
    runs_of,
    summands,
)
from .samples import FAMILIES, SAMPLES


def test_every_kind_has_samples() -> None:
    assert SAMPLES.keys() == KINDS.keys()
    assert all(SAMPLES.values())


def test_samples_are_in_files_of_the_families_names() -> None:
    for family, samples in FAMILIES.items():
        for kind in samples:
            assert type(KINDS[kind]).__module__.rpartition(".")[2] == family


@pytest.mark.parametrize("batch", [0, 1, 3])
@every_turn
@every_executable_sample
def test_the_protocol_computes_what_the_kind_means_for_what_it_declares(
    memory_three: Three, kind: str, number: int, turn: int, batch: int
) -> None:
    look_at(memory_three, kind, number, turn, batch)


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in EXECUTABLE}))
def test_and_so_it_does_over_tls(tls_three: Three, kind: str) -> None:
    look_at(tls_three, kind, 0, turn=1, batch=2)


def look_at(three: Three, kind: str, number: int, turn: int, batch: int) -> None:
    sample = SAMPLES[kind][number]
    plan, random = sample.plan(kind), np.random.default_rng(number)
    (op,) = plan.ops
    raw, weights = sample.raw_inputs(random, batch), sample.raw_weights(random)
    shape = (batch, *plan.tensors["y"].shape)
    runs = runs_of(plan, [shares_of(weight.view(np.uint64)) for weight in weights])
    for party in three.parties:
        party.take_turn(turn)
    outputs = three.run(protocol, runs, shape, *(shares_of(raw_words(x)) for x in raw))
    for party in three.parties:
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
    rounds, sent = three.counted()
    assert (rounds, sent) == (declared.rounds, tuple(declared.sent[(i + turn) % 3] for i in range(3)))
    assert KINDS[kind].interactive or not rounds


@every_turn
@every_executable_sample
def test_rows_do_not_meet(kind: str, number: int, turn: int) -> None:
    """In batches as large as an axis of an operand too, so that rows would find an axis that they fit to."""
    sample = SAMPLES[kind][number]
    plan, random = sample.plan(kind), np.random.default_rng(number)

    runs = runs_of(plan, [held(summands(random, shape)) for shape in sample.weights])
    assert KINDS[kind].rowwise
    for batch in sorted({axis for shape in sample.inputs for axis in shape if 2 <= axis <= 8} | {2}):
        shape = (batch, *plan.tensors["y"].shape)

        def compute(xs: Sequence[Sequence[np.ndarray]], shape: tuple[int, ...] = shape) -> list[Share]:
            def of(party: Party) -> Protocol[Share]:
                own = [Share(x[party.index], x[(party.index + 1) % 3]) for x in xs]
                return runs[party.index](party, own, shape)

            return lockstep.run(of, b"rows", turn)

        def drawn(batch: int = batch) -> list[list[np.ndarray]]:
            return [summands(random, (batch, *shape), sample.dtype(at)) for at, shape in enumerate(sample.inputs)]

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
