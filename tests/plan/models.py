"""Recorded plans for the tests, written as the lowering writes them: 2D ops in NCHW between transposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_private.plan.builder import Draft, PlanBuilder
from tests.plans import input_shape, the_input

TO_NCHW, TO_NHWC = (2, 0, 1), (1, 2, 0)


class Model:
    """A PlanBuilder that remembers the last tensor, with Keras-like layers of random weights."""

    def __init__(
        self,
        shape: tuple[int, ...],
        input_range: tuple[float, float] | None = (0.0, 1.0),
        seed: int = 1,
        size: float = 0.3,
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.size = size
        self.builder = PlanBuilder(shape, input_range)
        self.at = self.builder.input

    def op(self, kind: str, inputs: Any = None, **given: Any) -> str:
        self.at = self.builder.op(kind, self.at if inputs is None else inputs, **given)
        return self.at

    def weight(self, *shape: int, name: str = "w") -> str:
        return self.builder.weight(self.random.normal(size=shape) * self.size, name)

    def window(self, kind: str, **attrs: Any) -> str:
        """A 2D op in NCHW between transposes, NHWC outside."""
        self.op("transpose", perm=TO_NCHW)
        self.op(kind, data_format="NCHW", **attrs)
        return self.at

    def back(self) -> str:
        return self.op("transpose", perm=TO_NHWC)

    def conv(self, filters: int, kernel: int = 3, bias: bool = True, layer: str = "conv", **attrs: Any) -> str:
        channels = self.builder.shape(self.at)[-1]
        weights = [self.weight(kernel, kernel, channels, filters, name=f"{layer}/kernel")]
        self.window("conv2d", weights=weights, layer=layer, **{"strides": (1, 1), **attrs})
        if bias:
            self.op("add", weights=[self.weight(filters, 1, 1, name=f"{layer}/bias")], layer=layer)
        return self.back()

    def depthwise(self, multiplier: int = 1, layer: str = "depthwise", **attrs: Any) -> str:
        channels = self.builder.shape(self.at)[-1]
        weights = [self.weight(3, 3, channels, multiplier, name=f"{layer}/kernel")]
        self.window("depthwise_conv2d", weights=weights, layer=layer, **{"strides": (1, 1), **attrs})
        return self.back()

    def average(self, pool: int = 2, strides: int | None = None, **attrs: Any) -> str:
        step = strides or pool
        self.window("sum_pool2d", pool=(pool, pool), strides=(step, step), layer="average", **attrs)
        self.op("scale", factor=1 / pool**2, layer="average")
        return self.back()

    def maximum(self, pool: int = 2, **attrs: Any) -> str:
        self.window("max_pool2d", pool=(pool, pool), strides=(pool, pool), layer="maximum", **attrs)
        return self.back()

    def norm(self, layer: str = "norm") -> str:
        channels = self.builder.shape(self.at)[-1]
        self.op("mul", weights=[self.weight(channels, name=f"{layer}/gamma")], layer=layer)
        return self.op("add", weights=[self.weight(channels, name=f"{layer}/beta")], layer=layer)

    def relu(self) -> str:
        return self.op("relu", layer="relu")

    def leaky(self, slope: float = 0.2) -> str:
        x = self.at
        positive = self.op("scale", self.op("relu", x), factor=1 - slope)
        return self.op("add", [self.op("scale", x, factor=slope), positive], layer="leaky")

    def relu6(self) -> str:
        x = self.relu()
        over = self.op("relu", self.op("add", x, weights=[self.builder.weight(-6.0, "six")]))
        return self.op("sub", [x, over])

    def flatten(self) -> str:
        return self.op("reshape", shape=(int(np.prod(self.builder.shape(self.at))),), layer="flatten")

    def dense(self, units: int, layer: str = "dense") -> str:
        inputs = self.builder.shape(self.at)[-1]
        self.op("matmul", weights=[self.weight(inputs, units, name=f"{layer}/kernel")], layer=layer)
        return self.op("add", weights=[self.weight(units, name=f"{layer}/bias")], layer=layer)

    def draft(self) -> Draft:
        return self.builder.finish(self.at)


def mnist() -> Draft:
    model = Model((14, 14, 1), (0.0, 255.0))
    model.op("scale", factor=1 / 255, layer="rescaling")
    for number, filters in enumerate((4, 6)):
        model.conv(filters, layer=f"conv{number}")
        model.average()
        model.relu()
    model.flatten()
    model.dense(10)
    return model.draft()


def batch_norm() -> Draft:
    model = Model((9, 9, 2), (-1.0, 1.0))
    model.norm("first")
    model.conv(3, pads=(1, 1, 1, 1), bias=False)
    model.norm("second")
    model.relu()
    model.norm("third")
    model.conv(4, strides=(2, 2))
    model.norm("fourth")
    model.maximum()
    model.relu()
    model.flatten()
    model.norm("fifth")
    model.dense(3)
    return model.draft()


def residual() -> Draft:
    model = Model((8, 8, 3))
    model.conv(4, layer="in")
    left = model.relu()
    model.conv(4, pads=(1, 1, 1, 1), layer="branch")
    model.op("add", [left, model.at], layer="join")
    joined = model.relu()
    model.depthwise(2, pads=(1, 1, 1, 1))
    model.op("concat", [joined, model.at], axis=2, layer="concat")
    model.average(3, 2)
    model.flatten()
    model.dense(4)
    return model.draft()


def activations() -> Draft:
    model = Model((7, 7, 2), (-2.0, 2.0))
    model.op("scale", factor=((2,), (0.5, 1 / 3)), layer="rescaling")
    model.conv(3, dilation=(2, 2))
    model.leaky()
    model.op("pad", paddings=((1, 0), (2, 1), (0, 0)))
    model.conv(3)
    model.relu6()
    model.maximum(2, pads=(1, 0, 0, 1))
    return model.draft()


def odd_ends() -> Draft:
    """Broadcasts between ranks, transposes that stay, padded average pooling, scales that meet nothing."""
    model = Model((5, 6, 2), (-1.0, 3.0))
    source = model.at
    model.average(2, pads=(1, 0, 1, 1))
    model.op("scale", factor=((3, 4, 1), tuple(np.linspace(0.1, 1.2, 12).tolist())))
    model.op("transpose", perm=(1, 0, 2))
    pooled = model.op("reshape", shape=(4, 6))
    model.op("reshape", source, shape=(10, 6))
    model.dense(6)
    model.op("reshape", shape=(10, 1, 6))
    model.op("sub", [model.at, pooled])
    model.op("add", [model.at, model.op("scale", factor=-3)])
    model.op("mul", weights=[model.weight(4, 1)])
    return model.draft()


def gathers() -> Draft:
    """Cropping, upsampling and zeros between the pixels, as a transposed convolution has them."""
    model = Model((6, 7, 2), (-2.0, 1.0))
    model.op("transpose", perm=TO_NCHW)
    model.op("gather", axis=2, indices=(1, 2, 3, 4, 5))
    model.back()
    model.conv(3, layer="narrow")
    model.op("gather", axis=0, indices=(3, 1, 0))
    model.relu()
    model.op("gather", axis=1, indices=(0, 0, 1, 1, 2, 2))
    model.norm()
    model.op("pad", paddings=((0, 1), (0, 0), (0, 0)))
    model.op("gather", axis=0, indices=(0, 3, 1, 3, 2))
    model.conv(2, layer="wide")
    model.op("gather", axis=2, indices=(1, 0, 1))
    return model.draft()


def moves() -> Draft:
    """Parts taken and put together again, and what is linear in public numbers."""
    model = Model((6, 5, 4), (-2.0, 1.0))
    source = model.at
    parts = []
    for start in (0, 2):
        model.op("slice", source, starts=(0, 1, start), stops=(6, 5, start + 2), strides=(2, 1, 1))
        parts.append(model.at)
    model.op("stack", parts, axis=1)
    matrix = model.random.normal(size=(2, 3)) / 3
    model.op("public_matmul", matrix=(matrix.shape, matrix.reshape(-1)))
    model.relu()
    model.op("scale", factor=((2, 1, 1), (0.5, 0.25)))
    model.op("sum", axes=(0, 2), keepdims=False)
    model.dense(4)
    model.op("sum", axes=(0,), keepdims=True)
    return model.draft()


ALL: dict[str, Callable[[], Draft]] = {
    "mnist": mnist,
    "batch_norm": batch_norm,
    "residual": residual,
    "activations": activations,
    "odd_ends": odd_ends,
    "gathers": gathers,
    "moves": moves,
}


def inputs(draft: Draft, count: int = 6, seed: int = 5) -> np.ndarray:
    """A batch within the declared range, both ends included."""
    low, high = the_input(draft.plan).range or (-1.0, 1.0)
    random = np.random.default_rng(seed)
    x = random.uniform(low, high, size=(count, *input_shape(draft.plan)))
    x[-1] = high
    x[-2] = random.choice([low, high], size=x.shape[1:])
    return x
