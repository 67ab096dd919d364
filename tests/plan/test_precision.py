"""Answers keep their digits: columns of different scale, tiny activations, amplification; and what is said of it."""

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.plan import samples
from keras_private.plan.builder import Draft
from keras_private.plan.evaluate import evaluate
from keras_private.plan.optimise import optimise, simplify
from keras_private.plan.simulate import simulate
from keras_private.plan.summary import unproven
from tests.plans import input_frac, input_shape, the_input, the_output

from . import integers, models
from .models import Model

RANDOM = np.random.default_rng(8)


def private(draft: Draft, x: np.ndarray, precision: int = 16) -> tuple[Draft, np.ndarray]:
    done = optimise(draft, precision=precision)
    return done, integers.run(done, x)[the_output(done.plan).tensor] * 2.0**-precision


def normalised(x: np.ndarray, how: str, ranged: bool) -> Draft:
    """Normalisation of the columns of x, in front or already in the first layer's weights, and two dense layers."""
    reach = float(np.abs(x).max())
    model = Model((x.shape[1],), (-reach, reach) if ranged else None)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    kernel = RANDOM.normal(size=(x.shape[1], 8))
    if how == "in front":
        model.op("mul", weights=[model.builder.weight(1 / deviation, "scale")])
        model.op("add", weights=[model.builder.weight(-mean / deviation, "offset")])
    else:
        kernel /= deviation[:, None]
    model.op("matmul", weights=[model.builder.weight(kernel, "kernel")])
    model.relu()
    model.dense(3)
    return model.draft()


@pytest.mark.parametrize("how", ["in front", "in the weights"])
@pytest.mark.parametrize("ranged", [True, False])
@pytest.mark.parametrize("s", [1e2, 1e3, 1e4, 1e5])
def test_two_columns(s: float, ranged: bool, how: str) -> None:
    x = RANDOM.normal(size=(300, 2)) * [1, s]
    draft = normalised(x, how, ranged)
    done, answers = private(draft, x)
    assert np.abs(answers - evaluate(draft, x)).max() < 1e-3
    assert not ranged or not unproven(done.plan)


@pytest.mark.parametrize("how", ["in front", "in the weights"])
@pytest.mark.parametrize("ranged", [True, False])
def test_columns_from_a_hundredth_to_a_hundred_thousand(ranged: bool, how: str) -> None:
    deviation, mean = np.array([0.01, 0.1, 1, 30, 1e3, 1.2e5]), np.array([0.05, -3, 10, 200, 1e4, 5e5])
    x = mean + deviation * RANDOM.normal(size=(1000, 6))
    draft = normalised(x, how, ranged)
    done, answers = private(draft, x)
    plain = evaluate(draft, x)
    assert (answers.argmax(axis=1) == plain.argmax(axis=1)).mean() >= 0.999
    assert np.abs(answers - plain).max() < 2e-3 * plain.std()  # the input's own 16 bits leave 1/650 of the first column
    assert not ranged or not unproven(done.plan)


def test_a_mean_far_from_zero() -> None:
    """What the offset takes away again must be exact."""
    x = 1e6 + RANDOM.normal(size=(300, 3))
    draft = normalised(x, "in front", ranged=True)
    done, answers = private(draft, x)
    assert np.abs(answers - evaluate(draft, x)).max() < 1e-3
    assert not unproven(done.plan)


def test_a_second_part_of_a_weight_costs_nothing_where_it_is_not_needed() -> None:
    for draft in (models.mnist(), normalised(RANDOM.normal(size=(100, 4)), "in front", ranged=True)):
        assert not [op for op in optimise(draft).plan.ops if op.kind == "add"]


@pytest.mark.parametrize("ranged", [True, False])
@pytest.mark.parametrize("width", [16, 64])
def test_tiny_activations(width: int, ranged: bool) -> None:
    model = Model((width,), (0.0, 1.0) if ranged else None, size=0.01)
    for _ in range(3):
        model.op("matmul", weights=[model.weight(width, width)])
        model.relu()
    model.size *= 1e6
    model.op("matmul", weights=[model.weight(width, 10)])
    draft = model.draft()
    x = RANDOM.uniform(size=(100, width))
    done, answers = private(draft, x)
    plain = evaluate(draft, x)
    assert np.abs(answers - plain).max() < 3e-3 * plain.std()
    assert not ranged or not unproven(done.plan)


def test_a_net_that_amplifies_keeps_more_bits_between_layers() -> None:
    """Tent maps: 1 - |1 - 2x|. Each doubles every error and leaves values as large as they were."""
    model = Model((4,), (0.0, 1.0))
    for _ in range(8):
        model.op("matmul", weights=[model.builder.weight(np.hstack([np.eye(4), np.eye(4)]), "split")])
        model.op("add", weights=[model.builder.weight([0] * 4 + [-0.5] * 4, "half")])
        model.relu()
        model.op("matmul", weights=[model.builder.weight(np.vstack([2 * np.eye(4), -4 * np.eye(4)]), "tent")])
    draft = model.draft()
    x = RANDOM.uniform(size=(200, 4))
    done, answers = private(draft, x)
    assert input_frac(done.plan) > 16
    assert done.accuracy is not None
    assert done.accuracy.relative < 5e-4
    assert np.abs(answers - evaluate(draft, x)).max() < 5e-4
    assert not unproven(done.plan)


@pytest.mark.parametrize("name", list(models.ALL))
@pytest.mark.parametrize("precision", [8, 16])
def test_the_error_expected_is_about_the_error_met(name: str, precision: int) -> None:
    draft = models.ALL[name]()
    x = models.inputs(draft, 200)
    done, answers = private(draft, x, precision)
    assert done.accuracy is not None
    met = np.abs(answers - evaluate(draft, x)).max()
    assert met / 4 < done.accuracy.error < met * 8
    assert done.accuracy.count == 8


def test_the_simulation_is_the_integer_run_but_for_chance() -> None:
    draft = models.residual()
    done = optimise(draft)
    x = models.inputs(draft)
    exact = integers.run(done, x)[the_output(done.plan).tensor]
    assert np.abs(simulate(done, [x])[0] * 2.0**16 - exact).max() < 20


def test_values_that_outgrow_the_contract_for_ordinary_inputs_are_refused() -> None:
    """Nothing is proven here, so no proof of overflow either; it is seen."""
    model = Model((8,), (-100.0, 100.0), size=30.0)
    for number in range(6):
        model.dense(8, layer=f"dense{number}")
        model.relu()
    with pytest.raises(PlanError, match=r"layer 'dense\d'.*values reach .* for ordinary inputs"):
        optimise(model.draft())


@pytest.mark.parametrize("name", list(models.ALL))
def test_samples_are_in_range_varied_and_always_the_same(name: str) -> None:
    draft = models.ALL[name]()
    low, high = the_input(draft.plan).range or (0, 0)
    (x,) = samples.inputs(draft, 16)
    assert x.shape == (16, *input_shape(draft.plan))
    assert low <= x.min() < x.max() <= high
    assert x.std() > (high - low) / 10
    assert np.array_equal(x, samples.inputs(draft, 16)[0])


def test_samples_follow_a_normalisation_in_front() -> None:
    x = RANDOM.normal(size=(300, 3)) * [0.01, 1, 1e4] + [5, 0, 1e5]
    draft = normalised(x, "in front", ranged=False)
    (drawn,) = samples.inputs(draft, 500)
    np.testing.assert_allclose(drawn.std(axis=0), x.std(axis=0), rtol=0.2)
    np.testing.assert_allclose(drawn.mean(axis=0), x.mean(axis=0), atol=0.2 * x.std(axis=0).max())


@pytest.mark.parametrize("ranged", [(0, 1), (-1e9, 1e9), None])
@pytest.mark.parametrize("value", [1e300, 1.7e308, -1e300, 1e18])
@pytest.mark.parametrize("where", ["weight", "bias", "mul", "scale"])
def test_absurd_numbers_are_plan_errors(where: str, value: float, ranged: tuple[float, float] | None) -> None:
    model = Model((2,), ranged)
    if where == "scale":
        model.op("scale", factor=value)
    elif where == "mul":
        model.op("mul", weights=[model.builder.weight([value, 1], "w")])
    else:
        kernel = np.array([[value if where == "weight" else 1, 1], [1, 1]])
        model.op("matmul", weights=[model.builder.weight(kernel, "w")], layer="head")
        model.op("add", weights=[model.builder.weight([value if where == "bias" else 1, 1], "b")], layer="head")
        model.dense(2)
    with pytest.raises(PlanError, match=r"too large|outgrow|reach"):
        optimise(model.draft())


def test_precision_may_be_a_whole_float() -> None:
    assert optimise(models.mnist(), precision=16.0).plan == optimise(models.mnist(), precision=16).plan
    for wrong in (16.5, "16", None, True, float("nan"), float("inf")):
        with pytest.raises(PlanError, match="whole number from 1 to 24"):
            optimise(models.mnist(), precision=wrong)  # type: ignore[arg-type]


def test_simplify_is_what_is_measured() -> None:
    draft = models.batch_norm()
    (x,) = samples.inputs(draft, 4)
    np.testing.assert_allclose(evaluate(simplify(draft), x), evaluate(draft, x), atol=1e-9)
