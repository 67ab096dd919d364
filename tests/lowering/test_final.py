"""A last softmax or sigmoid is left to the client: what is taken off, what stays, what is refused."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from keras_private.lowering import draft_of
from keras_private.plan.evaluate import evaluate
from keras_private.plan.optimise import optimise
from keras_private.plan.summary import private_summary

from .cases import randomise


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def softmax(x: np.ndarray) -> np.ndarray:
    raised = np.exp(x - x.max(-1, keepdims=True))
    result: np.ndarray = raised / raised.sum(-1, keepdims=True)
    return result


APPLIED = {"": lambda x: x, "softmax": softmax, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


def _nested(keras: Any, x: Any) -> Any:
    layers = keras.layers
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Activation("sigmoid")], name="inner")
    return keras.Sequential([keras.Input((4,)), layers.Dense(4), inner], name="outer")(x)


def _used_again(keras: Any, x: Any) -> Any:
    """The activation's input goes elsewhere too."""
    layers = keras.layers
    y = layers.Dense(3)(x)
    return layers.Softmax()(layers.Add()([y, layers.ReLU()(y)]))


ENDS = {
    "activation of Dense": ("softmax", lambda k, x: k.layers.Dense(3, activation="softmax")(x)),
    "sigmoid of Dense": ("sigmoid", lambda k, x: k.layers.Dense(1, activation="sigmoid")(x)),
    "function": ("softmax", lambda k, x: k.layers.Dense(3, activation=k.activations.softmax)(x)),
    "layer as activation": ("softmax", lambda k, x: k.layers.Dense(3, activation=k.layers.Softmax())(x)),
    "Softmax": ("softmax", lambda k, x: k.layers.Softmax()(k.layers.Dense(3)(x))),
    "Softmax, axis from the front": ("softmax", lambda k, x: k.layers.Softmax(axis=1)(k.layers.Dense(3)(x))),
    "Activation": ("sigmoid", lambda k, x: k.layers.Activation("sigmoid")(k.layers.Dense(3)(x))),
    "convolution": (
        "sigmoid",
        lambda k, x: k.layers.Conv2D(2, 1, activation="sigmoid")(k.layers.Reshape((2, 2, 1))(x)),
    ),
    "nothing after it": (
        "softmax",
        lambda k, x: k.layers.Activation("linear")(k.layers.Dropout(0.5)(k.layers.Dense(3, activation="softmax")(x))),
    ),
    "nested": ("sigmoid", _nested),
    "used again": ("softmax", _used_again),
    "of the input": ("softmax", lambda k, x: k.layers.Softmax()(x)),
    "a function called on it": ("softmax", lambda k, x: k.activations.softmax(k.layers.Dense(3)(x))),
    "another": ("sigmoid", lambda k, x: k.activations.sigmoid(k.layers.Dense(3)(x) * 2)),
    "none": ("", lambda k, x: k.layers.Dense(3)(x)),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_client_gets_what_the_model_gives(keras: Any, end: str) -> None:
    name, build = ENDS[end]
    x = keras.Input((4,))
    model = randomise(keras.Model(x, build(keras, x)))
    config = model.to_json()
    draft = draft_of(model, (-2, 2))
    done = optimise(draft)
    assert draft.plan.outputs[0].final_activation == done.plan.outputs[0].final_activation == name
    given = np.random.default_rng(3).uniform(-2, 2, (5, 4)).astype(np.float32)
    expected = np.asarray(model(given))
    np.testing.assert_allclose(APPLIED[name](evaluate(done, given)), expected, rtol=1e-4, atol=1e-5)
    assert model.to_json() == config  # the owner's model stays as it is
    assert ("clients see the logits" in private_summary(done.plan)) == bool(name)


SIGMOIDS = [end for end, (name, _) in ENDS.items() if name == "sigmoid"]


@pytest.mark.parametrize("end", SIGMOIDS)
def test_the_parties_compute_a_sigmoid_when_the_owner_wants_that(keras: Any, end: str) -> None:
    x = keras.Input((4,))
    model = randomise(keras.Model(x, ENDS[end][1](keras, x)))
    draft = draft_of(model, (-2, 2), reveal="probabilities")
    assert draft.plan.outputs[0].final_activation == ""
    given = np.random.default_rng(3).uniform(-2, 2, (5, 4)).astype(np.float32)
    np.testing.assert_allclose(evaluate(draft, given), np.asarray(model(given)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda k, x: k.layers.Dense(2)(k.layers.Dense(3, activation="softmax")(x)),
        lambda k, x: k.layers.ReLU()(k.layers.Softmax()(x)),
        lambda k, x: k.layers.Softmax(axis=1)(k.layers.Reshape((2, 2))(x)),
        lambda k, x: k.layers.Add()([k.layers.Softmax()(x), x]),
        lambda k, x: k.layers.Dense(3, activation="log_softmax")(x),
    ],
)
def test_elsewhere_the_parties_compute_it(keras: Any, build: Any) -> None:
    x = keras.Input((4,))
    model = randomise(keras.Model(x, build(keras, x)))
    draft = draft_of(model, (-2, 2))
    assert draft.plan.outputs[0].final_activation == ""
    given = np.random.default_rng(3).uniform(-2, 2, (5, 4)).astype(np.float32)
    np.testing.assert_allclose(evaluate(draft, given), np.asarray(model(given)), rtol=1e-4, atol=1e-5)


def test_only_the_last_call_of_a_shared_layer_is_left_to_the_client(keras: Any) -> None:
    dense = keras.layers.Dense(4, activation="sigmoid", name="twice")
    x = keras.Input((4,))
    plan = draft_of(keras.Model(x, dense(dense(x)))).plan
    assert plan.outputs[0].final_activation == "sigmoid"
    assert [op.kind for op in plan.ops].count("spline") == 1


def test_of_a_layer_with_a_foreign_lowering_nobody_knows_where_its_activation_goes(keras: Any) -> None:
    from keras_private.lowering import lowers

    class Gate(keras.layers.Layer):  # type: ignore[misc]
        activation = "sigmoid"

        def call(self, x: Any) -> Any:
            return x

    lowers(Gate)(lambda prot, layer, x: x)
    x = keras.Input((4,))
    assert draft_of(keras.Model(x, Gate()(x))).plan.outputs[0].final_activation == ""
