"""Sign: shared bits [x < 0] of shared numbers x.

Theory of operation. x = u + v with u known to the pair and v to the dealer (`party`), and the sign of x is the top
bit of that sum: u_top ^ v_top ^ (the carry into the top). Only a *window* of bits takes part: above, the bound that
the plan proved (|x| < 2^top); below, bits that may be ignored, because they move the sign only of values smaller than
one unit of the truncated result. Bits are held in planes (`kernels.bits`), so that every width costs just its bits.

The carry is that of a parallel prefix adder, with two savings over the usual one:
- The first levels are not levels. Window bits are taken in groups. A group's generate and propagate bits are sums of
  products (bits of u)·(bits of v), and the pair knows its factor in plain, so it suffices that the dealer shares the
  products of all subsets of its own bits (seven for a group of three): the pair multiplies locally and exchanges the
  results, masked. `plan.cost.window` chooses the size of the groups: larger ones save rounds and cost bytes.
- Those products depend on v alone, which the dealer knows before u is opened (`reshare`): they travel one round
  early.

    round 1          P2 -> P1        2^size - 1 bits a group and the top bit, masked by F(k_0)
    round 2          P0 <-> P1       2 bits a group
    then per level   P_i -> P_{i-1}  2 bits a pair of groups: G = G_hi ^ (G_lo & P_hi), P = P_lo & P_hi

Rounds: 2 + ceil(log2(groups)). (Replicated AND: Araki et al. 2016, section 2.2; carry tree on a sum of shares:
ABY3, section 5.3.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_private.mpc.kernels import bits
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, Step, Words, as_words
from keras_private.plan.cost import Window, plane_words
from keras_private.sharing.share import Share


class SharedBits(NamedTuple):
    """Replicated XOR shares of one bit a value: b = b_0 ^ b_1 ^ b_2, P_i holds the planes (b_i, b_{i+1})."""

    mine: Words
    next: Words

    def __repr__(self) -> str:
        return f"SharedBits({self.mine.size} words)"


def sign(party: Party, x: Share, window: Window) -> Protocol[SharedBits]:
    """Shared [x < 0] for every value of x. The pair's part of `x` may be filled during the first round.

    Args:
        x: a share of any shape; |x| < 2^window.top.
        window: the bits that take part; the sign may be wrong for 0 <= x < 2^window.low only.
    """
    words, groups = plane_words(x.mine.size), window.groups
    dealt_shape, state_shape = (window.dealt, words), (2 * groups - 1, words)
    planes = np.empty((window.size * groups + 1, words), np.uint64)
    if party.is_dealer:
        bits.to_planes((x.mine + x.next).reshape(-1), window.low, planes)
        masks = party.masks.next.words(dealt_shape[0] * words).reshape(dealt_shape)
        dealt = np.empty(dealt_shape, np.uint64)
        bits.deal(planes, masks, window.size, dealt)
        yield party.dealer_step((), [dealt])
        mine = party.masks.mine.words(state_shape[0] * words).reshape(state_shape)
        next_ = party.masks.next.words(state_shape[0] * words).reshape(state_shape)
        yield party.dealer_step()
        carry = yield from _carry(party, mine, next_)
        return SharedBits(carry.mine ^ dealt[-1], carry.next ^ masks[-1])

    if party.role == 0:
        dealt = party.outer_masks.words(dealt_shape[0] * words).reshape(dealt_shape)
        yield party.pair_step()
    else:
        _, got = party.pair_received((yield party.pair_step((), 0, 8 * dealt_shape[0] * words)))
        dealt = as_words(got).reshape(dealt_shape)
    bits.to_planes(party.inner(x), window.low, planes)
    outer = party.outer_masks.words(state_shape[0] * words).reshape(state_shape)
    sent = np.empty(state_shape, np.uint64)
    bits.combine(planes, dealt, outer, window.size, int(party.role == 0), sent)
    peer, _ = party.pair_received((yield party.pair_step([sent], sent.nbytes)))
    inner = sent ^ as_words(peer).reshape(state_shape)
    if party.role == 0:
        carry = yield from _carry(party, outer, inner)
        return SharedBits(carry.mine ^ dealt[-1], carry.next ^ planes[-1])
    carry = yield from _carry(party, inner, outer)
    return SharedBits(carry.mine ^ planes[-1], carry.next ^ dealt[-1])


def _carry(party: Party, mine: Words, next_: Words) -> Protocol[SharedBits]:
    """The carry out of all groups, from their generate and propagate bits. One round a level."""
    while len(mine) > 1:
        groups = (len(mine) + 1) // 2
        rows, words = 2 * (groups // 2) - 1, mine.shape[1]
        sent = np.empty((rows, words), np.uint64)
        masks_mine = party.masks.mine.words(rows * words).reshape(rows, words)
        masks_next = party.masks.next.words(rows * words).reshape(rows, words)
        bits.carry_level(mine, next_, masks_mine, masks_next, sent)
        received = yield Step((), [sent], sent.nbytes, 0)
        got = as_words(received.next).reshape(rows, words)
        if groups % 2:  # the group left over at the top passes to the next level as it is
            mine, next_ = np.concatenate([sent, mine[-2:]]), np.concatenate([got, next_[-2:]])
        else:
            mine, next_ = sent, got
    return SharedBits(mine[0], next_[0])
