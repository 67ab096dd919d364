"""The networks of `keras.applications`, untrained but alive, small images: three parties answer as Keras does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_private import KerasHook, TFECluster, TFEWorker

from .alive import alive, smooth_images

# The smallest size that each takes, or one at which its last images are more than a pixel; and its largest input value.
NETWORKS = {
    "ConvNeXtTiny": (32, 255),
    "DenseNet121": (32, 1),
    "EfficientNetB0": (64, 255),
    "EfficientNetV2B0": (64, 255),
    "InceptionV3": (75, 1),
    "MobileNetV2": (32, 1),
    "MobileNetV3Small": (32, 255),
    "ResNet50": (32, 1),
    "ResNet50V2": (32, 1),
    "VGG16": (32, 1),
    "Xception": (71, 1),
}


# The largest difference, as a part of the logits' spread. EfficientNets read some hundred functions from tables.
FINE, COARSE = 0.002, 0.01


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NETWORKS)
def test_private_answers(name: str) -> None:
    keras: Any = pytest.importorskip("keras")
    KerasHook(keras)
    keras.utils.set_random_seed(1)
    size, high = NETWORKS[name]
    shape = (size, size, 3)
    network = getattr(keras.applications, name)
    model = alive(
        network(weights=None, input_shape=shape, classes=10, classifier_activation=None),
        smooth_images(16, shape, high),
    )
    x = smooth_images(3, shape, high, seed=5)
    plain = model.predict(x, verbose=0)
    spread = np.ptp(plain)
    assert np.min(np.ptp(plain, axis=0)) > 0.01 * spread  # it tells these images apart
    data = smooth_images(24, shape, high, seed=3)
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as cluster, TFEWorker(timeout=300) as client:
        model.share(cluster, input_range=(0, high), calibration=data, verbose=0)
        client.connect_to_model(cluster)
        client.query_model_async(x)
        assert model.serve(num_requests=1, verbose=0) == 1
        private = client.query_model_join()
        model.stop()
    np.testing.assert_array_equal(private.argmax(axis=1), plain.argmax(axis=1))
    assert np.max(np.abs(private - plain)) <= (COARSE if name.startswith("EfficientNet") else FINE) * spread
