"""Values out of range: what the parties notice and what they refuse, as clients see it, honest and modified ones."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import keras_private as kp
from keras_private.client import answer
from keras_private.client import client as asking
from keras_private.compiler import Choices
from keras_private.errors import ConfigError, InputError, PlanError, RangeError
from keras_private.owner import OwnedModel
from keras_private.plan.builder import Draft, PlanBuilder
from keras_private.plan.evaluate import evaluate_all
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import BIT, INTEGER, Output
from keras_private.worker import TFEWorker

RANDOM = np.random.default_rng(7)
WEIGHT = RANDOM.normal(size=(3, 4))


def recorded() -> Draft:
    builder = PlanBuilder()
    x = builder.add_input("x", (3,), range=(-1, 1))
    whole = builder.add_input("whole", (), kind=INTEGER, range=(0, 9))
    bit = builder.add_input("bit", (2,), kind=BIT)
    hidden = builder.op("relu", builder.op("matmul", x, weights=builder.weight(WEIGHT, "w")))
    outputs = [
        Output("hidden", hidden),
        Output("label", builder.op("argmax", hidden, axis=0), INTEGER, reveal="label"),
        Output("whole again", builder.op("reshape", whole, shape=(1,)), INTEGER),
        Output("bit again", bit, BIT),
    ]
    return builder.finish(outputs, gives="dict")


def rows(count: int) -> list[np.ndarray[Any, Any]]:
    return [
        RANDOM.uniform(-1, 1, (count, 3)),
        RANDOM.integers(0, 10, count).astype(np.float64),
        RANDOM.integers(0, 2, (count, 2)).astype(np.float64),
    ]


class Enforced:
    """What `serving` takes."""

    def upload(self, cluster: Any) -> OwnedModel:
        done = optimise(recorded(), enforce_range=True)
        return OwnedModel.upload(cluster, done.plan, done.values)


@pytest.fixture(scope="module")
def enforcing(memory_cluster: Any, serving: Any) -> Iterator[TFEWorker]:
    with serving(memory_cluster, Enforced()), TFEWorker() as client:
        yield client.connect_to_model(memory_cluster)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Clients that send what they like, and look at whatever they are answered: all outputs, before notices count."""
    seen: list[Any] = []
    monkeypatch.setattr(asking, "check_data", lambda data, _model: [np.asarray(part, np.float64) for part in data])
    decoded = answer.decoded

    def keep(raw: Any, port: Any) -> Any:
        seen.append(raw.copy())
        return decoded(raw, port)

    monkeypatch.setattr(answer, "decoded", keep)
    return seen


def test_inputs_in_range_are_answered_as_if_nothing_was_checked(enforcing: TFEWorker) -> None:
    edges = [np.array([[-1.0, 1.0, 0.0]] * 3), np.array([0.0, 9.0, 4.0]), np.array([[0.0, 1.0]] * 3)]
    for given in (rows(5), edges):
        found = enforcing.query_model(given)
        expected = evaluate_all(recorded(), given)
        assert list(found) == ["hidden", "label", "whole again", "bit again"]
        np.testing.assert_allclose(found["hidden"], expected[0], atol=1e-3)
        for name, values in zip(["label", "whole again", "bit again"], expected[1:], strict=True):
            np.testing.assert_array_equal(found[name], values)
    assert [port.name for port in enforcing.outputs or ()] == list(found)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (0, 1 + 2.0**-15),
        (0, -1 - 2.0**-15),
        (0, 2.0**30),
        (0, -(2.0**45)),
        (1, 10),
        (1, -1),
        (2, 2),
        (2, -1),
        (2, 2.0**61),
    ],
)
def test_a_client_that_sends_what_is_out_of_range_learns_that_it_was_refused(
    enforcing: TFEWorker, unchecked: list[Any], part: int, value: float
) -> None:
    given = rows(4)
    given[part].reshape(4, -1)[2, -1] = value
    with pytest.raises(RangeError, match="no answer to row 2: an input lies outside the range") as refused:
        enforcing.query_model(given)
    assert refused.value.rows == (2,)
    expected = evaluate_all(recorded(), given)
    assert not any(part[2].any() for part in unchecked[:-1])  # zeros, whatever the output
    assert list(unchecked[-1]) == [0, 0, 1, 0]
    others = [0, 1, 3]
    assert np.any(expected[0][others])
    np.testing.assert_allclose(unchecked[0].view(np.int64)[others] / 2.0**16, expected[0][others], atol=1e-3)


def test_all_words_around_the_ring_are_refused(enforcing: TFEWorker, unchecked: list[Any], monkeypatch: Any) -> None:
    """The values of a share, not those that a number can be encoded as."""
    frac = enforcing.inputs[0].frac  # type: ignore[index]
    words = [1 << 63, (1 << 63) - 1, (1 << 63) + (1 << frac), (1 << 62) + 1, -(1 << 62), (1 << 64) - (1 << frac) - 1]
    words += [(1 << frac) + 1, 1 << 40, -(1 << 40), (1 << 63) - (1 << frac), (1 << 62) - (1 << frac)]
    encoded = np.zeros((len(words), 6), np.uint64)
    encoded[:, 1] = [word % (1 << 64) for word in words]
    monkeypatch.setattr("keras_private.client.session._encoded", lambda _values, _model: encoded)
    with pytest.raises(RangeError) as refused:
        enforcing.query_model(rows(len(words)))
    assert refused.value.rows == tuple(range(len(words)))
    assert not any(part.any() for part in unchecked[:-1])


def test_honest_clients_are_stopped_before_they_send(enforcing: TFEWorker) -> None:
    with pytest.raises(InputError, match="reaches from"):
        enforcing.query_model([np.full((1, 3), 2.0), np.zeros(1), np.zeros((1, 2))])


def outlying(keras: Any) -> Any:
    """A deep net with one unit that is silent but where all inputs are 1, and has a weight that is huge."""
    layers = [keras.layers.Dense(30, "relu") for _ in range(13)]
    model = keras.Sequential([keras.Input((12,)), *layers, keras.layers.Dense(3)])
    for layer in model.layers:
        shape = layer.kernel.shape
        layer.set_weights([RANDOM.normal(size=shape) * np.sqrt(2 / shape[0]), np.zeros(shape[1])])
    kernel, bias = model.layers[0].get_weights()
    kernel[:, 0], bias[0] = 2.0**24, -0.98 * 12 * 2.0**24
    model.layers[0].set_weights([kernel, bias])
    return model


@pytest.fixture(scope="module")
def keras() -> Any:
    module = importlib.import_module("keras")
    kp.KerasHook(module)
    return module


def test_an_outlier_is_noticed_among_real_processes(keras: Any, process_cluster: Any) -> None:
    """By default, where no range is proven. Without the guard the answer is wrong, and nothing is said."""
    model = outlying(keras)
    x = RANDOM.uniform(-0.9, 0.9, (4, 12))
    x[1] = 1.0
    with model.share(process_cluster, (-1, 1), guard=False, tolerance=1e9, verbose=0), TFEWorker() as client:
        client.connect_to_model(process_cluster)
        ticket = client.query_model_async(x)
        model.serve(1, verbose=0)
        wrong = np.abs(ticket.result(60) - model(x)) > 0.01 * np.abs(model(x)) + 0.01
        assert list(wrong.any(axis=1)) == [False, True, False, False]
    with model.share(process_cluster, (-1, 1), tolerance=1e9, verbose=0), TFEWorker() as client:
        client.connect_to_model((1, 12), (1, 3), process_cluster)
        tickets = client.query_model_async(x), client.query_model_async(x[[0, 2, 3]])
        model.serve(2, verbose=0)
        with pytest.raises(RangeError, match=r"no answer to row 1: inside the model a value left the range") as noticed:
            tickets[0].result(60)
        assert noticed.value.rows == (1,)
        np.testing.assert_allclose(tickets[1].result(60), model(x[[0, 2, 3]]), rtol=1e-2, atol=1e-2)
        shown: list[str] = []
        model.private_summary(shown.append)
        assert "(guard)" in shown[0]
        assert "clients get an error for a row" in " ".join(shown[0].split())


def test_what_cannot_be_chosen_is_refused(keras: Any) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    for wrong in ({"guard": "yes"}, {"enforce_range": 3}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Choices(**wrong)
    report = kp.check(model, enforce_range=True)
    assert "enforce_range needs an input_range" in report.problems[0]
    assert "(range check)" in repr(kp.check(model, (0, 1), enforce_range=True))
    assert issubclass(PlanError, ValueError)
