"""Inputs below the limit of a plan without a declared range give right answers; nothing is proven of such a plan."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.errors import PlanError
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.evaluate import evaluate
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Draft
from keras_private.plan.serialise import parse, serialise
from tests.plans import the_input, the_output, with_input

from .integers import run


def network(widths: list[int], scale: float, seed: int) -> Draft:
    """Dense layers with ReLUs between them, without a declared range."""
    random = np.random.default_rng(seed)
    builder = PlanBuilder((widths[0],), None)
    value = builder.input
    for layer, (before, after) in enumerate(itertools.pairwise(widths)):
        weight = builder.weight(random.normal(size=(before, after)) * scale, f"w{layer}")
        bias = builder.weight(random.normal(size=after), f"b{layer}")
        if layer:
            value = builder.op("relu", value, layer=f"relu{layer}")
        value = builder.op("matmul", value, weights=[weight, bias], layer=f"dense{layer}")
    return builder.finish(value)


@given(
    widths=st.lists(st.integers(1, 12), min_size=2, max_size=5),
    scale=st.sampled_from([0.01, 0.3, 1.0, 40.0]),
    seed=st.integers(0, 99),
    one_column=st.booleans(),
)
def test_what_is_below_the_limit_does_not_wrap(widths: list[int], scale: float, seed: int, one_column: bool) -> None:
    draft = network(widths, scale, seed)
    done = optimise(draft)
    limit = the_input(done.plan).limit
    assert limit is not None
    assert limit >= 16 or scale > 1  # data of an ordinary size is taken, unless the net magnifies it a lot
    x = np.random.default_rng(seed + 1).choice([-1.0, 1.0], (20, widths[0])) * limit * 0.999
    if one_column:
        x[:, 1:] = 0
    expected = evaluate(draft, x)
    answers = np.ldexp(run(done, x)[the_output(done.plan).tensor].astype(np.float64), -done.plan.precision)
    assert np.max(np.abs(answers - expected)) <= 1e-3 * np.max(np.abs(expected)) + 0.01


def test_a_billion_in_one_column() -> None:
    """Of a layer whose weights exceed one: beyond what fits, and so beyond the limit."""
    builder = PlanBuilder((2,), None)
    done = optimise(builder.finish(builder.op("matmul", builder.input, weights=[builder.weight([[3.0], [0.5]], "w")])))
    assert the_input(done.plan).limit is not None
    assert the_input(done.plan).limit < 1e9


def test_a_declared_range_needs_no_limit() -> None:
    builder = PlanBuilder((2,), (0, 1))
    done = optimise(builder.finish(builder.op("relu", builder.input)))
    assert the_input(done.plan).limit is None


@pytest.mark.parametrize("wrong", [3.0, 0.0, -2.0, float("inf"), float("nan"), 4, "4"])
def test_a_limit_is_a_power_of_two(wrong: object) -> None:
    plan = optimise(network([2, 2], 1.0, 0)).plan
    assert parse(serialise(plan)) == plan
    with pytest.raises(PlanError, match="limit"):
        parse(serialise(with_input(Draft(plan, {}), limit=wrong).plan))
