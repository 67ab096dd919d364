"""Everything that cannot be lowered is said at once: which layer, why, what to use instead."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from keras_private.errors import UnsupportedModelError
from keras_private.lowering import draft_of


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def refusals(model: Any) -> list[str]:
    with pytest.raises(UnsupportedModelError) as caught:
        draft_of(model, reveal="probabilities")
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def _twice(x: Any) -> Any:
    return x * 2


def test_every_problem_is_listed(keras: Any) -> None:
    layers = keras.layers
    x = keras.Input((8, 8, 3))
    y = layers.Lambda(lambda z: z, name="up")(x)
    y = layers.Conv2D(2, 3, activation=_twice, name="conv")(y)
    y = layers.BatchNormalization(name="norm")(y, training=True)
    y = layers.Flatten(name="flat")(y)
    y = layers.Dense(3, activation=_twice, name="head")(y)
    found = refusals(keras.Model(x, y))
    assert len(found) == 4
    assert found[0].startswith("- up (Lambda): what it does is Python code")
    assert found[1].startswith("- conv (Conv2D): activation function is not supported")
    assert found[2].startswith("- norm (BatchNormalization): it is called with training=True")
    assert found[3].startswith("- head (Dense): activation function")


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda layers: layers.Activation(_twice), "activation function is not supported"),
        (lambda layers: layers.Dense(2, activation=lambda x: x * 2), "activation function is not supported"),
        (lambda layers: layers.ELU(alpha=100.0), "alpha 100.0 is not supported"),
        (lambda layers: layers.Lambda(lambda x: x), "lowers"),
        (lambda layers: layers.Dense(2, activation=layers.Softmax(axis=0)), "its axes include the batch"),
    ],
)
def test_layers_and_activations_without_a_lowering(keras: Any, build: Any, expected: str) -> None:
    x = keras.Input((4,))
    (found,) = refusals(keras.Model(x, build(keras.layers)(x)))
    assert expected in found


def test_equal_problems_are_one_line(keras: Any) -> None:
    x = y = keras.Input((4,))
    for number in range(30):
        y = keras.layers.Dense(4, activation=_twice, name=f"dense_{number}")(y)
        y = keras.layers.ELU(100.0, name=f"elu_{number}")(y)
    dense, elu = refusals(keras.Model(x, y))
    assert dense.startswith("- dense_0, dense_1, dense_2 and 27 more (Dense): activation function")
    assert elu.startswith("- elu_0, elu_1, elu_2 and 27 more (ELU): alpha 100.0 is not supported")


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        (
            "Hashing",
            {"num_bins": 3},
            "strings or hashes; at the start of the model, leave it out",
        ),
        ("Lambda", {"function": lambda x: x}, "Python code; write it with layers"),
        ("CategoryEncoding", {"num_tokens": 3000}, "3000 categories are too many"),
        ("IntegerLookup", {"vocabulary": [1, 2], "num_oov_indices": 2}, "hashed; use num_oov_indices=1"),
        ("IntegerLookup", {"vocabulary": list(range(2000))}, "vocabulary has 2000 numbers"),
    ],
)
def test_layers_that_are_refused_name_ways_that_work(
    keras: Any, name: str, settings: dict[str, Any], expected: str
) -> None:
    x = keras.Input((4,), dtype="int32")
    (found,) = refusals(keras.Model(x, getattr(keras.layers, name)(**settings)(x)))
    assert expected in found


def test_an_embedding_with_a_mask(keras: Any) -> None:
    x = keras.Input((4,), dtype="int32")
    (found,) = refusals(keras.Model(x, keras.layers.Embedding(5, 3, mask_zero=True)(x)))
    assert "(Embedding): mask_zero=True makes a mask" in found


def test_a_function_that_is_only_called_relu(keras: Any) -> None:
    def relu(x: Any) -> Any:
        return x + 1

    x = keras.Input((4,))
    (found,) = refusals(keras.Model(x, keras.layers.Dense(2, activation=relu)(x)))
    assert "is not supported" in found


def test_an_activation_with_a_shape_that_keras_does_not_know() -> None:
    import keras

    (found,) = refusals(keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, activation="glu")]))
    assert "glu halves what Keras takes for the shape; use keras.ops.glu(x)" in found


def test_a_tensor_of_unknown_rank() -> None:
    tf_keras, tensorflow = pytest.importorskip("tf_keras"), pytest.importorskip("tensorflow")
    x = tf_keras.Input((1, 4))
    with pytest.raises(UnsupportedModelError, match="does not know how many axes"):
        draft_of(tf_keras.Model(x, tensorflow.squeeze(x)))


def test_a_dilation_that_keras_ignores() -> None:
    tf_keras = pytest.importorskip("tf_keras")
    layer = tf_keras.layers.Conv3DTranspose(1, 2, dilation_rate=2)
    (found,) = refusals(tf_keras.Sequential([tf_keras.Input((3, 3, 3, 1)), layer]))
    assert "Keras ignores its dilation_rate (2, 2, 2); leave dilation_rate out" in found


def test_subclassed_layer_with_a_call_of_its_own(keras: Any) -> None:
    class Doubled(keras.layers.Dense):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return 2 * super().call(x)

    x = keras.Input((4,))
    (found,) = refusals(keras.Model(x, Doubled(2, name="twice")(x)))
    assert found.startswith("- twice (Doubled): it overrides call() of Dense")
    assert "lowers" in found


def test_subclassed_model(keras: Any) -> None:
    class Imperative(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    model = Imperative(name="imperative")
    model(np.zeros((1, 4), np.float32))
    (found,) = refusals(model)
    assert "imperative (Imperative)" in found
    assert "functional API" in found
    x = keras.Input((4,))
    (found,) = refusals(keras.Model(x, Imperative(name="inner")(x)))
    assert found.startswith("- inner (Imperative)")


def test_functional_model_with_a_call_of_its_own(keras: Any) -> None:
    class Doubled(keras.Model):  # type: ignore[misc]
        def call(self, x: Any, **kwargs: Any) -> Any:
            return 2 * super().call(x, **kwargs)

    x = keras.Input((4,))
    (found,) = refusals(Doubled(x, keras.layers.Dense(2)(x)))
    assert "functional API" in found


def test_sequential_without_a_shape(keras: Any) -> None:
    (found,) = refusals(keras.Sequential([keras.layers.Dense(2)]))
    assert "Input(shape=…)" in found


def test_sizes_that_are_not_fixed(keras: Any) -> None:
    x = keras.Input((None, None, 3))
    (found,) = refusals(keras.Model(x, keras.layers.Conv2D(2, 3)(x)))
    assert "(None, None, None, 3) is not fixed" in found


def test_operations_between_layers(keras: Any) -> None:
    x = keras.Input((4,))
    y = keras.layers.Dense(4)(x) + x
    cosine = keras.ops.cos(y) if keras.__name__ == "keras" else importlib.import_module("tensorflow").cos(y)
    (found,) = refusals(keras.Model(x, cosine))
    assert "cos between layers is not supported; docs/operations.md lists those that are" in found.lower()


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (lambda x: x / 0.0, "divides by zero"),
        (lambda x: x / np.array([1, 0, 1], np.float32), "divides by zero"),
        (lambda x: x + x[:, 0], "different ranks"),
        (lambda x: x[:, :1] + np.ones((2, 2, 4, 3), np.float32), "does not fit"),
        (lambda x: x**0.3, "a power of 0.3 is not supported"),
        (lambda x: x**99, "a power of 99 is not supported"),
        (lambda x: 2.0**x, "to the power of a number"),
        (lambda x: x % (x * x), "a tensor and a positive number"),
        (lambda x: x * np.ones((2, 4, 3), np.float32), "does not fit"),
        (lambda x: x[:1, :], "batch axis"),
        (lambda x: x[0], "batch axis"),
        (lambda x: x[:, np.newaxis], "numbers and slices"),
    ],
)
def test_operations_that_need_another_protocol(keras: Any, compute: Any, expected: str) -> None:
    x = keras.Input((4, 3))
    (found,) = refusals(keras.Model(x, compute(x)))
    assert expected in found


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (lambda ops, x: ops.reshape(x, (-1, 2)), "batch axis"),
        (lambda ops, x: ops.matmul(x[:, 0], x[:, 1]), "rows of a batch"),
        (lambda ops, x: ops.einsum("bij,cij->bc", x, x), "rows of a batch"),
        (lambda ops, x: ops.einsum("bij,bjk,bkl", x, ops.swapaxes(x, 1, 2), x), "name every axis"),
        (lambda ops, x: ops.einsum("bij->i", x), "batch axis"),
        (lambda ops, x: ops.einsum("bij,jk,kl->bil", x, np.ones((3, 3)), np.ones((3, 3))), "a constant"),
        (lambda ops, x: ops.reshape(x, (2, -1)), "batch axis"),
        (lambda ops, x: ops.expand_dims(x, 0), "batch axis"),
        (lambda ops, x: ops.transpose(x), "batch axis"),
        (lambda ops, x: ops.swapaxes(x, 0, 1), "batch axis"),
        (lambda ops, x: ops.moveaxis(x, 2, 0), "batch axis"),
        (lambda ops, x: ops.concatenate([x, x], axis=0), "batch axis"),
        (lambda ops, x: ops.flip(x), "batch axis"),
        (lambda ops, x: ops.mean(x), "batch axis"),
        (lambda ops, x: ops.pad(x, ((1, 0), (0, 0), (0, 0))), "batch axis"),
        (lambda ops, x: ops.pad(x, ((1, 0), (0, 0), (0, 0)), mode="reflect"), "batch axis"),
        (lambda ops, x: ops.roll(x, 1), "batch axis"),
        (lambda ops, x: ops.roll(x, 1, axis=0), "batch axis"),
        (lambda ops, x: ops.tile(x, (2, 1, 1)), "batch axis"),
        (lambda ops, x: ops.rot90(x), "batch axis"),
        (lambda ops, x: ops.ravel(x), "operation Ravel between layers"),
        (lambda ops, x: ops.sort(x, axis=0), "batch axis"),
        (lambda ops, x: ops.max(x), "batch axis"),
        (lambda ops, x: ops.max(x, axis=1, initial=0.0), "starts from a number"),
        (lambda ops, x: ops.argmax(x), "batch axis"),
        (lambda ops, x: ops.any(x > 0, axis=0), "batch axis"),
        (lambda ops, x: ops.norm(x, ord=3, axis=-1), "a norm of order 3"),
        (lambda ops, x: ops.cumsum(x), "batch axis"),
        (lambda ops, x: ops.where(x > 0), "depend on the input"),
        (lambda ops, x: ops.where(x[:, 0] > 0, x[:, 1], x), "different ranks"),
        (lambda ops, x: ops.one_hot(ops.argmax(x, axis=-1), 4, axis=0), "batch axis"),
        (lambda ops, x: ops.normalize(x, order=3), "Euclidean norm"),
        (lambda ops, x: ops.tensordot(x, np.ones((2, 3), np.float32), [[0], [0]]), "rows of a batch"),
        (lambda ops, x: ops.hard_shrink(x, -1.0), "is negative"),
        (lambda ops, x: ops.elu(x, 100.0), "alpha 100.0 is not supported"),
        (lambda ops, x: ops.digitize(x, np.array([1.0, 0.0])), "do not grow"),
        (lambda ops, x: ops.take(x, ops.argmax(x, axis=-1), axis=1), "are computed"),
        (lambda ops, x: ops.layer_normalization(x, epsilon=10.0), "epsilon 10.0"),
        (lambda ops, x: ops.repeat(x, [1, 2, 1, 1], axis=1), "equally"),
        (lambda ops, x: ops.cast(x, "int32"), "casts float32 to int32"),
        (lambda ops, x: ops.matmul(np.ones((2, 2, 4), np.float32), x), "fixed matrix"),
        (lambda ops, x: ops.softmax(x, axis=0), "batch axis"),
        (lambda ops, x: ops.sin(x), "operation Sin between layers"),
        (lambda ops, x: ops.clip(x, 1.0, -1.0), "lower limit is above"),
        (lambda ops, x: x[:, 2:2], "has no values"),
        (lambda ops, x: ops.split(x, [0], axis=1), "has no values"),
        (lambda ops, x: x[:, None], "keras.ops.expand_dims"),
    ],
)
def test_operations_of_keras_that_are_refused(compute: Any, expected: str) -> None:
    import keras

    x = keras.Input((4, 3))
    with pytest.raises(UnsupportedModelError, match="1 problem") as caught:
        draft_of(keras.Model(x, compute(keras.ops, x)))
    assert expected in str(caught.value)


def test_a_constant_among_the_inputs(keras: Any) -> None:
    x = keras.Input((4,))
    found = refusals(keras.Model(x, keras.layers.Add()([x, np.ones((1, 4), np.float32)])))
    assert any("constant" in line for line in found)


def test_masks(keras: Any) -> None:
    x = keras.Input((4, 2))
    y = keras.layers.BatchNormalization()(keras.layers.Masking()(x))
    assert any("Masking" in line for line in refusals(keras.Model(x, y)))


def test_weights_that_are_not_numbers(keras: Any) -> None:
    x = keras.Input((2,))
    layer = keras.layers.Dense(1, name="broken")
    model = keras.Model(x, layer(x))
    layer.set_weights([np.array([[np.nan], [1.0]]), np.zeros(1)])
    (found,) = refusals(model)
    assert found.startswith("- broken (Dense): its weights hold NaN or infinity")


def test_quantised() -> None:
    import keras

    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(2)(x))
    model.quantize("int8")
    (found,) = refusals(model)
    assert "quantised (int8)" in found


def test_a_shared_layer_is_listed_once(keras: Any) -> None:
    x = keras.Input((4,))
    layer = keras.layers.Dense(4, activation=_twice)
    assert len(refusals(keras.Model(x, layer(layer(x))))) == 1


def test_training_mode_of_an_inner_model(keras: Any) -> None:
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)], name="inner")
    x = keras.Input((4,))
    (found,) = refusals(keras.Model(x, inner(x, training=True)))
    assert found.startswith("- inner (Sequential): it is called with training=True")
