"""Layers that move values."""

from __future__ import annotations

from .case import FIRST, IMAGE, STEPS, Case, layer

CASES: tuple[Case, ...] = (
    layer("ZeroPadding2D", IMAGE, 1),
    layer("ZeroPadding2D", IMAGE, (1, 2), private=False),
    layer("ZeroPadding2D", IMAGE, ((0, 1), (2, 0)), private=False),
    layer("ZeroPadding2D", IMAGE, 1, data_format=FIRST, private=False),
    layer("ZeroPadding1D", STEPS, 2),
    layer("ZeroPadding1D", STEPS, (0, 1), private=False),
    layer("ZeroPadding1D", STEPS, (2, 1), data_format=FIRST, only="keras", private=False),
    layer("ZeroPadding3D", (2, 3, 2, 2), ((0, 1), (1, 1), (2, 0))),
    layer("ZeroPadding3D", (2, 3, 2, 2), 1, data_format=FIRST, private=False),
    layer("Cropping1D", STEPS, 2),
    layer("Cropping1D", STEPS, (0, 3), private=False),
    layer("Cropping2D", IMAGE, 1),
    layer("Cropping2D", IMAGE, (2, 1), private=False),
    layer("Cropping2D", IMAGE, ((0, 1), (2, 0)), private=False),
    layer("Cropping2D", IMAGE, ((0, 1), (2, 0)), data_format=FIRST, private=False),
    layer("Cropping2D", IMAGE, 0, private=False),
    layer("Cropping3D", (4, 3, 5, 2), ((0, 1), (1, 1), (2, 0))),
    layer("Cropping3D", (4, 3, 5, 3), 1, data_format=FIRST, private=False),
    layer("RepeatVector", (5,), 3),
    layer("Flatten", (2, 3, 4)),
    layer("Flatten", (2, 3, 4), data_format="channels_first", private=False),
    layer("Flatten", (3,), private=False),
    layer("Reshape", (2, 3, 4), (4, 6)),
    layer("Reshape", (2, 3, 4), (3, -1, 2), private=False),
    layer("Permute", (2, 3, 4), (3, 1, 2)),
    layer("Permute", (2, 3), (2, 1), private=False),
)
