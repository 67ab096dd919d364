"""The whole optimisation: same results, right in integers, within its own bounds, and as cheap as promised."""

from dataclasses import replace

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.plan.builder import Draft, PlanBuilder
from keras_private.plan.evaluate import evaluate, trace
from keras_private.plan.ops import Product, kind_of
from keras_private.plan.optimise import optimise, simplify
from keras_private.plan.schedule import total
from keras_private.plan.serialise import validate
from tests.plans import the_output, with_input

from . import integers, models


@pytest.fixture(params=list(models.ALL))
def draft(request: pytest.FixtureRequest) -> Draft:
    return models.ALL[request.param]()


def unranged(draft: Draft) -> Draft:
    return with_input(draft, range=None)


def test_simplify_leaves_the_result_unchanged(draft: Draft) -> None:
    x = models.inputs(draft)
    np.testing.assert_allclose(evaluate(simplify(draft), x), evaluate(draft, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("precision", [12, 16, 20])
@pytest.mark.parametrize("ranged", [True, False])
def test_executable_in_integers(draft: Draft, precision: int, ranged: bool) -> None:
    given = draft if ranged else unranged(draft)
    done = optimise(given, precision=precision)
    validate(done.plan)
    x = models.inputs(draft)
    raw = integers.run(done, x)
    expected = evaluate(draft, x)
    error = np.abs(raw[the_output(done.plan).tensor] * 2.0**-precision - expected).max()
    assert error < 2.0**-precision * 600 * max(1.0, np.abs(expected).max())
    for name, tensor in done.plan.tensors.items():
        if ranged:
            assert tensor.bound is not None
        if tensor.bound is not None:
            assert np.abs(raw[name]).max() < 2**tensor.bound
    for op in done.plan.ops:
        if isinstance(kind_of(op), Product):
            assert np.abs(raw[f"{op.output} product"]).max() < 2 ** op.attrs["bound"]


def test_products_stay_in_their_bounds_as_real_numbers(draft: Draft) -> None:
    """Integers could wrap unnoticed; real numbers cannot."""
    done = optimise(draft)
    plain = Draft(
        replace(done.plan, ops=tuple(replace(op, attrs={**op.attrs, "relu": False}) for op in done.plan.ops)),
        done.values,
    )
    values = trace(plain, models.inputs(draft))
    for op in plain.plan.ops[:1]:  # without the ReLUs later values are others
        if isinstance(kind_of(op), Product):
            frac = done.plan.tensors[op.output].frac + op.attrs["drop"]
            assert np.abs(values[op.output]).max() * 2.0**frac < 2 ** op.attrs["bound"]


def test_the_shipped_kind_of_model_is_as_cheap_as_promised() -> None:
    done = optimise(models.mnist())
    assert [op.kind for op in done.plan.ops] == ["sum_pool2d", "conv2d", "sum_pool2d", "conv2d", "reshape", "matmul"]
    assert [op.attrs["relu"] for op in done.plan.ops if isinstance(kind_of(op), Product)] == [True, True, False]
    assert total(done.plan, 1).rounds <= 14
    assert all(tensor.bound is not None for tensor in done.plan.tensors.values())


@pytest.mark.parametrize("name", ["mnist", "batch_norm", "residual", "activations"])
def test_no_transpose_survives(name: str) -> None:
    assert not [op for op in optimise(models.ALL[name]()).plan.ops if op.kind == "transpose"]


def test_at_most_one_truncation_for_a_linear_layer(draft: Draft) -> None:
    done = optimise(draft)
    truncations = sum(1 for op in done.plan.ops if op.attrs.get("drop"))
    secret = sum(1 for op in done.plan.ops if isinstance(kind_of(op), Product))
    public = sum(1 for op in done.plan.ops if op.kind in ("scale_int", "public_matmul"))
    assert truncations <= secret + public


def test_optimise_is_deterministic_and_leaves_its_argument_alone(draft: Draft) -> None:
    before = {name: value.copy() for name, value in draft.values.items()}
    plan = draft.plan
    assert optimise(draft).plan == optimise(draft).plan
    assert draft.plan == plan
    assert all(np.array_equal(draft.values[name], value) for name, value in before.items())


def test_a_plan_that_does_nothing() -> None:
    builder = PlanBuilder((3,), (-1, 1))
    done = optimise(builder.finish(builder.input))
    validate(done.plan)
    assert done.plan.ops == ()


def test_works_once_only() -> None:
    with pytest.raises(PlanError, match="executable already"):
        optimise(optimise(models.mnist()))


@pytest.mark.parametrize("precision", [0, 25])
def test_precision_limits(precision: int) -> None:
    with pytest.raises(PlanError, match="precision_fractional"):
        optimise(models.mnist(), precision=precision)
