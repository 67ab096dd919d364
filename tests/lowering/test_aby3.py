"""A sample of layers through TF Encrypted's own ABY3, by the same lowering."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from . import aby3_reference
from .cases import CASES, Case

SAMPLE = [
    "Dense 3",
    "Dense on rank 3",
    "Conv2D 4 3 strides=1 padding=valid",
    "Conv2D 4 3 strides=2 padding=same",
    "Conv2D 6 3 groups=2 padding=same",
    "AveragePooling2D 2",
    "AveragePooling2D 3 strides=2 padding=same",
    "MaxPooling2D",
    "MaxPooling2D 3 strides=1",
    "GlobalAveragePooling2D keepdims=True",
    "ZeroPadding2D 1",
    "Conv1D 4 3",
    "Conv2DTranspose 4 3 strides=2 padding=same",
    "UpSampling2D 2",
    "Cropping2D 1",
    "GlobalAveragePooling1D",
    "x: 1 - x",
    "x: slices",
    "ops: mean",
    "ReLU",
    "ReLU max_value=1.0",
    "LeakyReLU",
    "Flatten",
    "Permute (3, 1, 2)",
    "BatchNormalization",
    "Rescaling by channel",
    "Add",
    "Subtract",
    "Multiply",
    "x: x * x",
    "Average three",
    "Concatenate",
    "residual block",
    "nested models",
]
BY_NAME = {case.name: case for case in CASES}


@pytest.mark.parametrize("name", SAMPLE)
def test_same_lowering_runs_under_aby3(name: str) -> None:
    case: Case = BY_NAME[name]
    model = case.model(importlib.import_module("keras"))
    x = case.inputs()
    np.testing.assert_allclose(aby3_reference.run(model, x), np.asarray(model(x)), atol=0.02)
