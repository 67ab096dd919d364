"""Reshare: from one summand a party to a fresh replicated sharing, in one round.

x_0 and x_2 of the result are fresh masks (from k_0 and k_2), so P2 knows all of its sharing *before* the round; only
x_1 has to be opened, to the pair: everybody's masked summand goes to P0 and P1.

This differs from the usual one (P_i sends z_i to P_{i-1}; Araki et al. 2016, section 2.2) by 8 bytes a value
more and by one round less in whatever follows: the dealer's messages of a truncation or of a comparison depend on x_2
+ x_0 alone, so that they travel in the very round that opens x_1.
"""

from __future__ import annotations

import numpy as np

from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, Words, as_words
from keras_private.sharing.share import Share


def empty_share(shape: tuple[int, ...]) -> Share:
    """A share for a protocol to fill while others that read it later run beside it."""
    return Share(np.empty(shape, np.uint64), np.empty(shape, np.uint64))


def reshare(party: Party, z: Words, out: Share) -> Protocol[Share]:
    """Turn additive z_0 + z_1 + z_2 into a replicated sharing, written into `out`. One round.

    P2's `out` is complete before the round, the others' after it.

    Args:
        z: this party's summand, uint64, any shape.
        out: a share of the same shape, its contents undefined.
    """
    flat, nbytes = z.reshape(-1), 8 * z.size
    if party.is_dealer:
        x_2, x_0 = out.mine.reshape(-1), out.next.reshape(-1)
        x_0[:] = party.masks.next.words(z.size)
        x_2[:] = party.masks.mine.words(z.size)
        sent = flat + party.masks.next.words(z.size)
        sent += party.masks.mine.words(z.size)
        sent -= x_0
        sent -= x_2
        yield party.dealer_step([sent], [sent])
        return out
    inner = party.inner(out)
    party.outer(out)[:] = party.outer_masks.words(z.size)
    sent = flat - party.outer_masks.words(z.size)
    peer, dealer = party.pair_received((yield party.pair_step([sent], nbytes, nbytes)))
    np.add(sent, as_words(peer), out=inner)
    inner += as_words(dealer)
    return out
