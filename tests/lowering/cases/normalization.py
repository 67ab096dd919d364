"""Layers that scale and shift."""

from __future__ import annotations

import importlib
from typing import Any
from unittest import mock

from .case import IMAGE, Case, layer


def _spectral(keras: Any, x: Any) -> Any:
    """tf_keras takes its InputSpec from tf.keras, which may be the other Keras."""
    layers = keras.layers
    with mock.patch.object(importlib.import_module("tensorflow").compat.v2.keras.layers, "InputSpec", layers.InputSpec):
        return layers.SpectralNormalization(layers.Conv2D(4, 2, activation="relu"))(x)


CASES: tuple[Case, ...] = (
    layer("BatchNormalization", IMAGE),
    layer("BatchNormalization", (4,), scale=False, private=False),
    layer("BatchNormalization", (4,), center=False, epsilon=0.1, private=False),
    layer("BatchNormalization", IMAGE, scale=False, center=False, private=False),
    layer("BatchNormalization", IMAGE, axis=1, private=False),
    layer("BatchNormalization", IMAGE, axis=2, private=False),
    layer("Rescaling", IMAGE, 0.25),
    layer("Rescaling", IMAGE, 1 / 127.5, offset=-1.0, private=False),
    layer("Rescaling", IMAGE, [0.5, 1.0, 2.0], offset=[0.0, 1.0, -1.0], title="Rescaling by channel", private=False),
    layer("Normalization", IMAGE, mean=[0.1, 0.2, 0.3], variance=[0.5, 1.0, 4.0]),
    layer("Normalization", IMAGE, title="Normalization, never adapted", private=False),
    layer("Normalization", (4,), axis=None, mean=0.5, variance=2.0, private=False),
    layer("Normalization", (3,), mean=[0.1, 0.2, 0.3], variance=[0.5, 1.0, 4.0], invert=True, private=False),
    layer("BatchNormalization", IMAGE, axis=[1, 3], only="tf_keras", private=False),
    layer("LayerNormalization", (3, 8)),
    layer("LayerNormalization", (8,), epsilon=1e-6, center=False, private=False),
    layer("LayerNormalization", IMAGE, axis=[1, 3], scale=False, private=False),
    layer("LayerNormalization", IMAGE, axis=1, private=False),
    layer("LayerNormalization", IMAGE, axis=[1, 2, 3], private=False),
    layer("RMSNormalization", (3, 8), only="keras"),
    layer("RMSNormalization", IMAGE, axis=[2, 3], epsilon=0.1, only="keras", private=False),
    layer("GroupNormalization", (4, 4, 6), groups=3),
    layer("GroupNormalization", (6, 4, 4), groups=2, axis=1, scale=False, private=False),
    layer("GroupNormalization", (4, 6, 4), groups=-1, axis=-2, center=False, private=False),
    layer("GroupNormalization", (4, 4, 6), groups=1, private=False),
    layer("UnitNormalization", (3, 8)),
    layer("UnitNormalization", IMAGE, axis=[1, 2], private=False),
    Case("SpectralNormalization", IMAGE, _spectral, layers=("SpectralNormalization",)),
)
