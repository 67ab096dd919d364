"""`private_accuracy`: plain Keras and private answers side by side, simulated and by three parties."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from keras_private import ConfigError, InputError, KerasHook, PlanError, TFECluster, UnsupportedModelError, check

X = np.random.default_rng(2).uniform(-1, 1, (90, 4)).astype(np.float32)


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    module = importlib.import_module(request.param)
    KerasHook(module)
    return module


def dense(keras: Any, units: int, activation: str | None) -> Any:
    weights = np.random.default_rng(1).normal(size=(4, units))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, activation=activation)])
    model.set_weights([weights, np.linspace(-0.3, 0.3, units)])
    return model


@pytest.mark.parametrize("parties", [False, True])
def test_side_by_side(keras: Any, parties: bool) -> None:
    model = dense(keras, 8, "softmax")
    plain = model.predict(X, verbose=0)
    y = np.where(np.arange(90) % 3, plain.argmax(1), 0)
    found = model.private_accuracy(X, y, input_range=(-1, 1), parties=parties)
    expected = float(np.mean(plain.argmax(1) == y))
    assert (found.metric, found.rows, found.plain, found.parties) == ("accuracy", 90, pytest.approx(expected), parties)
    assert found.private == pytest.approx(expected, abs=found.changed / 90)
    assert 0 < found.difference < 1e-4
    assert found.changed <= 1
    how = "three parties in this process" if parties else "simulated, rounding as parties do"
    assert str(found).splitlines()[0] == f"90 rows, {how}"
    assert f"accuracy, plain Keras: {expected:.6g}" in repr(found)


def test_the_two_ways_agree() -> None:
    keras = importlib.import_module("keras")
    KerasHook(keras)
    model = dense(keras, 8, None)
    y = np.random.default_rng(3).normal(size=(90, 8))
    ways = [
        model.private_accuracy(X, y, "mean_squared_error", input_range=(-1, 1), parties=parties) for parties in (0, 1)
    ]
    assert ways[0].private == pytest.approx(ways[1].private, abs=1e-5)
    assert ways[0].plain == ways[1].plain == pytest.approx(float(np.mean((model.predict(X, verbose=0) - y) ** 2)))


@pytest.mark.parametrize(
    ("reveal", "metric", "difference"),
    [
        ("logits", "top5", True),
        ("probabilities", "accuracy", True),
        ("label", "accuracy", False),
        ("top5", "top5", False),
        ("top5", "accuracy", False),
    ],
)
def test_of_what_is_told(reveal: str, metric: str, difference: bool) -> None:
    keras = importlib.import_module("keras")
    KerasHook(keras)
    model = dense(keras, 8, "softmax")
    order = np.argsort(-model.predict(X, verbose=0), axis=1)
    y = order[:, 0].copy()
    y[:30], y[30:50] = order[:30, 3], order[30:50, 7]
    found = model.private_accuracy(X, np.eye(8)[y], metric, input_range=(-1, 1), reveal=reveal)
    assert found.plain == pytest.approx({"accuracy": 40, "top5": 70}[metric] / 90)
    assert found.private == pytest.approx(found.plain, abs=2 / 90)
    assert (found.difference is not None) == difference


@pytest.mark.parametrize("reveal", ["logits", "probabilities", "label"])
def test_bits(reveal: str) -> None:
    keras = importlib.import_module("keras")
    KerasHook(keras)
    model = dense(keras, 1, "sigmoid")
    y = model.predict(X, verbose=0)[:, 0] > 0.5
    y[:9] = ~y[:9]
    found = model.private_accuracy(X, y, "binary_accuracy", input_range=(-1, 1), reveal=reveal)
    assert found.plain == pytest.approx(0.9)
    assert found.private == pytest.approx(0.9, abs=1 / 90)


def test_fewer_bits_are_less_exact() -> None:
    keras = importlib.import_module("keras")
    KerasHook(keras)
    model = dense(keras, 3, None)
    coarse, fine = (model.private_accuracy(X, input_range=(-1, 1), precision=bits) for bits in (6, 20))
    assert coarse.difference > 100 * fine.difference
    assert (coarse.metric, coarse.plain, coarse.private) == (None, None, None)
    assert "plain" not in str(coarse)


def test_as_the_model_was_shared(memory_cluster: TFECluster) -> None:
    keras = importlib.import_module("keras")
    KerasHook(keras)
    model = dense(keras, 8, "softmax")
    with model.share(memory_cluster, input_range=(-1, 1), reveal="label", evaluation="owner", verbose=0):
        assert model.private_accuracy(X).difference is None  # labels
        assert model.private_accuracy(X, input_range=(-1, 1)).difference is not None
        assert model.evaluations() == []


def test_check_says_what_may_be_evaluated() -> None:
    keras = importlib.import_module("keras")
    KerasHook(keras)
    model = dense(keras, 8, "softmax")
    assert "Evaluation by accuracy: told to the client" in repr(check(model, (-1, 1), evaluation="client"))
    (problem,) = check(model, (-1, 1), evaluation={"mean_squared_error": "client"}).problems
    assert "share(reveal='probabilities')" in problem


def test_several_inputs(keras: Any) -> None:
    inputs = [keras.Input((4,), name="a"), keras.Input((4,), name="b")]
    model = keras.Model(inputs, keras.layers.Add()(inputs))
    for parties in (False, True):
        assert model.private_accuracy([X, X], input_range=(-1, 1), parties=parties).difference < 1e-4


@pytest.mark.parametrize("parties", [False, True])
def test_rows_without_an_answer(parties: bool) -> None:
    keras = importlib.import_module("keras")
    KerasHook(keras)
    model = dense(keras, 8, "softmax")
    x = X.copy()
    x[5] = x[50] = 1e5  # without input_range nothing is promised, and the guard notices
    y = model.predict(x, verbose=0).argmax(1)
    found = model.private_accuracy(x, y, guard=True, parties=parties)
    assert (found.unanswered, found.plain, found.private) == (2, 1.0, pytest.approx(88 / 90))
    assert found.difference < 1e-3
    assert "rows without a private answer, because values are out of range: 2" in str(found)


def test_what_cannot_be_measured() -> None:
    keras = importlib.import_module("keras")
    KerasHook(keras)
    model, y = dense(keras, 8, "softmax"), np.zeros(90)
    for error, reason, x, targets, given in (
        (InputError, "metric must be one of accuracy, top5", X, y, {"metric": "auc"}),
        (InputError, "takes \\(90,\\)", X, y[:80], {}),
        (InputError, "not a rectangular array", X, [[1], [2, 3]], {}),
        (InputError, "takes \\(90, 8\\)", X, y, {"metric": "mean_squared_error"}),
        (InputError, "the data reaches from", 2 * X, y, {"input_range": (-1, 1)}),
        (InputError, "the data has shape", X[:, :3], y, {}),
        (InputError, "top5 needs", X, y, {"metric": "top5", "reveal": "label"}),
        (ConfigError, "not 'tolerance'", X, y, {"tolerance": 0.1}),
        (PlanError, "precision_fractional", X, y, {"precision": 0}),
    ):
        with pytest.raises(error, match=reason):
            model.private_accuracy(x, targets, **given)
    two = keras.Model(model.inputs, [model.outputs[0], model.outputs[0] * 2])
    with pytest.raises(InputError, match="the model has 2 outputs"):
        two.private_accuracy(X)
    strange = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x)])
    with pytest.raises(UnsupportedModelError):
        strange.private_accuracy(X)
