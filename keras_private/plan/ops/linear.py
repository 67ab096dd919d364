"""Products with a secret weight.

Weight layouts: matmul (K, N); conv2d (kh, kw, Cin, Cout); depthwise_conv2d (kh, kw, C, M) with output channel c·M + m.
`pads` are (top, bottom, left, right) zeros. `bound` of an executable product: proven |raw| < 2^bound before its
truncation; without it only the contract holds.
"""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan import cost, working
from keras_private.plan.interval import Interval, signed, signed_sum
from keras_private.plan.ops.elementwise import DROP, check_factor
from keras_private.plan.ops.kind import NUMBERS, Array, Attributes, Kind, describe, truncation_error, values
from keras_private.plan.ops.windows import PADS, PAIR, as_recorded, image, shape_of_windows, windows_of
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import Op, Plan, Shape, Tensor, Weight

_PRODUCT: Attributes = {"drop": DROP, "bound": at.integer(1, at.MAX_SHIFT)}
_FUSED: Attributes = {**_PRODUCT, "relu": at.boolean}
_CONV: Attributes = {"strides": PAIR, "pads": PADS, "dilation": PAIR}
_LAYOUT: Attributes = {"data_format": at.data_format}

_CHUNK = 1 << 22  # elements of unrolled windows at a time


class Product(Kind, abstract=True):
    """Of the input and the first weight; a second weight is a bias."""

    inputs = (1, 1)
    optional = frozenset({"bound"})
    domains = NUMBERS
    rowwise = True
    interactive = True
    public_linear = False
    carries = False
    rectifies = False

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        frac = xs[0].frac + ws[0].frac
        if len(ws) == 2 and ws[1].frac != frac:
            raise PlanError(f"{describe(op)}: the bias needs {frac} fractional bits, not {ws[1].frac}")
        return frac - self.dropped(op)

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return False

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.product(op, writer.settled(xs[0], op.layer))

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.WORSE

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        bias = float(np.max(np.abs(ws[1]))) if len(ws) == 2 else 0.0
        return seen * self.gain(ws[0]) + bias

    def opens(self, op: Op) -> bool:
        return not self.dropped(op) and not op.attrs.get("relu")

    def deals_first(self, op: Op) -> bool:
        return False

    def part_cost(self, op: Op, count: int) -> cost.Cost:
        return cost.linear(count, self.dropped(op), _relu_bound(op))

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        return self.part_cost(op, values(op, plan, batch))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return working.linear(count, self.dropped(op), _relu_bound(op))

    def error(self, op: Op, plan: Plan) -> float:
        return truncation_error(op)

    @abstractmethod
    def fan_in(self, weight: Shape) -> int:
        """How many products one output adds up, for a weight of this shape."""

    @abstractmethod
    def gain(self, weight: Array) -> float:
        """By what factor an output may well be larger than the inputs."""

    @abstractmethod
    def rows(self, weight: Array) -> Array:
        """The largest weight of each input channel."""

    @abstractmethod
    def reach(self, largest: Array, weight: Array) -> float:
        """The root of the sum of squares of the inputs that one output adds up, if each is at its `largest`."""


def _relu_bound(op: Op) -> int | None:
    return cost.product_bound(op) if op.attrs.get("relu") else None


class Linear(Product, abstract=True):
    """Sums of products, over the input's channels at least; the bias is one for each output channel."""

    weights = (1, 2)
    executable = _FUSED
    elementwise = False

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return signed_sum(self.plain, op, xs, ws)

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return None

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None

    def outputs(self, weight: Shape) -> int:
        """How many outputs there are at one place, for a weight of this shape."""
        return weight[-1]

    def fan_in(self, weight: Shape) -> int:
        return math.prod(weight) // self.outputs(weight)

    def gain(self, weight: Array) -> float:
        flat = weight.reshape(-1, self.outputs(weight.shape))
        return float(np.sqrt(np.max(np.einsum("ij,ij->j", flat, flat))))

    def rows(self, weight: Array) -> Array:
        rows: Array = weight.max(axis=tuple(axis for axis in range(weight.ndim) if axis != weight.ndim - 2))
        return rows

    def reach(self, largest: Array, weight: Array) -> float:
        return float(np.max(largest)) * math.sqrt(self.fan_in(weight.shape))

    def scaled_outputs(self, weight: Array, factor: Array) -> Array:
        """The weight that makes outputs larger by a factor for each output channel."""
        return weight * factor

    @abstractmethod
    def of_constant(self, weight: Array, channels: Array) -> Array:
        """What it makes, without bias, of an input that is the same everywhere; one number for each output channel."""

    def check_bias(self, op: Op, ws: Sequence[Shape]) -> None:
        filters = self.outputs(ws[0])
        if len(ws) == 2 and ws[1] != (filters,):
            raise PlanError(f"{describe(op)}: a bias of shape {ws[1]} does not fit {filters} outputs")


class Matmul(Linear):
    """Of the last axis."""

    name = "matmul"
    attrs: ClassVar[Attributes] = {}
    recorded: ClassVar[Attributes | None] = {}
    pads_zeros = False

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        if not xs[0] or len(ws[0]) != 2 or xs[0][-1] != ws[0][0]:
            raise PlanError(f"{describe(op)}: an input of shape {xs[0]} does not fit a weight of shape {ws[0]}")
        self.check_bias(op, ws)
        return (*xs[0][:-1], ws[0][1])

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        result: Array = xs[0] @ ws[0]
        return result + ws[1] if len(ws) == 2 else result

    def reach(self, largest: Array, weight: Array) -> float:
        return float(np.max(np.sqrt(np.sum(largest * largest, axis=-1))))

    def of_constant(self, weight: Array, channels: Array) -> Array:
        found: Array = channels @ weight
        return found


class Convolution(Linear, abstract=True):
    """Of windows of an image."""

    attrs = _CONV
    recorded = _LAYOUT
    pads_zeros = True

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        _, _, channels = image(op, xs[0])
        if len(ws[0]) != 4 or ws[0][2] != channels:
            raise PlanError(f"{describe(op)}: a kernel of shape {ws[0]} does not fit an input of shape {xs[0]}")
        self.check_bias(op, ws)
        return shape_of_windows(op, xs[0], self.outputs(ws[0]), (ws[0][0], ws[0][1]), op.attrs["dilation"])

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        kh, kw = ws[0].shape[:2]
        dh, dw = op.attrs["dilation"]
        windows = windows_of(op, xs[0], (kh, kw), (dh, dw), 0.0)  # (batch, rows, columns, channels, kh, kw)
        result = self.convolved(windows, ws[0])
        return as_recorded(op, result + ws[1] if len(ws) == 2 else result)

    @abstractmethod
    def convolved(self, windows: Array, kernel: Array) -> Array:
        """NHWC, for windows of (batch, rows, columns, channels, kh, kw)."""


class Conv2d(Convolution):
    name = "conv2d"

    def convolved(self, windows: Array, kernel: Array) -> Array:
        batch, rows, columns = windows.shape[:3]
        filters = kernel.shape[3]
        flat = kernel.transpose(2, 0, 1, 3).reshape(-1, filters)
        result = np.empty((batch, rows, columns, filters))
        step = max(1, _CHUNK // max(1, rows * columns * flat.shape[0]))
        for at_ in range(0, batch, step):
            unrolled = windows[at_ : at_ + step].reshape(-1, flat.shape[0])
            result[at_ : at_ + step] = (unrolled @ flat).reshape(-1, rows, columns, filters)
        return result

    def of_constant(self, weight: Array, channels: Array) -> Array:
        found: Array = np.einsum("ijcn,c->n", weight, channels)
        return found


class DepthwiseConv2d(Convolution):
    """Of each channel by itself."""

    name = "depthwise_conv2d"

    def outputs(self, weight: Shape) -> int:
        return weight[2] * weight[3]

    def convolved(self, windows: Array, kernel: Array) -> Array:
        product: Array = np.einsum("brcnij,ijnm->brcnm", windows, kernel, optimize=True)
        return product.reshape(*windows.shape[:3], self.outputs(kernel.shape))

    def scaled_outputs(self, weight: Array, factor: Array) -> Array:
        return weight * factor.reshape(weight.shape[2:])

    def of_constant(self, weight: Array, channels: Array) -> Array:
        found: Array = np.einsum("ijcm,c->cm", weight, channels).reshape(-1)
        return found


class Mul(Product):
    """Value by value, by a weight that broadcasts to the input's shape."""

    name = "mul"
    weights = (1, 1)
    attrs: ClassVar[Attributes] = {}
    recorded: ClassVar[Attributes | None] = {}
    executable = _PRODUCT
    elementwise = True
    pads_zeros = False

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        return check_factor(op, xs[0], ws[0])

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return xs[0] * ws[0]

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return signed(self.plain, op, xs, ws)

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return op.attrs

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None  # two factors in a row become one

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return super().memory(op, plan, count) + 16 * count  # both factors, laid out

    def fan_in(self, weight: Shape) -> int:
        return 1

    def gain(self, weight: Array) -> float:
        return float(np.max(np.abs(weight)))

    def rows(self, weight: Array) -> Array:
        return weight.reshape(-1)

    def reach(self, largest: Array, weight: Array) -> float:
        return float(np.max(largest))
