"""Clip: numbers brought between two public ones, in the rounds of one ReLU.

Theory of operation. Both ends are compared in the same rounds: with s = [x < low] and t = [high < x],

    clip(x)  =  y + s·(low - y) + t·(high - y),        y = x, or x truncated in the same rounds

and one exchange selects and adds up. Bits that are going to be dropped are not looked at: x may then count as outside
when it is less than a unit of the result inside.
"""

from __future__ import annotations

import numpy as np

from keras_private.mpc.bits import SharedBits, empty_bits
from keras_private.mpc.later import later
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, together
from keras_private.mpc.select import choose
from keras_private.mpc.sign import sign
from keras_private.mpc.truncation import truncation
from keras_private.plan.cost import further, plane_words, window
from keras_private.plan.plan import CONTRACT_BITS
from keras_private.sharing.share import Share


def clip(party: Party, x: Share, low: int, high: int, bound: int | None, drop: int = 0) -> Protocol[Share]:
    """Share of min(max(x, low·2^drop), high·2^drop) / 2^drop. 2 + window.levels rounds.

    Args:
        x: a share of any shape, |x| < 2^bound; the pair's part may be filled during the first round.
        low, high: in units of the result, low <= high.
        bound: bits, proven; None: the contract's.
        drop: bits to truncate by, 0 for none.
    """
    count, words = x.mine.size, plane_words(x.mine.size)
    rows = (2, 64 * words)  # each comparison begins at a new word of the planes
    beyond = Share(np.zeros(rows, np.uint64), np.zeros(rows, np.uint64))
    outside, to_ends = empty_bits(beyond.mine.size), empty_share((1, 2, count))
    seen = window(further(bound), drop, beyond.mine.size)
    # No x is beyond 2^bound: an end may stand no further off than it takes for none of them to look as if it were.
    limit = (1 << (CONTRACT_BITS if bound is None else bound)) + (1 << seen.low) - 1
    ends = [max(-limit, min(limit, end << drop)) for end in (low, high)]
    y = empty_share(x.shape) if drop else x

    def compare() -> None:
        for whole, difference in ((x.mine, beyond.mine), (x.next, beyond.next)):
            difference[0, :count] = whole.reshape(-1)
            np.negative(whole.reshape(-1), out=difference[1, :count])
        if not party.is_dealer:
            inner = party.inner(beyond).reshape(rows)
            inner[0, :count] -= _word(ends[0])
            inner[1, :count] += _word(ends[1])

    def aim() -> None:
        for whole, differences in ((y.mine, to_ends.mine), (y.next, to_ends.next)):
            np.negative(whole.reshape(-1), out=differences[0, 0])
            differences[0, 1] = differences[0, 0]
        if not party.is_dealer:
            inner = party.inner(to_ends).reshape(to_ends.shape)
            inner[0, 0] += _word(low)
            inner[0, 1] += _word(high)

    bits = SharedBits(outside.mine.reshape(2, words), outside.next.reshape(2, words))
    running: list[Protocol[object]] = [later(party, 1, compare)]
    if drop:
        running.append(truncation(party, x, drop, y))
    running += [sign(party, beyond, seen, out=outside), later(party, 1 + seen.levels, aim)]
    chosen = choose(party, to_ends, bits, wait=seen.levels)
    *_, gain = yield from together(*running, chosen)
    return Share(y.mine + gain.mine.reshape(x.shape), y.next + gain.next.reshape(x.shape))


def _word(number: int) -> np.uint64:
    return np.uint64(number % (1 << 64))
