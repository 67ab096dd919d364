"""The builder records what fits and refuses the rest; `ops.infer` is behind every one of these."""

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.plan import IDENTIFIER, identifier
from tests.plans import output_shape, the_input

from . import models


def test_records_shapes_names_and_defaults() -> None:
    builder = PlanBuilder([28.0, 28.0, 1.0], (0, 1))  # R passes doubles for whole numbers
    kernel = builder.weight(np.asfortranarray(np.ones((3, 3, 1, 4), np.float32)), "conv 1/kernel:0")
    out = builder.op("conv2d", builder.input, weights=kernel, strides=np.array([2, 2]), layer="my layer (1)")
    assert builder.shape(out) == (13, 13, 4)
    draft = builder.finish(out)
    (op,) = draft.plan.ops
    assert kernel == "conv_1/kernel:0"
    assert op.layer == "my_layer__1_"
    assert op.attrs == {"strides": (2, 2), "pads": (0, 0, 0, 0), "dilation": (1, 1), "data_format": "NHWC"}
    assert not draft.plan.executable
    assert the_input(draft.plan).range == (0.0, 1.0)


def test_weight_names_are_unique_and_values_hidden() -> None:
    builder = PlanBuilder((3,))
    names = {builder.weight(np.full(3, 1234.5 + place), "w") for place in range(4)}
    assert len(names) == 4
    assert "1234" not in repr(builder.finish(builder.input))


def test_a_weight_that_is_taken_in_again_is_one() -> None:
    builder = PlanBuilder((3,))
    first, other = builder.weight(np.ones(3), "w"), builder.weight(np.zeros(3), "w")
    assert builder.weight(np.ones(3), "w") == first != other
    assert builder.weight(np.zeros(3), "w") == other
    assert builder.weight(np.ones(3), "v") != first
    assert builder.weight(np.ones((3, 1)), "w") not in (first, other)


def test_an_unknown_final_activation_is_refused() -> None:
    builder = PlanBuilder((3,))
    assert builder.finish(builder.input, "softmax").plan.outputs[0].final_activation == "softmax"
    with pytest.raises(PlanError, match="final_activation"):
        builder.finish(builder.input, "tanh")


@pytest.mark.parametrize("text", ["", "x" * 500, "é ü/ß", "-.", "a\nb", "layer_1"])
def test_identifier(text: str) -> None:
    assert IDENTIFIER.fullmatch(identifier(text))


@pytest.mark.parametrize(
    ("kind", "weights", "attrs"),
    [
        ("softmax", [], {}),
        ("conv2d", [(3, 3, 2, 4)], {"strides": (1, 1)}),
        ("conv2d", [(3, 3, 1, 4)], {}),
        ("conv2d", [(3, 3, 1, 4)], {"strides": (0, 1)}),
        ("conv2d", [(3, 3, 1, 4)], {"strides": (1, 1), "typo": 1}),
        ("conv2d", [(3, 3, 1, 4)], {"strides": (1, 1), "data_format": "HWCN"}),
        ("conv2d", [(3, 3, 1, 4)], {"strides": (1, 1), "pads": (1, 1)}),
        ("conv2d", [(9, 3, 1, 4)], {"strides": (1, 1)}),
        ("conv2d", [(3, 3, 1, 4), (5,)], {"strides": (1, 1)}),
        ("depthwise_conv2d", [(3, 3, 4, 1)], {"strides": (1, 1)}),
        ("conv2d", [], {"strides": (1, 1)}),
        ("matmul", [(6, 2)], {}),
        ("matmul", [(6,)], {}),
        ("add", [(7, 7)], {}),
        ("add", [(2, 6, 6, 1)], {}),
        ("add", [], {}),
        ("mul", [(2, 1, 1, 1)], {}),
        ("scale", [], {"factor": float("nan")}),
        ("scale", [], {"factor": ((2,), (1.0,))}),
        ("scale", [], {"factor": ((5,), (1.0,) * 5)}),
        ("scale_int", [], {"multiplier": 1, "shift": 0}),
        ("truncate", [], {"drop": 1}),
        ("relu", [], {"drop": 3}),
        ("reshape", [], {"shape": (35,)}),
        ("reshape", [], {"shape": (-1, 36)}),
        ("transpose", [], {"perm": (0, 1, 1)}),
        ("transpose", [], {"perm": (1, 0)}),
        ("pad", [], {"paddings": ((1, 1),)}),
        ("pad", [], {"paddings": ((1, -1), (0, 0), (0, 0))}),
        ("max_pool2d", [], {"pool": (2, 2), "strides": (1, 1), "pads": (2, 0, 0, 0)}),
        ("sum_pool2d", [], {"pool": (7, 1), "strides": (1, 1)}),
        ("concat", [], {"axis": 3}),
        ("concat", [], {"axis": -1}),
    ],
)
def test_refuses_what_does_not_fit(kind: str, weights: list[tuple[int, ...]], attrs: dict[str, object]) -> None:
    builder = PlanBuilder((6, 6, 1))
    names = [builder.weight(np.ones(shape), "w") for shape in weights]
    with pytest.raises(PlanError):
        builder.op(kind, builder.input, weights=names, layer="some_layer", **attrs)
    assert builder.finish(builder.input).plan.ops == ()


def test_errors_name_the_layer() -> None:
    builder = PlanBuilder((6,))
    with pytest.raises(PlanError, match=r"layer 'head': matmul.*\(6,\).*\(5, 2\)"):
        builder.op("matmul", builder.input, weights=builder.weight(np.ones((5, 2)), "w"), layer="head")


def test_refuses_unknown_names() -> None:
    builder = PlanBuilder((6,))
    with pytest.raises(PlanError, match="no tensor"):
        builder.op("relu", "t7")
    with pytest.raises(PlanError, match="no weight"):
        builder.op("mul", builder.input, weights=["w"])
    with pytest.raises(PlanError, match="no tensor"):
        builder.finish("t7")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_weights_that_are_not_finite(value: float) -> None:
    with pytest.raises(PlanError, match="NaN or infinite"):
        PlanBuilder((3,)).weight([1.0, value], "w")


@pytest.mark.parametrize("given", [(1,), (1, 0), (0, np.inf), ("a", "b"), 5, (np.nan, 1)])
def test_refuses_ranges_that_are_none(given: object) -> None:
    with pytest.raises(PlanError, match="input_range"):
        PlanBuilder((3,), given)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(0,), (-1, 3), (1 << 15, 1 << 15), (1,) * 9])
def test_refuses_impossible_inputs(shape: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match="input"):
        PlanBuilder(shape)


def test_concatenates_and_joins() -> None:
    draft = models.residual()
    assert output_shape(draft.plan) == (4,)
