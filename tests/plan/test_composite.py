"""Softmax, norms and quotients: what they are written as is as exact as they say, in the rounds that it should take."""

from __future__ import annotations

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


@pytest.mark.parametrize(("classes", "size", "count"), [(10, 8, 2000), (10, 40, 500), (1000, 8, 20), (3, 200, 2000)])
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
    assert "max_pool2d" in [op.kind for op in done.plan.ops]
    x = np.random.default_rng(3).normal(size=(50, 6)) * 300
    (found,) = simulate(done, [x])
    assert np.max(np.abs(found - evaluate(draft, x))) <= 2**-10


def test_a_softmax_of_ten_classes_takes_seven_rounds_and_one_product_before_it() -> None:
    model = Model((20,), (-1.0, 1.0))
    model.dense(10)
    model.op("softmax", axis=0, layer="soft")
    plan = optimise(model.draft()).plan
    assert "max_pool2d" not in [op.kind for op in plan.ops]
    assert schedule.total(plan, 1).rounds <= 7


def test_an_axis_in_front_of_others() -> None:
    builder = PlanBuilder((4, 2, 3), (-5, 5))
    draft = builder.finish(builder.op("softmax", builder.input, axis=0))
    for size in (5.0, 500.0):
        builder = PlanBuilder((4, 2, 3), (-size, size))
        draft = builder.finish(builder.op("softmax", builder.input, axis=0))
        x = np.random.default_rng(3).uniform(-size, size, (30, 4, 2, 3))
        (found,) = simulate(optimise(draft), [x])
        assert np.max(np.abs(found - evaluate(draft, x))) <= 2**-10


def test_an_axis_that_is_not_there_is_refused() -> None:
    with pytest.raises(PlanError, match="no axis 1"):
        softmax(3, 1, axis=1)
