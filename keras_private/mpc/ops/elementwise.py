"""Ops on each value by itself, but for products with a secret (`linear.py`)."""

# ruff: noqa: ARG001 - one signature for all of them
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_private.mpc.floor import floor
from keras_private.mpc.ops.registry import Run, runs, runs_locally
from keras_private.mpc.party import Party
from keras_private.mpc.relu import relu
from keras_private.mpc.rounds import Protocol, Words
from keras_private.mpc.truncation import truncation
from keras_private.plan.plan import Op, Plan, Shape
from keras_private.sharing.share import Share


@runs_locally("add")
def add(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    return xs[0] + xs[1]


@runs_locally("sub")
def sub(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    return xs[0] - xs[1]


@runs_locally("scale_int")
def scale_int(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    multiplier = op.attrs["multiplier"]
    if isinstance(multiplier, int):
        return xs[0] * np.uint64(multiplier % (1 << 64))
    grid, values = multiplier
    return xs[0] * np.array(values, np.int64).view(np.uint64).reshape(grid)


@runs("truncate")
def bind_truncate(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    drop = int(op.attrs["drop"])

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        return truncation(party, xs[0], drop)

    return run


@runs("floor")
def bind_floor(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    bound, drop, rectified = plan.tensors[op.inputs[0]].bound, int(op.attrs["drop"]), bool(op.attrs["relu"])

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        return floor(party, xs[0], drop, bound, relu=rectified)

    return run


@runs("relu")
def bind_relu(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    bound, drop = plan.tensors[op.inputs[0]].bound, int(op.attrs["drop"])

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        return relu(party, xs[0], bound, drop)

    return run
