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


def polynomial(times: int, gain: float, unit: str) -> Draft:
    """A power of a dense layer's outputs, by squares of squares or by products of two tensors."""
    random = np.random.default_rng(times)
    builder = PlanBuilder((3,), None)
    weights = [builder.weight(random.normal(size=(3, 4)) * gain, "w"), builder.weight(random.normal(size=4), "b")]
    first = value = builder.op("matmul", builder.input, weights=weights)
    for _ in range(times - 1):
        if unit == "square":
            value = builder.op("square", value)
        elif unit == "einsum":
            value = builder.op("einsum", [value, first], equation="i,j->i")
        else:
            value = builder.op("mul", [value, first])
    return builder.finish(value)


@pytest.mark.parametrize(("unit", "times"), [("square", 2), ("square", 3), ("mul", 3), ("mul", 4), ("einsum", 4)])
@pytest.mark.parametrize("gain", [0.01, 1.0, 4.0])
def test_polynomials_of_the_inputs_do_not_wrap_below_the_limit(unit: str, times: int, gain: float) -> None:
    draft = polynomial(times, gain, unit)
    done = optimise(draft)
    limit = the_input(done.plan).limit
    assert limit is not None
    for size in (0.999, 0.01):
        x = np.random.default_rng(times).choice([-1.0, 1.0], (20, 3)) * limit * size
        expected = evaluate(draft, x)
        answers = np.ldexp(run(done, x)[the_output(done.plan).tensor].astype(np.float64), -done.plan.precision)
        assert np.max(np.abs(answers - expected)) <= 2e-2 * np.max(np.abs(expected)) + 0.01


def test_what_is_silent_for_small_inputs_counts_for_large_ones() -> None:
    """The interval of a unit that needs more than one to speak is zero for inputs up to one."""
    builder = PlanBuilder((1,), None)
    weights = [builder.weight([[1.0]], "w0"), builder.weight([-2.0], "b")]
    hidden = builder.op("relu", builder.op("matmul", builder.input, weights=weights))
    draft = builder.finish(builder.op("matmul", hidden, weights=[builder.weight([[2.0**20]], "w1")]))
    done = optimise(draft)
    limit = the_input(done.plan).limit
    assert limit is not None
    assert limit >= 2**3
    x = np.array([[limit * 0.999]])
    answer = np.ldexp(run(done, x)[the_output(done.plan).tensor].astype(np.float64), -done.plan.precision)
    assert answer == pytest.approx(evaluate(draft, x), rel=1e-3)


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
