"""Pooling."""

from __future__ import annotations

from .case import FIRST, IMAGE, STEPS, VOLUME, Case, layer

CASES: tuple[Case, ...] = (
    layer("AveragePooling1D", STEPS, 2),
    layer("AveragePooling1D", STEPS, 3, strides=2, padding="same", private=False),
    layer("MaxPooling1D", STEPS),
    layer("MaxPooling1D", STEPS, 3, strides=2, padding="same", private=False),
    layer("GlobalAveragePooling1D", STEPS),
    layer("GlobalAveragePooling1D", STEPS, keepdims=True, private=False),
    layer("GlobalAveragePooling1D", STEPS, data_format=FIRST, private=False),
    layer("GlobalMaxPooling1D", STEPS),
    layer("GlobalMaxPooling1D", STEPS, data_format=FIRST, keepdims=True, private=False),
    layer("GlobalAveragePooling3D", (2, 3, 2, 3)),
    layer("GlobalAveragePooling3D", (2, 3, 2, 3), data_format=FIRST, private=False),
    layer("GlobalMaxPooling3D", (2, 3, 2, 3), keepdims=True),
    layer("AveragePooling2D", IMAGE, 2),
    layer("AveragePooling2D", IMAGE, 3, strides=1, private=False),
    layer("AveragePooling2D", IMAGE, (2, 3), strides=(1, 2), padding="same", private=False),
    layer("AveragePooling2D", IMAGE, 3, strides=2, padding="same", private=False),
    layer("AveragePooling2D", (6, 4, 2), 2, padding="same", private=False),
    layer("MaxPooling2D", IMAGE),
    layer("MaxPooling2D", IMAGE, 3, strides=1, private=False),
    layer("MaxPooling2D", IMAGE, (2, 3), strides=(1, 2), padding="same", private=False),
    layer("MaxPooling2D", IMAGE, 3, strides=2, padding="same", private=False),
    layer("GlobalAveragePooling2D", IMAGE),
    layer("GlobalAveragePooling2D", IMAGE, keepdims=True, private=False),
    layer("GlobalMaxPooling2D", IMAGE),
    layer("GlobalMaxPooling2D", IMAGE, keepdims=True, private=False),
    *(
        layer(f"{kind}Pooling3D", VOLUME, pool, strides=strides, padding=padding, private=pool == 2)
        for kind in ("Average", "Max")
        for pool, strides, padding in [
            (2, None, "valid"),
            ((1, 3, 2), (1, 2, 1), "same"),
            (3, 2, "same"),
            ((2, 3, 3), 1, "valid"),
        ]
    ),
    layer("AveragePooling3D", VOLUME, 2, data_format=FIRST, only="keras", private=False),
    layer("MaxPooling3D", VOLUME, 2, strides=1, data_format=FIRST, only="keras", private=False),
    layer("AveragePooling2D", IMAGE, 2, padding="same", data_format=FIRST, only="keras", private=False),
    layer("MaxPooling2D", IMAGE, 2, padding="same", data_format=FIRST, only="keras", private=False),
    layer("AveragePooling1D", STEPS, 2, data_format=FIRST, only="keras", private=False),
    layer("GlobalMaxPooling2D", IMAGE, data_format=FIRST, private=False),
    *(
        layer(f"Adaptive{kind}Pooling{len(shape) - 1}D", shape, size, only="keras", private=private, **first)
        for kind in ("Average", "Max")
        for shape, size, private, first in [
            (STEPS, 3, False, {}),
            (STEPS, 9, False, {}),
            (STEPS, 2, False, {"data_format": FIRST}),
            ((6, 6, 2), (3, 2), False, {}),
            (IMAGE, (4, 2), True, {}),
            (IMAGE, (2, 3), False, {"data_format": FIRST}),
            (VOLUME, (2, 3, 2), False, {}),
            (VOLUME, (1, 5, 3), False, {}),
        ]
    ),
)
