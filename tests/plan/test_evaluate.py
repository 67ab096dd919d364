"""The plain meaning of the ops against loops written out."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.errors import InputError
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.evaluate import evaluate, trace
from tests.plans import input_shape, output_shape, the_output

from . import models

quick = settings(derandomize=True, deadline=None, max_examples=40)


@st.composite
def windows(draw: st.DrawFn) -> dict[str, object]:
    small = st.integers(1, 3)
    return {
        "shape": (draw(st.integers(7, 9)), draw(st.integers(7, 10)), draw(small)),
        "kernel": (draw(small), draw(small)),
        "strides": (draw(small), draw(small)),
        "pads": tuple(draw(st.integers(0, 2)) for _ in range(4)),
        "dilation": (draw(small), draw(small)),
        "data_format": draw(st.sampled_from(["NCHW", "NHWC"])),
    }


def cells(geometry: dict, x: np.ndarray):  # type: ignore[no-untyped-def,type-arg]
    """(row, column, [(kernel row, kernel column, values of all channels or None outside)]) of every window."""
    kh, kw = geometry["kernel"]
    sh, sw = geometry["strides"]
    dh, dw = geometry.get("dilation", (1, 1))
    top, bottom, left, right = geometry["pads"]
    height, width = x.shape[1:3]
    rows = range(0, height + top + bottom - dh * (kh - 1), sh)
    columns = range(0, width + left + right - dw * (kw - 1), sw)
    for (r, y0), (c, x0) in itertools.product(enumerate(rows), enumerate(columns)):
        inside = []
        for i, j in itertools.product(range(kh), range(kw)):
            at = (y0 + dh * i - top, x0 + dw * j - left)
            inside.append((i, j, x[:, at[0], at[1]] if 0 <= at[0] < height and 0 <= at[1] < width else None))
        yield r, c, inside


def recorded(kind: str, geometry: dict, x: np.ndarray, weight: np.ndarray | None = None, **attrs: object) -> np.ndarray:  # type: ignore[type-arg]
    """The op on an NHWC batch, through a plan in the geometry's layout; NHWC out."""
    first = geometry["data_format"] == "NCHW"
    given = x.transpose(0, 3, 1, 2) if first else x
    builder = PlanBuilder(given.shape[1:])
    weights = [] if weight is None else [builder.weight(weight, "w")]
    geometry = {key: geometry[key] for key in ("strides", "pads", "data_format")}
    draft = builder.finish(builder.op(kind, builder.input, weights=weights, **geometry, **attrs))
    result = evaluate(draft, given)
    assert result.shape[1:] == output_shape(draft.plan)
    return result.transpose(0, 2, 3, 1) if first else result


@quick
@given(windows(), st.integers(1, 3))
def test_convolutions(geometry: dict, filters: int) -> None:  # type: ignore[type-arg]
    random = np.random.default_rng(1)
    x = random.normal(size=(2, *geometry["shape"]))
    kernel = random.normal(size=(*geometry["kernel"], geometry["shape"][2], filters))
    full = recorded("conv2d", geometry, x, kernel, dilation=geometry["dilation"])
    deep = recorded("depthwise_conv2d", geometry, x, kernel, dilation=geometry["dilation"])
    count = 0
    for r, c, inside in cells(geometry, x):
        count += 1
        parts = [(kernel[i, j], values) for i, j, values in inside if values is not None]
        expected = sum((values @ weight for weight, values in parts), np.zeros((2, filters)))
        np.testing.assert_allclose(full[:, r, c], expected, atol=1e-12)
        expected = sum((values[:, :, None] * weight for weight, values in parts), np.zeros((2, *kernel.shape[2:])))
        np.testing.assert_allclose(deep[:, r, c], expected.reshape(2, -1), atol=1e-12)
    assert count == full.shape[1] * full.shape[2]


@quick
@given(windows())
def test_pools(geometry: dict) -> None:  # type: ignore[type-arg]
    geometry |= {"dilation": (1, 1)}
    kh, kw = geometry["kernel"]
    top, bottom, left, right = geometry["pads"]
    smaller = {**geometry, "pads": (min(top, kh - 1), min(bottom, kh - 1), min(left, kw - 1), min(right, kw - 1))}
    x = np.random.default_rng(2).normal(size=(2, *geometry["shape"])) - 3
    sums = recorded("sum_pool2d", geometry, x, pool=geometry["kernel"])
    for r, c, inside in cells(geometry, x):
        expected = sum((values for *_, values in inside if values is not None), np.zeros((2, x.shape[3])))
        np.testing.assert_allclose(sums[:, r, c], expected, atol=1e-12)
    largest = recorded("max_pool2d", smaller, x, pool=geometry["kernel"])
    for r, c, inside in cells(smaller, x):
        expected = np.max([values for *_, values in inside if values is not None], axis=0)
        np.testing.assert_array_equal(largest[:, r, c], expected)


def test_additions_broadcast_over_the_axes_of_a_sample() -> None:
    builder = PlanBuilder((2, 3))
    row = builder.op("reshape", builder.op("sum_pool2d", builder.op("reshape", builder.input, shape=(2, 3, 1)),
                                           pool=(2, 1), strides=(1, 1)), shape=(3,))  # fmt: skip
    draft = builder.finish(builder.op("sub", [builder.input, row]))
    x = np.arange(18.0).reshape(3, 2, 3)
    np.testing.assert_array_equal(evaluate(draft, x), x - x.sum(axis=1, keepdims=True))


def test_trace_holds_every_tensor() -> None:
    draft = models.activations()
    x = models.inputs(draft)
    values = trace(draft, x)
    assert values.keys() == draft.plan.tensors.keys()
    assert all(values[name].shape[1:] == tensor.shape for name, tensor in draft.plan.tensors.items())
    np.testing.assert_array_equal(values[the_output(draft.plan).tensor], evaluate(draft, x))


def test_an_empty_batch_is_empty() -> None:
    for build in models.ALL.values():
        draft = build()
        assert evaluate(draft, np.zeros((0, *input_shape(draft.plan)))).shape == (0, *output_shape(draft.plan))


@pytest.mark.parametrize("shape", [(), (14, 14, 1), (2, 14, 14), (2, 1, 14, 14)])
def test_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="shape"):
        evaluate(models.mnist(), np.zeros(shape))
