"""Intervals hold every value that occurs, and are tight where that can be said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.plan import bounds
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.evaluate import trace
from keras_private.plan.interval import Interval
from keras_private.plan.ops import KINDS
from keras_private.plan.plan import Input, Op

from . import models


def intervals(draft):  # type: ignore[no-untyped-def]
    """Of every tensor of a recorded draft."""
    plan = draft.plan
    found = {given.tensor: bounds.of_input(given, plan.shape(given), 16) for given in plan.inputs}
    for op in plan.ops:
        weights = [draft.values[name] for name in op.weights]
        found[op.output] = bounds.propagate(op, [found[name] for name in op.inputs], weights)
    return found


@pytest.mark.parametrize("name", list(models.ALL))
def test_every_value_lies_in_its_interval(name: str) -> None:
    draft = models.ALL[name]()
    values = trace(draft, models.inputs(draft, 40))
    for tensor, interval in intervals(draft).items():
        assert interval.low.shape == interval.high.shape == (1, *draft.plan.tensors[tensor].shape)
        assert np.all(values[tensor] >= interval.low)
        assert np.all(values[tensor] <= interval.high)


def test_the_first_linear_layer_is_tight() -> None:
    """Zero padding, stride and dilation included: the extreme input of one output reaches the bound."""
    model = models.Model((6, 6, 1), (-2.0, 3.0))
    model.builder.op("relu", model.builder.input)
    kernel = model.random.normal(size=(3, 3, 1, 2))
    weight = model.builder.weight(kernel, "w")
    out = model.op("conv2d", weights=[weight], strides=(2, 2), pads=(1, 1, 1, 1), dilation=(2, 2))
    draft = model.draft()
    interval = intervals(draft)[out]
    assert interval.attained
    assert not interval.independent
    best = np.where(kernel[..., 0] > 0, 3.0, -2.0)
    x = np.full((1, 6, 6, 1), 0.5)
    x[0, 1:6:2, 1:6:2] = best  # the window of output (1, 1)
    reached = trace(draft, x)[out][0, 1, 1, 0]
    assert reached <= interval.high[0, 1, 1, 0] <= reached + 1e-3
    assert interval.high[0, 0, 0, 0] < interval.high[0, 1, 1, 0]  # the corner sees padding


def test_without_a_range_nothing_is_known() -> None:
    assert bounds.of_input(Input("x", "x"), (3,), 16) is None
    assert bounds.propagate(Op("relu", ("x",), (), "y"), [None], []) is None
    assert bounds.bound(None, 16) is None


def test_subtraction_crosses_the_ends() -> None:
    builder = PlanBuilder((2,), (1, 4))
    out = builder.op("sub", [builder.input, builder.op("scale", builder.input, factor=-2)])
    interval = intervals(builder.finish(out))[out]
    np.testing.assert_allclose(interval.low, 3, atol=1e-3)
    np.testing.assert_allclose(interval.high, 12, atol=1e-3)
    assert not interval.attained  # both sides depend on the same input


def test_a_square_is_never_negative() -> None:
    builder = PlanBuilder((2,), (-1.0, 9.0))
    interval = intervals(builder.finish(builder.op("square", builder.input)))["t0"]
    np.testing.assert_allclose(interval.low, 0)
    np.testing.assert_allclose(interval.high, 81, rtol=1e-3)
    assert interval.attained


SIGNS = {"open": (-2.0, 2.0), "not negative": (0.0, 2.0), "not positive": (-2.0, 0.0), "zero": (0.0, 0.0)}


@pytest.mark.parametrize("of_y", SIGNS)
@pytest.mark.parametrize("of_x", SIGNS)
@given(seed=st.integers(0, 2**32))
def test_products_of_intervals_hold_every_product(of_x: str, of_y: str, seed: int) -> None:
    """Whatever their signs; and where one side is never negative, both ends of a sum of products are reached."""
    random = np.random.default_rng(seed)
    x, y = (
        Interval(*np.sort(np.clip(random.normal(size=(2, 1, *shape)), *SIGNS[signs]), axis=0))
        for signs, shape in ((of_x, (3, 4)), (of_y, (4, 2)))
    )
    op = Op("matmul", ("x", "y"), (), "z", {})
    found = KINDS["matmul"].interval(op, [x, y], [])
    whole = KINDS["mul"].interval(
        Op("mul", ("x", "y"), (), "z", {}),
        [Interval(x.low[..., None], x.high[..., None]), Interval(y.low[:, None], y.high[:, None])],
        [],
    )
    least, most = whole.low.sum(axis=2), whole.high.sum(axis=2)  # each product at its best, which no rule undercuts
    slack = 1e-6
    assert np.all(found.low <= least + slack)
    assert np.all(found.high >= most - slack)
    if "not negative" in (of_x, of_y) or "zero" in (of_x, of_y):
        np.testing.assert_allclose(found.low, least, atol=slack)
        np.testing.assert_allclose(found.high, most, atol=slack)
    reach = np.maximum(np.abs(x.low), np.abs(x.high)) @ np.maximum(np.abs(y.low), np.abs(y.high))
    assert np.all(np.maximum(np.abs(found.low), np.abs(found.high)) <= reach + slack)


def test_values_that_a_gather_repeats_are_not_independent() -> None:
    for indices, attained in (((2, 0), True), ((0, 0), False)):
        builder = PlanBuilder((3,), (-1.0, 1.0))
        chosen = builder.op("gather", builder.input, axis=0, indices=indices)
        out = builder.op("matmul", chosen, weights=builder.weight([[1.0], [-1.0]], "w"))
        assert intervals(builder.finish(out))[out].attained is attained  # x0 - x0 is 0 and never 2


@pytest.mark.parametrize(
    ("size", "frac", "expected"), [(0.0, 16, 1), (1.0, 0, 2), (1.0, 16, 17), (0.99, 16, 16), (255, 4, 12)]
)
def test_bits(size: float, frac: int, expected: int) -> None:
    interval = Interval(np.full((1, 2), -size), np.full((1, 2), size / 2))
    assert bounds.bound(interval, frac) == expected
    assert size * 2**frac < 2**expected


def test_bits_end_at_the_contract() -> None:
    interval = Interval(np.zeros((1, 1)), np.full((1, 1), 2.0**46))
    assert bounds.bound(interval, 16) is None
    assert bounds.bound(interval, 15) == 62


def test_repr_shows_no_values() -> None:
    text = repr(Interval(np.full((1, 1), 1234.5), np.full((1, 1), 1234.5)))
    assert "1234" not in text
