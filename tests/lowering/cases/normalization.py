"""Layers that scale and shift."""

from __future__ import annotations

from .case import IMAGE, Case, layer

CASES: tuple[Case, ...] = (
    layer("BatchNormalization", IMAGE),
    layer("BatchNormalization", (4,), scale=False),
    layer("BatchNormalization", (4,), center=False, epsilon=0.1),
    layer("BatchNormalization", IMAGE, scale=False, center=False),
    layer("BatchNormalization", IMAGE, axis=1),
    layer("BatchNormalization", IMAGE, axis=2),
    layer("Rescaling", IMAGE, 0.25),
    layer("Rescaling", IMAGE, 1 / 127.5, offset=-1.0),
    layer("Rescaling", IMAGE, [0.5, 1.0, 2.0], offset=[0.0, 1.0, -1.0], title="Rescaling by channel"),
    layer("Normalization", IMAGE, mean=[0.1, 0.2, 0.3], variance=[0.5, 1.0, 4.0]),
    layer("Normalization", IMAGE, title="Normalization, never adapted"),
    layer("Normalization", (4,), axis=None, mean=0.5, variance=2.0),
    layer("Normalization", (3,), mean=[0.1, 0.2, 0.3], variance=[0.5, 1.0, 4.0], invert=True),
)
