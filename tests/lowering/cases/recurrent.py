"""Recurrent layers and their cells, layers that run others on every step, Pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .case import STEPS, Case, layer

FEW = (4, 3)  # steps
FILM = (3, 4, 4, 2)
MASK = np.array([[False, True, False, True, True, False, True]])


def _built(
    title: str,
    build: Callable[[Any, Any], Any],
    *names: str,
    shape: tuple[int, ...] = FEW,
    only: str = "",
    private: bool = False,
) -> Case:
    keras = (only,) if only else ("keras", "tf_keras")
    return Case(title, shape, build, keras, names, private)


def _rnn(title: str, cell: Callable[[Any], Any], shape: tuple[int, ...] = FEW, **kwargs: Any) -> Case:
    """RNN of a cell, or of several."""

    def build(keras: Any, x: Any) -> Any:
        return keras.layers.RNN(cell(keras.layers), **kwargs)(x)

    return _built(f"RNN: {title}", build, "RNN", shape=shape)


def _with_states(name: str, **kwargs: Any) -> Callable[[Any, Any], Any]:
    """The states that one layer ends with are those that the next one begins with, and part of the result."""

    def build(keras: Any, x: Any) -> Any:
        layers = keras.layers
        y, *states = getattr(layers, name)(3, return_state=True, **kwargs)(x)
        outputs = [y, *states, *getattr(layers, name)(3, return_state=True, **kwargs)(x, initial_state=states)]
        return layers.Concatenate()(outputs)

    return build


def _cell(name: str, states: int) -> Case:
    """A cell, called as a layer."""

    def build(keras: Any, x: Any) -> Any:
        given = [keras.layers.Dense(3)(x) for _ in range(states)]
        y, after = getattr(keras.layers, name)(3)(x, given)
        return keras.layers.Concatenate()([y, *(after if isinstance(after, list | tuple) else [after])])

    return _built(f"{name} alone", build, name, shape=(4,))


def _stack(keras: Any, x: Any) -> Any:
    layers = keras.layers
    given = [layers.Dense(3)(x), [layers.Dense(2)(x), layers.Dense(2)(x)]]
    stack = layers.StackedRNNCells([layers.GRUCell(3), layers.LSTMCell(2)])
    y, (first, (h, c)) = stack(x, given)
    return layers.Concatenate()([y, first, h, c])


def _both(title: str, make: Callable[[Any], Any], **kwargs: Any) -> Case:
    """Bidirectional; all outputs side by side."""

    def build(keras: Any, x: Any) -> Any:
        made = keras.layers.Bidirectional(make(keras.layers), **kwargs)(x)
        return keras.layers.Concatenate()(list(made)) if isinstance(made, list | tuple) else made

    only = "" if kwargs.get("merge_mode", "concat") == "concat" else "keras"  # what is made of both is the same in both
    return _built(f"Bidirectional {title} {kwargs}", build, "Bidirectional", only=only)


def _both_with_states(keras: Any, x: Any) -> Any:
    layers = keras.layers
    y, *states = layers.Bidirectional(layers.LSTM(2, return_state=True))(x)
    return layers.Concatenate()([y, layers.Bidirectional(layers.LSTM(2))(x, initial_state=states)])


def _two_layers(keras: Any, x: Any) -> Any:
    layers = keras.layers
    return layers.Bidirectional(layers.GRU(2), backward_layer=layers.SimpleRNN(2, go_backwards=True))(x)


def _masked(name: str, mask: np.ndarray = MASK, **kwargs: Any) -> Case:
    return _built(
        f"{name} with a public mask {kwargs}",
        lambda keras, x: getattr(keras.layers, name)(3, **kwargs)(x, mask=mask),
        name,
        shape=STEPS,
        only="keras",
    )


def _every(title: str, make: Callable[[Any], Any], shape: tuple[int, ...] = FILM, *, private: bool = False) -> Case:
    """TimeDistributed."""
    return _built(
        f"TimeDistributed {title}",
        lambda keras, x: keras.layers.TimeDistributed(make(keras.layers))(x),
        "TimeDistributed",
        shape=shape,
        private=private,
    )


def _net(keras: Any, x: Any) -> Any:
    """A network for every picture of a film, and an LSTM over what it finds."""
    layers = keras.layers
    inner = keras.Sequential(
        [
            keras.Input(FILM[1:]),
            layers.Conv2D(3, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(4, activation="tanh"),
        ],
        name="inner",
    )
    return layers.LSTM(3)(layers.TimeDistributed(inner)(x))


def _branches(keras: Any, x: Any) -> Any:
    layers = keras.layers
    seen = keras.Input(FILM[1:])
    y = layers.Add()([layers.Conv2D(2, 1)(seen), seen])
    return layers.TimeDistributed(keras.Model(seen, layers.GlobalAveragePooling2D()(y * 0.5)))(x)


CASES: tuple[Case, ...] = (
    layer("SimpleRNN", FEW, 3),
    layer("SimpleRNN", FEW, 3, activation="relu", use_bias=False, return_sequences=True, private=False),
    layer("LSTM", FEW, 3),
    layer("LSTM", FEW, 3, return_sequences=True, go_backwards=True, private=False),
    layer("LSTM", FEW, 3, use_bias=False, unroll=True, dropout=0.5, recurrent_dropout=0.5, private=False),
    layer("LSTM", FEW, 3, recurrent_activation="hard_sigmoid", private=False),
    layer("LSTM", FEW, 3, activation="relu", private=False, only="keras"),
    layer("LSTM", (1, 3), 3, private=False, title="LSTM of one step", only="keras"),
    layer("GRU", FEW, 3),
    layer("GRU", FEW, 3, reset_after=False, private=False),
    layer("GRU", FEW, 3, use_bias=False, return_sequences=True, private=False, only="keras"),
    layer("GRU", FEW, 3, reset_after=False, use_bias=False, go_backwards=True, private=False, only="keras"),
    layer("GRU", FEW, 3, activation="softsign", recurrent_activation="hard_sigmoid", private=False, only="keras"),
    *(
        _built(f"{name} with states {kwargs}", _with_states(name, **kwargs), name)
        for name, kwargs in (("SimpleRNN", {}), ("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False}))
    ),
    *(_cell(name, states) for name, states in (("SimpleRNNCell", 1), ("LSTMCell", 2), ("GRUCell", 1))),
    _built("StackedRNNCells alone", _stack, "StackedRNNCells", shape=(4,)),
    _rnn("LSTMCell", lambda layers: layers.LSTMCell(3)),
    _rnn(
        "stacked",
        lambda layers: [layers.LSTMCell(3), layers.GRUCell(2), layers.SimpleRNNCell(3)],
        return_sequences=True,
        go_backwards=True,
    ),
    _rnn(
        "StackedRNNCells",
        lambda layers: layers.StackedRNNCells([layers.GRUCell(3), layers.GRUCell(2)]),
    ),
    *(_masked(name) for name in ("SimpleRNN", "LSTM", "GRU")),
    _masked("LSTM", return_sequences=True, go_backwards=True),
    _masked("GRU", return_sequences=True, zero_output_for_mask=True),
    *(_both("LSTM", lambda layers: layers.LSTM(3), merge_mode=mode) for mode in ("concat", "sum", "ave", "mul", None)),
    _both("GRU, sequences", lambda layers: layers.GRU(2, return_sequences=True)),
    _both("LSTM, states", lambda layers: layers.LSTM(2, return_state=True), merge_mode="sum"),
    _built("Bidirectional with states", _both_with_states, "Bidirectional"),
    _built("Bidirectional of two kinds", _two_layers, "Bidirectional"),
    layer("ConvLSTM1D", (3, 5, 2), 2, 3, private=False),
    layer("ConvLSTM2D", FILM, 2, 3, padding="same", return_sequences=True),
    layer("ConvLSTM2D", FILM, 2, 2, strides=2, use_bias=False, recurrent_activation="sigmoid", private=False),
    layer("ConvLSTM2D", (2, 2, 4, 4), 2, 2, dilation_rate=2, data_format="channels_first", private=False),
    layer("ConvLSTM3D", (2, 3, 3, 3, 1), 2, 2, padding="same", private=False),
    _every("Dense", lambda layers: layers.Dense(4, activation="relu"), STEPS),
    _every("Conv2D", lambda layers: layers.Conv2D(3, 3, activation="relu"), private=True),
    _every("MaxPooling2D", lambda layers: layers.MaxPooling2D(2)),
    _every("BatchNormalization", lambda layers: layers.BatchNormalization()),
    _every("Activation", lambda layers: layers.Activation("tanh")),
    _every("LSTM", lambda layers: layers.LSTM(2), (2, 3, 2)),
    _every("TimeDistributed", lambda layers: layers.TimeDistributed(layers.Dense(3, "sigmoid")), (2, 3, 2)),
    _built("TimeDistributed model before an LSTM", _net, "TimeDistributed", "LSTM", shape=FILM),
    _built("TimeDistributed model with branches", _branches, "TimeDistributed", shape=FILM),
    _built(
        "Pipeline",
        lambda keras, x: keras.layers.Dense(2)(
            keras.layers.Pipeline(
                [keras.layers.Rescaling(0.5, offset=1.0), keras.layers.RandomFlip(), keras.layers.Dense(3, "relu")]
            )(x)
        ),
        "Pipeline",
        shape=(4, 4, 3),
        only="keras",
    ),
)
