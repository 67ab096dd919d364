"""Small models drawn at random, layers with arguments that no case has: what is recorded, and what the parties would
answer to it, is what Keras computes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

from keras_private.lowering import draft_of
from keras_private.plan.evaluate import evaluate_all
from keras_private.plan.optimise import optimise
from keras_private.plan.simulate import simulate

from .cases import randomise

SHAPE = (6, 6, 2)
FILM = (2, 6, 6, 2)


def _one_more(layers: Any, random: Random, known: list[Any]) -> Any:
    """An operation or a layer on images that there are already."""
    x = random.choice(known)
    y = random.choice([each for each in known if each.shape == x.shape])
    height, width, channels = x.shape[1:]
    few, pick = min(height, width) < 5, random.choice
    ways: list[Callable[[], Any]] = [
        lambda: x + y,
        lambda: x * y,
        lambda: 1.0 - x,
        lambda: x / 3.0,
        lambda: x[:, 1:] if height > 1 else x * 2.0,
        lambda: x[..., :1] * x,
        lambda: getattr(layers, pick(["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]))()([x, y]),
        lambda: layers.Concatenate(axis=pick([1, 2, 3, -1]))([x, y]),
        lambda: layers.BatchNormalization(axis=pick([1, 3, -1]))(x),
        lambda: layers.Conv2D(2, pick([1, 3, (3, 2)]), padding="same", strides=pick([1, 2, (2, 1)]))(x),
        lambda: layers.Conv2D(2, 3, padding="same", dilation_rate=2, activation=pick(["relu", "tanh", None]))(x),
        lambda: layers.DepthwiseConv2D(2, padding="same", depth_multiplier=pick([1, 2]))(x),
        lambda: layers.SeparableConv2D(2, 2, padding="same", use_bias=pick([True, False]))(x),
        lambda: layers.Conv2DTranspose(2, 2, strides=2)(x) if few else layers.Activation("sigmoid")(x),
        lambda: layers.UpSampling2D(2, interpolation=pick(["nearest", "bilinear"]))(x) if few else layers.ReLU(4.0)(x),
        lambda: layers.MaxPooling2D(2, padding="same", strides=pick([1, 2]))(layers.ReLU(threshold=0.5)(x)),
        lambda: layers.AveragePooling2D(pick([2, 3]), padding="same", strides=pick([1, 2]))(x),
        lambda: layers.ZeroPadding2D(((1, 0), (0, 1)))(x) if few else layers.Cropping2D(1)(x),
        lambda: layers.Permute((2, 1, 3))(x),
        lambda: layers.Reshape((width, height, channels))(x),
        lambda: layers.Rescaling(0.5, 0.25)(layers.Dropout(0.5)(x)),
        lambda: layers.PReLU(shared_axes=pick([None, [1, 2]]))(x),
    ]
    return pick(ways)()


def _net(keras: Any, random: Random) -> Any:
    """Two inputs, a few steps, two outputs; sometimes a model of two calls of that."""
    inputs = [keras.Input(SHAPE), keras.Input(SHAPE)]
    known = list(inputs)
    for _ in range(random.randint(2, 8)):
        known.append(_one_more(keras.layers, random, known))
    model = keras.Model(inputs, [keras.layers.Flatten()(known[-1]), inputs[0] + inputs[1]])
    if random.random() < 0.3:
        x, y = keras.Input(SHAPE), keras.Input(SHAPE)
        (first, total), (second, _) = model([x, y]), model([y, x])
        model = keras.Model([x, y], [first - second, total])
    return model


def _recurrent(keras: Any, random: Random) -> Any:
    """A film: a layer on every picture, then one that runs over the steps."""
    layers, pick, flag = keras.layers, random.choice, lambda: random.random() < 0.5
    inner = pick(
        [
            layers.Conv2D(2, 2, strides=2, activation=pick(["relu", "softmax"])),
            layers.Conv2DTranspose(1, 2, activation="tanh"),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(axis=1),
            layers.LayerNormalization(axis=[1, 2]),
            layers.Softmax(axis=pick([1, -1])),
            layers.GlobalAveragePooling2D(),
        ]
    )
    x = keras.Input(FILM)
    steps = layers.TimeDistributed(layers.Flatten())(layers.TimeDistributed(inner)(x))
    cells = [layers.GRUCell(2, reset_after=flag()), layers.LSTMCell(2, use_bias=flag()), layers.SimpleRNNCell(2)]
    layer = layers.RNN(pick([*cells, cells[:2]]), return_sequences=flag(), go_backwards=flag())
    if not layer.go_backwards and flag():
        layer = layers.Bidirectional(layer, merge_mode=pick(["sum", "mul", "concat", "ave"]))
    return keras.Model(x, layer(steps))


def _attention(keras: Any, random: Random) -> Any:
    layers, pick, flag = keras.layers, random.choice, lambda: random.random() < 0.5
    x, y = keras.Input((3, 4)), keras.Input((5, 4))
    causal, mask = flag(), np.tri(3, 5, random.randint(0, 2), dtype=bool)[None] if flag() else None
    many = layers.MultiHeadAttention(pick([1, 2]), 2, value_dim=pick([None, 3]), use_bias=flag())
    made = many(x, y, attention_mask=mask, use_causal_mask=causal)
    one = pick([layers.Attention(use_scale=flag(), score_mode=pick(["dot", "concat"])), layers.AdditiveAttention()])
    return keras.Model([x, y], made + one([x, y], use_causal_mask=flag()))


def _compared(package: str, make: Callable[[Any, Random], Any], seed: int) -> None:
    model = randomise(make(importlib.import_module(package), Random(seed)), seed)  # noqa: S311  no secret
    drawn = np.random.default_rng(seed)
    xs = [np.round(drawn.uniform(-2, 2, (3, *each.shape[1:])) * 8).astype(np.float32) / 8 for each in model.inputs]
    expected = model(xs if len(xs) > 1 else xs[0], training=False)
    expected = [np.asarray(each) for each in (expected if isinstance(expected, list | tuple) else [expected])]
    draft = draft_of(model, (-2.0, 2.0), reveal="probabilities")
    executable = optimise(draft)
    for got, within in ((evaluate_all(draft, xs), 1e-4), (simulate(executable, xs), 2.0**-7)):
        for one, right in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, right, rtol=within, atol=within)


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
@pytest.mark.parametrize("make", [_net, _recurrent, _attention], ids=lambda make: make.__name__.strip("_"))
@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 20, 5))
def test_random_models(package: str, make: Callable[[Any, Random], Any], first: int) -> None:
    pytest.importorskip(package)
    for seed in range(first, first + 5):
        _compared(package, make, seed)
