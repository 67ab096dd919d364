"""Absolute values, clips, and the largest and smallest of several numbers."""

# ruff: noqa: ARG001 - one signature for all of them
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_private.mpc.absolute import absolute
from keras_private.mpc.clip import clip
from keras_private.mpc.later import later
from keras_private.mpc.maximum import maximum
from keras_private.mpc.ops.registry import Run, runs
from keras_private.mpc.party import Party
from keras_private.mpc.ranks import top
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, together
from keras_private.plan.cost import further
from keras_private.plan.ops.dealt import largest_bound
from keras_private.plan.ops.order import Clip
from keras_private.plan.plan import Op, Plan, Shape
from keras_private.sharing.share import Share


@runs("abs")
def bind_abs(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    bound = plan.tensors[op.inputs[0]].bound

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        return absolute(party, xs[0], bound)

    return run


@runs("clip")
def bind_clip(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    bound, drop = plan.tensors[op.inputs[0]].bound, int(op.attrs["drop"])
    low, high = Clip.ends(op, plan.tensors[op.output].frac)

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        return clip(party, xs[0], low, high, bound, drop)

    return run


@runs("maximum", "minimum")
def bind_extreme(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    bound, down = further(largest_bound(op, plan)), op.kind == "minimum"

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        both = empty_share((1, 2, math.prod(shape)))

        def lay_out() -> None:
            for row, x in enumerate(xs):
                both.mine[0, row] = np.broadcast_to(x.mine, shape).reshape(-1)
                both.next[0, row] = np.broadcast_to(x.next, shape).reshape(-1)
            _turned(both, down=down)

        _, found = yield from together(later(party, 1, lay_out), maximum(party, both, bound))
        return _turned(Share(found.mine.reshape(shape), found.next.reshape(shape)), down=down)

    return run


@runs("reduce_max", "reduce_min", "argmax", "argmin")
def bind_along(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    bound, coarse, axis = further(largest_bound(op, plan)), int(op.attrs.get("coarse", 0)), op.attrs["axis"] + 1
    down, place = op.kind in {"reduce_min", "argmin"}, op.kind in {"argmax", "argmin"}

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        size, channels = xs[0].shape[axis], 1 + place
        candidates = Share(*(np.zeros((channels, size, math.prod(shape)), np.uint64) for _ in range(2)))

        def lay_out() -> None:
            for x, out in ((xs[0].mine, candidates.mine), (xs[0].next, candidates.next)):
                out[0] = np.moveaxis(x, axis, 0).reshape(size, -1)
            _turned(candidates, down=down)
            if place and not party.is_dealer:  # a public number is in the pair's part
                party.inner(candidates).reshape(candidates.shape)[1] = np.arange(size, dtype=np.uint64)[:, None]

        running = together(later(party, 1, lay_out), maximum(party, candidates, bound, coarse=coarse))
        _, found = yield from running
        result = Share(found.mine[-1].reshape(shape), found.next[-1].reshape(shape))
        return result if place else _turned(result, down=down)

    return run


@runs("top_k")
def bind_top_k(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    bound, k, places = further(largest_bound(op, plan)), op.attrs["k"], op.attrs["places"]

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        size = xs[0].shape[-1]
        numbers = empty_share((size, xs[0].mine.size // size))

        def lay_out() -> None:
            numbers.mine[:] = xs[0].mine.reshape(-1, size).T
            numbers.next[:] = xs[0].next.reshape(-1, size).T

        _, found = yield from together(later(party, 1, lay_out), top(party, numbers, k, bound, places=places))
        return Share(found.mine.T.reshape(shape), found.next.T.reshape(shape))

    return run


def _turned(share: Share, *, down: bool) -> Share:
    """The smallest is the largest of the negated numbers. In place."""
    if down:
        np.negative(share.mine, out=share.mine)
        np.negative(share.next, out=share.next)
    return share
