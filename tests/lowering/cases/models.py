"""Small models of several layers."""

from __future__ import annotations

from typing import Any

from .case import IMAGE, Case


def _residual(keras: Any, x: Any) -> Any:
    layers = keras.layers
    left = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    right = layers.Conv2D(4, 1)(x)
    y = layers.Add()([left, right])
    return layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.ReLU()(y)))


def _shared(keras: Any, x: Any) -> Any:
    dense = keras.layers.Dense(4, activation="relu")
    return keras.layers.Concatenate()([dense(dense(x)), x])


def _nested(keras: Any, x: Any) -> Any:
    layers = keras.layers
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, activation="relu"), layers.Dropout(0.5)], name="inner")
    seen = keras.Input((4,))
    outer = keras.Model(seen, layers.Add()([inner(seen), seen]), name="outer")
    return layers.Dense(2)(outer(outer(x)))


def _mnist(keras: Any, x: Any) -> Any:
    layers = keras.layers
    for filters in (2, 3):
        x = layers.ReLU()(layers.AveragePooling2D(2)(layers.Conv2D(filters, 3, padding="same")(x)))
    return layers.Dense(4)(layers.Flatten()(x))


def _convolution_of_the_border(keras: Any, x: Any) -> Any:
    layers = keras.layers
    y = layers.BatchNormalization()(layers.Conv2D(3, 2, use_bias=False)(layers.ZeroPadding2D(1)(x)))
    return layers.MaxPooling2D(2)(layers.Activation("relu")(y))


def _generator(keras: Any, x: Any) -> Any:
    """As in an autoencoder: narrow, then wide again."""
    layers = keras.layers
    y = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.BatchNormalization()(layers.Conv2DTranspose(4, 3, strides=2, padding="same", use_bias=False)(y))
    y = layers.Conv2D(3, 3, padding="same")(layers.UpSampling2D(2)(layers.LeakyReLU()(y)))
    return layers.Cropping2D(((6, 0), (1, 4)))(y)


def _sequence(keras: Any, x: Any) -> Any:
    layers = keras.layers
    y = layers.MaxPooling1D(2)(layers.Conv1D(4, 3, padding="causal", activation="relu")(x))
    y = layers.ReLU()(layers.BatchNormalization()(layers.SeparableConv1D(5, 2, padding="same")(y)))
    return layers.Dense(2)(layers.GlobalAveragePooling1D()(y))


CASES: tuple[Case, ...] = (
    Case("residual block", IMAGE, _residual, layers=("InputLayer", "Conv2D", "Add")),
    Case("shared layer", (4,), _shared),
    Case("nested models", (4,), _nested),
    Case("small sequence model", (12, 3), _sequence),
    Case("down and up again", (8, 8, 2), _generator),
    Case("small MNIST model", (8, 8, 1), _mnist),
    Case("padding, batch normalisation, pooling", IMAGE, _convolution_of_the_border),
)
