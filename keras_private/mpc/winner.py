"""The winner of four numbers by their six comparisons, in one exchange of the pair: few rounds for many bytes.

Theory of operation. With a bit b = b' ^ r, known in parts to the pair and to the dealer (`party`), the number that it
or its complement is, is l + (1 - 2l)·r, with l = b' or 1 - b'. What the winner is more than the first of the four is a
sum over the other three, x - a, each times products of three such numbers (`plan.gates.WINNING`); multiplied out, and
with x - a = u + v,

    sum over sets U of the three bits   K_U · (r_U·u + r_U·v),       r_U = the product of r over U

where K_U is made of the pair's bits alone. The dealer shares every r_U and r_U·v as numbers, P0's by masks of k_0. So
each of the pair has a summand of the result, which they exchange under fresh masks, as in `select`.

    round 1   P2 -> P1   r_U and r_U·v, masked      52 words, 33 more for each channel but the first
    later     P0 <-> P1  the summands, masked         8 bytes each way and channel
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_private.mpc.bits import SharedBits
from keras_private.mpc.kernels import bits
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, Words, as_words
from keras_private.plan.gates import WINNING, WINNING_BITS, WINNING_PARTS, Monomial
from keras_private.sharing.share import Share

_ONE = np.uint64(1)


def winner(party: Party, further: Share, b: SharedBits, *, wait: int = 0, out: Share) -> Protocol[Share]:
    """Share of what the winner is more than the first of the four. 2 + `wait` rounds, with messages in the first and
    the last one.

    Args:
        further: (channels, 3, count), what the other three are more than the first.
        b: the comparisons, planes (6, words of `count` bits) in the order of `plan.gates`. The pair's part of both may
            be filled until the last round.
        wait: rounds between the dealer's message and the exchange.
        out: (channels, count), where to put the result; the dealer's part of it is there before the first round.
    """
    channels, _, count = further.shape
    sums = channels * count
    words = len(WINNING_BITS) + channels * sum(map(len, WINNING_PARTS))
    if party.is_dealer:
        each = _numbers(b.mine ^ b.next, count)
        v, masks = further.mine + further.next, party.masks.next.words(words * count).reshape(words, count)
        dealt = np.empty((words, count), np.uint64)
        secret = {product: np.prod(each[list(product)], axis=0, dtype=np.uint64) for product in WINNING_BITS}
        for row, product in enumerate(WINNING_BITS):
            np.subtract(secret[product], masks[row], out=dealt[row])
        for row, (channel, candidate, product) in enumerate(_multiples(channels), len(WINNING_BITS)):
            np.subtract(secret[product] * v[channel, candidate], masks[row], out=dealt[row])
        out.next.reshape(-1)[:] = party.masks.next.words(sums)
        out.mine.reshape(-1)[:] = party.masks.mine.words(sums)
        yield party.dealer_step((), [dealt])
        for _ in range(wait + 1):
            yield party.dealer_step()
        return out

    first = party.role == 0
    if first:
        dealt = party.outer_masks.words(words * count).reshape(words, count)
        mask = party.outer_masks.words(sums)
        yield party.pair_step()
    else:
        mask = party.outer_masks.words(sums)
        _, got = party.pair_received((yield party.pair_step((), 0, 8 * words * count)))
        dealt = as_words(got).reshape(words, count)
    for _ in range(wait):
        yield party.pair_step()
    own, u = _numbers(b.next if first else b.mine, count), party.inner(further).reshape(further.shape)
    summand = party.outer(further).reshape(further.shape) + (u if first else np.uint64(0))
    shares = dict(zip(WINNING_BITS, dealt, strict=False))
    part = -mask.reshape(channels, count)
    for channel in range(channels):
        for candidate in range(3):
            part[channel] += _factor(own, candidate, ()) * summand[channel, candidate]
    for row, (channel, candidate, product) in enumerate(_multiples(channels), len(WINNING_BITS)):
        found = shares[product] * u[channel, candidate] + dealt[row]
        part[channel] += _factor(own, candidate, product) * found
    peer, _ = party.pair_received((yield party.pair_step([part], 8 * sums)))
    party.outer(out)[:] = mask
    np.add(part.reshape(-1), as_words(peer), out=party.inner(out))
    return out


def _multiples(channels: int) -> Iterator[tuple[int, int, Monomial]]:
    """For which channel and candidate the product of which bits is multiplied by its number, in the order dealt."""
    for channel in range(channels):
        for candidate, parts in enumerate(WINNING_PARTS):
            for part in parts:
                yield channel, candidate, part


def _factor(own: Words, candidate: int, part: Monomial) -> Words:
    """K_U: over the terms of a candidate in which these bits occur, the product of 1 - 2l over them and of l over the
    others."""
    total = np.zeros(own.shape[1], np.uint64)
    for term in WINNING[candidate]:
        if not set(part) <= {place for place, _ in term}:
            continue
        product = np.ones(own.shape[1], np.uint64)
        for place, positive in term:
            literal = own[place] if positive else _ONE - own[place]
            product = product * (_ONE - (literal + literal) if place in part else literal)
        total += product
    return total


def _numbers(planes: Words, count: int) -> Words:
    """The bits of planes as numbers, (rows, count)."""
    found = np.empty((len(planes), count), np.uint8)
    for plane, line in zip(planes, found, strict=True):
        bits.unpack(plane, line)
    return found.astype(np.uint64)
