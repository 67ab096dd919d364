"""Secret products against plain products in the ring, and with their truncation and ReLU in the same rounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.kernels import ring
from keras_private.mpc.ops import bind
from keras_private.plan import cost
from keras_private.plan.plan import Op, Tensor
from keras_private.sharing.share import Share
from tests.plan.test_equation import equations
from tests.plans import plan_of

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
    """Of a weight, and maybe a bias."""
    names = ("w", "b")[: 1 + (b is not None)]
    op = Op(kind, ("x",), names, "y", {"drop": 0, "bound": 62, **attrs}, "layer")
    weights = [shares_of(each.view(np.uint64)) for each in (w, b) if each is not None]
    return run_op(three, op, [x], weights, shape)


def run_tensors(
    three: Three, kind: str, attrs: dict[str, Any], x: np.ndarray, y: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Of two tensors."""
    op = Op(kind, ("x", "y"), (), "z", {"drop": 0, "bound": 62, **attrs}, "layer")
    return run_op(three, op, [x, y], [], shape)


def run_op(
    three: Three, op: Op, xs: list[np.ndarray], weights: list[list[Share]], shape: tuple[int, ...]
) -> np.ndarray:
    tensors = {name: Tensor(x.shape[1:], 16) for name, x in zip(op.inputs, xs, strict=True)}
    plan = plan_of(16, op.inputs, [op.output], tensors, [op])
    layers = [bind(op, plan, [shares[i] for shares in weights]) for i in range(3)]
    y = three.value(
        lambda party, layer, *xs: layer(party, xs, shape), layers, *(shares_of(x.view(np.uint64)) for x in xs)
    )
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


@given(equations(), st.integers(0, 99))
def test_einsum_of_tensors_and_of_a_weight(
    three: Three, drawn: tuple[str, tuple[int, ...], tuple[int, ...]], seed: int
) -> None:
    text, left, right = drawn
    generator = np.random.default_rng(seed)
    x, y = random(generator, 2, *left), random(generator, 2, *right)
    expected = np.stack([np.einsum(text, *pair) for pair in zip(x, y, strict=True)])
    attrs = {"equation": text}
    assert np.array_equal(run_tensors(three, "einsum", attrs, x, y, expected.shape), expected)
    expected = np.stack([np.einsum(text, each, y[0]) for each in x])
    assert np.array_equal(run_layer(three, "einsum", attrs, x, y[0], None, expected.shape), expected)


@given(
    lead=st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["both", "left", "right"])), max_size=2),
    rows=st.integers(1, 70),
    depth=st.integers(1, 9),
    columns=st.integers(1, 9),
)
def test_matmul_of_tensors(three: Three, lead: list[tuple[int, str]], rows: int, depth: int, columns: int) -> None:
    """Leading axes broadcast as numpy's."""
    generator = np.random.default_rng(rows)
    left = [size if side != "right" else 1 for size, side in lead]
    right = [size if side != "left" else 1 for size, side in lead]
    x, y = random(generator, 2, *left, rows, depth), random(generator, 2, *right, depth, columns)
    assert np.array_equal(run_tensors(three, "matmul", {}, x, y, (x @ y).shape), x @ y)


@pytest.mark.parametrize("kind", ["conv2d", "depthwise_conv2d"])
def test_convolutions_with_a_kernel_for_each_row(three: Three, kind: str) -> None:
    generator = np.random.default_rng(3)
    x, w = random(generator, 3, 6, 5, 2), random(generator, 3, 3, 2, 2, 4)
    geometry = {"strides": (2, 1), "pads": (1, 0, 0, 2), "dilation": (1, 2)}
    each = [convolved(x[i : i + 1], w[i], *geometry.values(), kind == "depthwise_conv2d") for i in range(3)]
    expected = np.concatenate(each)
    assert np.array_equal(run_tensors(three, kind, geometry, x, w, expected.shape), expected)


@pytest.mark.parametrize(
    ("kind", "attrs", "right", "out"),
    [
        ("mul", {}, (2, 2, 1), (2, 2, 1)),
        ("matmul", {}, (2, 1, 3), (2, 2, 3)),
        ("einsum", {"equation": "hij,hij->h"}, (2, 2, 1), (2,)),
        ("conv2d", {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilation": (1, 1)}, (2, 2, 1, 5), (1, 1, 5)),
    ],
)
def test_an_empty_batch(
    three: Three, kind: str, attrs: dict[str, Any], right: tuple[int, ...], out: tuple[int, ...]
) -> None:
    x, y = np.zeros((0, 2, 2, 1), np.int64), np.zeros((0, *right), np.int64)
    assert run_tensors(three, kind, attrs, x, y, (0, *out)).shape == (0, *out)


def test_a_layer_shows_no_weight() -> None:
    share = shares_of(np.full((2, 2), 77, np.uint64))[0]
    op = Op("matmul", ("x",), ("w",), "y", {"drop": 0})
    plan = plan_of(16, op.inputs, [op.output], {}, [op])
    assert repr(bind(op, plan, [share])) == "SecretProduct(matmul)"


@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 600, 16), (8, 257, 7), (73, 520, 8), (17, 300, 33)])
def test_products_in_pieces_of_panels(terms: int, rows: int, depth: int, columns: int) -> None:
    generator = np.random.default_rng(rows)
    first, second = (generator.integers(0, 2**64, (2, rows, depth), np.uint64) for _ in range(2))
    tall = generator.integers(0, 2**64, (2, 2 * depth, columns), np.uint64)
    out = generator.integers(0, 2**64, (2, rows, columns), np.uint64)
    expected = out + first @ tall[:, :depth] + (second @ tall[:, depth:] if terms == 2 else np.uint64(0))
    ring.matmul(first, second if terms == 2 else second[:, :0], ring.panels(tall), out)
    assert np.array_equal(out, expected)
