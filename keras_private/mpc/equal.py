"""Equality: shared bits [x = c] of shared numbers x and public constants c, exact.

Theory of operation. x = u + v, with u known to the pair and v to the dealer (`party`), equals c exactly if u - c = -v,
bit by bit: no carry. Of |x - c| < 2^b the lowest b bits decide. [u_j = w_j], w = -v, is the exclusive or of a bit that
the pair knows and one that the dealer knows, and their product over all bits is one of `gates`, in groups: level after
level as `plan.gates.conjunction` finds it cheapest. The dealer's bits do not depend on c, so what it shares of them
serves any number of constants.

    round 1        P2 -> P1   the products of the dealer's bits, and of the masks of later levels
    then           P0 <-> P1  one bit a group and level
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_private.mpc.bits import SharedBits
from keras_private.mpc.gates import empty_planes, gates
from keras_private.mpc.kernels import bits
from keras_private.mpc.later import later
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, together
from keras_private.plan.cost import plane_words
from keras_private.plan.gates import conjunction
from keras_private.sharing.share import Share


def equal(
    party: Party,
    x: Share,
    width: int,
    constants: Sequence[int] = (0,),
    *,
    wait: int = 0,
    out: SharedBits | None = None,
) -> Protocol[SharedBits]:
    """Shared [x = c] for every value of x and every constant, planes (constants, words). Rounds: 2 + `wait`, and one
    more for each further exchange.

    Args:
        x: a share of any shape. The pair's part may be filled during the first 1 + `wait` rounds.
        width: |x - c| < 2^width; of larger ones it is told whether 2^width divides them.
        constants: raw numbers.
        wait: rounds between the dealer's message and the first exchange.
        out: planes (constants, words) to put the result in; the dealer's part is there before the first round.
    """
    count, words, variants = x.mine.size, plane_words(x.mine.size), len(constants)
    levels = conjunction(width, count, variants)
    out = empty_planes((variants, words)) if out is None else out
    mine = empty_planes((width, 1 if party.is_dealer else variants, words))

    def compare() -> None:
        if party.is_dealer:
            bits.to_planes(-(x.mine + x.next).reshape(-1), 0, mine.mine[:, 0])
            mine.next[:] = 0
            return
        u, planes = party.inner(x), np.empty((width, words), np.uint64)
        inner = mine.next if party.role == 0 else mine.mine
        for variant, constant in enumerate(constants):
            bits.to_planes(~(u - np.uint64(constant % (1 << 64))), 0, planes)
            inner[:, variant] = planes

    protocols, below = [later(party, 1 + wait, compare)], mine
    for number, level in enumerate(levels):
        last = number == len(levels) - 1
        result = out if last else empty_planes((len(level.outputs), variants * words))
        if number:
            shape, spread = (len(level.outputs), 1, variants * words), 1
        else:
            shape, spread = (len(level.outputs), variants, words), variants
        made = SharedBits(result.mine.reshape(shape), result.next.reshape(shape))
        protocols.append(gates(party, level, below, variants=spread, wait=wait + number, out=made))  # type: ignore[arg-type]
        flat = (len(level.outputs), 1, variants * words)
        below = SharedBits(result.mine.reshape(flat), result.next.reshape(flat))
    yield from together(*protocols)
    return out
