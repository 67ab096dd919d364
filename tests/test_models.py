"""The shipped model and sample are what the README says they are, and `train.py` makes and reads the same."""

from __future__ import annotations

import importlib.util
import json
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

MODELS = Path(__file__).resolve().parents[1] / "models"
ARCHITECTURE = [
    ("Conv2D", (26, 26, 16)),
    ("AveragePooling2D", (13, 13, 16)),
    ("ReLU", (13, 13, 16)),
    ("Conv2D", (11, 11, 32)),
    ("AveragePooling2D", (5, 5, 32)),
    ("ReLU", (5, 5, 32)),
    ("Conv2D", (3, 3, 64)),
    ("AveragePooling2D", (1, 1, 64)),
    ("ReLU", (1, 1, 64)),
    ("Flatten", (64,)),
    ("Dense", (10,)),
]


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("tensorflow").keras


@pytest.fixture(scope="module")
def model(keras: Any) -> Any:
    return keras.models.load_model(MODELS / "mnist_cnn.keras")


@pytest.fixture(scope="module")
def sample() -> dict[str, np.ndarray]:
    with np.load(MODELS / "mnist_sample.npz", allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


@pytest.fixture(scope="module")
def train(keras: Any) -> ModuleType:
    spec = importlib.util.spec_from_file_location("train", MODELS / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def layers_of(model: Any) -> list[tuple[str, tuple[int, ...]]]:
    return [(type(layer).__name__, tuple(layer.output.shape[1:])) for layer in model.layers]


def test_architecture(model: Any) -> None:
    assert model.input_shape == (None, 28, 28, 1)
    assert layers_of(model) == ARCHITECTURE
    assert model.layers[-1].activation.__name__ == "linear"  # logits: no softmax to compute privately
    for layer in model.layers:
        if type(layer).__name__ == "Conv2D":
            assert (layer.kernel_size, layer.strides, layer.padding) == ((3, 3), (1, 1), "valid")


def test_sample_is_a_thousand_uint8_images(sample: dict[str, np.ndarray]) -> None:
    assert set(sample) == {"images", "labels"}
    assert sample["images"].shape == (1000, 28, 28, 1)
    assert sample["images"].dtype == sample["labels"].dtype == np.uint8
    assert (sample["images"].min(), sample["images"].max()) == (0, 255)
    assert sample["labels"].shape == (1000,)
    assert np.bincount(sample["labels"], minlength=10).min() > 50  # every digit is there
    assert sample["labels"][:5].tolist() == [7, 2, 1, 0, 4]  # the beginning of MNIST's test set


def test_accuracy_on_the_sample(model: Any, sample: dict[str, np.ndarray]) -> None:
    logits = model.predict(sample["images"] / 255.0, batch_size=250, verbose=0)
    assert (logits.argmax(axis=1) == sample["labels"]).mean() >= 0.985


def test_recorded_accuracy_on_the_whole_test_set(model: Any) -> None:
    report = json.loads((MODELS / "mnist_cnn.json").read_text())
    assert report["test_images"] == 10_000
    assert report["test_accuracy"] >= 0.985
    assert report["parameters"] == model.count_params()


def test_train_builds_the_shipped_architecture(train: ModuleType, model: Any) -> None:
    assert layers_of(train.build()) == layers_of(model)


def test_shipped_files_are_small() -> None:
    assert sum(path.stat().st_size for path in MODELS.iterdir() if path.is_file()) < 1_000_000


def test_idx_files_are_read_and_others_refused(train: ModuleType) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    data = struct.pack(">4I", 0x803, 2, 3, 4) + values.tobytes()
    assert np.array_equal(train.parse_idx(data, 0x803), values)
    with pytest.raises(ValueError, match="not an IDX file"):
        train.parse_idx(data, 0x801)
    with pytest.raises(ValueError, match="size"):
        train.parse_idx(data[:-1], 0x803)
