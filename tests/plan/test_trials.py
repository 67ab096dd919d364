"""What is tried while an error is too large, and what is taken of it."""

from __future__ import annotations

import numpy as np
import pytest

from keras_private.plan import schedule
from keras_private.plan.builder import Draft
from keras_private.plan.evaluate import evaluate
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Plan
from keras_private.plan.simulate import simulate
from keras_private.plan.trials import FINEST, GOAL
from tests.plans import output_frac

from . import integers, models
from .models import Model


def curves(function: str) -> Draft:
    model = Model((8,), (-1.0, 1.0), seed=3)
    model.op("matmul", weights=[model.weight(8, 16)])
    model.op("spline", function=function, parameters=(), goal=21)
    model.dense(4)
    return model.draft()


def goals(plan: Plan) -> set[int]:
    return {op.attrs["goal"] for op in plan.ops if op.kind == "spline"}


def off(draft: Draft, done: Draft) -> float:
    """The largest error, as a part of the outputs' range."""
    x = np.random.default_rng(2).uniform(-1, 1, (300, 8))
    plain = evaluate(draft, x)
    return float(np.abs(simulate(done, [x])[0] - plain).max() / np.ptp(plain))


def test_finer_tables_where_they_are_what_answers_are_off_by() -> None:
    """The error of a table is not to be seen in the fractional bits of its values: more of those would not help."""
    draft = curves("sigmoid")
    done = optimise(draft)
    assert goals(draft.plan) == {21}
    assert goals(done.plan) == {25}
    assert done.accuracy is not None
    assert off(draft, done) < done.accuracy.relative <= GOAL
    assert goals(optimise(curves("tanh")).plan) == {21}


def test_tables_follow_a_high_precision() -> None:
    draft = curves("tanh")
    low, usual, high = (optimise(draft, precision=precision) for precision in (10, 16, 24))
    assert off(draft, low) > off(draft, usual) > off(draft, high)
    assert goals(high.plan) == {FINEST}


def test_what_is_exact_enough_is_tried_once() -> None:
    draft = models.mnist()
    plan = optimise(draft).plan
    assert {tensor.frac for tensor in plan.tensors.values()} == {16}


def test_finer_tables_are_cheap() -> None:
    """Four half bits more are a twentieth of a table's bytes."""
    finer, usual = optimise(curves("sigmoid")), optimise(curves("tanh"))
    assert sum(schedule.total(finer.plan, 100).sent) < 1.2 * sum(schedule.total(usual.plan, 100).sent)


@pytest.mark.parametrize("size", [1.0, 1e-2, 1e-4, 1e-7])
def test_an_output_has_as_many_bits_as_it_needs(size: float) -> None:
    model = Model((8,), (0.0, 1.0))
    model.dense(16)
    model.relu()
    model.op("matmul", weights=[model.builder.weight(model.random.normal(size=(16, 4)) * size, "w")])
    draft = model.draft()
    done = optimise(draft)
    frac, x = output_frac(done.plan), np.random.default_rng(1).uniform(size=(100, 8))
    plain = evaluate(draft, x)
    raw = integers.run(done, x)[done.plan.outputs[0].tensor]
    assert frac >= 16
    assert (frac > 16) == (size < 1e-2)
    assert np.abs(raw * 2.0**-frac - plain).max() < 2e-3 * np.ptp(plain)
