"""Activations."""

from __future__ import annotations

from .case import IMAGE, Case, layer

CASES: tuple[Case, ...] = (
    layer("ReLU", (40,)),
    layer("ReLU", (40,), max_value=1.0),
    layer("ReLU", (40,), max_value=6.0),
    layer("ReLU", (40,), negative_slope=0.25),
    layer("ReLU", (40,), max_value=1.5, negative_slope=0.3),
    layer("ReLU", (40,), threshold=0.5),
    layer("ReLU", (40,), threshold=0.7, negative_slope=0.1),
    layer("ReLU", (40,), threshold=0.5, max_value=1.0, negative_slope=0.5),
    layer("ThresholdedReLU", (40,), theta=0.75, only="tf_keras", private=False),
    layer("PReLU", (40,)),
    layer("PReLU", IMAGE, shared_axes=[1, 2]),
    layer("LeakyReLU", (40,)),
    layer("ELU", (40,), alpha=0.5),
    layer("LeakyReLU", (40,), negative_slope=0.1, only="keras"),
    layer("LeakyReLU", (40,), alpha=0.1, only="tf_keras"),
    layer("Activation", (40,), "linear"),
    layer("Activation", (40,), "relu"),
    layer("Activation", (40,), "leaky_relu"),
    layer("Activation", (40,), "relu6", only="keras"),
    layer("Activation", (40,), "hard_sigmoid"),
    layer("Activation", (40,), "hard_tanh", only="keras"),
    *(layer("Activation", (40,), name) for name in ("gelu", "selu", "tanh")),
    Case("sigmoid inside", (5,), lambda keras, x: keras.layers.Dense(2)(keras.layers.Dense(4, "sigmoid")(x))),
    *(layer("Activation", (40,), name, only="keras") for name in ("silu", "log_sigmoid", "tanh_shrink")),
    Case("activation given as a function", (4,), lambda keras, x: keras.layers.Dense(3, keras.activations.relu)(x)),
    Case(
        "gelu of keras.ops, which is approximate",
        (40,),
        lambda keras, x: keras.layers.Activation(keras.ops.gelu)(x),
        keras=("keras",),
        private=False,
    ),
    Case(
        "activation given as a layer",
        (4,),
        lambda keras, x: keras.layers.Dense(3, activation=keras.layers.ReLU(max_value=0.5))(x),
    ),
)
