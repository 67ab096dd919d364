"""Kinds of models: Sequential, functional, nested, shared, loaded; of keras and tf_keras."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.lowering import draft_of
from keras_private.plan.evaluate import evaluate
from keras_private.plan.optimise import optimise

from .cases import CASES, randomise


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def assert_same(model: Any, x: np.ndarray, **options: Any) -> None:
    np.testing.assert_allclose(evaluate(draft_of(model, **options), x), np.asarray(model(x)), rtol=1e-5, atol=1e-5)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def sequential(keras: Any, *first: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [*first, layers.Conv2D(2, 3, activation="relu"), layers.Dropout(0.5), layers.Flatten(), layers.Dense(3)]
    )


def test_sequential(keras: Any) -> None:
    assert_same(randomise(sequential(keras, keras.Input((5, 5, 1)))), numbers(3, 5, 5, 1))


def test_sequential_built_later(keras: Any) -> None:
    model = sequential(keras)
    model.build((None, 5, 5, 1))
    assert_same(randomise(model), numbers(3, 5, 5, 1))


def test_sequential_built_by_data(keras: Any) -> None:
    model = sequential(keras)
    model(numbers(2, 5, 5, 1))
    assert_same(randomise(model), numbers(2, 5, 5, 1))


def test_loaded(keras: Any, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "nested models")
    case.model(keras).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    assert_same(model, numbers(3, 4))


def test_operations_in_a_loaded_model(keras: Any, tmp_path: Path) -> None:
    x = keras.Input((4, 3))
    y = keras.layers.Dense(3, name="dense")(x * 0.5 - 1)
    model = randomise(keras.Model(x, 2 - (y + x)[:, 1:] / 3))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(loaded, numbers(2, 4, 3))
    inner = keras.Input((4, 3))
    assert_same(keras.Model(inner, loaded(inner + 1) + 1), numbers(2, 4, 3))


def test_arrays_between_layers_stay_secret() -> None:
    import keras

    x = keras.Input((3,))
    plan = draft_of(keras.Model(x, keras.ops.relu((x * np.array([3.0, 4.0, 5.0]) + 7.0) * 0.5))).plan
    assert [op.attrs for op in plan.ops if op.kind == "scale"] == [{"factor": 0.5}]
    assert [op.kind for op in plan.ops if op.weights] == ["mul", "add"]


def test_subclass_of_a_functional_model_that_only_names_it(keras: Any) -> None:
    class Classifier(keras.Model):  # type: ignore[misc]
        pass

    x = keras.Input((4,))
    assert_same(randomise(Classifier(x, keras.layers.Dense(2)(x))), numbers(3, 4))


def test_part_of_a_larger_model(keras: Any) -> None:
    """Features from the middle: layers that the output does not need are left alone, supported or not."""
    x = keras.Input((4,))
    middle = keras.layers.Dense(3)(x)
    keras.Model(x, keras.layers.Softmax()(middle))
    assert_same(randomise(keras.Model(x, middle)), numbers(2, 4))


def test_layers_called_with_keywords(keras: Any) -> None:
    x = keras.Input((4,))
    y = keras.layers.BatchNormalization()(x, training=False)
    assert_same(randomise(keras.Model(x, keras.layers.Dropout(0.5)(inputs=y))), numbers(2, 4))


def test_low_precision_policies(keras: Any) -> None:
    """Weights are taken as they are; the parties compute more exactly than half precision does."""
    x = keras.Input((4,))
    model = randomise(keras.Model(x, keras.layers.Dense(3, dtype="mixed_bfloat16")(x)))
    np.testing.assert_allclose(evaluate(draft_of(model), numbers(2, 4)), np.asarray(model(numbers(2, 4))), atol=0.03)


def test_an_input_with_a_name(keras: Any) -> None:
    x = keras.Input((4,), name="pixels")
    model = randomise(keras.Model({"pixels": x}, {"logits": keras.layers.Dense(3)(x)}))
    expected = model({"pixels": numbers(2, 4)})["logits"]
    np.testing.assert_allclose(evaluate(draft_of(model), numbers(2, 4)), np.asarray(expected), rtol=1e-5, atol=1e-6)


def test_model_that_does_nothing(keras: Any) -> None:
    x = keras.Input((4,))
    assert_same(keras.Model(x, keras.layers.Dropout(0.5)(x)), numbers(2, 4))


def test_deep_model(keras: Any) -> None:
    x = y = keras.Input((2,))
    for _ in range(400):
        y = keras.layers.ReLU()(y)
    assert_same(keras.Model(x, y), numbers(2, 2))


def test_channels_first(keras: Any) -> None:
    """TensorFlow cannot compute these on a CPU, so the same model with channels last is what they must agree with."""

    def build(order: str, shape: tuple[int, ...], axis: int) -> Any:
        layers = keras.layers
        x = keras.Input(shape)
        y = layers.ZeroPadding2D(1, data_format=order)(x)
        y = layers.Conv2D(4, 3, strides=2, padding="same", data_format=order)(y)
        y = layers.BatchNormalization(axis=axis)(y)
        y = layers.DepthwiseConv2D(2, data_format=order)(y)
        y = layers.SeparableConv2D(4, 2, padding="same", data_format=order)(y)
        y = layers.AveragePooling2D(2, strides=1, padding="same", data_format=order)(y)
        y = layers.MaxPooling2D(2, strides=1, data_format=order)(y)
        pooled = [
            layers.GlobalAveragePooling2D(data_format=order)(y),
            layers.GlobalMaxPooling2D(data_format=order)(y),
            layers.Flatten(data_format=order)(y),
        ]
        return keras.Model(x, layers.Concatenate()(pooled))

    agree(build("channels_last", (8, 9, 3), -1), build("channels_first", (3, 8, 9), 1), numbers(2, 8, 9, 3))


def test_channels_first_of_what_is_wider_or_narrower(keras: Any) -> None:
    def build(order: str, shape: tuple[int, ...]) -> Any:
        layers = keras.layers
        x = keras.Input(shape)
        y = layers.Conv2DTranspose(2, (2, 3), strides=2, padding="same", data_format=order)(x)
        y = layers.Cropping2D(((1, 0), (0, 2)), data_format=order)(y)
        y = layers.Conv2DTranspose(3, 2, strides=(1, 3), data_format=order)(layers.UpSampling2D(2, order)(y))
        return keras.Model(x, layers.Flatten(data_format=order)(y))

    agree(build("channels_last", (3, 4, 2)), build("channels_first", (2, 3, 4)), numbers(2, 3, 4, 2))


def test_channels_first_of_sequences(keras: Any) -> None:
    def build(order: str, shape: tuple[int, ...]) -> Any:
        layers = keras.layers
        x = keras.Input(shape)
        y = layers.Conv1D(4, 3, padding="same", strides=2, data_format=order)(x)
        y = layers.DepthwiseConv1D(2, padding="same", data_format=order)(y)
        y = layers.SeparableConv1D(3, 2, padding="same", data_format=order, activation="relu")(y)
        y = layers.Conv1DTranspose(3, 3, strides=2, data_format=order)(y)
        y = layers.AveragePooling1D(2, strides=1, padding="same", data_format=order)(y)
        y = layers.MaxPooling1D(2, data_format=order)(y)
        pooled = [
            layers.GlobalAveragePooling1D(data_format=order)(y),
            layers.GlobalMaxPooling1D(data_format=order)(y),
            layers.Flatten(data_format=order)(y),
        ]
        return keras.Model(x, layers.Concatenate()(pooled))

    agree(build("channels_last", (9, 2)), build("channels_first", (2, 9)), numbers(2, 9, 2))


def agree(last: Any, first: Any, x: np.ndarray) -> None:
    """A model with channels first computes what the same with channels last does, as recorded and optimised."""
    randomise(last)
    first.set_weights(last.get_weights())
    draft, given = draft_of(first), np.moveaxis(x, -1, 1)
    np.testing.assert_allclose(evaluate(draft, given), np.asarray(last(x)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(evaluate(optimise(draft), given), np.asarray(last(x)), rtol=1e-4, atol=1e-5)


def test_augmentation_in_a_model_of_its_own(keras: Any) -> None:
    layers = keras.layers
    augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomContrast(0.5)])
    x = keras.Input((6, 5, 3))
    model = randomise(keras.Model(x, layers.Dense(2)(augmentation(x))))
    given = numbers(2, 6, 5, 3)
    np.testing.assert_allclose(evaluate(draft_of(model), given), model.predict(given, verbose=0), rtol=1e-4, atol=1e-5)


def test_the_1d_forms_fold_like_the_2d_ones() -> None:
    import keras

    case = next(case for case in CASES if case.name == "small sequence model")
    plan = optimise(draft_of(case.model(keras))).plan
    assert [op.kind for op in plan.ops if op.kind != "reshape"] == [
        *("conv2d", "max_pool2d", "depthwise_conv2d", "conv2d", "sum_pool2d", "matmul"),
    ]


def test_layer_names_are_in_the_plan(keras: Any) -> None:
    case = next(case for case in CASES if case.name == "nested models")
    plan = draft_of(case.model(keras)).plan
    assert {op.layer.rpartition("/")[0] for op in plan.ops} == {"", "outer", "outer/inner"}
    assert all(name.rpartition("/")[2].partition(".")[0] in ("kernel", "bias") for name in plan.weights)


def test_input_range_is_in_the_plan(keras: Any) -> None:
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(2)(x))
    assert draft_of(model, [0, 1]).plan.inputs[0].range == (0.0, 1.0)
    with pytest.raises(PlanError, match="input_range"):
        draft_of(model, (1, 0))


def test_jump_does_not_depend_on_rounding(keras: Any) -> None:
    """Thresholds, one behind the other, with and without a promised range, at a precision that is not the usual one."""
    x = y = keras.Input((6,))
    for _ in range(3):
        y = keras.layers.ReLU(threshold=0.25)(keras.layers.Dense(6)(y))
    model = randomise(keras.Model(x, y))
    values = numbers(4, 6)
    for input_range in (None, (-4, 4)):
        for precision in (12, 16):
            draft = optimise(draft_of(model, input_range, precision=precision), precision=precision)
            np.testing.assert_allclose(evaluate(draft, values), np.asarray(model(values)), rtol=1e-4, atol=1e-4)
