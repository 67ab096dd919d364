"""Lowerings of one's own."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_private.errors import PlanError, UnsupportedModelError
from keras_private.lowering import Refusal, array, draft_of, lowers, pair, secret
from keras_private.lowering.registry import find, known
from keras_private.plan.evaluate import evaluate, evaluate_all

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_layer.py"


class Offset(keras.layers.Layer):  # type: ignore[misc]
    """Adds a weight; refuses negative sizes."""

    def __init__(self, size: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def build(self, shape: Any) -> None:
        self.offset = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        return x + self.size * self.offset


def refuse_negative(layer: Any) -> Any:
    if layer.size < 0:
        yield Refusal(f"size {layer.size} is negative", "use a positive one")


@lowers(Offset, check=refuse_negative)
def lower_offset(prot: Any, layer: Any, x: Any) -> Any:
    return prot.add(x, secret(prot, layer.size * array(layer.offset), "offset"))


def model_with(layer: Any) -> Any:
    x = keras.Input((3,))
    return keras.Model(x, layer(x))


def test_a_class_of_ones_own() -> None:
    draft = draft_of(model_with(Offset(2.0, name="shift")))
    np.testing.assert_array_equal(evaluate(draft, np.zeros((1, 3))), [[2.0, 2.0, 2.0]])
    assert list(draft.plan.weights) == ["shift/offset"]


def test_its_check() -> None:
    with pytest.raises(UnsupportedModelError, match=r"size -1\.0 is negative; use a positive one"):
        draft_of(model_with(Offset(-1.0)))


def test_a_subclass_inherits_unless_it_computes_something_else() -> None:
    class Named(Offset):
        pass

    class Other(Offset):
        def call(self, x: Any) -> Any:
            return x

    assert find(Named()) is find(Offset())
    assert find(Other()) is None


def test_a_subclass_may_have_its_own() -> None:
    class Negated(keras.layers.Dense):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return -super().call(x)

    dense = find(keras.layers.Dense(1))

    @lowers(Negated)
    def lower_negated(prot: Any, layer: Any, x: Any) -> Any:
        assert dense is not None
        return prot.negative(dense.function(prot, layer, x))

    model = model_with(Negated(2))
    x = np.ones((1, 3), np.float32)
    np.testing.assert_allclose(evaluate(draft_of(model), x), np.asarray(model(x)), rtol=1e-6)


def test_a_class_of_the_same_name_is_not_keras_own() -> None:
    class Dense:
        name = "dense"

    assert find(Dense()) is None


def test_a_lowering_that_gives_another_shape() -> None:
    class Turned(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    @lowers(Turned)
    def lower_turned(prot: Any, layer: Any, x: Any) -> Any:
        return prot.reshape(x, [-1, 3, 1])

    with pytest.raises(PlanError, match=r"lower_turned returned a tensor of shape \('batch', 3, 1\)"):
        draft_of(model_with(Turned()))


def test_names_and_classes_only() -> None:
    with pytest.raises(TypeError, match="names of Keras layers or classes"):
        lowers(3)(lower_offset)  # type: ignore[arg-type]


def test_the_layers_of_the_first_release() -> None:
    assert set(known()) >= {
        *("InputLayer", "Dense", "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "AveragePooling2D", "MaxPooling2D"),
        *("GlobalAveragePooling2D", "GlobalMaxPooling2D", "ZeroPadding2D", "BatchNormalization", "ReLU", "LeakyReLU"),
        *("Activation", "Flatten", "Reshape", "Permute", "Dropout", "Rescaling", "Normalization", "Add", "Subtract"),
        *("Concatenate", "Average"),
    }


def test_helpers() -> None:
    assert pair(2) == (2, 2)
    assert pair([1, 3]) == (1, 3)
    assert array(keras.ops.ones((2,))).dtype == np.float64


def test_the_example() -> None:
    spec = importlib.util.spec_from_file_location("custom_layer", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    model = example.model()
    x = np.linspace(-3, 3, 8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_allclose(evaluate(draft_of(model), x), np.asarray(model(x)), rtol=1e-5, atol=1e-5)


# --- mistakes in a lowering of one's own


def own(keras: Any, lowering: Any, shape: tuple[int, ...] = (4,)) -> Any:
    """A model of one layer of one's own, which doubles, with this lowering."""

    class Twice(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

    lowers(Twice)(lowering)
    x = keras.Input(shape)
    return keras.Model(x, Twice(name="mine")(x))


def lower_to_nothing(prot: Any, layer: Any, x: Any) -> Any:
    prot.add(x, x)


def lower_to_a_number(prot: Any, layer: Any, x: Any) -> Any:
    return 2


def lower_to_another_shape(prot: Any, layer: Any, x: Any) -> Any:
    return prot.reshape(x, [-1, 2, 2])


def lower_with_an_unknown_call(prot: Any, layer: Any, x: Any) -> Any:
    return prot.fft(x)


def lower_with_a_bug(prot: Any, layer: Any, x: Any) -> Any:
    return prot.add(x, layer.offset)


def lower_across_rows(prot: Any, layer: Any, x: Any) -> Any:
    return prot.einsum("b...,b...->...", x, x)


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
@pytest.mark.parametrize(
    ("lowering", "expected"),
    [
        (lower_to_nothing, "returned None; it must return the output"),
        (lower_to_a_number, "returned int, not a tensor"),
        (lower_to_another_shape, r"shape \('batch', 2, 2\), but the layer's output has shape \('batch', 4\)"),
        (lower_with_an_unknown_call, "no 'fft' to call; what can be recorded is above, abs, add, .*, matmul, .*, relu"),
        (lower_with_a_bug, "failed: AttributeError: .*offset"),
        (lower_across_rows, "would mix the rows of a batch"),
    ],
)
def test_mistakes_are_told_with_the_names_of_lowering_and_layer(package: str, lowering: Any, expected: str) -> None:
    model = own(importlib.import_module(package), lowering)
    with pytest.raises(PlanError, match=expected) as caught:
        draft_of(model)
    assert "layer 'mine': its lowering" in str(caught.value)
    assert f".{lowering.__name__} " in str(caught.value)


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_the_shape_is_checked_in_sequential_models_too(package: str) -> None:
    keras = importlib.import_module(package)

    class Pair(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x[:, :2]

    lowers(Pair)(lambda prot, layer, x: x)
    with pytest.raises(PlanError, match=r"layer 'pair'.*shape \('batch', 4\).*shape \('batch', 2\)"):
        draft_of(keras.Sequential([keras.Input((4,)), Pair(name="pair"), keras.layers.Dense(2)]))


class Blend(keras.layers.Layer):  # type: ignore[misc]
    """x + share·other, and that other."""

    def call(self, x: Any, other: Any = None, share: float = 0.5, mask: Any = None) -> Any:
        del mask
        return x + share * other, other


def _outranked(layer: Any, other: Any = None, share: float = 0.5) -> Any:
    del layer, share
    if len(other.shape) > 2:
        yield Refusal(f"other has the shape {other.shape}", "use one of two axes")


@lowers(Blend, check=_outranked, arguments=("other", "share"), several=True)
def lower_blend(prot: Any, layer: Any, x: Any, other: Any, share: float = 0.5) -> Any:
    del layer
    return [prot.add(x, prot.mul(other, share)), other]


@pytest.mark.parametrize("by_name", [True, False])
def test_further_arguments_and_several_outputs(by_name: bool) -> None:
    """Tensors and numbers, by place and by name, are handed over by the parameter's name."""
    x, y = keras.Input((3,)), keras.Input((3,))
    both = Blend()(x, share=2.0, other=y) if by_name else Blend()(x, y, share=2.0)
    model = keras.Model([x, y], [*both, both[0] * 3.0])
    given = [np.arange(6.0).reshape(2, 3), np.ones((2, 3))]
    for got, expected in zip(evaluate_all(draft_of(model), given), model(given), strict=True):
        np.testing.assert_allclose(got, expected)


def test_further_arguments_that_are_not_taken() -> None:
    x = keras.Input((3,))
    with pytest.raises(UnsupportedModelError, match="it is called with a mask"):
        draft_of(keras.Model(x, Blend()(x, x, mask=keras.ops.zeros((3,)))[0]))
    long = keras.Input((3, 3))
    with pytest.raises(UnsupportedModelError, match=r"other has the shape \(None, 3, 3\); use one of two axes"):
        draft_of(keras.Model(long, Blend()(long, long)[0]))
