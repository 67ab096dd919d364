"""Sums and maxima over windows of an image."""

# ruff: noqa: ARG001 - one signature for all of them
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_private.mpc.kernels import ring
from keras_private.mpc.ops.registry import Run, runs, runs_locally
from keras_private.mpc.party import Party
from keras_private.mpc.relu import maximum
from keras_private.mpc.rounds import Protocol, Words
from keras_private.plan.cost import difference_bound, maximum_bound
from keras_private.plan.plan import Op, Plan, Shape
from keras_private.sharing.share import Share


@runs_locally("sum_pool2d")
def sum_pool2d(op: Op, xs: Sequence[Words], shape: Shape) -> Words:
    out = np.empty(shape, np.uint64)
    pads = op.attrs["pads"]
    ring.sum_pool2d(xs[0], out, tuple(op.attrs["pool"]), tuple(op.attrs["strides"]), (pads[0], pads[2]))
    return out


@runs("max_pool2d")
def bind_max_pool2d(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    bound, relu_bound = difference_bound(op, plan), maximum_bound(op, plan)

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        return maximum(party, _places(op, xs[0], shape), bound, relu_bound)

    return run


def _places(op: Op, x: Share, shape: Shape) -> list[Share]:
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
