"""Deep nets keep their digits at 16 bits: simulated in the clear, since three parties would take minutes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_private.lowering.model import draft_of
from keras_private.plan.evaluate import evaluate
from keras_private.plan.optimise import optimise
from keras_private.plan.simulate import simulate
from keras_private.plan.summary import unproven


def images(count: int, size: int, random: np.random.Generator) -> np.ndarray:
    """Smooth, of varied brightness and contrast: noise alone looks the same to a deep net, whatever it is."""
    coarse = random.uniform(0, 1, (count, 5, 5, 3))
    smooth = np.kron(coarse, np.ones((1, -(-size // 5), -(-size // 5), 1)))[:, :size, :size]
    contrast = random.uniform(0.2, 1, (count, 1, 1, 3))
    offset = random.uniform(0, 1, (count, 1, 1, 3)) * (1 - contrast)
    return np.clip(smooth * contrast + offset + random.normal(0, 0.03, smooth.shape), 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("ResNet50", 64), ("InceptionV3", 75)])
def test_difference_of_logits(name: str, size: int) -> None:
    """Random weights; each batch norm with the statistics of what it gets, so that no layer is silent."""
    keras: Any = pytest.importorskip("keras")
    random = np.random.default_rng(0)
    keras.utils.set_random_seed(1)
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classifier_activation=None)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images(32, size, random), training=True)
    draft = draft_of(model, (0, 1))
    x = images(4, size, random)
    plain = evaluate(draft, x)
    assert plain.std() > 0.5
    for data in (None, [images(24, size, random)]):  # with data nothing is left unproven
        done = optimise(draft, calibration=data)
        assert np.abs(simulate(done, [x])[0] - plain).max() < 0.004
        assert done.accuracy is not None
        assert done.accuracy.relative < 1e-2
        assert bool(unproven(done.plan)) == (data is None)
