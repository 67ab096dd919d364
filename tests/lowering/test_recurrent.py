"""Recurrent layers: what is refused, what is proven over many steps, what a step costs, and how exact it stays."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_private.errors import UnsupportedModelError
from keras_private.lowering import draft_of
from keras_private.plan.evaluate import evaluate_all
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Draft
from keras_private.plan.schedule import total
from keras_private.plan.simulate import simulate
from keras_private.plan.summary import unproven

from .cases import randomise

keras = importlib.import_module("keras")
tf_keras = importlib.import_module("tf_keras")
L: Any = keras.layers


@keras.saving.register_keras_serializable()
class Counter(L.Layer):
    """A cell of somebody's own."""

    state_size = output_size = 3

    def call(self, inputs: Any, states: Any) -> Any:
        return inputs + states[0], [inputs + states[0]]


class Louder(L.LSTMCell):
    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        y, after = super().call(inputs, states, training)
        return 2 * y, after


class Twice(L.Layer):
    """A layer of somebody's own."""

    def call(self, x: Any) -> Any:
        return 2 * x

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


ROWS = np.ones((2, 4), bool)

REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "stateful": (lambda x: L.LSTM(2, stateful=True)(x), "it keeps states from one query to the next"),
    "a cell of one's own": (lambda x: L.RNN(Counter())(x), "its cell Counter computes something of its own"),
    "a cell that was changed": (lambda x: L.RNN([L.LSTMCell(3), Louder(3)])(x), "its cell Louder computes"),
    "an activation of one's own": (lambda x: L.LSTM(2, activation=lambda y: y * y)(x), "activation"),
    "a mask a row": (lambda x: L.GRU(2)(x, mask=ROWS), "its mask differs from row to row"),
    "a mask without steps": (lambda x: L.GRU(2)(x, mask=~ROWS[:1]), "its mask leaves no step"),
    "states that are arrays": (
        lambda x: L.GRU(2)(x, initial_state=np.ones((2, 2), np.float32)),
        "its initial_state is an array",
    ),
    "both ways": (lambda x: L.Bidirectional(L.RNN(Counter()))(x), "its cell Counter computes something of its own"),
    "a layer of one's own at every step": (lambda x: L.TimeDistributed(Twice())(x), "its Twice twice: "),
    "a layer that cannot be, at every step": (
        lambda x: L.TimeDistributed(L.Activation(lambda y: y * y))(x),
        "its Activation",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    build, expected = REFUSED[name]
    batch = 2 if name == "stateful" else None
    x = keras.Input((4, 3), batch_size=batch)
    with pytest.raises(UnsupportedModelError, match=expected) as raised:
        draft_of(keras.Model(x, build(x)))
    assert len(raised.value.problems) == 1


def test_time_first_is_refused() -> None:
    x = tf_keras.Input((4, 3))
    with pytest.raises(UnsupportedModelError, match="its first axis is time"):
        draft_of(tf_keras.Model(x, tf_keras.layers.LSTM(2, time_major=True)(x)))


def _model(layer: Any, steps: int) -> Any:
    x = keras.Input((steps, 2))
    return randomise(keras.Model(x, layer(x)))


def _executable(layer: Any, steps: int) -> Draft:
    return optimise(draft_of(_model(layer, steps), (-1.0, 1.0)))


@pytest.mark.parametrize("layer", [L.SimpleRNN(3), L.LSTM(3), L.GRU(3)], ids=lambda layer: layer.name)
def test_weights_are_sent_once_and_everything_is_proven(layer: Any) -> None:
    short, long = _executable(layer, 4), _executable(layer, 24)
    assert len(long.plan.weights) <= len(short.plan.weights) + 2
    assert not unproven(long.plan)


def _rounds(layer: Any, steps: int) -> int:
    return total(_executable(layer, steps).plan, 1).rounds


@pytest.mark.parametrize(
    ("layer", "expected"),
    [(L.SimpleRNN(3), 2), (L.LSTM(3), 6), (L.GRU(3), 6)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_step_of_few_values_takes_as_many_rounds_as_the_documents_say(layer: Any, expected: int) -> None:
    assert _rounds(layer, 11) - _rounds(layer, 6) == 5 * expected


def test_both_directions_run_in_the_same_rounds() -> None:
    assert _rounds(L.Bidirectional(L.GRU(2)), 4) == _rounds(L.GRU(2), 4)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [30, 100, 300])
@pytest.mark.parametrize("layer", [L.SimpleRNN(16), L.LSTM(16), L.GRU(16)], ids=lambda layer: layer.name)
def test_errors_of_many_steps_stay_small(layer: Any, steps: int) -> None:
    """With weights as training begins with, and errors as the parties make them."""
    x = keras.Input((steps, 2))
    keras.utils.set_random_seed(3)
    model = keras.Model(x, type(layer).from_config(layer.get_config())(x))
    given = np.random.default_rng(steps).uniform(-1, 1, (8, steps, 2)).astype(np.float32)
    (got,) = simulate(optimise(draft_of(model, (-1.0, 1.0))), [given])
    error = np.abs(got - np.asarray(model(given))).max()
    assert error < 1e-3


@pytest.mark.parametrize("which", ["keras", "tf_keras"])
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("LSTM", {"return_sequences": True}),
        ("GRU", {"go_backwards": True}),
        ("SimpleRNN", {"zero_output_for_mask": True}),
    ],
    ids=str,
)
def test_a_private_mask(which: str, name: str, given: dict[str, Any]) -> None:
    """A bit a row and step, which nobody but the client knows."""
    module = importlib.import_module(which)
    if which == "tf_keras":
        given = {key: value for key, value in given.items() if key != "zero_output_for_mask"}
    x, mask = module.Input((5, 2)), module.Input((5,), dtype="bool")
    model = randomise(module.Model([x, mask], getattr(module.layers, name)(3, **given)(x, mask=mask)))
    random = np.random.default_rng(2)
    xs, bits = random.uniform(-1, 1, (6, 5, 2)).astype(np.float32), random.integers(0, 2, (6, 5)) > 0
    bits[0], bits[1] = True, False
    draft = draft_of(model, [(-1.0, 1.0), None])
    expected = np.asarray(model([xs, bits]))
    for each in (draft, optimise(draft)):
        (got,) = evaluate_all(each, [xs, bits])
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_mask_of_numbers_is_no_mask() -> None:
    x, mask = keras.Input((4, 2)), keras.Input((4,))
    with pytest.raises(UnsupportedModelError, match="its mask is of float32, not of booleans"):
        draft_of(keras.Model([x, mask], L.GRU(2)(x, mask=mask)))
