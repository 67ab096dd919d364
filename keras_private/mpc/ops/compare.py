"""Comparisons. The pair reads its part of an input after the first round, in which it may become known."""

# ruff: noqa: ARG001 - one signature for all of them
from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from keras_private.mpc.bits import SharedBits, unpack
from keras_private.mpc.equal import equal
from keras_private.mpc.later import later
from keras_private.mpc.ops.registry import Run, runs
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, together
from keras_private.mpc.sign import sign
from keras_private.plan.cost import further, window
from keras_private.plan.ops.compare import EqualTo
from keras_private.plan.ops.dealt import largest_bound
from keras_private.plan.plan import CONTRACT_BITS, Op, Plan, Shape
from keras_private.sharing.share import Share

# party, an input's shares, where to put the number whose sign, or whose being 0, is asked for
Fill = Callable[[Party, Sequence[Share], Share], None]


@runs("less", "below", "above")
def bind_order(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    bound = largest_bound(op, plan)
    fill: Fill = _subtract
    if op.kind != "less":
        fill = _beyond(op.kind == "above", _raw(op, plan.tensors[op.inputs[0]].frac, bound))

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        x = empty_share(shape)
        seen = window(further(bound), 0, x.mine.size)
        _, found = yield from together(later(party, 1, lambda: fill(party, xs, x)), sign(party, x, seen))
        return unpack(found, shape)

    return run


@runs("equal", "equal_to")
def bind_equal(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    bound = largest_bound(op, plan)
    fill: Fill = _subtract
    width = further(bound)
    if op.kind == "equal_to":
        raw = EqualTo.raw(op, plan.tensors[op.inputs[0]].frac)
        width, fill = EqualTo.differing(op, plan), _beyond(False, raw)

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        x = empty_share(shape)
        _, found = yield from together(later(party, 1, lambda: fill(party, xs, x)), equal(party, x, width))
        return unpack(SharedBits(found.mine[0], found.next[0]), shape)

    return run


def _raw(op: Op, frac: int, bound: int) -> int:
    """The public threshold as a raw number: x < t is x < ceil(t), x > t is x > floor(t). No x is beyond 2^bound."""
    scaled = math.ldexp(op.attrs["threshold"], frac)
    limit = 1 << min(bound, CONTRACT_BITS)
    if abs(scaled) >= limit:
        return limit if scaled > 0 else -limit
    return math.ceil(scaled) if op.kind == "below" else math.floor(scaled)


def _subtract(party: Party, xs: Sequence[Share], out: Share) -> None:
    np.subtract(xs[0].mine, xs[1].mine, out=out.mine)
    np.subtract(xs[0].next, xs[1].next, out=out.next)


def _beyond(above: bool, raw: int) -> Fill:
    """x - raw, or raw - x if it shall be negative above."""

    def fill(party: Party, xs: Sequence[Share], out: Share) -> None:
        for x, difference in ((xs[0].mine, out.mine), (xs[0].next, out.next)):
            np.copyto(difference, -x if above else x)
        if not party.is_dealer:
            inner = party.inner(out)
            inner += np.uint64((raw if above else -raw) % (1 << 64))

    return fill
