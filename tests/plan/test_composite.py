"""Softmax, norms and quotients: what they are written as is as exact as they say, in the rounds that it should take."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.plan import schedule
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.evaluate import evaluate
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Draft
from keras_private.plan.simulate import simulate
from tests.plan.models import Model
from tests.plans import the_input, the_output


def softmax(classes: int, size: float | None, axis: int = 0) -> Draft:
    builder = PlanBuilder((classes,), None if size is None else (-size, size))
    return builder.finish(builder.op("softmax", builder.input, axis=axis, layer="soft"))


def rows(classes: int, size: float, count: int) -> Iterator[np.ndarray]:
    """Wide and narrow ones, about every place, and those that one number stands out of."""
    random = np.random.default_rng(classes)
    for spread in (0.01, 1.0, 3.0, size / 2):
        middle = random.uniform(-size, size, (count, 1))
        yield np.clip(random.normal(size=(count, classes)) * spread + middle, -size, size)
    alone = np.repeat(np.linspace(-size, size, count)[:, None], classes, axis=1)  # all windows, and between them
    yield alone.copy()
    alone[:, 0] = np.minimum(alone[:, 0] + random.uniform(0, 12, count), size)
    yield alone


@pytest.mark.parametrize(("classes", "size", "count"), [(10, 8, 1000), (10, 40, 200), (30, 8, 200), (1000, 8, 10)])
def test_no_probability_is_off_by_more_than_a_thousandth(classes: int, size: float, count: int) -> None:
    draft = softmax(classes, size)
    done = optimise(draft)
    x = np.concatenate(list(rows(classes, size, count)))
    (found,) = simulate(done, [x])
    assert np.max(np.abs(found - evaluate(draft, x))) <= 2**-10
    assert np.max(np.abs(found.sum(axis=1) - 1)) <= 2**-7


def test_rows_without_a_proof_have_a_softmax_too() -> None:
    draft = softmax(6, None)
    done = optimise(draft)
    assert "reduce_max" in [op.kind for op in done.plan.ops]
    x = np.random.default_rng(3).normal(size=(50, 6)) * 300
    (found,) = simulate(done, [x])
    assert np.max(np.abs(found - evaluate(draft, x))) <= 2**-10


def test_a_softmax_of_ten_classes_takes_seven_rounds_and_one_product_before_it() -> None:
    model = Model((20,), (-1.0, 1.0))
    model.dense(10)
    model.op("softmax", axis=0, layer="soft")
    plan = optimise(model.draft()).plan
    assert "reduce_max" not in [op.kind for op in plan.ops]
    assert schedule.total(plan, 1).rounds <= 7


@pytest.mark.parametrize("size", [2.0, 60.0, None])
def test_masked_numbers_count_for_nothing(size: float | None) -> None:
    """However large they are; with shifts, and with a maximum."""
    mask = np.tril(np.ones((5, 7), int), 1)
    builder = PlanBuilder((2, 5, 7), size and (-size, size))
    attrs = {"axis": 2, "kept": (mask.shape, tuple(mask.reshape(-1).tolist()))}
    draft = builder.finish(builder.op("softmax", builder.input, **attrs))
    done = optimise(draft)
    compared = [math.prod(done.plan.tensors[op.output].shape) for op in done.plan.ops if op.kind == "spline"]
    assert compared[0] % (2 * mask.sum()) == 0
    x = np.random.default_rng(3).normal(size=(40, 2, 5, 7)) * (size or 60) / 4
    x = np.clip(x, -(size or np.inf), size or np.inf)
    (found,) = simulate(done, [x])
    assert np.max(np.abs(found - evaluate(draft, x))) <= 2**-10
    powers = np.exp(x) * mask
    np.testing.assert_allclose(evaluate(draft, x), powers / powers.sum(axis=-1, keepdims=True), atol=1e-9)
    assert not np.any(found * (1 - mask))


@pytest.mark.parametrize("kept", [0, ((2, 2), (1, 1, 0, 0)), ((2,), (1, 2)), ((3,), (1, 0, 1))])
def test_a_mask_that_cannot_be_is_refused(kept: object) -> None:
    builder = PlanBuilder((2, 2))
    with pytest.raises(PlanError, match=r"kept is malformed|is not that of the last axes"):
        builder.op("softmax", builder.input, axis=1, kept=kept)


def test_an_axis_in_front_of_others() -> None:
    for size in (5.0, 500.0):
        builder = PlanBuilder((4, 2, 3), (-size, size))
        draft = builder.finish(builder.op("softmax", builder.input, axis=0))
        x = np.random.default_rng(3).uniform(-size, size, (30, 4, 2, 3))
        (found,) = simulate(optimise(draft), [x])
        assert np.max(np.abs(found - evaluate(draft, x))) <= 2**-10


def test_an_axis_that_is_not_there_is_refused() -> None:
    with pytest.raises(PlanError, match="no axis 1"):
        softmax(3, 1, axis=1)


def quotients(low: float, high: float) -> Draft:
    """x / y of an input (2, 5): of its first row and its second."""
    builder = PlanBuilder((2, 5), (-high, high))
    x, y = (builder.op("slice", builder.input, starts=(row, 0), stops=(row + 1, 5), strides=(1, 1)) for row in (0, 1))
    return builder.finish(builder.op("divide", [x, y], low=low, high=high, layer="quotient"))


@pytest.mark.parametrize(("low", "high"), [(0.25, 32.0), (2.0**-5, 2.0**8)])
def test_quotients_are_off_by_a_small_part(low: float, high: float) -> None:
    draft = quotients(low, high)
    random = np.random.default_rng(5)
    x = random.uniform(-high, high, (4000, 2, 5))
    x[:, 1] = np.exp2(random.uniform(np.log2(low), np.log2(high), (4000, 5)))
    (found,), plain = simulate(optimise(draft), [x]), evaluate(draft, x)
    part = 2**-17 / x[:, 1:]  # of what encoding takes off x and y
    assert np.all(np.abs(found - plain) <= np.abs(plain) * (2**-11.4 + part) + part + 2 * 2**-16)


def test_a_divisor_beyond_its_ends_counts_as_the_nearer_one() -> None:
    draft = quotients(0.25, 32.0)
    x = np.ones((2, 2, 5))
    x[0, 1], x[1, 1] = -3.0, 0.01
    (found,) = simulate(optimise(draft), [x])
    np.testing.assert_allclose(found, 4.0, rtol=2**-4)


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize(
    ("shape", "axes", "size"), [((4, 48), (1,), 8.0), ((3, 4, 5), (0, 2), 300.0), ((768,), (0,), 4.0)]
)
def test_rows_are_divided_by_their_size(
    shape: tuple[int, ...], axes: tuple[int, ...], size: float, centre: bool
) -> None:
    builder = PlanBuilder(shape, (-size, size))
    draft = builder.finish(builder.op("normalise", builder.input, axes=axes, epsilon=1e-3, centre=centre))
    done, random = optimise(draft), np.random.default_rng(5)
    for spread in (size / 3, 1.0, 0.1):
        x = np.clip(random.normal(size=(50, *shape)) * spread + random.uniform(-1, 1), -size, size)
        (found,), plain = simulate(done, [x]), evaluate(draft, x)
        assert np.max(np.abs(found - plain)) <= 2**-11 * np.max(np.abs(plain)) + 2**-14 / spread


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize(("count", "size"), [(64, 2.0**17), (62, 2.0**19)])
def test_rows_beyond_the_table_stay_below_the_bound(count: int, size: float, centre: bool) -> None:
    """They come out too large; a comparison behind them must not take that for a negative number."""
    builder = PlanBuilder((count,), (-size, size))
    done = optimise(builder.finish(builder.op("normalise", builder.input, axes=(0,), epsilon=1e-3, centre=centre)))
    made = done.plan.tensors[the_output(done.plan).tensor]
    x = np.random.default_rng(5).choice([-size, size], (50, count))
    x[:, 1:] *= np.array([1.0, 0.999, 2.0**-6, 0.0, -1.0]).repeat(10)[:, None]
    (found,) = simulate(done, [x])
    assert made.bound is not None
    assert 1.01 * np.sqrt(count) < np.max(np.abs(found)) < 2.0 ** (made.bound - made.frac)


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize(("count", "scale"), [(16, 1.0), (16, 30.0), (64, 30.0), (768, 8.0)])
def test_rows_without_a_proof_have_room_for_a_norm(count: int, scale: float, centre: bool) -> None:
    random = np.random.default_rng(5)
    builder = PlanBuilder((10,), None)
    weight = builder.weight(random.normal(size=(10, count)) * scale, "w")
    rows = builder.op("matmul", builder.input, weights=[weight])
    draft = builder.finish(builder.op("normalise", rows, axes=(0,), epsilon=1e-3, centre=centre))
    done = optimise(draft)
    limit = the_input(done.plan).limit
    assert limit is not None
    assert limit >= 2  # of inputs of an ordinary size
    assert done.plan.tensors[the_output(done.plan).tensor].bound is None  # nothing says that rows are not larger
    x = random.normal(size=(50, 10)).clip(-limit, limit)
    (found,), plain = simulate(done, [x]), evaluate(draft, x)
    assert np.max(np.abs(found - plain)) <= 2**-10 * np.max(np.abs(plain))


def test_a_norm_behind_a_product_takes_few_rounds() -> None:
    model = Model((20,), (-1.0, 1.0))
    model.dense(32)
    model.op("normalise", axes=(0,), epsilon=1e-3, centre=True)
    plan = optimise(model.draft()).plan
    assert [op.kind for op in plan.ops if op.kind == "truncate"] == []
    assert schedule.total(plan, 1).rounds <= 2 + 2 + 2
