"""Pooling."""

from __future__ import annotations

from .case import FIRST, IMAGE, STEPS, Case, layer

CASES: tuple[Case, ...] = (
    layer("AveragePooling1D", STEPS, 2),
    layer("AveragePooling1D", STEPS, 3, strides=2, padding="same"),
    layer("MaxPooling1D", STEPS),
    layer("MaxPooling1D", STEPS, 3, strides=2, padding="same"),
    layer("GlobalAveragePooling1D", STEPS),
    layer("GlobalAveragePooling1D", STEPS, keepdims=True),
    layer("GlobalAveragePooling1D", STEPS, data_format=FIRST),
    layer("GlobalMaxPooling1D", STEPS),
    layer("GlobalMaxPooling1D", STEPS, data_format=FIRST, keepdims=True),
    layer("GlobalAveragePooling3D", (2, 3, 2, 3)),
    layer("GlobalAveragePooling3D", (2, 3, 2, 3), data_format=FIRST),
    layer("GlobalMaxPooling3D", (2, 3, 2, 3), keepdims=True),
    layer("AveragePooling2D", IMAGE, 2),
    layer("AveragePooling2D", IMAGE, 3, strides=1),
    layer("AveragePooling2D", IMAGE, (2, 3), strides=(1, 2), padding="same"),
    layer("AveragePooling2D", IMAGE, 3, strides=2, padding="same"),
    layer("AveragePooling2D", (6, 4, 2), 2, padding="same"),
    layer("MaxPooling2D", IMAGE),
    layer("MaxPooling2D", IMAGE, 3, strides=1),
    layer("MaxPooling2D", IMAGE, (2, 3), strides=(1, 2), padding="same"),
    layer("MaxPooling2D", IMAGE, 3, strides=2, padding="same"),
    layer("GlobalAveragePooling2D", IMAGE),
    layer("GlobalAveragePooling2D", IMAGE, keepdims=True),
    layer("GlobalMaxPooling2D", IMAGE),
    layer("GlobalMaxPooling2D", IMAGE, keepdims=True),
)
