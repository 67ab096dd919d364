"""What clients are told of an output: the plan computes it, and says no more than what it is called."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from keras_private.errors import ConfigError, PlanError
from keras_private.lowering import draft_of
from keras_private.plan.evaluate import evaluate, evaluate_all
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import BIT, INTEGER
from keras_private.plan.serialise import parse, serialise

from .cases import randomise

X = np.random.default_rng(4).uniform(-1, 1, (20, 4)).astype(np.float32)


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def model_of(keras: Any, units: int, activation: str | None) -> Any:
    x = keras.Input((4,))
    return randomise(keras.Model(x, keras.layers.Dense(units, activation=activation, name="out")(x)))


@pytest.mark.parametrize("activation", ["softmax", None])
def test_the_label_of_several_classes(keras: Any, activation: str | None) -> None:
    model = model_of(keras, 7, activation)
    draft = optimise(draft_of(model, (-1, 1), reveal="label"))
    (made,) = parse(serialise(draft.plan)).outputs
    assert (made.reveal, made.kind, made.final_activation, draft.plan.shape(made)) == ("label", INTEGER, "", ())
    assert "spline" not in {op.kind for op in draft.plan.ops}  # the softmax is not computed for it
    np.testing.assert_array_equal(evaluate(draft, X), np.argmax(model(X), -1))


def test_the_label_of_a_sigmoid_is_a_bit(keras: Any) -> None:
    model = model_of(keras, 3, "sigmoid")
    draft = optimise(draft_of(model, (-1, 1), reveal="label"))
    (made,) = draft.plan.outputs
    assert (made.reveal, made.kind) == ("label", BIT)
    np.testing.assert_array_equal(evaluate(draft, X), np.asarray(model(X)) > 0.5)


@pytest.mark.parametrize("classes", [2, 5, 9])
def test_the_top_five(keras: Any, classes: int) -> None:
    model = model_of(keras, classes, "softmax")
    draft = optimise(draft_of(model, (-1, 1), reveal="top5"))
    (made,) = parse(serialise(draft.plan)).outputs
    assert (made.reveal, made.kind, draft.plan.shape(made)) == ("top5", INTEGER, (min(classes, 5),))
    np.testing.assert_array_equal(evaluate(draft, X), np.argsort(-np.asarray(model(X)), -1)[:, :5])


def test_each_output_by_its_name(keras: Any) -> None:
    """One activation that two outputs share is left to the client for neither if one of them wants it computed."""
    x = keras.Input((4,))
    out = keras.layers.Dense(3, activation="sigmoid", name="a")(x)
    model = randomise(
        keras.Model(x, {"a": out, "b": out, "c": keras.layers.Dense(5, activation="softmax", name="c")(x)})
    )
    draft = draft_of(model, (-1, 1), reveal={"a": "probabilities", "c": "label"})
    assert [(made.name, made.reveal, made.final_activation) for made in draft.plan.outputs] == [
        ("a", "values", ""),
        ("b", "values", ""),
        ("c", "label", ""),
    ]
    expected = model(X)
    a, b, c = evaluate_all(draft, [X])
    np.testing.assert_allclose(a, expected["a"], atol=1e-5)
    np.testing.assert_allclose(b, expected["b"], atol=1e-5)
    np.testing.assert_array_equal(c, np.argmax(expected["c"], -1))


@pytest.mark.parametrize(
    ("reveal", "units", "activation", "reason"),
    [
        ("label", 1, None, "a label is the largest of several numbers"),
        ("top5", 3, "sigmoid", "each of its numbers is a yes or no of its own; reveal 'label'"),
    ],
)
def test_what_has_no_label(keras: Any, reveal: str, units: int, activation: str | None, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        draft_of(model_of(keras, units, activation), reveal=reveal)


@pytest.mark.parametrize(
    ("reveal", "reason"),
    [
        ("owner", "reveal must be one of 'logits', 'probabilities', 'label', 'top5'"),
        (None, "not None"),
        ({"out": 5}, "not 5"),
        ({"in": "label"}, "reveal names 'in'; the model's outputs are 'out'"),
    ],
)
def test_choices_that_are_none(keras: Any, reveal: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        draft_of(model_of(keras, 3, None), reveal=reveal)
