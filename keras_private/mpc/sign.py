"""Sign: shared bits [x < 0] of shared numbers x.

Theory of operation. x = u + v with u known to the pair and v to the dealer (`party`), and the sign of x is the top
bit of that sum: u_top ^ v_top ^ (the carry into the top). Only a *window* of bits takes part: above, the bound that
the plan proved (|x| < 2^top); below, bits that may be ignored, because they move the sign only of values smaller than
one unit of the truncated result. Bits are held in planes (`kernels.bits`), so that every width costs just its bits.

The carry is that of a parallel prefix adder, a tree of generate and propagate bits, and every level of it is computed
in the same way, by the pair alone:
- Each bit that goes in is the exclusive or of one that the pair knows and one that the dealer knows: at the first
  level the bits of u and v, later an opened bit and its mask. What comes out is a polynomial in them. The dealer
  shares the products of its own bits that occur in it, the pair multiplies by its bits, which it has in plain, and
  exchanges the results under fresh masks. So one exchange may take many groups of bits together.
- All the masks, and so all that the dealer sends, are known before u is: they travel in the round that opens u.

    round 1          P2 -> P1   2^size - 1 bits a group, the products of every level, and the top bit
    then per level   P0 <-> P1  2 bits a node

`plan.cost.window` chooses how many bits form a group and how many groups a node: more of them save rounds and cost
bytes. Rounds: 1 + levels. (Carry tree on a sum of shares: ABY3, section 5.3. A party that deals ahead what depends on
masks alone: ASTRA, Chaudhari et al., CCSW 2019. Gates of many inputs from products of all subsets of their masks: Ohata
and Nuida, FC 2020; Patra et al., ABY2.0, USENIX Security 2021.)
"""

from __future__ import annotations

import numpy as np

from keras_private.mpc.bits import SharedBits, empty_bits
from keras_private.mpc.kernels import bits
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, Words, as_words
from keras_private.plan.cost import Window, plane_words
from keras_private.sharing.random import Stream
from keras_private.sharing.share import Share


def sign(
    party: Party, x: Share, window: Window, *, wait: int = 0, out: SharedBits | None = None
) -> Protocol[SharedBits]:
    """Shared [x < 0] for every value of x. 1 + `wait` + window.levels rounds.

    Args:
        x: a share of any shape; |x| < 2^window.top. The pair's part may be filled during the first 1 + `wait` rounds.
        window: the bits that take part; the sign may be wrong for 0 <= x < 2^window.low only.
        wait: rounds between the dealer's message and the first exchange.
        out: where to put the result; the dealer's part of it is there before the first round.
    """
    words = plane_words(x.mine.size)
    out = empty_bits(x.mine.size) if out is None else out
    planes = np.empty((window.size * window.groups + 1, words), np.uint64)
    if party.is_dealer:
        bits.to_planes((x.mine + x.next).reshape(-1), window.low, planes)
        dealt, tops = [], np.empty(0, np.uint64)
        state = planes
        for level, (rows, results) in enumerate(window.exchanges):
            masks, sent = _planes(party.masks.next, rows, words), np.empty((rows, words), np.uint64)
            if level:
                bits.deal_level(state, masks, window.radix, sent)
            else:
                bits.deal(planes, masks, window.size, sent)
                tops = masks[-1]
            dealt.append(sent)
            outer_0 = _planes(party.masks.next, results, words)
            outer_2 = _planes(party.masks.mine, results, words)
            state = _with_rest(outer_0 ^ outer_2, state, window, level)
        np.bitwise_xor(outer_2[0], dealt[0][-1], out=out.mine)
        np.bitwise_xor(outer_0[0], tops, out=out.next)
        yield party.dealer_step((), dealt)
        for _ in range(wait + window.levels):
            yield party.dealer_step()
        return out

    first = party.role == 0
    shared, outer = [], []
    for rows, results in window.exchanges:
        if first:
            shared.append(_planes(party.outer_masks, rows, words))
        outer.append(_planes(party.outer_masks, results, words))
    if first:
        yield party.pair_step()
    else:
        _, got = party.pair_received((yield party.pair_step((), 0, 8 * window.dealt * words)))
        ends = np.cumsum([rows for rows, _ in window.exchanges])[:-1]
        shared = np.split(as_words(got).reshape(window.dealt, words), ends)
    for _ in range(wait):
        yield party.pair_step()
    bits.to_planes(party.inner(x), window.low, planes)
    state = planes
    for level, (_, results) in enumerate(window.exchanges):
        sent = np.empty((results, words), np.uint64)
        if level:
            bits.combine_level(state, shared[level], outer[level], window.radix, int(first), sent)
        else:
            bits.combine(planes, shared[0], outer[0], window.size, int(first), sent)
        peer, _ = party.pair_received((yield party.pair_step([sent], sent.nbytes)))
        state = _with_rest(sent ^ as_words(peer).reshape(results, words), state, window, level)
    np.bitwise_xor(state[0], planes[-1], out=out.next if first else out.mine)
    np.bitwise_xor(outer[-1][0], shared[0][-1], out=out.mine if first else out.next)
    return out


def _planes(stream: Stream, rows: int, words: int) -> Words:
    return stream.words(rows * words).reshape(rows, words)


def _with_rest(results: Words, below: Words, window: Window, level: int) -> Words:
    """The state after a level: the results, and a group left over at the top, which passes on as it is."""
    if level and window.groups_at(level - 1) % window.radix == 1:
        return np.concatenate([results, below[-2:]])
    return results
