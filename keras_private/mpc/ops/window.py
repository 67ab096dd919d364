"""Sums and maxima over windows of an image."""

# ruff: noqa: ARG001 - one signature for all of them
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_private.mpc.kernels import ring
from keras_private.mpc.later import later
from keras_private.mpc.maximum import maximum
from keras_private.mpc.ops.registry import Run, runs, runs_locally
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, Words, together
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
    places = math.prod(op.attrs["pool"])

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        candidates = empty_share((1, places, math.prod(shape)))

        def lay_out() -> None:
            for x, out in ((xs[0].mine, candidates.mine), (xs[0].next, candidates.next)):
                _lay_out(op, x, shape, out[0])

        if places == 1 and relu_bound is None:
            yield from ()
            lay_out()
            return Share(candidates.mine.reshape(shape), candidates.next.reshape(shape))
        _, found = yield from together(later(party, 1, lay_out), maximum(party, candidates, bound, relu_bound))
        return Share(found.mine.reshape(shape), found.next.reshape(shape))

    return run


def _lay_out(op: Op, x: Words, shape: Shape, candidates: Words) -> None:
    """The candidates of a max_pool2d, (places, values of the output): a copy of the output for each place of a window.

    A place in the padding repeats the window's nearest value inside the image, which cannot change the maximum.
    """
    (ph, pw), (sh, sw), pads = op.attrs["pool"], op.attrs["strides"], op.attrs["pads"]
    height, width = x.shape[1:3]
    for i in range(ph):
        rows = np.clip(np.arange(shape[1]) * sh + i - pads[0], 0, height - 1)[:, None]
        for j in range(pw):
            columns = np.clip(np.arange(shape[2]) * sw + j - pads[2], 0, width - 1)
            candidates[i * pw + j] = x[:, rows, columns].reshape(-1)
