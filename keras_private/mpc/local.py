"""Ops that need no message: each is applied to both of a party's summands alike."""

# ruff: noqa: ARG001  (one signature for all of them)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from keras_private.errors import PlanError
from keras_private.mpc.kernels import ring
from keras_private.mpc.rounds import Words
from keras_private.plan.plan import Op
from keras_private.sharing.share import Share

# op, one summand of each operand, shape of the output with the batch -> that summand of the output
LocalOp: TypeAlias = Callable[[Op, Sequence[Words], tuple[int, ...]], Words]


def apply(op: Op, operands: Sequence[Share], shape: tuple[int, ...]) -> Share:
    """Run a local op on shares; `shape` is the output's, batch included.

    Raises:
        PlanError: inputs of unequal rank: the batch axis of one would meet another axis of the other.
    """
    if len({len(share.shape) for share in operands[: len(op.inputs)]}) > 1:
        raise PlanError(f"{op.kind}: inputs of unequal rank would mix the rows of a batch")
    function = LOCAL_OPS[op.kind]
    return Share(
        function(op, [share.mine for share in operands], shape), function(op, [share.next for share in operands], shape)
    )


def windows(op: Op, x: Share, shape: tuple[int, ...]) -> list[Share]:
    """The candidates of a max_pool2d: one share of the output's shape for each place of the window.

    A place in the padding repeats the window's nearest value inside the image, which cannot change the maximum.
    """
    (ph, pw), (sh, sw), pads = op.attrs["pool"], op.attrs["strides"], op.attrs["pads"]
    height, width = x.shape[1:3]
    candidates = []
    for i in range(ph):
        rows = np.clip(np.arange(shape[1]) * sh + i - pads[0], 0, height - 1)[:, None]
        for j in range(pw):
            columns = np.clip(np.arange(shape[2]) * sw + j - pads[2], 0, width - 1)
            candidates.append(Share(x.mine[:, rows, columns], x.next[:, rows, columns]))
    return candidates


def _add(op: Op, xs: Sequence[Words], shape: tuple[int, ...]) -> Words:
    return xs[0] + xs[1]


def _sub(op: Op, xs: Sequence[Words], shape: tuple[int, ...]) -> Words:
    return xs[0] - xs[1]


def _scale_int(op: Op, xs: Sequence[Words], shape: tuple[int, ...]) -> Words:
    multiplier = op.attrs["multiplier"]
    if isinstance(multiplier, int):
        return xs[0] * np.uint64(multiplier % (1 << 64))
    grid, values = multiplier
    return xs[0] * np.array(values, np.int64).view(np.uint64).reshape(grid)


def _sum_pool2d(op: Op, xs: Sequence[Words], shape: tuple[int, ...]) -> Words:
    out = np.empty(shape, np.uint64)
    pads = op.attrs["pads"]
    ring.sum_pool2d(xs[0], out, tuple(op.attrs["pool"]), tuple(op.attrs["strides"]), (pads[0], pads[2]))
    return out


def _reshape(op: Op, xs: Sequence[Words], shape: tuple[int, ...]) -> Words:
    return xs[0].reshape(shape)


def _transpose(op: Op, xs: Sequence[Words], shape: tuple[int, ...]) -> Words:
    return xs[0].transpose(0, *(axis + 1 for axis in op.attrs["perm"]))


def _pad(op: Op, xs: Sequence[Words], shape: tuple[int, ...]) -> Words:
    return np.pad(xs[0], [(0, 0), *op.attrs["paddings"]])


def _concat(op: Op, xs: Sequence[Words], shape: tuple[int, ...]) -> Words:
    return np.concatenate(xs, axis=op.attrs["axis"] + 1)


def _gather(op: Op, xs: Sequence[Words], shape: tuple[int, ...]) -> Words:
    taken: Words = np.take(xs[0], op.attrs["indices"], axis=op.attrs["axis"] + 1)
    return taken


LOCAL_OPS: Mapping[str, LocalOp] = MappingProxyType(
    {
        "add": _add,
        "sub": _sub,
        "scale_int": _scale_int,
        "sum_pool2d": _sum_pool2d,
        "reshape": _reshape,
        "transpose": _transpose,
        "pad": _pad,
        "concat": _concat,
        "gather": _gather,
    }
)
