"""Select: multiply shared numbers by shared bits and add up, in one exchange of the pair.

Theory of operation. x = u + v, and the bit likewise: b = b' ^ r with b' = b_1 known to the pair and r = b_2 ^ b_0 to
the dealer (`party`). In numbers b = b' + r - 2 b' r, so

    b·x  =  b'·(u + v) + (1 - 2 b')·(r·u + r·v).

The pair has v as x_0 + x_2, one summand each, and the dealer gives it r and r·v as sums of two numbers: P0's are masks
of k_0, P1's are sent. Then each of the pair has a summand of b·x without another message, and of any sum of such
products. They exchange them under fresh masks, which become y_0 and y_2.

    round 1   P2 -> P1   r - F(k_0) and r·v - F(k_0)      16 bytes a product
    later     P0 <-> P1  the summands, masked               8 bytes each way a sum

The dealer knows v and r of a fresh secret and of a fresh bit before the pair knows u and b', so round 1 is the one in
which the product of a whole layer is opened, and what a selection adds to a layer is one round and 32 bytes a value.
(That what depends on masks alone can be sent ahead, by a party that then has nothing more to do, is the idea of ASTRA,
Chaudhari et al., CCSW 2019. ABY3's oblivious transfers, section 5.4.1, take 96 bytes in one round or 48 in two.)
"""

from __future__ import annotations

import numpy as np

from keras_private.mpc.bits import SharedBits
from keras_private.mpc.kernels import bits, elementwise
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, Words, as_words
from keras_private.sharing.share import Share


def select(
    party: Party, x: Share, b: SharedBits, *, negated: bool = False, wait: int = 0, out: Share | None = None
) -> Protocol[Share]:
    """Share of b·x for every value. 2 + `wait` rounds, of which only the first and the last carry messages.

    Args:
        x: a share of any shape.
        b: shared bits, one for every value of x. The pair's part of both may be filled until the last round.
        negated: multiply by 1 - b instead.
        wait: rounds between the dealer's message and the exchange, for x and b to become known to the pair.
        out: where to put the result; the dealer's part of it is there before the first round.
    """
    out = empty_share(x.shape) if out is None else out
    one = SharedBits(b.mine.reshape(1, -1), b.next.reshape(1, -1))
    flat, result = _reshaped(x, (1, 1, x.mine.size)), _reshaped(out, (1, x.mine.size))
    yield from choose(party, flat, one, negated=negated, wait=wait, out=result)
    return out


def choose(
    party: Party, x: Share, b: SharedBits, *, negated: bool = False, wait: int = 0, out: Share | None = None
) -> Protocol[Share]:
    """Share of the sum of b·x over the terms, in every channel. Rounds as `select`.

    Args:
        x: (channels, terms, count).
        b: shared bits of every term, planes (terms, words of `count` bits); they serve all channels.
        out: (channels, count).
        negated, wait: as in `select`.
    """
    channels, terms, count = x.shape
    out = empty_share((channels, count)) if out is None else out
    chosen, size = np.empty((terms, count), np.uint64), (1 + channels, terms, count)
    products, sums = (1 + channels) * terms * count, channels * count
    if party.is_dealer:
        _spread(b.mine ^ b.next, chosen)
        masks, dealt = party.masks.next.words(products).reshape(size), np.empty(size, np.uint64)
        elementwise.select_deal(x.mine, x.next, chosen, masks, dealt)
        out.next.reshape(-1)[:] = party.masks.next.words(sums)
        out.mine.reshape(-1)[:] = party.masks.mine.words(sums)
        yield party.dealer_step((), [dealt])
        for _ in range(wait + 1):
            yield party.dealer_step()
        return out

    first = party.role == 0
    if first:
        dealt = party.outer_masks.words(products).reshape(size)
        mask = party.outer_masks.words(sums)
        yield party.pair_step()
    else:
        mask = party.outer_masks.words(sums)
        _, got = party.pair_received((yield party.pair_step((), 0, 8 * products)))
        dealt = as_words(got).reshape(size)
    for _ in range(wait):
        yield party.pair_step()
    opened = b.next if first else b.mine
    _spread(~opened if negated else opened, chosen)
    party.outer(out)[:] = mask
    u, part = party.inner(x).reshape(x.shape), np.empty((channels, count), np.uint64)
    outer = party.outer(x).reshape(x.shape)
    elementwise.select_part(u, outer + u if first else outer, chosen, dealt, mask.reshape(part.shape), part)
    peer, _ = party.pair_received((yield party.pair_step([part], 8 * sums)))
    np.add(part.reshape(-1), as_words(peer), out=party.inner(out))
    return out


def _spread(planes: Words, chosen: np.ndarray) -> None:
    for plane, line in zip(planes, chosen, strict=True):
        bits.spread(plane, line)


def _reshaped(share: Share, shape: tuple[int, ...]) -> Share:
    """The same summands in another shape (no copy)."""
    return Share(share.mine.reshape(shape), share.next.reshape(shape))
