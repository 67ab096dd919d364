"""Sums over axes, and products with a public matrix."""

# ruff: noqa: ARG001 - one signature for all of them
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_private.mpc.ops.registry import runs_locally
from keras_private.mpc.rounds import Words
from keras_private.plan.plan import Op, Shape


@runs_locally("sum")
def sum_(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    axes = tuple(axis + 1 for axis in op.attrs["axes"])
    found: Words = np.sum(xs[0], axis=axes, keepdims=op.attrs["keepdims"])
    return found


@runs_locally("public_matmul")
def public_matmul(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    grid, values = op.attrs["matrix"]
    found: Words = np.matmul(xs[0], np.array(values, np.int64).view(np.uint64).reshape(grid))
    return found
