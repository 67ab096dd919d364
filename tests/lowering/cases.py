"""Small models, one for each layer and argument that can be lowered: shared by the plain and the private tests.

A case builds its model with the Keras it is given (`keras` or `tf_keras`). Weights are drawn at random afterwards, the
same for each run; nothing is trained.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Build = Callable[[Any, Any], Any]  # (keras, input tensor) -> output tensor


@dataclass(frozen=True)
class Case:
    name: str
    shape: tuple[int, ...]  # per sample
    build: Build
    keras: tuple[str, ...] = ("keras", "tf_keras")

    def model(self, keras: Any) -> Any:
        """The model, with random weights."""
        x = keras.Input(self.shape)
        return randomise(keras.Model(x, self.build(keras, x), name="case"))

    def inputs(self, batch: int = 2) -> np.ndarray:
        """In -2 … 2, and of multiples of 1/8, so that values exactly at a threshold do occur."""
        x = np.random.default_rng(len(self.name)).uniform(-2, 2, (batch, *self.shape))
        return (np.round(x * 8) / 8).astype(np.float32)


def randomise(model: Any, seed: int = 7) -> Any:
    """Random weights of moderate size; variances are positive."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if hasattr(layer, "layers"):
            randomise(layer, seed + 1)
            continue
        values = []
        for weight in layer.weights:
            drawn = rng.uniform(-0.5, 0.5, tuple(weight.shape))
            if "var" in weight.name:  # moving_variance; Normalization's own statistics stay as given
                drawn = np.abs(drawn) + 0.5
            values.append(drawn)
        if values and type(layer).__name__ != "Normalization":
            layer.set_weights(values)
    return model


def _layer(name: str, shape: tuple[int, ...], *args: Any, title: str = "", only: str = "", **kwargs: Any) -> Case:
    """A model of one layer."""
    words = [title] if title else [name, *map(str, args), *(f"{key}={value}" for key, value in kwargs.items())]
    return Case(
        " ".join(words),
        shape,
        lambda keras, x: getattr(keras.layers, name)(*args, **kwargs)(x),
        (only,) if only else ("keras", "tf_keras"),
    )


IMAGE = (6, 5, 3)
STEPS = (7, 3)
FIRST = "channels_first"


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


def _merge(name: str, *args: Any, parts: int = 2, title: str = "", **kwargs: Any) -> Case:
    """The layer on x, a Dense of x, …"""

    def build(keras: Any, x: Any) -> Any:
        xs = [x, *(keras.layers.Dense(x.shape[-1])(x) for _ in range(parts - 1))]
        return getattr(keras.layers, name)(*args, **kwargs)(xs)

    return Case(title or f"{name} {kwargs}", (2, 3, 4), build)


def _augmentation(name: str, *args: Any, only: str = "", **kwargs: Any) -> Case:
    """Before a Dense, lest a plan without ops is all there is to test."""

    def build(keras: Any, x: Any) -> Any:
        return keras.layers.Dense(2)(getattr(keras.layers, name)(*args, **kwargs)(x))

    return Case(name, IMAGE, build, (only,) if only else ("keras", "tf_keras"))


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


def _broadcast(keras: Any, x: Any) -> Any:
    return keras.layers.Add()([x, keras.layers.GlobalAveragePooling2D(keepdims=True)(x)])


AUGMENTATION: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    *((name, (), "keras") for name in ("AugMix", "CutMix", "MixUp", "RandAugment", "Solarization")),
    *((name, (), "keras") for name in ("RandomColorJitter", "RandomElasticTransform", "RandomErasing")),
    *((name, (), "keras") for name in ("RandomGaussianBlur", "RandomGrayscale", "RandomInvert", "RandomPerspective")),
    *((name, (0.5,), "keras") for name in ("RandomColorDegeneration", "RandomHue", "RandomSaturation")),
    ("RandomSharpness", (0.5,), "keras"),
    ("RandomPosterization", (3,), "keras"),
    ("RandomShear", (0.3, 0.3), "keras"),
    *((name, (0.3,), "tf_keras") for name in ("RandomHeight", "RandomWidth")),
    ("RandomFlip", (), ""),
    *((name, (0.5,), "") for name in ("RandomBrightness", "RandomContrast", "RandomRotation", "RandomZoom")),
    ("RandomTranslation", (0.3, 0.3), ""),
)


def _operation(title: str, compute: Callable[[Any], Any], shape: tuple[int, ...] = IMAGE, only: str = "") -> Case:
    """Arithmetic between layers."""
    return Case(f"x: {title}", shape, lambda keras, x: compute(x), (only,) if only else ("keras", "tf_keras"))


def _ops(title: str, compute: Callable[[Any, Any], Any], shape: tuple[int, ...] = IMAGE) -> Case:
    """One of keras 3's operations."""
    return Case(f"ops: {title}", shape, lambda keras, x: compute(keras.ops, x), ("keras",))


def _tf(title: str, compute: Callable[[Any, Any], Any], shape: tuple[int, ...] = IMAGE) -> Case:
    """One of TensorFlow's functions in a model of tf_keras."""
    return Case(
        f"tf: {title}", shape, lambda keras, x: compute(importlib.import_module("tensorflow"), x), ("tf_keras",)
    )


TABLE = np.linspace(-1, 1, 15).reshape(5, 3).astype(np.float32)

OPERATIONS: tuple[Case, ...] = (
    _operation("x + x", lambda x: x + x),
    _operation("x - 1", lambda x: x - 1),
    _operation("1 - x", lambda x: 1 - x),
    _operation("x * 0.5", lambda x: x * 0.5),
    _operation("3 * x", lambda x: 3 * x),
    _operation("x / 2", lambda x: x / 2),
    _operation("-x", lambda x: -x),
    _operation("x + array", lambda x: x + TABLE),
    _operation("x - array of channels", lambda x: x - TABLE[0]),
    _operation("x * array", lambda x: x * TABLE),
    _operation("x / array", lambda x: x / (TABLE + 2)),
    _operation("x * array with a batch axis of one", lambda x: x * TABLE[None, None]),
    _operation("x * x", lambda x: x * x),
    _operation("x * parts of x", lambda x: x * (x[:, :1] - 1)),
    _operation("x + parts of x", lambda x: x + x[:, :1]),
    _operation("slices", lambda x: x[:, 1:4, ::2]),
    _operation("from the end", lambda x: x[:, -2:, :, -1:]),
    _operation("one place", lambda x: x[:, 2]),
    _operation("ellipsis", lambda x: x[..., 1]),
    _ops("add", lambda ops, x: ops.add(x, 2.0)),
    _ops("subtract", lambda ops, x: ops.subtract(x, x[:, :, :1])),
    _ops("multiply", lambda ops, x: ops.multiply(0.1, x)),
    _ops("divide", lambda ops, x: ops.divide(x, 3)),
    _ops("negative", lambda ops, x: ops.negative(x)),
    _ops("maximum", lambda ops, x: ops.maximum(x, ops.flip(x, 1))),
    _ops("maximum with a number", lambda ops, x: ops.maximum(0.5, x)),
    _ops("minimum with an array", lambda ops, x: ops.minimum(x, TABLE)),
    _ops("square", lambda ops, x: ops.square(x)),
    _ops("matmul of tensors", lambda ops, x: ops.matmul(x, ops.swapaxes(x, 2, 3))),
    _ops("einsum", lambda ops, x: ops.einsum("bijc,bikc->bjk", x, x)),
    _ops("einsum with an array", lambda ops, x: ops.einsum("kc,...c->...k", TABLE, x)),
    _ops("matmul", lambda ops, x: ops.matmul(x, TABLE.T)),
    _ops("relu", lambda ops, x: ops.relu(x)),
    _ops("relu6", lambda ops, x: ops.relu6(x * 8)),
    _ops("leaky_relu", lambda ops, x: ops.leaky_relu(x, 0.1)),
    _ops("hard_sigmoid", lambda ops, x: ops.hard_sigmoid(x * 3)),
    _ops("sigmoid", lambda ops, x: ops.sigmoid(x) * 2),
    _ops("tanh", lambda ops, x: ops.tanh(x)),
    _ops("softplus", lambda ops, x: ops.softplus(x)),
    _ops("hard_tanh", lambda ops, x: ops.hard_tanh(x)),
    _ops("clip", lambda ops, x: ops.clip(x, -0.5, 1)),
    _ops("abs", lambda ops, x: ops.abs(x)),
    _ops("cast", lambda ops, x: ops.cast(x, "float32")),
    _ops("reshape", lambda ops, x: ops.reshape(x, (-1, 5, 18))),
    _ops("squeeze", lambda ops, x: ops.squeeze(x[:, :1], 1)),
    _ops("expand_dims", lambda ops, x: ops.expand_dims(x, -1)),
    _ops("transpose", lambda ops, x: ops.transpose(x, (0, 3, 1, 2))),
    _ops("swapaxes", lambda ops, x: ops.swapaxes(x, 1, -1)),
    _ops("moveaxis", lambda ops, x: ops.moveaxis(x, 1, 3)),
    _ops("concatenate", lambda ops, x: ops.concatenate([x, ops.relu(x)], axis=-1)),
    _ops("stack", lambda ops, x: ops.stack([x, ops.relu(x)], axis=2)),
    _ops("flip", lambda ops, x: ops.flip(x, axis=2)),
    _ops("repeat", lambda ops, x: ops.repeat(x, 3, axis=1)),
    _ops("take", lambda ops, x: ops.take(x, [4, 0, -1], axis=1)),
    _ops("take, a table of places", lambda ops, x: ops.take(x, [[3, 0], [1, 1]], axis=2)),
    _ops("take, one place", lambda ops, x: ops.take(x, -2, axis=1)),
    _ops("pad", lambda ops, x: ops.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)))),
    _ops("mean", lambda ops, x: ops.mean(x, axis=(1, 2))),
    _ops("mean, kept", lambda ops, x: ops.mean(x, axis=-2, keepdims=True)),
    _ops("sum", lambda ops, x: ops.sum(x, axis=-1)),
    Case("activations.relu", (40,), lambda keras, x: keras.activations.relu(x, 0.25, 1.5)),
    _tf("tanh", lambda tf, x: tf.tanh(x)),
    _tf("add", lambda tf, x: tf.add(x, x)),
    _tf("multiply", lambda tf, x: tf.multiply(x, y=0.1)),
    _tf("maximum", lambda tf, x: tf.maximum(x, 0.25)),
    _tf("minimum", lambda tf, x: tf.minimum(x, x[:, :1])),
    _tf("abs", lambda tf, x: tf.abs(x)),
    _tf("relu", lambda tf, x: tf.nn.relu(x)),
    _tf("relu6", lambda tf, x: tf.nn.relu6(x * 8)),
    _tf("leaky_relu", lambda tf, x: tf.nn.leaky_relu(x)),
    _tf("clip_by_value", lambda tf, x: tf.clip_by_value(x, -0.5, 1.0)),
    _tf("reshape", lambda tf, x: tf.reshape(x, (-1, 5, 18))),
    _tf("squeeze", lambda tf, x: tf.squeeze(x[:, :1], 1)),
    _tf("expand_dims", lambda tf, x: tf.expand_dims(x, -1)),
    _tf("transpose", lambda tf, x: tf.transpose(x, (0, 3, 1, 2))),
    _tf("concat", lambda tf, x: tf.concat([x, tf.nn.relu(x)], axis=-1)),
    _tf("reduce_mean", lambda tf, x: tf.reduce_mean(x, axis=[1, 2])),
    _tf("reduce_sum", lambda tf, x: tf.reduce_sum(x, axis=-1, keepdims=True)),
    _tf("matmul", lambda tf, x: tf.matmul(x, TABLE.T)),
)

CASES: tuple[Case, ...] = (
    _layer("Dense", (5,), 3),
    _layer("Dense", (5,), 3, use_bias=False, activation="relu"),
    _layer("Dense", (2, 5), 3, title="Dense on rank 3"),
    _layer("Dense", (2, 3, 5), 4, activation="leaky_relu", title="Dense on rank 4"),
    *(
        _layer("Conv2D", IMAGE, 4, kernel, strides=strides, padding=padding)
        for kernel, strides, padding in [
            (1, 1, "valid"),
            (3, 1, "valid"),
            (3, 1, "same"),
            ((2, 3), (2, 1), "valid"),
            ((2, 3), (1, 2), "same"),
            (3, 2, "same"),
            (2, 3, "same"),
        ]
    ),
    _layer("Conv2D", IMAGE, 2, 2, use_bias=False, activation="relu"),
    _layer("Conv2D", IMAGE, 2, 2, dilation_rate=2),
    _layer("Conv2D", IMAGE, 2, 3, dilation_rate=(1, 2), padding="same"),
    _layer("Conv2D", (4, 4, 4), 6, 3, groups=2, padding="same"),
    _layer("DepthwiseConv2D", IMAGE, 3),
    _layer("DepthwiseConv2D", IMAGE, 2, depth_multiplier=2, strides=2, padding="same", activation="relu"),
    _layer("DepthwiseConv2D", IMAGE, 2, dilation_rate=2, use_bias=False),
    _layer("SeparableConv2D", IMAGE, 4, 3),
    _layer("SeparableConv2D", IMAGE, 4, 2, depth_multiplier=2, strides=2, padding="same", activation="relu"),
    _layer("SeparableConv2D", IMAGE, 4, 2, dilation_rate=2, use_bias=False),
    *(
        _layer("Conv2DTranspose", IMAGE, 4, kernel, strides=strides, padding=padding)
        for kernel, strides, padding in [
            (1, 1, "valid"),
            (3, 1, "same"),
            (3, 2, "valid"),
            (3, 2, "same"),
            (2, 2, "same"),
            ((2, 4), (3, 2), "valid"),
            ((2, 5), (3, 2), "same"),
        ]
    ),
    _layer("Conv2DTranspose", IMAGE, 2, 3, strides=2, padding="same", output_padding=1, activation="relu"),
    _layer("Conv2DTranspose", IMAGE, 2, (2, 3), strides=3, padding="same", output_padding=(1, 2), use_bias=False),
    _layer("Conv2DTranspose", IMAGE, 2, 2, strides=2, output_padding=1),
    _layer("Conv2DTranspose", IMAGE, 2, 3, dilation_rate=2, padding="same"),
    _layer("Conv1D", STEPS, 4, 3),
    _layer("Conv1D", STEPS, 4, 3, strides=2, padding="same", activation="relu"),
    _layer("Conv1D", STEPS, 4, 2, dilation_rate=2, padding="causal", use_bias=False),
    _layer("Conv1D", (6, 4), 6, 3, groups=2),
    _layer("DepthwiseConv1D", STEPS, 3, depth_multiplier=2, padding="same"),
    _layer("DepthwiseConv1D", STEPS, 2, strides=2, activation="relu"),
    _layer("SeparableConv1D", STEPS, 4, 3, depth_multiplier=2, padding="same", activation="relu"),
    _layer("SeparableConv1D", STEPS, 4, 2, strides=2),
    _layer("Conv1DTranspose", STEPS, 4, 3, strides=2, padding="same", activation="relu"),
    _layer("Conv1DTranspose", STEPS, 4, 2, strides=3),
    _layer("Conv1DTranspose", STEPS, 2, 3, strides=2, output_padding=1, padding="same"),
    _layer("AveragePooling1D", STEPS, 2),
    _layer("AveragePooling1D", STEPS, 3, strides=2, padding="same"),
    _layer("MaxPooling1D", STEPS),
    _layer("MaxPooling1D", STEPS, 3, strides=2, padding="same"),
    _layer("GlobalAveragePooling1D", STEPS),
    _layer("GlobalAveragePooling1D", STEPS, keepdims=True),
    _layer("GlobalAveragePooling1D", STEPS, data_format=FIRST),
    _layer("GlobalMaxPooling1D", STEPS),
    _layer("GlobalMaxPooling1D", STEPS, data_format=FIRST, keepdims=True),
    _layer("GlobalAveragePooling3D", (2, 3, 2, 3)),
    _layer("GlobalAveragePooling3D", (2, 3, 2, 3), data_format=FIRST),
    _layer("GlobalMaxPooling3D", (2, 3, 2, 3), keepdims=True),
    _layer("AveragePooling2D", IMAGE, 2),
    _layer("AveragePooling2D", IMAGE, 3, strides=1),
    _layer("AveragePooling2D", IMAGE, (2, 3), strides=(1, 2), padding="same"),
    _layer("AveragePooling2D", IMAGE, 3, strides=2, padding="same"),
    _layer("AveragePooling2D", (6, 4, 2), 2, padding="same"),
    _layer("MaxPooling2D", IMAGE),
    _layer("MaxPooling2D", IMAGE, 3, strides=1),
    _layer("MaxPooling2D", IMAGE, (2, 3), strides=(1, 2), padding="same"),
    _layer("MaxPooling2D", IMAGE, 3, strides=2, padding="same"),
    _layer("GlobalAveragePooling2D", IMAGE),
    _layer("GlobalAveragePooling2D", IMAGE, keepdims=True),
    _layer("GlobalMaxPooling2D", IMAGE),
    _layer("GlobalMaxPooling2D", IMAGE, keepdims=True),
    _layer("ZeroPadding2D", IMAGE, 1),
    _layer("ZeroPadding2D", IMAGE, (1, 2)),
    _layer("ZeroPadding2D", IMAGE, ((0, 1), (2, 0))),
    _layer("ZeroPadding2D", IMAGE, 1, data_format=FIRST),
    _layer("ZeroPadding1D", STEPS, 2),
    _layer("ZeroPadding1D", STEPS, (0, 1)),
    _layer("ZeroPadding1D", STEPS, (2, 1), data_format=FIRST, only="keras"),
    _layer("ZeroPadding3D", (2, 3, 2, 2), ((0, 1), (1, 1), (2, 0))),
    _layer("ZeroPadding3D", (2, 3, 2, 2), 1, data_format=FIRST),
    _layer("Cropping1D", STEPS, 2),
    _layer("Cropping1D", STEPS, (0, 3)),
    _layer("Cropping2D", IMAGE, 1),
    _layer("Cropping2D", IMAGE, (2, 1)),
    _layer("Cropping2D", IMAGE, ((0, 1), (2, 0))),
    _layer("Cropping2D", IMAGE, ((0, 1), (2, 0)), data_format=FIRST),
    _layer("Cropping2D", IMAGE, 0),
    _layer("Cropping3D", (4, 3, 5, 2), ((0, 1), (1, 1), (2, 0))),
    _layer("Cropping3D", (4, 3, 5, 3), 1, data_format=FIRST),
    _layer("UpSampling1D", STEPS, 2),
    _layer("UpSampling2D", IMAGE, 2),
    _layer("UpSampling2D", IMAGE, (1, 3)),
    _layer("UpSampling2D", IMAGE, (2, 3), data_format=FIRST),
    _layer("UpSampling3D", (2, 3, 2, 2), (1, 2, 3)),
    _layer("UpSampling3D", (2, 3, 2, 2), 2, data_format=FIRST),
    _layer("RepeatVector", (5,), 3),
    _layer("BatchNormalization", IMAGE),
    _layer("BatchNormalization", (4,), scale=False),
    _layer("BatchNormalization", (4,), center=False, epsilon=0.1),
    _layer("BatchNormalization", IMAGE, scale=False, center=False),
    _layer("BatchNormalization", IMAGE, axis=1),
    _layer("BatchNormalization", IMAGE, axis=2),
    _layer("ReLU", (40,)),
    _layer("ReLU", (40,), max_value=1.0),
    _layer("ReLU", (40,), max_value=6.0),
    _layer("ReLU", (40,), negative_slope=0.25),
    _layer("ReLU", (40,), max_value=1.5, negative_slope=0.3),
    _layer("ReLU", (40,), threshold=0.5),
    _layer("ReLU", (40,), threshold=0.7, negative_slope=0.1),
    _layer("ReLU", (40,), threshold=0.5, max_value=1.0, negative_slope=0.5),
    _layer("PReLU", (40,)),
    _layer("PReLU", IMAGE, shared_axes=[1, 2]),
    _layer("LeakyReLU", (40,)),
    _layer("ELU", (40,), alpha=0.5),
    _layer("LeakyReLU", (40,), negative_slope=0.1, only="keras"),
    _layer("LeakyReLU", (40,), alpha=0.1, only="tf_keras"),
    _layer("Activation", (40,), "linear"),
    _layer("Activation", (40,), "relu"),
    _layer("Activation", (40,), "leaky_relu"),
    _layer("Activation", (40,), "relu6", only="keras"),
    _layer("Activation", (40,), "hard_sigmoid"),
    _layer("Activation", (40,), "hard_tanh", only="keras"),
    *(_layer("Activation", (40,), name) for name in ("gelu", "selu", "tanh")),
    Case("sigmoid inside", (5,), lambda keras, x: keras.layers.Dense(2)(keras.layers.Dense(4, "sigmoid")(x))),
    *(_layer("Activation", (40,), name, only="keras") for name in ("silu", "log_sigmoid", "tanh_shrink")),
    _layer("Dense", (5,), 3, activation="elu"),
    Case("activation given as a function", (4,), lambda keras, x: keras.layers.Dense(3, keras.activations.relu)(x)),
    Case(
        "activation given as a layer",
        (4,),
        lambda keras, x: keras.layers.Dense(3, activation=keras.layers.ReLU(max_value=0.5))(x),
    ),
    _layer("Flatten", (2, 3, 4)),
    _layer("Flatten", (2, 3, 4), data_format="channels_first"),
    _layer("Flatten", (3,)),
    _layer("Reshape", (2, 3, 4), (4, 6)),
    _layer("Reshape", (2, 3, 4), (3, -1, 2)),
    _layer("Permute", (2, 3, 4), (3, 1, 2)),
    _layer("Permute", (2, 3), (2, 1)),
    _layer("Dropout", (4,), 0.5),
    _layer("SpatialDropout2D", IMAGE, 0.5),
    _layer("GaussianNoise", (4,), 1.0),
    _layer("GaussianDropout", (4,), 0.5),
    *(_augmentation(name, *args, only=only) for name, args, only in AUGMENTATION),
    _layer("Rescaling", IMAGE, 0.25),
    _layer("Rescaling", IMAGE, 1 / 127.5, offset=-1.0),
    _layer("Rescaling", IMAGE, [0.5, 1.0, 2.0], offset=[0.0, 1.0, -1.0], title="Rescaling by channel"),
    _layer("Normalization", IMAGE, mean=[0.1, 0.2, 0.3], variance=[0.5, 1.0, 4.0]),
    _layer("Normalization", IMAGE, title="Normalization, never adapted"),
    _layer("Normalization", (4,), axis=None, mean=0.5, variance=2.0),
    _layer("Normalization", (3,), mean=[0.1, 0.2, 0.3], variance=[0.5, 1.0, 4.0], invert=True),
    _merge("Add", title="Add"),
    _merge("Add", parts=3, title="Add three"),
    Case("Add with itself", (4,), lambda keras, x: keras.layers.Add()([x, x])),
    Case("Add, broadcast", IMAGE, _broadcast),
    _merge("Subtract", title="Subtract"),
    _merge("Multiply", title="Multiply"),
    _merge("Multiply", parts=3, title="Multiply three"),
    _merge("Average", parts=3, title="Average three"),
    _merge("Maximum", title="Maximum"),
    _merge("Maximum", parts=3, title="Maximum of three"),
    _merge("Minimum", parts=3, title="Minimum of three"),
    _merge("Concatenate", title="Concatenate"),
    _merge("Concatenate", axis=1, parts=3),
    _merge("Concatenate", axis=-2),
    *OPERATIONS,
    Case("residual block", IMAGE, _residual),
    Case("shared layer", (4,), _shared),
    Case("nested models", (4,), _nested),
    Case("small sequence model", (12, 3), _sequence),
    Case("down and up again", (8, 8, 2), _generator),
    Case("small MNIST model", (8, 8, 1), _mnist),
    Case("padding, batch normalisation, pooling", IMAGE, _convolution_of_the_border),
)
