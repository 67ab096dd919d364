"""The guard: never a wrong answer without a notice, and no notice for inputs that are like the samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keras_private.errors import PlanError
from keras_private.plan import samples
from keras_private.plan.builder import Draft, PlanBuilder
from keras_private.plan.checks import guard
from keras_private.plan.checks.guard import guarded
from keras_private.plan.evaluate import evaluate, evaluate_all
from keras_private.plan.interval import Interval
from keras_private.plan.ops import kind_of
from keras_private.plan.ops.public import signs
from keras_private.plan.optimise import optimise, simplify
from keras_private.plan.plan import CHECKS, NOTICES
from keras_private.plan.serialise import validate
from keras_private.plan.summary import private_summary, unproven
from tests.plan import integers
from tests.plans import the_input


def deep(random: np.random.Generator, widths: list[int], given: tuple[float, float] | None, gain: float = 1.0) -> Draft:
    """Dense layers with ReLUs; `gain`: of one feature that speaks where all inputs are near their upper end only."""
    builder = PlanBuilder((widths[0],), given)
    name = builder.input
    for at, (before, after) in enumerate(itertools.pairwise(widths)):
        weight, bias = random.normal(size=(before, after)) * np.sqrt(2 / before), random.normal(size=after) * 0.1
        if at == 0 and given is not None:
            weight[:, 0], bias[0] = gain, -0.98 * gain * given[1] * before
        name = builder.op("matmul", name, weights=[builder.weight(weight, "w"), builder.weight(bias, "b")])
        if at < len(widths) - 2:
            name = builder.op("relu", name)
    return builder.finish(name)


def with_guard(draft: Draft) -> tuple[Draft, Draft]:
    """Executable: without, and with it."""
    done = optimise(draft)
    return done, guarded(done, samples.inputs(simplify(draft), 4))


def notices(draft: Draft, x: np.ndarray) -> np.ndarray:
    made = next(made for made in draft.plan.outputs if made.reveal in NOTICES)
    return integers.run(draft, x)[made.tensor]


def test_an_outlier_wraps_around_and_is_noticed_and_ordinary_inputs_pass() -> None:
    recorded = deep(np.random.default_rng(0), [12, *[40] * 14, 3], (-1.0, 1.0), gain=2.0**24)
    plain, draft = with_guard(recorded)
    x = np.random.default_rng(1).uniform(-0.9, 0.9, (8, 12))
    x[3] = 1.0
    end = plain.plan.outputs[0].tensor
    wrapped = integers.run(plain, x)[end] != integers.run(plain, x, unbounded=True)[end]
    assert list(np.flatnonzero(wrapped.any(axis=1))) == [3]  # a wrong answer, and nothing said
    assert list(notices(draft, x)) == [0, 0, 0, 1, 0, 0, 0, 0]
    validate(draft.plan)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    depth=st.integers(1, 18),
    width=st.sampled_from([3, 30, 90]),
    ranged=st.booleans(),
    gain=st.integers(0, 26),
    scale=st.integers(-2, 24),
    block=st.sampled_from([1, 64, 4096]),
)
def test_never_a_wrong_answer_without_a_notice(
    seed: int, depth: int, width: int, ranged: bool, gain: int, scale: int, block: int
) -> None:
    """In integers modulo 2^64, beside integers without end."""
    random = np.random.default_rng(seed)
    recorded = deep(random, [12, *[width] * depth, 2], (-1.0, 1.0) if ranged else None, 2.0**gain)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(guard, "WAYS", [(block, 6), (block, 3), *guard.WAYS[-4:]])
            plain, draft = with_guard(recorded)
    except PlanError:
        assume(False)
    limit = the_input(plain.plan).limit or 1.0
    x = np.clip(random.normal(size=(6, 12)) * 2.0**scale, -limit * 0.999, limit * 0.999)
    x[0] = limit * 0.999
    end = plain.plan.outputs[0].tensor
    wrong = (integers.run(plain, x)[end] != integers.run(plain, x, unbounded=True)[end]).any(axis=1)
    if draft is plain:  # nothing can go wrong
        assert not wrong.any()
    else:
        assert np.all(notices(draft, x)[wrong] == 1)


@pytest.mark.parametrize("given", [None, (-1.0, 1.0)])
def test_inputs_that_are_like_the_samples_get_no_notice(given: tuple[float, float] | None) -> None:
    recorded = deep(np.random.default_rng(2), [6, *[50] * 16, 3], given)
    _, draft = with_guard(recorded)
    x = (
        np.random.default_rng(3).normal(size=(200, 6))
        if given is None
        else np.random.default_rng(3).uniform(-1, 1, (200, 6))
    )
    assert not notices(draft, x).any()


def test_other_rows_of_a_batch_have_no_part_in_a_notice() -> None:
    recorded = deep(np.random.default_rng(0), [12, *[40] * 14, 3], (-1.0, 1.0), gain=2.0**24)
    _, draft = with_guard(recorded)
    x = np.zeros((3, 12))
    x[1] = 1.0
    assert list(notices(draft, x)) == [0, 1, 0]
    assert list(notices(draft, x[:1])) == [0]


def test_what_is_conditional_narrows_no_comparison() -> None:
    """All ops and tensors that were there are as they were, and the guard's own comparison takes all bits."""
    plain, draft = with_guard(deep(np.random.default_rng(2), [6, *[50] * 16, 3], (-1.0, 1.0)))
    assert [op for op in draft.plan.ops if op.layer not in CHECKS] == list(plain.plan.ops)
    assert all(draft.plan.tensors[name] == tensor for name, tensor in plain.plan.tensors.items())
    (compared,) = [op for op in draft.plan.ops if op.kind == "below" and op.layer in CHECKS]
    assert draft.plan.tensors[compared.inputs[0]].bound is None
    assert unproven(draft.plan) == unproven(plain.plan)
    assert "(guard)" in private_summary(draft.plan)


def test_a_plan_whose_values_are_proven_is_left_as_it_is() -> None:
    done, draft = with_guard(deep(np.random.default_rng(2), [6, 5, 3], (-1.0, 1.0)))
    assert draft is done


def test_what_has_no_room_is_refused_by_name() -> None:
    done = optimise(deep(np.random.default_rng(2), [6, *[50] * 16, 3], (-1.0, 1.0)))
    huge = (2.0**40 * samples.inputs(done, 2)[0],)
    with pytest.raises(PlanError, match=r"matmul: no range of its inputs.*guard=True"):
        guarded(done, huge)


def test_sums_by_signs_notice_a_large_value_modulo_the_ring() -> None:
    """Wherever it is, whatever stands beside it, if it is beyond the limit and below 2^62."""
    random, matrix = np.random.default_rng(5), signs(300, guard.SIGNS)
    limit = 1 << 40
    for _ in range(200):
        x = random.integers(-(2**62), 2**62, 300) >> int(random.integers(0, 60))
        x[random.integers(300)] = random.choice([-1, 1]) * int(random.integers(limit + 1, 2**62))
        assert np.any(np.abs((x @ matrix).astype(np.float64)) > limit)


def test_the_signs_are_balanced_and_unlike() -> None:
    matrix = signs(4096, guard.SIGNS)
    assert set(np.unique(matrix)) == {-1, 1}
    agreement = np.abs(matrix.T @ matrix - 4096 * np.eye(guard.SIGNS, dtype=np.int64))
    assert agreement.max() < 6 * 64  # six standard deviations


@pytest.mark.parametrize("kind", ["conv2d", "depthwise_conv2d"])
def test_convolutions_by_channels_hold_what_they_make(kind: str) -> None:
    random = np.random.default_rng(6)
    builder = PlanBuilder((5, 6, 3), (-2.0, 1.0))
    weights = [
        builder.weight(random.normal(size=(3, 3, 3, 2)), "k"),
        builder.weight(random.normal(size=2 if kind == "conv2d" else 6), "b"),
    ]
    draft = builder.finish(builder.op(kind, builder.input, weights=weights, strides=(1, 2), pads=(1, 0, 0, 1)))
    (op,) = draft.plan.ops
    ends = np.sort(random.normal(size=(2, 1, 5, 6, 3)), axis=0)
    x = Interval(*ends)
    values = [draft.values[name] for name in op.weights]
    found = guard._by_channels(op, kind_of(op), x, values, draft.plan.tensors[op.output].shape)  # type: ignore[arg-type]
    exact = kind_of(op).interval(op, [x], values)
    assert np.all(found.low <= exact.low)
    assert np.all(exact.high <= found.high)
    assert found.size < 3 * exact.size


def test_values_that_were_cut_off_are_noticed_if_that_is_asked_for() -> None:
    """With calibration nothing wraps around: outliers saturate, and guard=True says which rows did."""
    recorded = deep(np.random.default_rng(0), [12, *[40] * 14, 3], (-1.0, 1.0), gain=2.0**20)
    data = [np.random.default_rng(4).uniform(-0.9, 0.9, (64, 12))]
    silent, draft = (optimise(recorded, calibration=data, guard=guard) for guard in (None, True))
    assert not unproven(silent.plan)
    assert silent.plan.results == silent.plan.outputs
    x = np.random.default_rng(5).uniform(-0.9, 0.9, (8, 12))
    x[3] = 1.0
    saturated, exact = integers.run(draft, x), evaluate(recorded, x)
    end = draft.plan.outputs[0].tensor
    off = np.abs(saturated[end] / 2.0**16 - exact).max(axis=1) > 0.01 * np.abs(exact).max(axis=1) + 0.01
    assert list(off) == [False, False, False, True, False, False, False, False]
    assert list(notices(draft, x)) == list(off)
    validate(draft.plan)


@pytest.mark.parametrize("bits", [20, 45, 53])
def test_a_cut_is_noticed_at_ends_whose_neighbours_no_float64_holds(bits: int) -> None:
    """2^bits with 8 fractional bits: from 2^54 on, 2^k - 1 would be rounded to 2^k."""
    end = 2.0**bits
    builder = PlanBuilder((2,), (-2 * end, 2 * end))
    recorded = builder.finish(builder.op("clip", builder.input, low=-end, high=end, cut=True))
    draft = optimise(recorded, precision=8 if bits < 53 else 5, guard=True)
    inside = end * (1 - 2.0**-24)
    x = np.array([[0.0, inside], [1.5 * end, 0.0], [0.0, -1.9 * end], [-inside, inside]])
    assert list(notices(draft, x)) == [0, 1, 1, 0]


def normalised(gain: float) -> Draft:
    """A layer normalisation, of a row in which one number is about `gain` where all inputs are 1, and 0 else."""
    random, builder = np.random.default_rng(8), PlanBuilder((12,), (-1.0, 1.0))
    weight, bias = random.normal(size=(12, 8)), np.zeros(8)
    weight[:, 0], bias[0] = gain, -11.0 * gain
    dense = builder.op("matmul", builder.input, weights=[builder.weight(weight, "w"), builder.weight(bias, "b")])
    return builder.finish(builder.op("normalise", builder.op("relu", dense), axes=(0,), epsilon=1e-3, centre=True))


@pytest.mark.parametrize("gain", [2.0**10, 2.0**18])
def test_a_row_whose_squares_are_beyond_the_end_of_a_table_is_noticed(gain: float) -> None:
    """All is proven to fit, and yet the answer would be wrong: sums of squares count as 2^30 at most."""
    recorded = normalised(gain)
    plain, draft = (optimise(recorded, guard=guard) for guard in (False, None))
    assert not unproven(draft.plan)
    x = np.random.default_rng(1).uniform(-0.9, 0.9, (4, 12))
    x[2] = 1.0
    off = np.abs(evaluate(plain, x) - evaluate(recorded, x)).max(axis=1) > 0.1
    if gain < 2.0**15:
        assert draft.plan == plain.plan
        assert not off.any()
        return
    assert list(off) == [False, False, True, False]
    assert list(evaluate_all(draft, [x])[-1]) == list(off)
    assert "beyond a table's end (guard)" in " ".join(private_summary(draft.plan).split())
    validate(draft.plan)


def test_rows_of_the_owners_data_get_no_notice() -> None:
    """Though few of them are tried: the largest is among these."""
    recorded = deep(np.random.default_rng(3), [12, *[40] * 12, 3], None)
    random = np.random.default_rng(7)
    data = random.normal(size=(2000, 12)) * np.exp(3 * random.normal(size=(2000, 1)))
    draft = optimise(recorded, calibration=[data], guard=True)
    largest = np.argsort(np.abs(data).max(axis=1))[-50:]
    assert not notices(draft, data[largest]).any()
