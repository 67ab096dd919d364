"""Exact truncation: floor(x / 2^d), by the number alone and by no threshold that anybody knows.

Theory of operation. With x = u + v (`party`), `truncation` gives floor(x / 2^d), and one more where the low d bits of u
and v add up without a carry: (u mod 2^d) + (v mod 2^d) < 2^d. That is how it rounds by u. Here the carry is computed,
as the top bit of a sum of two numbers, by the protocol of signs over the low bits alone, and made a number:

    floor(x / 2^d)  =  truncation(x)  -  1  +  carry

    round 1          P2 -> P1   what a truncation, a sign of d bits and a number deal
    then             P0 <-> P1  their exchanges; the number's is the last

All that P2 sends depends on its own summands and masks. Rounds: 2 + levels, for windows of d bits. Every part is a
protocol that stands by itself, with masks of its own, so a simulator of the whole is theirs, one after the other; what
is given out is a fresh sharing, and its value is a function of x.
"""

from __future__ import annotations

import numpy as np

from keras_private.mpc.bits import empty_bits
from keras_private.mpc.later import later
from keras_private.mpc.number import number
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, together
from keras_private.mpc.sign import sign
from keras_private.mpc.truncation import truncation
from keras_private.plan.cost import window
from keras_private.sharing.share import Share


def floor(party: Party, x: Share, d: int) -> Protocol[Share]:
    """Share of floor(x / 2^d), for signed |x| < 2^62. 2 + window.levels rounds.

    Args:
        x: a share of any shape; the pair's part may be filled during the first round.
        d: bits to drop, 1 to 60.
    """
    count = x.mine.size
    seen, carries = window(d, 0, count), empty_bits(count)
    up, mask = np.uint64(seen.top - d), np.uint64((1 << d) - 1)
    low = Share(np.zeros(count, np.uint64), np.zeros(count, np.uint64))

    def lay_out() -> None:
        """The low bits of u and of v, moved up so that their carry is the bit that a sign would be."""
        whole = (x.mine + x.next).reshape(-1) if party.is_dealer else party.inner(x)
        part = low.mine if party.is_dealer else party.inner(low)
        np.left_shift(whole & mask, up, out=part)

    nearly = empty_share(x.shape)
    *_, carry = yield from together(
        truncation(party, x, d, nearly),
        later(party, 1, lay_out),
        sign(party, low, seen, out=carries),
        number(party, carries, count, wait=seen.levels),
    )
    found = Share(nearly.mine + carry.mine.reshape(x.shape), nearly.next + carry.next.reshape(x.shape))
    if not party.is_dealer:
        inner = party.inner(found)
        inner -= np.uint64(1)
    return found
