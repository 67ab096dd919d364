"""Secret products against plain products in the ring, and with their truncation and ReLU in the same rounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.ops.linear import LinearLayer
from keras_private.plan import cost
from keras_private.plan.plan import Op
from keras_private.sharing.share import Share

from .three import Three, shares_of


def run_layer(
    three: Three,
    kind: str,
    attrs: dict[str, Any],
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    shape: tuple[int, ...],
) -> np.ndarray:
    op = Op(kind, ("x",), ("w", "b")[: 1 + (b is not None)], "y", {"drop": 0, "bound": 62, **attrs}, "layer")
    biases: list[Share | None] = [None] * 3 if b is None else list(shares_of(b.view(np.uint64)))
    layers = [LinearLayer(op, weight, bias) for weight, bias in zip(shares_of(w.view(np.uint64)), biases, strict=True)]
    y = three.value(lambda party, layer, x: layer(party, [x], shape), layers, shares_of(x.view(np.uint64)))
    bits = cost.product_bound(op) if op.attrs.get("relu") else None
    declared = cost.linear(y.size, op.attrs["drop"], bits)
    assert three.counted() == (declared.rounds, declared.sent)
    return y.view(np.int64)


def random(generator: np.random.Generator, *shape: int, high: int = 2**63 - 1) -> np.ndarray:
    return generator.integers(-high, high, shape)


def convolved(x: np.ndarray, w: np.ndarray, strides: Any, pads: Any, dilation: Any, depthwise: bool) -> np.ndarray:
    """The definition, one output at a time."""
    x = np.pad(x, [(0, 0), pads[:2], pads[2:], (0, 0)])
    kh, kw = w.shape[:2]
    oh = (x.shape[1] - dilation[0] * (kh - 1) - 1) // strides[0] + 1
    ow = (x.shape[2] - dilation[1] * (kw - 1) - 1) // strides[1] + 1
    out = []
    for p in range(oh):
        for q in range(ow):
            top, left = p * strides[0], q * strides[1]
            seen = x[:, top : top + dilation[0] * kh : dilation[0], left : left + dilation[1] * kw : dilation[1]]
            product = seen[..., None] * w[None]
            summed = product.sum((1, 2)) if depthwise else product.sum((1, 2, 3))
            out.append(summed.reshape(x.shape[0], -1))
    return np.stack(out, 1).reshape(x.shape[0], oh, ow, -1)


@given(
    rows=st.integers(1, 130),
    depth=st.integers(1, 20),
    columns=st.integers(1, 20),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_matmul(three: Three, rows: int, depth: int, columns: int, bias: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, w = random(generator, rows, depth), random(generator, depth, columns)
    b = random(generator, columns) if bias else None
    y = run_layer(three, "matmul", {}, x, w, b, (rows, columns))
    assert np.array_equal(y, x @ w + (0 if b is None else b))


@pytest.mark.parametrize("kind", ["conv2d", "depthwise_conv2d"])
@given(
    size=st.tuples(st.integers(5, 11), st.integers(5, 11)),
    channels=st.integers(1, 5),
    filters=st.integers(1, 5),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    batch=st.integers(1, 3),
)
def test_convolutions(
    three: Three, kind: str, size: Any, channels: int, filters: int, batch: int, **geometry: Any
) -> None:
    kernel = geometry.pop("kernel")
    generator = np.random.default_rng(batch)
    x, w = random(generator, batch, *size, channels), random(generator, *kernel, channels, filters)
    depthwise = kind == "depthwise_conv2d"
    expected = convolved(x, w, geometry["strides"], geometry["pads"], geometry["dilation"], depthwise)
    b = random(generator, expected.shape[-1])
    assert np.array_equal(run_layer(three, kind, geometry, x, w, b, expected.shape), expected + b)


def test_mul_broadcasts_its_weight(three: Three) -> None:
    generator = np.random.default_rng(0)
    x, w = random(generator, 2, 3, 4, 5), random(generator, 5)
    assert np.array_equal(run_layer(three, "mul", {}, x, w, None, x.shape), x * w)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("count", [1, 64, 321])
def test_truncation_and_relu_share_the_products_rounds(three: Three, relu: bool, count: int) -> None:
    generator = np.random.default_rng(count)
    x, w = random(generator, count, 8, high=2**18), random(generator, 8, 1, high=2**16)
    y = run_layer(three, "matmul", {"drop": 16, "relu": relu, "bound": 38}, x, w, None, (count, 1))
    product = (x @ w) / 2**16
    assert np.abs(y - (np.maximum(product, 0) if relu else product)).max() <= 1


def test_a_layer_shows_no_weight() -> None:
    share = shares_of(np.full((2, 2), 77, np.uint64))[0]
    assert (
        repr(LinearLayer(Op("matmul", ("x",), ("w",), "y", {"drop": 0}), share, None)) == "LinearLayer(matmul, (2, 2))"
    )
