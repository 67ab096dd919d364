"""Sums and maxima over windows of an image."""

# ruff: noqa: ARG001 - one signature for all of them
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_private.mpc.kernels import ring
from keras_private.mpc.ops.registry import Run, runs, runs_locally
from keras_private.mpc.party import Party
from keras_private.mpc.relu import maximum
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

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        candidates = [empty_share(shape) for _ in range(math.prod(op.attrs["pool"]))]
        if len(candidates) == 1 and relu_bound is None:
            _lay_out(op, xs[0], candidates)
            return candidates[0]
        *_, largest = yield from together(
            _laid_out(party, op, xs[0], candidates), maximum(party, candidates, bound, relu_bound)
        )
        return largest  # type: ignore[no-any-return]

    return run


def _laid_out(party: Party, op: Op, x: Share, candidates: list[Share]) -> Protocol[None]:
    """The candidates, at the dealer at once, at the pair when the first round is over."""
    if party.is_dealer:
        _lay_out(op, x, candidates)
        yield party.dealer_step()
        return
    yield party.pair_step()
    _lay_out(op, x, candidates)


def _lay_out(op: Op, x: Share, candidates: list[Share]) -> None:
    """The candidates of a max_pool2d: one share of the output's shape for each place of the window.

    A place in the padding repeats the window's nearest value inside the image, which cannot change the maximum.
    """
    (_, pw), (sh, sw), pads = op.attrs["pool"], op.attrs["strides"], op.attrs["pads"]
    (height, width), shape = x.shape[1:3], candidates[0].shape
    for number, candidate in enumerate(candidates):
        i, j = divmod(number, pw)
        rows = np.clip(np.arange(shape[1]) * sh + i - pads[0], 0, height - 1)[:, None]
        columns = np.clip(np.arange(shape[2]) * sw + j - pads[2], 0, width - 1)
        np.copyto(candidate.mine, x.mine[:, rows, columns])
        np.copyto(candidate.next, x.next[:, rows, columns])
