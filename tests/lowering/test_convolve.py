"""Convolutions that the protocol has no call for: what they become, and that nothing is paid twice."""

from __future__ import annotations

from typing import Any

import pytest

from keras_private.lowering import draft_of
from keras_private.plan.optimise import optimise


@pytest.mark.parametrize(
    ("build", "shape", "products"),
    [
        (lambda layers: layers.Conv2D(8, 3, groups=2), (5, 5, 4), ["conv2d", "conv2d"]),
        (lambda layers: layers.Conv2D(8, 3, groups=4), (5, 5, 4), ["depthwise_conv2d"]),
        (lambda layers: layers.Conv2DTranspose(4, 3, strides=2, padding="same"), (3, 3, 4), ["conv2d"]),
        (lambda layers: layers.Conv3D(4, 3, padding="same"), (3, 4, 4, 2), ["conv2d"]),
        (lambda layers: layers.Conv3DTranspose(4, 3, strides=2), (2, 2, 2, 2), ["conv2d"]),
    ],
)
def test_batch_normalisation_disappears_into_them(build: Any, shape: tuple[int, ...], products: list[str]) -> None:
    import keras

    x = keras.Input(shape)
    y = keras.layers.ReLU()(keras.layers.BatchNormalization()(build(keras.layers)(x)))
    kinds = [op.kind for op in optimise(draft_of(keras.Model(x, y))).plan.ops]
    assert [kind for kind in kinds if kind in ("conv2d", "depthwise_conv2d", "mul", "matmul")] == products


def test_a_transposed_convolution_computes_nothing_with_zeros() -> None:
    """Each product of the kernel's 4 x 4 taps with an input once, and none beside the image."""
    import keras

    x = keras.Input((3, 3, 2))
    plan = draft_of(keras.Model(x, keras.layers.Conv2DTranspose(5, 4, strides=4)(x))).plan
    (op,) = [op for op in plan.ops if op.kind == "conv2d"]
    assert plan.weights[op.weights[0]].shape == (1, 1, 2, 4 * 4 * 5)
    assert plan.tensors[op.output].shape == (80, 3, 3)


def test_a_volume_wastes_a_row_a_plane() -> None:
    import keras

    x = keras.Input((4, 6, 5, 2))
    plan = draft_of(keras.Model(x, keras.layers.Conv3D(3, 3, padding="same")(x))).plan
    (op,) = [op for op in plan.ops if op.kind == "conv2d"]
    assert plan.tensors[op.output].shape == (3, 4 * 7 - 1, 5)
