"""Run a plan in plain float64: the meaning of every op, and the reference that passes and protocols are tested against.

Both forms of a plan are understood. In an executable one no rounding happens: `truncate` and the shifts only change how
a real number is written, so they are the identity here, and `scale_int` multiplies by multiplier / 2^bits.
"""

# ruff: noqa: ARG001 - every rule has the same signature
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from keras_private.errors import InputError, PlanError
from keras_private.plan.attributes import constant_array
from keras_private.plan.ops import window_count
from keras_private.plan.plan import Draft, Op

Array = NDArray[np.float64]
_CHUNK = 1 << 22  # elements of unrolled windows at a time


def evaluate(draft: Draft, x: ArrayLike) -> Array:
    """The plan's output, float64 (batch, *output shape), for x of (batch, *input shape).

    Raises:
        InputError: x has another shape.
    """
    plan = draft.plan
    last_use = {name: index for index, op in enumerate(plan.ops) for name in op.inputs}
    tensors = {plan.input: _input(draft, x)}
    for index, op in enumerate(plan.ops):
        tensors[op.output] = apply(
            op, [tensors[name] for name in op.inputs], [draft.values[name] for name in op.weights]
        )
        for name in {*op.inputs, op.output}:
            if last_use.get(name, -1) <= index and name != plan.output:
                del tensors[name]
    return tensors[plan.output]


def trace(draft: Draft, x: ArrayLike) -> dict[str, Array]:
    """Every tensor of the run, by name."""
    tensors = {draft.plan.input: _input(draft, x)}
    for op in draft.plan.ops:
        tensors[op.output] = apply(
            op, [tensors[name] for name in op.inputs], [draft.values[name] for name in op.weights]
        )
    return tensors


def apply(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    """One op on batches `xs` with weights `ws`; `relu` of a fused op included."""
    rule = _RULES.get(op.kind)
    if rule is None:
        raise PlanError(f"unknown op kind {op.kind[:40]!r}")
    result = rule(op, xs, ws)
    return np.maximum(result, 0.0) if op.attrs.get("relu") else result


def _input(draft: Draft, x: ArrayLike) -> Array:
    array = np.asarray(x, dtype=np.float64)
    if array.ndim == 0 or array.shape[1:] != draft.plan.input_shape:
        raise InputError(f"expected a batch of inputs of shape {draft.plan.input_shape}, got an array of {array.shape}")
    return array


def _matmul(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    result: Array = xs[0] @ ws[0]
    return result + ws[1] if len(ws) == 2 else result


def _conv(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    kernel = ws[0]
    kh, kw = kernel.shape[:2]
    dh, dw = op.attrs["dilation"]
    windows = _windows(op, xs[0], (kh, kw), (dh, dw), 0.0)  # (batch, rows, columns, channels, kh, kw)
    batch, rows, columns = windows.shape[:3]
    if op.kind == "depthwise_conv2d":
        filters = kernel.shape[2] * kernel.shape[3]
        result = np.einsum("brcnij,ijnm->brcnm", windows, kernel, optimize=True).reshape(batch, rows, columns, filters)
    else:
        filters = kernel.shape[3]
        flat = kernel.transpose(2, 0, 1, 3).reshape(-1, filters)
        result = np.empty((batch, rows, columns, filters))
        step = max(1, _CHUNK // max(1, rows * columns * flat.shape[0]))
        for at in range(0, batch, step):
            unrolled = windows[at : at + step].reshape(-1, flat.shape[0])
            result[at : at + step] = (unrolled @ flat).reshape(-1, rows, columns, filters)
    return _out(op, result + ws[1] if len(ws) == 2 else result)


def _sum_pool(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    return _out(op, _pooled(op, xs[0], 0.0, np.add))


def _max_pool(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    return _out(op, _pooled(op, xs[0], -np.inf, np.maximum))


def _pooled(op: Op, x: Array, padding: float, combine: Callable[[Array, Array], Array]) -> Array:
    windows = _windows(op, x, op.attrs["pool"], (1, 1), padding)
    rows, columns = op.attrs["pool"]
    result: Array | None = None
    for i in range(rows):
        for j in range(columns):
            part = windows[..., i, j]
            result = part.copy() if result is None else combine(result, part)
    assert result is not None  # noqa: S101 - a pool has at least one cell
    return result


def _windows(op: Op, x: Array, kernel: tuple[int, int], dilation: tuple[int, int], padding: float) -> Array:
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


def _out(op: Op, result: Array) -> Array:
    return result.transpose(0, 3, 1, 2) if op.attrs.get("data_format") == "NCHW" else result


def _add(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    left, right = _aligned(xs[0], xs[1]) if len(xs) == 2 else (xs[0], ws[0])
    return left + right if op.kind == "add" else left - right


def _aligned(left: Array, right: Array) -> tuple[Array, Array]:
    """Broadcasting is over the per-sample axes: missing ones go in behind the batch axis."""
    rank = max(left.ndim, right.ndim)

    def grown(x: Array) -> Array:
        return x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:])

    return grown(left), grown(right)


def _mul(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    return xs[0] * ws[0]


def _scale(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    result: Array = xs[0] * constant_array(op.attrs["factor"])
    return result


def _scale_int(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    factor: Array = np.ldexp(constant_array(op.attrs["multiplier"]).astype(np.float64), -op.attrs["bits"])
    return xs[0] * factor


def _identity(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    return xs[0]


def _relu(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    return np.maximum(xs[0], 0.0)


def _reshape(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    return xs[0].reshape(xs[0].shape[0], *op.attrs["shape"])


def _transpose(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    return xs[0].transpose(0, *(axis + 1 for axis in op.attrs["perm"]))


def _pad(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    return np.pad(xs[0], ((0, 0), *op.attrs["paddings"]))


def _concat(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    return np.concatenate(xs, axis=op.attrs["axis"] + 1)


def _gather(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    taken: Array = np.take(xs[0], op.attrs["indices"], axis=op.attrs["axis"] + 1)
    return taken


_RULES: dict[str, Callable[[Op, Sequence[Any], Sequence[Any]], Array]] = {
    "matmul": _matmul,
    "conv2d": _conv,
    "depthwise_conv2d": _conv,
    "add": _add,
    "sub": _add,
    "mul": _mul,
    "scale": _scale,
    "scale_int": _scale_int,
    "truncate": _identity,
    "relu": _relu,
    "sum_pool2d": _sum_pool,
    "max_pool2d": _max_pool,
    "reshape": _reshape,
    "transpose": _transpose,
    "pad": _pad,
    "concat": _concat,
    "gather": _gather,
}
