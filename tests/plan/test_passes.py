"""Each pass: does what it says, and the plain result is unchanged."""

from collections.abc import Callable

import numpy as np
import pytest

from keras_private.plan.builder import Draft, PlanBuilder
from keras_private.plan.evaluate import evaluate
from keras_private.plan.ops import Linear, kind_of
from keras_private.plan.optimise import PASSES
from keras_private.plan.passes.fold import fold
from keras_private.plan.passes.identities import identities
from keras_private.plan.passes.layout import layout
from keras_private.plan.passes.max_pooling import max_pooling
from keras_private.plan.passes.pooling import average_pooling

from . import models
from .models import Model

Pass = Callable[[Draft], Draft]


def kinds(draft: Draft) -> list[str]:
    return [op.kind for op in draft.plan.ops]


def run(draft: Draft, *passes: Pass) -> Draft:
    """The draft after the passes; each must leave the result unchanged."""
    x = models.inputs(draft)
    expected = evaluate(draft, x)
    for step in passes:
        draft = step(draft)
        np.testing.assert_allclose(evaluate(draft, x), expected, rtol=1e-9, atol=1e-9)
    return draft


@pytest.mark.parametrize("name", list(models.ALL))
def test_every_pass_on_every_model(name: str) -> None:
    run(models.ALL[name](), *PASSES, *PASSES)


@pytest.mark.parametrize("name", list(models.ALL))
@pytest.mark.parametrize("step", PASSES[1:], ids=lambda step: step.__name__)
def test_every_pass_alone(step: Pass, name: str) -> None:
    run(models.ALL[name](), layout, step)


# --- layout


def test_layout_cancels_and_sinks_transposes() -> None:
    model = Model((8, 8, 2))
    model.conv(3)
    model.relu()
    model.maximum()
    model.op("scale", factor=2.0)
    assert kinds(run(model.draft(), layout)) == ["conv2d", "add", "relu", "max_pool2d", "scale"]


def test_layout_folds_channels_first_flatten_into_dense() -> None:
    model = Model((6, 6, 2))
    model.op("transpose", perm=models.TO_NCHW)
    model.op("conv2d", weights=[model.weight(3, 3, 2, 5)], strides=(1, 1), data_format="NCHW")
    model.flatten()
    model.relu()
    model.dense(3)
    assert kinds(run(model.draft(), layout)) == ["conv2d", "relu", "reshape", "matmul", "add"]


def test_layout_of_a_channels_first_model() -> None:
    model = Model((2, 6, 6))
    model.op("conv2d", weights=[model.weight(3, 3, 2, 4)], strides=(1, 1), data_format="NCHW")
    model.op("mul", weights=[model.weight(4, 1, 1)])
    model.op("pad", paddings=((0, 0), (1, 0), (2, 1)))
    model.op("sum_pool2d", pool=(2, 2), strides=(1, 1), data_format="NCHW")
    draft = run(model.draft(), layout)
    assert kinds(draft) == ["transpose", "conv2d", "mul", "pad", "sum_pool2d", "transpose"]


def test_layout_of_branches() -> None:
    assert "transpose" not in kinds(run(models.residual(), layout))


# --- identities


@pytest.mark.parametrize(
    ("kind", "attrs"),
    [
        ("reshape", {"shape": (4, 4, 2)}),
        ("transpose", {"perm": (0, 1, 2)}),
        ("pad", {"paddings": ((0, 0),) * 3}),
        ("scale", {"factor": 1.0}),
        ("concat", {"axis": 1}),
        ("slice", {"starts": (0, 0, 0), "stops": (4, 4, 1), "strides": (1, 1, 9)}),
        ("sum", {"axes": (2,), "keepdims": True}),
        ("gather", {"axis": 1, "indices": (0, 1, 2, 3)}),
        ("sum_pool2d", {"pool": (1, 1), "strides": (1, 1)}),
        ("max_pool2d", {"pool": (1, 1), "strides": (1, 1)}),
    ],
)
def test_what_does_nothing_goes(kind: str, attrs: dict[str, object]) -> None:
    builder = PlanBuilder((4, 4, 1) if kind in ("slice", "sum") else (4, 4, 2))
    draft = builder.finish(builder.op(kind, builder.op("relu", builder.input), **attrs))
    assert kinds(run(draft, identities)) == ["relu"]


def test_twice_is_once() -> None:
    model = Model((4, 6))
    model.op("reshape", shape=(24,))
    model.op("reshape", shape=(6, 4))
    model.relu()
    model.relu()
    model.op("scale", factor=3.0)
    model.op("mul", weights=[model.weight(4)])
    model.op("scale", factor=-0.5)
    model.op("sub", weights=[model.weight(4)])
    model.op("add", weights=[model.weight(6, 1)])
    draft = run(model.draft(), identities)
    assert kinds(draft) == ["reshape", "relu", "mul", "add"]
    assert len(draft.values) == 2


def test_two_gathers_of_an_axis_are_one() -> None:
    model = Model((4, 6))
    model.op("gather", axis=1, indices=(5, 3, 1, 0))
    model.op("gather", axis=1, indices=(1, 1, 2))
    model.op("gather", axis=0, indices=(0, 2))
    draft = run(model.draft(), identities)
    assert [op.attrs["indices"] for op in draft.plan.ops] == [(3, 3, 1), (0, 2)]


def test_two_slices_are_one() -> None:
    model = Model((20, 6))
    model.op("slice", starts=(1, 1), stops=(18, 6), strides=(3, 1))
    model.op("slice", starts=(1, 0), stops=(6, 5), strides=(2, 1 << 28))
    model.op("slice", starts=(0, 0), stops=(3, 1), strides=(1, 2))
    draft = model.draft()
    done = run(draft, identities)
    assert kinds(done) == ["slice"]
    np.testing.assert_array_equal(evaluate(done, models.inputs(draft)), evaluate(draft, models.inputs(draft)))


def test_a_transpose_of_single_axes_is_a_reshape() -> None:
    model = Model((5, 5, 1))
    model.op("transpose", perm=models.TO_NCHW)
    assert kinds(run(model.draft(), identities)) == ["reshape"]


def test_padding_joins_the_window() -> None:
    model = Model((5, 5, 2))
    model.op("pad", paddings=((0, 1), (0, 0), (0, 0)))
    model.op("pad", paddings=((1, 0), (2, 1), (0, 0)))
    model.conv(3, pads=(0, 0, 1, 0), bias=False)
    draft = run(model.draft(), layout, identities)
    assert kinds(draft) == ["conv2d"]
    assert draft.plan.ops[0].attrs["pads"] == (1, 1, 3, 1)


def test_dead_ops_and_weights_go() -> None:
    model = Model((4,))
    model.dense(9)
    model.op("relu", model.builder.input)
    draft = run(model.draft(), identities)
    assert kinds(draft) == ["relu"]
    assert not draft.values
    assert not draft.plan.weights


def test_x_times_x_is_a_square() -> None:
    model = Model((4, 6))
    model.op("mul", [model.at, model.at])
    model.relu()
    assert kinds(run(model.draft(), identities)) == ["square"]


# --- products of tensors


def test_transposes_sink_past_products_of_tensors() -> None:
    model = Model((6, 6, 2))
    model.conv(3)
    left = model.relu()
    model.conv(3, pads=(1, 1, 1, 1))
    model.op("mul", [left, model.at])
    model.op("square")
    model.maximum()
    assert kinds(run(model.draft(), *PASSES)) == ["conv2d", "relu", "conv2d", "mul", "square", "max_pool2d"]


@pytest.mark.parametrize("kind", ["scale", "mul"])
def test_constants_stay_out_of_products_of_tensors(kind: str) -> None:
    """They have no weight to go into; and the layer before has another user."""
    model = Model((4, 4), (-1.0, 1.0))
    layer = model.dense(4)
    model.op("add", weights=[model.weight(4)])
    scaled = {"factor": 0.3} if kind == "scale" else {"weights": [model.weight(4)]}
    model.op(kind, **scaled)
    model.op("matmul", [model.at, layer])
    model.op(kind, **scaled)
    model.op("add", weights=[model.weight(4)])
    model.op("mul", [model.at, layer])
    model.op(kind, **scaled)
    found = kinds(run(model.draft(), *PASSES))
    assert sorted(found) == sorted(["matmul", "add", kind, "matmul", kind, "add", "mul", kind])


def test_an_image_and_its_own_kernel() -> None:
    """In channels first, padded, and averaged afterwards: the kernel stays as it is."""
    model = Model((2, 6, 6), (-1.0, 1.0))
    image = model.at
    model.op("gather", image, axis=1, indices=(0, 3, 5))
    kernel = model.op("reshape", shape=(3, 3, 2, 2))
    model.op("pad", image, paddings=((0, 0), (1, 1), (0, 1)))
    model.op("conv2d", [model.at, kernel], strides=(1, 1), data_format="NCHW")
    model.op("sum_pool2d", pool=(2, 2), strides=(2, 2), data_format="NCHW")
    draft = run(model.draft(), *PASSES)
    (conv,) = (op for op in draft.plan.ops if op.kind == "conv2d")
    assert len(conv.inputs) == 2
    assert conv.attrs["strides"] == (2, 2)  # pooled before


# --- fold


def test_fold_around_a_convolution() -> None:
    model = Model((6, 6, 2))
    model.op("scale", factor=1 / 255)
    model.op("mul", weights=[model.weight(2)])
    model.op("add", weights=[model.weight(2)])
    model.conv(3)
    model.norm()
    model.relu()
    draft = run(model.draft(), layout, identities, fold)
    assert kinds(draft) == ["conv2d", "relu"]
    assert len(draft.plan.ops[0].weights) == 2


def test_fold_into_depthwise_and_dense() -> None:
    model = Model((6, 6, 2))
    model.norm()
    model.depthwise(3)
    model.norm()
    model.flatten()
    model.norm()
    model.op("add", weights=[model.weight(96)])
    model.dense(4)
    model.norm()
    draft = run(model.draft(), layout, identities, fold)
    assert kinds(draft) == ["depthwise_conv2d", "reshape", "matmul"]


def test_an_addition_does_not_cross_zero_padding() -> None:
    model = Model((6, 6, 2))
    model.op("scale", factor=((2,), (0.5, 3.0)))
    model.op("add", weights=[model.weight(2)])
    model.conv(3, pads=(1, 1, 1, 1))
    assert kinds(run(model.draft(), layout, identities, fold)) == ["add", "conv2d"]


def test_public_scales_cross_what_they_commute_with() -> None:
    model = Model((8, 8, 2), (-1.0, 1.0))
    model.relu()
    model.op("scale", factor=0.25)
    model.maximum()
    model.relu()
    model.op("pad", paddings=((1, 1), (1, 0), (0, 0)))
    model.flatten()
    model.dense(3)
    assert "scale" not in kinds(run(model.draft(), layout, identities, fold))


def test_secret_and_negative_factors_do_not_cross_relu() -> None:
    for add in (lambda m: m.op("mul", weights=[m.builder.weight(2.0, "w")]), lambda m: m.op("scale", factor=-2.0)):
        model = Model((4,), (-1.0, 1.0))
        model.dense(4)
        model.relu()
        add(model)
        draft = run(model.draft(), identities, fold)
        assert kinds(draft) == ["matmul", "relu", draft.plan.ops[-1].kind]
        assert draft.plan.ops[-1].kind in ("mul", "scale")


def test_channel_factors_cross_a_gather_of_rows_and_not_one_of_channels() -> None:
    for axis, left in ((0, ["gather"]), (2, ["mul", "gather"])):
        model = Model((6, 6, 4), (-1.0, 1.0))
        model.op("mul", weights=[model.weight(4)])
        model.op("transpose", perm=models.TO_NCHW)
        model.op("gather", axis=(axis + 1) % 3, indices=(2, 0, 0, 1))
        model.back()
        model.conv(3, bias=False)
        assert kinds(run(model.draft(), layout, identities, fold)) == [*left, "conv2d"]


def test_a_value_used_twice_is_not_scaled() -> None:
    model = Model((4,), (-1.0, 1.0))
    x = model.dense(4)
    model.op("add", [x, model.op("scale", x, factor=0.5)])
    assert kinds(run(model.draft(), identities, fold)) == ["matmul", "scale", "add"]


def test_structure_does_not_depend_on_secret_values() -> None:
    for value in (np.ones(2), np.zeros(2), np.array([-1.0, 3.0])):
        model = Model((6, 6, 2), (-1.0, 1.0))
        model.op("mul", weights=[model.builder.weight(value, "gamma")])
        model.op("pad", paddings=((0, 0), (0, 0), (0, 1)))
        model.conv(3)
        model.relu()
        model.op("mul", weights=[model.builder.weight(value[:1], "gamma")])
        model.flatten()
        draft = run(model.draft(), *PASSES)
        assert kinds(draft) == ["mul", "pad", "conv2d", "relu", "mul", "reshape"]


# --- pooling


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 2, 0, 1)])
@pytest.mark.parametrize(("pool", "strides"), [(2, 2), (3, 2), (2, 3)])
def test_average_pooling_goes_before_the_convolution(
    pool: int, strides: int, pads: tuple[int, ...], dilation: int
) -> None:
    model = Model((11, 12, 2))
    model.conv(3, pads=pads, dilation=(dilation, dilation))
    model.average(pool, strides)
    model.relu()
    before = run(model.draft(), layout, identities, fold)
    after = run(before, average_pooling)
    assert kinds(after) == ["sum_pool2d", "conv2d", "relu"]
    products = [
        sum(np.prod(draft.plan.tensors[op.output].shape) for op in draft.plan.ops if isinstance(kind_of(op), Linear))
        for draft in (before, after)
    ]
    assert products[1] < products[0]


def test_average_pooling_before_a_depthwise_convolution() -> None:
    model = Model((8, 8, 2))
    model.depthwise(2)
    model.average()
    assert kinds(run(model.draft(), layout, identities, fold, average_pooling)) == ["sum_pool2d", "depthwise_conv2d"]


@pytest.mark.parametrize(
    ("conv", "pool"),
    [({"strides": (2, 2)}, {}), ({}, {"pads": (1, 1, 1, 1)}), ({}, {"strides": 1, "pool": 1})],
    ids=["strided convolution", "padded pool", "nothing saved"],
)
def test_average_pooling_stays_where_it_must(conv: dict[str, object], pool: dict[str, object]) -> None:
    model = Model((9, 9, 2))
    model.conv(3, bias=False, **conv)
    model.average(**pool)  # type: ignore[arg-type]
    draft = run(model.draft(), layout, fold, average_pooling)
    assert kinds(draft) == ["conv2d", "sum_pool2d"]


def test_max_pooling_goes_before_relu() -> None:
    for order in ("relu first", "pool first"):
        model = Model((7, 7, 2), (-1.0, 1.0))
        if order == "relu first":
            model.relu()
        model.maximum(3, pads=(1, 1, 1, 1))
        if order == "pool first":
            model.relu()
        draft = run(model.draft(), layout, max_pooling)
        assert kinds(draft) == ["max_pool2d"]
        assert draft.plan.ops[0].attrs["relu"] is True


def test_a_relu_used_twice_stays() -> None:
    model = Model((4, 4, 2), (-1.0, 1.0))
    left = model.relu()
    model.op("max_pool2d", pool=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1))
    model.op("add", [left, model.at])
    assert kinds(run(model.draft(), max_pooling)) == ["relu", "max_pool2d", "add"]
