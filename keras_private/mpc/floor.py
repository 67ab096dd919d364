"""Exact truncation: floor(x / 2^d), by the number alone and by no threshold that anybody knows.

Theory of operation. With x = u + v (`party`), `truncation` gives floor(x / 2^d), and one more where the low d bits of u
and v add up without a carry: (u mod 2^d) + (v mod 2^d) < 2^d. That is how it rounds by u. Here the carry is computed,
as the top bit of a sum of two numbers, by the protocol of signs over the low bits alone, and made a number:

    floor(x / 2^d)  =  truncation(x)  -  1  +  carry

    round 1          P2 -> P1   what a truncation, a sign of d bits and a number deal
    then             P0 <-> P1  their exchanges; the number's is the last

A ReLU compares x in the same rounds, and selects the floor in one exchange more. Where it ignores low bits, it may
take 0 <= x < 2^d for negative: the floor is 0 all the same.

All that P2 sends depends on its own summands and masks. Rounds: 2 + levels, for windows of d bits. Every part is a
protocol that stands by itself, with masks of its own, so a simulator of the whole is theirs, one after the other; what
is given out is a fresh sharing, and its value is a function of x.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_private.mpc.bits import empty_bits
from keras_private.mpc.later import later
from keras_private.mpc.number import number
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, together
from keras_private.mpc.select import select
from keras_private.mpc.sign import sign
from keras_private.mpc.truncation import truncation
from keras_private.plan.cost import window
from keras_private.sharing.share import Share


def floor(party: Party, x: Share, d: int, bound: int | None = None, *, relu: bool = False) -> Protocol[Share]:
    """Share of floor(x / 2^d), for signed |x| < 2^62, or, `relu`, of the larger of it and 0. Rounds as `cost.floor`.

    Args:
        x: a share of any shape, |x| < 2^bound; the pair's part may be filled during the first round.
        d: bits to drop, 1 to 60.
        bound: bits, proven, for the ReLU; None: the contract's.
    """
    count = x.mine.size
    seen, carries = window(d, 0, count), empty_bits(count)
    up, mask = np.uint64(seen.top - d), np.uint64((1 << d) - 1)
    low = Share(np.zeros(count, np.uint64), np.zeros(count, np.uint64))
    nearly, carry, found = empty_share(x.shape), empty_share((count,)), empty_share(x.shape)

    def lay_out() -> None:
        """The low bits of u and of v, moved up so that their carry is the bit that a sign would be."""
        whole = (x.mine + x.next).reshape(-1) if party.is_dealer else party.inner(x)
        part = low.mine if party.is_dealer else party.inner(low)
        np.left_shift(whole & mask, up, out=part)

    def add_up() -> None:
        np.add(nearly.mine, carry.mine.reshape(x.shape), out=found.mine)
        np.add(nearly.next, carry.next.reshape(x.shape), out=found.next)
        if not party.is_dealer:
            inner = party.inner(found)
            inner -= np.uint64(1)

    running: list[Protocol[Any]] = [
        truncation(party, x, d, nearly),
        later(party, 1, lay_out),
        sign(party, low, seen, out=carries),
        number(party, carries, count, wait=seen.levels, out=carry),
        later(party, 2 + seen.levels, add_up),
    ]
    if not relu:
        yield from together(*running)
        return found
    compared, negative = window(bound, d, count), empty_bits(count)
    wait = max(1 + seen.levels, compared.levels)
    running.append(sign(party, x, compared, out=negative))
    *_, result = yield from together(*running, select(party, found, negative, negated=True, wait=wait))
    return result  # type: ignore[no-any-return]
