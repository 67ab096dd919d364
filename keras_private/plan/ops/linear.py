"""Linear layers: sums of products over the channels of an input at least.

The second operand is a weight, or a tensor that each row has of its own. Layouts of weights and of such tensors:
matmul (K, N), of tensors (…, K, N) as numpy's matmul; conv2d (kh, kw, Cin, Cout); depthwise_conv2d (kh, kw, C, M) with
output channel c·M + m. A second weight is a bias. `pads` are (top, bottom, left, right) zeros.
"""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan.ops.equation import Equation
from keras_private.plan.ops.kind import Array, Attributes, describe, dropped, kind_of
from keras_private.plan.ops.product import Bilinear, shape_by
from keras_private.plan.ops.windows import LAYOUT, PADS, PAIR, as_recorded, image, shape_of_windows, windows_of
from keras_private.plan.plan import Op, Shape, Tensor, Weight

_CONV: Attributes = {"strides": PAIR, "pads": PADS, "dilation": PAIR}

_CHUNK = 1 << 22  # elements of unrolled windows at a time


class Linear(Bilinear, abstract=True):
    """The bias is one for each output channel."""

    weights = (0, 2)
    any_ranks = True
    elementwise = False

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        shape = super().shape(op, xs, ws)
        if len(ws) == 2 and ws[1] != (self.outputs(ws[0]),):
            raise PlanError(f"{describe(op)}: a bias of shape {ws[1]} does not fit {self.outputs(ws[0])} outputs")
        return shape

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        frac = super().frac(op, xs, ws)
        if len(ws) == 2 and ws[1].frac != frac + dropped(op):
            raise PlanError(f"{describe(op)}: the bias needs {frac + dropped(op)} fractional bits, not {ws[1].frac}")
        return frac

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        result = super().plain(op, xs, ws[:1])
        return result + self.along_channels(op, ws[1]) if len(ws) == 2 else result

    def along_channels(self, op: Op, bias: Array) -> Array:
        """The bias as it broadcasts to an output."""
        return bias

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        bias = float(np.max(np.abs(ws[1]))) if len(ws) == 2 else 0.0
        return super().reckoned(op, seen, sizes, ws) + bias

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return None

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None

    def outputs(self, weight: Shape) -> int:
        """How many outputs there are at one place, for a weight of this shape."""
        return weight[-1]

    def gain(self, op: Op, weight: Array) -> float:
        flat = weight.reshape(-1, self.outputs(weight.shape))
        return float(np.sqrt(np.max(np.einsum("ij,ij->j", flat, flat))))

    def rows(self, op: Op, weight: Array) -> Array:
        rows: Array = weight.max(axis=tuple(axis for axis in range(weight.ndim) if axis != weight.ndim - 2))
        return rows

    def reach(self, op: Op, largest: Array, weight: Array) -> float:
        return float(np.max(largest)) * math.sqrt(self.fan_in(op, largest.shape[1:], weight.shape))

    def scaled_outputs(self, weight: Array, factor: Array) -> Array:
        """The weight that makes outputs larger by a factor for each output channel."""
        return weight * factor

    @abstractmethod
    def of_constant(self, weight: Array, channels: Array) -> Array:
        """What it makes, without bias, of an input that is the same everywhere; one number for each output channel."""


def with_weight(op: Op) -> Linear | None:
    """The kind of a linear op whose second operand is a weight, into which the neighbours' constants may go."""
    kind = kind_of(op)
    return kind if isinstance(kind, Linear) and op.weights else None


class Matmul(Linear):
    """Of the last axis of the input and the last but one of the second operand."""

    name = "matmul"
    attrs: ClassVar[Attributes] = {}
    recorded: ClassVar[Attributes | None] = {}
    pads_zeros = False

    def shape_of(self, op: Op, left: Shape, right: Shape, *, of_batch: bool) -> Shape:
        if not of_batch:
            if not left or len(right) != 2 or left[-1] != right[0]:
                raise PlanError(f"{describe(op)}: an input of shape {left} does not fit a weight of shape {right}")
            return (*left[:-1], right[1])
        if not left or not right or left[-1] != right[max(len(right) - 2, 0)]:
            raise PlanError(f"{describe(op)}: inputs of shapes {left} and {right} do not fit each other")
        return shape_by(op, Equation.of_matmul(len(left), len(right)), left, right)

    def multiply(self, op: Op, x: Array, y: Array, *, of_batch: bool) -> Array:
        if of_batch:
            return Equation.of_matmul(x.ndim - 1, y.ndim - 1).multiply(x, y, of_batch=True)
        result: Array = x @ y
        return result

    def fan_in(self, op: Op, left: Shape, right: Shape) -> int:
        return left[-1]

    def reach(self, op: Op, largest: Array, weight: Array) -> float:
        return float(np.max(np.sqrt(np.sum(largest * largest, axis=-1))))

    def of_constant(self, weight: Array, channels: Array) -> Array:
        found: Array = channels @ weight
        return found


class Convolution(Linear, abstract=True):
    """Of windows of an image; the second input, if there is one, is a kernel for each row."""

    attrs = _CONV
    recorded = LAYOUT
    pads_zeros = True

    def shape_of(self, op: Op, left: Shape, right: Shape, *, of_batch: bool) -> Shape:
        _, _, channels = image(op, left)
        if len(right) != 4 or right[2] != channels:
            raise PlanError(f"{describe(op)}: a kernel of shape {right} does not fit an input of shape {left}")
        return shape_of_windows(op, left, self.outputs(right), (right[0], right[1]), op.attrs["dilation"])

    def multiply(self, op: Op, x: Array, y: Array, *, of_batch: bool) -> Array:
        kernel = y.shape[-4:-2]
        windows = windows_of(op, x, (kernel[0], kernel[1]), op.attrs["dilation"], 0.0)
        if not of_batch:
            return as_recorded(op, self.convolved(windows, y))
        rows = [self.convolved(windows[row : row + 1], y[row]) for row in range(len(y))]
        return as_recorded(op, np.concatenate(rows) if rows else self.convolved(windows, np.zeros(y.shape[1:])))

    def along_channels(self, op: Op, bias: Array) -> Array:
        return bias[:, None, None] if op.attrs.get("data_format") == "NCHW" else bias

    def fan_in(self, op: Op, left: Shape, right: Shape) -> int:
        return math.prod(right) // self.outputs(right)

    @abstractmethod
    def convolved(self, windows: Array, kernel: Array) -> Array:
        """NHWC, for windows of (batch, rows, columns, channels, kh, kw) and one kernel."""


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
