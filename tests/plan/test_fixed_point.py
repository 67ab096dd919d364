"""Fractional bits, truncations and what is refused."""

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.plan.builder import Draft, PlanBuilder
from keras_private.plan.evaluate import evaluate
from keras_private.plan.ops import Product, kind_of
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Op
from tests.plans import the_output

from . import integers, models
from .models import Model


def error(draft: Draft, x: np.ndarray, precision: int = 16) -> float:
    """The largest difference of the integer run from the recorded plan."""
    done = optimise(draft, precision=precision)
    raw = integers.run(done, x)[the_output(done.plan).tensor]
    return float(np.abs(raw * 2.0**-precision - evaluate(draft, x)).max())


def ops(draft: Draft) -> list[Op]:
    return list(optimise(draft).plan.ops)


def test_bytes_as_input_stay_accurate() -> None:
    draft = models.mnist()
    done = optimise(draft)
    first = next(op for op in done.plan.ops if op.kind == "conv2d")
    assert done.plan.weights[first.weights[0]].frac >= 24  # 1/255 went into the kernel
    x = np.random.default_rng(1).integers(0, 256, size=(20, 14, 14, 1)).astype(float)
    assert error(draft, x) < 1e-3


def test_rescaling_that_meets_no_linear_layer() -> None:
    model = Model((5,), (0.0, 255.0))
    model.op("scale", factor=1 / 255)
    draft = model.draft()
    assert [op.kind for op in ops(draft)] == ["scale_int", "truncate"]
    assert error(draft, models.inputs(draft)) < 3e-5


@pytest.mark.parametrize(("factor", "bits", "multiplier"), [(2.0, 0, 2), (0.25, 2, 1), (-1.5, 1, -3), (0.0, 0, 0)])
def test_dyadic_factors_are_exact(factor: float, bits: int, multiplier: int) -> None:
    builder = PlanBuilder((3,), (-1, 1))
    (op, *rest) = ops(builder.finish(builder.op("scale", builder.input, factor=factor)))
    assert op.attrs == {"shift": bits, "multiplier": multiplier}
    assert [other.kind for other in rest] == (["truncate"] if bits else [])


@pytest.mark.parametrize("indices", [(2, 0), (0, 0, 1, 1, 2, 2)])
def test_no_value_is_truncated_twice(indices: tuple[int, ...]) -> None:
    model = Model((4,))
    model.dense(3)
    model.op("gather", axis=0, indices=indices)
    model.relu()
    product, *rest = ops(model.draft())
    assert [op.kind for op in rest] == ["gather", "relu"]
    assert (product.attrs["drop"] == 0) == (len(indices) <= 3)  # put off to the ReLU, unless there are more then
    model = Model((4,), (-1.0, 1.0))
    model.leaky()
    model.op("gather", axis=0, indices=indices)
    after = [op.kind for op in ops(model.draft())]
    assert after.index("truncate") == after.index("gather") + (1 if len(indices) <= 4 else -1)


def test_a_relu_is_fused_and_takes_the_truncation() -> None:
    model = Model((6,))
    model.dense(5)
    model.relu()
    model.dense(4)
    first, second = ops(model.draft())
    assert first.attrs["relu"] is True
    assert second.attrs["relu"] is False
    assert first.attrs["drop"] == optimise(model.draft()).plan.weights[first.weights[0]].frac


def test_a_truncation_is_put_off_past_sums() -> None:
    model = Model((6, 6, 2))
    model.conv(3, strides=(2, 2), pads=(1, 1, 1, 1))
    model.average(2, pads=(1, 0, 1, 0))
    model.relu()
    conv, pool, relu = ops(model.draft())
    assert (conv.kind, pool.kind, relu.kind) == ("conv2d", "sum_pool2d", "relu")
    assert conv.attrs["drop"] == 0
    assert relu.attrs["drop"] > 0


def test_a_residual_addition_shifts_instead_of_truncating() -> None:
    model = Model((8,))
    model.dense(8)
    x = model.relu()
    model.dense(8)
    model.op("add", [x, model.at])
    model.relu()
    done = ops(model.draft())
    assert [op.kind for op in done] == ["matmul", "matmul", "scale_int", "add", "relu"]
    assert [op.attrs["drop"] for op in (done[1], done[4])] == [0, done[2].attrs["shift"]]


def test_two_branches_are_truncated_once() -> None:
    model = Model((8,))
    source = model.at
    left = model.dense(8)
    model.op("matmul", source, weights=[model.builder.weight(np.full((8, 8), 1e-3), "small")])
    model.op("sub", [left, model.at])
    draft = model.draft()
    done = ops(draft)
    assert sum(op.kind == "truncate" for op in done) == 1
    assert all(op.attrs["drop"] == 0 for op in done if isinstance(kind_of(op), Product))
    assert error(draft, models.inputs(draft)) < 1e-4


def test_leaky_relu_is_right_and_costs_one_more_truncation() -> None:
    model = Model((6,), (-1.0, 1.0))
    model.dense(5)
    model.leaky(0.3)
    draft = model.draft()
    assert [op.kind for op in ops(draft)].count("truncate") == 1
    assert error(draft, models.inputs(draft)) < 1e-4


@pytest.mark.parametrize("ranged", [True, False])
def test_weight_bits(ranged: bool) -> None:
    for size, proven, otherwise in ((1.0, 32, 16), (0.1, 32, 19), (1e-6, 44, 35), (100.0, 16, 16), (0.0, 16, 16)):
        builder = PlanBuilder((4,), (0, 1) if ranged else None)
        name = builder.weight(np.full((4, 2), size), "w")
        done = optimise(builder.finish(builder.op("matmul", builder.input, weights=[name])))
        assert done.plan.weights["w"].frac == (proven if ranged else otherwise)


def test_room_limits_the_weight_bits() -> None:
    builder = PlanBuilder((4,), (0, 2.0**24))
    name = builder.weight(np.full((4, 2), 0.9), "w")
    done = optimise(builder.finish(builder.op("matmul", builder.input, weights=[name])))
    assert done.plan.weights["w"].frac == 16 + 61 - (24 + 2 + 32 + 0)
    assert done.plan.ops[0].attrs["bound"] == 61


def test_proven_overflow_is_refused_with_the_layer() -> None:
    model = Model((4,), (-1e6, 1e6))
    model.op("matmul", weights=[model.builder.weight(np.full((4, 2), 1000.0), "w")], layer="head")
    with pytest.raises(PlanError, match=r"layer 'head'.*narrow input_range or lower precision_fractional"):
        optimise(model.draft())
    assert optimise(model.draft(), precision=12).plan.ops[0].attrs["bound"] < 62


def test_a_worst_case_that_proves_nothing_is_left_unproven() -> None:
    model = Model((4,), (-1e3, 1e3), size=50.0)
    for number in range(3):
        model.dense(4, layer=f"dense{number}")
        model.relu()
    done = optimise(model.draft())
    assert done.plan.tensors[done.plan.ops[0].output].bound is not None
    assert done.plan.tensors[the_output(done.plan).tensor].bound is None
    assert done.plan.ops[-1].attrs["bound"] == 62


def test_what_cannot_be_encoded_is_refused() -> None:
    model = Model((4,), None)
    model.op("matmul", weights=[model.builder.weight(np.full((4, 2), 2.0**50), "w")], layer="head")
    with pytest.raises(PlanError, match=r"layer 'head'.*'w' is too large"):
        optimise(model.draft())
    with pytest.raises(PlanError, match="input_range"):
        optimise(Model((4,), (0.0, 2.0**50)).draft())
    model = Model((4,), None)
    model.op("scale", factor=2.0**61)
    with pytest.raises(PlanError, match="factor is too large"):
        optimise(model.draft())


@pytest.mark.parametrize(("count", "size"), [(1000, 3000.0), (64, 20000.0), (1, 1e6)])
def test_vectors_that_are_alike_do_not_wrap(count: int, size: float) -> None:
    """The product of two random ones is far smaller, so that samples would not show it."""
    builder = PlanBuilder((2, count), (-size, size))
    rows = [
        builder.op("slice", builder.input, starts=(row, 0), stops=(row + 1, count), strides=(1, 1)) for row in (0, 1)
    ]
    draft = builder.finish(builder.op("einsum", rows, equation="ai,ai->"))
    done = optimise(draft)
    x = np.random.default_rng(count).uniform(-size, size, (4, 2, count))
    x[0, 1], x[1, 1], x[2], x[3, :, :] = x[0, 0], -x[1, 0], size, [[size], [-size]]
    expected = evaluate(draft, x)
    found = np.ldexp(integers.run(done, x)[the_output(done.plan).tensor].astype(np.float64), -done.plan.precision)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
