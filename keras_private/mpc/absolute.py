"""|x| = x + s·(-2x) with s = [x < 0]: a comparison and a selection, exact."""

from __future__ import annotations

import numpy as np

from keras_private.mpc.bits import empty_bits
from keras_private.mpc.later import later
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, together
from keras_private.mpc.select import select
from keras_private.mpc.sign import sign
from keras_private.plan.cost import window
from keras_private.sharing.share import Share


def absolute(party: Party, x: Share, bound: int | None) -> Protocol[Share]:
    """Share of |x|. 2 + window.levels rounds.

    Args:
        x: a share of any shape, |x| < 2^bound; the pair's part may be filled during the first round.
        bound: bits, proven; None: the contract's.
    """
    seen, negative, turned = window(bound, 0, x.mine.size), empty_bits(x.mine.size), empty_share(x.shape)

    def turn() -> None:
        np.multiply(x.mine, np.uint64(2**64 - 2), out=turned.mine)
        np.multiply(x.next, np.uint64(2**64 - 2), out=turned.next)

    *_, gain = yield from together(
        later(party, 1, turn),
        sign(party, x, seen, out=negative),
        select(party, turned, negative, wait=seen.levels),
    )
    return Share(x.mine + gain.mine, x.next + gain.next)
