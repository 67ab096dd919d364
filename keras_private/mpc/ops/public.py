"""Sums over axes, and products with public matrices."""

# ruff: noqa: ARG001 - one signature for all of them
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_private.mpc.kernels import ring
from keras_private.mpc.ops.registry import runs_locally
from keras_private.mpc.rounds import Words
from keras_private.plan.ops.public import signs
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


@runs_locally("project")
def project(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    """Of the values, with the signs as words."""
    count, rows = xs[0].shape[-1], op.attrs["signs"]
    numbers = np.ascontiguousarray(xs[0]).reshape(-1, count)
    found: Words = np.zeros((len(numbers), rows), np.uint64)
    ring.add_rows(numbers, signs(count, rows).view(np.uint64), found)
    return found.reshape(shape)
