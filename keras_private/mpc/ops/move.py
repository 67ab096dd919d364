"""Ops that move values and change none."""

# ruff: noqa: ARG001 - one signature for all of them
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_private.mpc.ops.registry import runs_locally
from keras_private.mpc.rounds import Words
from keras_private.plan.plan import Op, Shape


@runs_locally("reshape")
def reshape(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    return xs[0].reshape(shape)


@runs_locally("transpose")
def transpose(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    return xs[0].transpose(0, *(axis + 1 for axis in op.attrs["perm"]))


@runs_locally("pad")
def pad(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    return np.pad(xs[0], [(0, 0), *op.attrs["paddings"]])


@runs_locally("slice")
def slice_(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    places = map(slice, op.attrs["starts"], op.attrs["stops"], op.attrs["strides"])
    return xs[0][(slice(None), *places)].copy()  # a view would keep all of x


@runs_locally("stack")
def stack(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    return np.stack(xs, axis=op.attrs["axis"] + 1)


@runs_locally("concat")
def concat(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    return np.concatenate(xs, axis=op.attrs["axis"] + 1)


@runs_locally("gather")
def gather(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    taken: Words = np.take(xs[0], op.attrs["indices"], axis=op.attrs["axis"] + 1)
    return taken
