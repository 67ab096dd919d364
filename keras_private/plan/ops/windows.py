"""Windows over images: what convolutions and poolings have in common."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan.ops.kind import Array, Attributes, describe, shape_fits
from keras_private.plan.plan import Op, Shape

PAIR = at.integers(2, 1)
PADS = at.integers(4, 0)
LAYOUT: Attributes = {"data_format": at.data_format}


def window_count(size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1) -> int:
    """How many windows fit along one axis; 0 or less if none does."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def image(op: Op, shape: Shape) -> tuple[int, int, int]:
    """Height, width and channels of an input."""
    if len(shape) != 3:
        raise PlanError(f"{describe(op)} takes an input of three axes, not {shape}")
    if op.attrs.get("data_format") == "NCHW":
        return shape[1], shape[2], shape[0]
    return shape[0], shape[1], shape[2]


def shape_of_windows(op: Op, given: Shape, filters: int, kernel: tuple[int, int], dilation: tuple[int, int]) -> Shape:
    """The shape of one value for each window and filter."""
    height, width, _ = image(op, given)
    strides, (top, bottom, left, right) = op.attrs["strides"], op.attrs["pads"]
    rows = window_count(height, kernel[0], strides[0], top, bottom, dilation[0])
    columns = window_count(width, kernel[1], strides[1], left, right, dilation[1])
    if not shape_fits((height + top + bottom, width + left + right, math.prod(given) // (height * width))):
        raise PlanError(f"{describe(op)}: padding {op.attrs['pads']} makes the input too large")
    if rows < 1 or columns < 1:
        raise PlanError(
            f"{describe(op)}: a window of {kernel} (dilation {dilation}) is larger than an input of {given}"
        )
    return (filters, rows, columns) if op.attrs.get("data_format") == "NCHW" else (rows, columns, filters)


def windows_of(op: Op, x: Array, kernel: tuple[int, int], dilation: tuple[int, int], padding: float) -> Array:
    """Every window of an NHWC or NCHW batch: a view (batch, rows, columns, channels, kh, kw)."""
    if op.attrs.get("data_format") == "NCHW":
        x = x.transpose(0, 2, 3, 1)
    top, bottom, left, right = op.attrs["pads"]
    if any(op.attrs["pads"]):
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=padding)
    span = [step * (size - 1) + 1 for step, size in zip(dilation, kernel, strict=True)]
    strides = op.attrs["strides"]
    rows = window_count(x.shape[1], kernel[0], strides[0], 0, 0, dilation[0])
    columns = window_count(x.shape[2], kernel[1], strides[1], 0, 0, dilation[1])
    views: Array = sliding_window_view(x, (span[0], span[1]), axis=(1, 2))
    views = views[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]
    return views[:, :rows, :columns]


def as_recorded(op: Op, result: Array) -> Array:
    """An NHWC result in the op's own layout."""
    return result.transpose(0, 3, 1, 2) if op.attrs.get("data_format") == "NCHW" else result
