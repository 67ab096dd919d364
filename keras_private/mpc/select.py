"""Select: multiply a shared number by a shared bit, in two rounds and 16 bytes a party.

Theory of operation. b = b_0 ^ b_1 ^ b_2 is shared by XOR, x = x_0 + (x_1 + x_2) by addition. Two three-party
oblivious transfers run at once (ABY3, section 5.4.1), one for each half of x: the sender knows the half and two of
the bits, the receiver and the helper both know the third.

    sender P0 with x_0 and b_0 ^ b_1          receiver P1 and helper P2 with b_2
    sender P1 with x_1 + x_2 and b_1 ^ b_2    receiver P0 and helper P2 with b_0

With c the sender's bit and w_0, w_1 fresh masks known to sender and helper, the receiver is to get c·x - r or
(1 - c)·x - r, by its own bit. Choosing r = c·x + w_0 makes the first of the two masked messages vanish (the idea of
correlated oblivious transfer: Asharov et al., CCS 2013, section 5.1): only (1 - 2c)·x + w_1 - w_0 is sent, and the
helper sends w_0 or w_1. So b·x is split between P0 and P1, who make it replicated by exchanging their parts under
fresh masks, which become y_0 and y_2: 48 bytes a value over all parties in two rounds. ABY3's own one-round form takes
96.

The receiver never learns the mask it has no use for, so what it sees is uniform.
"""

from __future__ import annotations

import numpy as np

from keras_private.mpc.kernels import elementwise
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, as_words
from keras_private.mpc.sign import SharedBits
from keras_private.sharing.share import Share


def select(party: Party, x: Share, b: SharedBits) -> Protocol[Share]:
    """Share of b·x for every value. Two rounds.

    Args:
        x: a share of any shape.
        b: shared bits, one for every value of x.
    """
    count = x.mine.size
    nbytes = 8 * count
    out = empty_share(x.shape)
    if party.is_dealer:
        for_p0, for_p1 = np.empty(count, np.uint64), np.empty(count, np.uint64)
        elementwise.transfer_help(b.mine, party.masks.next.words(2 * count).reshape(2, count), for_p1)
        elementwise.transfer_help(b.next, party.masks.mine.words(2 * count).reshape(2, count), for_p0)
        yield party.dealer_step([for_p0], [for_p1])
        out.next.reshape(-1)[:] = party.masks.next.words(count)
        out.mine.reshape(-1)[:] = party.masks.mine.words(count)
        yield party.dealer_step()
        return out

    half = party.outer(x) if party.role == 0 else (x.mine + x.next).reshape(-1)
    message, share = np.empty(count, np.uint64), np.empty(count, np.uint64)
    masks = party.outer_masks.words(2 * count).reshape(2, count)
    elementwise.transfer_send(half, b.mine, b.next, masks, message, share)
    peer, dealer = party.pair_received((yield party.pair_step([message], nbytes, nbytes)))
    choice = b.mine if party.role == 0 else b.next
    outer = party.outer(out)
    outer[:] = party.outer_masks.words(count)
    sent = np.empty(count, np.uint64)
    elementwise.transfer_receive(choice, as_words(peer), as_words(dealer), share, outer, sent)
    peer, _ = party.pair_received((yield party.pair_step([sent], nbytes)))
    np.add(sent, as_words(peer), out=party.inner(out))
    return out


def negate(party: Party, b: SharedBits) -> SharedBits:
    """Shares of 1 - b: the pair flips b_1. Local."""
    if party.role == 0:
        return SharedBits(b.mine, ~b.next)
    if party.role == 1:
        return SharedBits(~b.mine, b.next)
    return b
