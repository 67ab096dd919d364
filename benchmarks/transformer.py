"""A transformer block among three processes joined by TLS: 64 places of width 128, 4 heads, 512 units inside."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from benchmarks.parties import ThreeProcesses
from benchmarks.row import Row, mb
from keras_private.plan.plan import Draft

PLACES, WIDTH, HEADS, INSIDE = 64, 128, 4, 512
RANGE = (-4.0, 4.0)
LIMIT_MS = 150


def rows(parties: ThreeProcesses, runs: int) -> list[Row]:
    model, draft = block()
    x = np.clip(np.random.default_rng(0).normal(size=(1, PLACES, WIDTH)), *RANGE)
    measured = parties.measure(draft, x, max(3, runs // 4))
    (made,) = draft.plan.outputs
    found = np.ldexp(measured.result.view(np.int64).astype(np.float64), -draft.plan.tensors[made.tensor].frac)
    right = np.asarray(model(x))
    error = float(np.max(np.abs(found.reshape(right.shape) - right)))
    return [
        Row(
            "transformer block, median",
            measured.wall_ms,
            "ms",
            LIMIT_MS,
            f"{measured.rounds} rounds, {mb(measured.bytes_sent)}",
            measured.cpu_ms,
        ),
        Row("transformer block: largest difference from Keras", error, "", 0.01, "of values of some 4 in size"),
    ]


def block() -> tuple[Any, Draft]:
    """The model, untrained, and its plan."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    from keras_private.lowering import draft_of
    from keras_private.plan.optimise import optimise

    layers = keras.layers
    keras.utils.set_random_seed(3)
    x = keras.Input((PLACES, WIDTH))
    y = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(x, x)]))
    z = layers.Dense(WIDTH)(layers.Dense(INSIDE, activation="gelu")(y))
    model = keras.Model(x, layers.LayerNormalization()(layers.Add()([y, z])))
    return model, optimise(draft_of(model, RANGE))
