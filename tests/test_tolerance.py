"""`share(tolerance=…)`, and normalisation of columns, on a cluster within this process."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from keras_private import InputError, KerasHook, PlanError, PrecisionWarning, TFECluster, TFEWorker
from keras_private.plan.plan import Accuracy

RANDOM = np.random.default_rng(4)


@pytest.fixture(scope="module")
def keras() -> Any:
    module = importlib.import_module("keras")
    KerasHook(module)
    return module


@pytest.fixture(scope="module")
def cluster() -> Iterator[TFECluster]:
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as started:
        yield started


def predict(model: Any, x: np.ndarray, cluster: TFECluster) -> np.ndarray:
    with TFEWorker() as client:
        client.connect_to_model((1, *x.shape[1:]), (1, *model.output_shape[1:]), cluster)
        client.query_model_async(x)
        model.serve(num_requests=1)
        return client.query_model_join()


def whisper(keras: Any, bias: str = "ones") -> Any:
    """Answers that differ by a few units of fixed point."""
    init = keras.initializers.RandomNormal(stddev=1e-4, seed=1)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer=init, bias_initializer=bias)])


@pytest.mark.parametrize("front", ["Normalization", "BatchNormalization", "raw"])
def test_columns_of_every_scale_are_as_exact_as_in_plain(keras: Any, cluster: TFECluster, front: str) -> None:
    deviation, mean = np.array([0.01, 0.1, 1, 30, 1e3, 1.2e5]), np.array([0.05, -3, 10, 200, 1e4, 5e5])
    x = (mean + deviation * RANDOM.normal(size=(100, 6))).astype(np.float32)
    keras.utils.set_random_seed(1)
    hidden, out = keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3)
    layers = [keras.layers.BatchNormalization()] if front == "BatchNormalization" else []
    if front == "Normalization":
        layers = [keras.layers.Normalization()]
        layers[0].adapt(x)
    model = keras.Sequential([keras.Input((6,)), *layers, hidden, out])
    if front == "BatchNormalization":
        layers[0].moving_mean.assign(x.mean(axis=0))
        layers[0].moving_variance.assign(x.var(axis=0))
    if front == "raw":
        hidden.kernel.assign(hidden.kernel.numpy() / x.std(axis=0)[:, None])
        hidden.bias.assign(-x.mean(axis=0) @ hidden.kernel.numpy())
    plain = np.asarray(model(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.share(cluster, input_range=(float(x.min()), float(x.max())))
    with model:
        answers = predict(model, x, cluster)
    assert np.array_equal(answers.argmax(axis=1), plain.argmax(axis=1))
    assert np.abs(answers - plain).max() < 3e-3 * plain.std()


def test_too_inexact_is_a_warning_and_with_a_tolerance_an_error(keras: Any, cluster: TFECluster) -> None:
    with pytest.warns(PrecisionWarning, match=r"off by up to .* tolerance=0\.01 of that\. Raise precision_fractional"):
        whisper(keras).share(cluster, input_range=(0, 1)).stop()
    with pytest.raises(PlanError, match=r"tolerance=0\.002 of that"):
        whisper(keras).share(cluster, input_range=(0, 1), tolerance=0.002)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whisper(keras).share(cluster, input_range=(0, 1), tolerance=0.9).stop()


def test_answers_that_are_tiny_have_more_bits(keras: Any, cluster: TFECluster) -> None:
    model, x = whisper(keras, "zeros"), RANDOM.uniform(size=(20, 4)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.share(cluster, input_range=(0, 1))
    with model:
        answers = predict(model, x, cluster)
    plain = np.asarray(model(x))
    assert np.abs(plain).max() < 1e-3
    assert np.abs(answers - plain).max() < 1e-3 * np.ptp(plain)


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), True, "0.1", [0.1]])
def test_what_is_no_tolerance(keras: Any, cluster: TFECluster, wrong: Any) -> None:
    with pytest.raises(InputError, match="tolerance must be a number above 0"):
        whisper(keras).share(cluster, tolerance=wrong)


def test_the_summary_says_the_error_and_that_it_is_measured(keras: Any, cluster: TFECluster) -> None:
    lines: list[str] = []
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with model.share(cluster, input_range=(0, 1)):
        model.private_summary(print_fn=lines.append)
    text = " ".join("".join(lines).split())
    assert "Largest error expected of an output: " in text
    assert "of the range they lie in" in text
    assert "measured, on 8 random inputs" in text
    assert "no bound" in text


def test_relative_errors() -> None:
    assert Accuracy(0.5, 10.0, 8).relative == 0.05
    assert Accuracy(0.0, 0.0, 8).relative == 0.0
    assert Accuracy(0.1, 0.0, 8).relative == float("inf")
