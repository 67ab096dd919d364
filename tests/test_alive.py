"""What the tests of large networks rest on: their activations are alive."""

from __future__ import annotations

import numpy as np
import pytest

from tests.alive import alive, smooth_images


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request):
    return pytest.importorskip(request.param)


def network(keras):
    layers = keras.layers
    x = start = keras.Input((8, 8, 3))
    for depth in range(6):
        x = layers.SeparableConv2D(16, 3, padding="same", name=f"conv{depth}")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"norm{depth}")(x))
        x = layers.Dropout(0.5)(x)
    inner = keras.Sequential([keras.Input((16,)), layers.Dense(16), layers.BatchNormalization(name="within")])
    return keras.Model(start, layers.Dense(10)(inner(layers.GlobalAveragePooling2D()(x))))


def test_every_normalization_sees_numbers_of_mean_0_and_size_1(keras):
    images = smooth_images(12, (8, 8, 3))
    model = alive(network(keras), images)
    norm = model.get_layer("norm5")
    seen = keras.Model(model.input, norm.output)(images).numpy()
    expected = norm.gamma.numpy()
    np.testing.assert_allclose(seen.mean(axis=(0, 1, 2)), norm.beta.numpy(), atol=0.02)
    np.testing.assert_allclose(seen.std(axis=(0, 1, 2)), expected, rtol=0.05)
    assert norm.momentum == 0.99
    assert {layer.rate for layer in model.layers if hasattr(layer, "rate")} == {0.5}


def test_other_images_have_other_answers_and_the_same_seed_the_same(keras):
    images = smooth_images(12, (8, 8, 3))
    first, again = (alive(network(keras), images, seed=3)(images).numpy() for _ in range(2))
    np.testing.assert_allclose(first, again, rtol=1e-4, atol=1e-4)
    assert np.all(first.std(axis=0) > 0.05)


def test_images_are_smooth_and_fill_their_range():
    images = smooth_images(5, (32, 24, 3), 255.0, seed=1)
    assert images.shape == (5, 32, 24, 3)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images.min(axis=(1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(images.max(axis=(1, 2)), 255, rtol=1e-6)
    assert np.abs(np.diff(images, axis=1)).max() < 80
