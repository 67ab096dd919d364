"""What is done with bits. Their shares become planes for the protocols, at the pair after the first round."""

# ruff: noqa: ARG001 - one signature for all of them
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_private.mpc.bits import SharedBits, empty_bits, unpack
from keras_private.mpc.gates import empty_planes, gates
from keras_private.mpc.kernels import bits
from keras_private.mpc.later import later
from keras_private.mpc.number import number
from keras_private.mpc.ops.registry import Run, runs, runs_locally
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Array, Protocol, together
from keras_private.mpc.select import select
from keras_private.plan.cost import plane_words
from keras_private.plan.gates import AND
from keras_private.plan.plan import Op, Plan, Shape
from keras_private.sharing.share import Share


@runs_locally("not")
def not_(op: Op, xs: Sequence[Array], shape: Shape) -> Array:
    return xs[0] ^ np.uint8(1)  # of all three summands, which is that of their exclusive or


@runs_locally("xor")
def xor(op: Op, xs: Sequence[Array], shape: Shape) -> Array:
    return xs[0] ^ xs[1]


@runs("and")
def bind_and(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        words = plane_words(math.prod(shape))
        both = empty_planes((2, 1, words))

        def lay_out() -> None:
            for row, x in enumerate(xs):
                _pack(x, shape, SharedBits(both.mine[row, 0], both.next[row, 0]))

        _, found = yield from together(later(party, 1, lay_out), gates(party, AND, both))
        return unpack(SharedBits(found.mine.reshape(-1), found.next.reshape(-1)), shape)

    return run


@runs("select")
def bind_select(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        chosen, difference, other = empty_bits(math.prod(shape)), empty_share(shape), xs[2]

        def lay_out() -> None:
            _pack(xs[0], shape, chosen)
            np.subtract(xs[1].mine, other.mine, out=difference.mine)
            np.subtract(xs[1].next, other.next, out=difference.next)

        _, gain = yield from together(later(party, 1, lay_out), select(party, difference, chosen))
        return Share(other.mine + gain.mine, other.next + gain.next)

    return run


@runs("to_number")
def bind_to_number(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        each = empty_bits(math.prod(shape))
        _, found = yield from together(
            later(party, 1, lambda: _pack(xs[0], shape, each)), number(party, each, math.prod(shape))
        )
        return Share(found.mine.reshape(shape), found.next.reshape(shape))

    return run


def _pack(x: Share, shape: Shape, planes: SharedBits) -> None:
    """A share of bits, broadcast to `shape`, as planes."""
    for summand, plane in ((x.mine, planes.mine), (x.next, planes.next)):
        bits.pack(np.ascontiguousarray(np.broadcast_to(summand, shape)).reshape(-1), plane)
