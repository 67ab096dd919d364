"""Small transformers: of words, of words one after the other, of patches of an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case

WIDTH = 8


def _places(x: Any) -> Any:
    """A vector for every place, added."""
    rows, width = (int(size) for size in x.shape[1:])
    return x + np.sin(np.arange(rows * width)).reshape(rows, width).astype(np.float32)


def _before(keras: Any, x: Any, **masked: Any) -> Any:
    """A block that normalises before it computes."""
    layers = keras.layers
    y = layers.LayerNormalization(epsilon=1e-5)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4, dropout=0.1)(y, y, **masked)])
    y = layers.LayerNormalization(epsilon=1e-5)(x)
    return layers.Add()([x, layers.Dense(WIDTH)(layers.Dense(2 * WIDTH, activation="gelu")(y))])


def _after(keras: Any, x: Any) -> Any:
    """And one that does so behind."""
    layers = keras.layers
    x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)]))
    y = layers.Dropout(0.1)(layers.Dense(WIDTH)(layers.Dense(2 * WIDTH, activation="gelu")(x)))
    return layers.LayerNormalization()(layers.Add()([x, y]))


def _classifier_of_words(keras: Any, x: Any) -> Any:
    layers = keras.layers
    y = _after(keras, _places(layers.Embedding(20, WIDTH)(x)))
    return layers.Dense(3)(layers.GlobalAveragePooling1D()(y))


def _next_word(keras: Any, x: Any) -> Any:
    layers = keras.layers
    y = _places(layers.Embedding(20, WIDTH)(x))
    y = layers.LayerNormalization()(_before(keras, y, use_causal_mask=True))
    return layers.Dense(20)(y)


def _patches(keras: Any, x: Any) -> Any:
    layers = keras.layers
    y = layers.Reshape((4, WIDTH))(layers.Conv2D(WIDTH, 3, strides=3)(x))
    y = layers.LayerNormalization()(_before(keras, _places(y)))
    return layers.Dense(3)(layers.GlobalAveragePooling1D()(y))


CASES: tuple[Case, ...] = (
    Case("transformer of words", (6,), _classifier_of_words, whole=(0, 19)),
    Case("transformer, the next word", (6,), _next_word, whole=(0, 19), private=False),
    Case("transformer of patches", (6, 6, 3), _patches, private=False),
)
