"""Elementwise local steps of truncation and selection, each fused into one pass over memory.

Arrays are flat. `word` below is uint64; `short` is the smallest unsigned type that holds d bits: the correction terms
of a truncation by d bits are multiplied by 2^(64-d), so that only their low d bits matter and only those are sent.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def truncation_deal(mine, next_, d, mask, short_mask, lifted_mask, high, short, share):  # type: ignore[no-untyped-def]
    """The dealer's part of a truncation, for v = mine + next_ (all (n,)).

    high = (v >> d) - mask and short = [v < 2^63] - short_mask are for P1; share = high + 2^(64-d)·lifted_mask is the
    dealer's own y_2.
    """
    shift, lift = np.uint64(d), np.uint64(64 - d)
    for i in range(mine.size):
        v = mine[i] + next_[i]
        high[i] = (v >> shift) - mask[i]
        short[i] = (np.uint64(1) ^ (v >> np.uint64(63))) - np.uint64(short_mask[i])
        share[i] = high[i] + (np.uint64(lifted_mask[i]) << lift)


@njit(nogil=True, cache=True)
def lift_mask(base, lifted_mask, d, share):  # type: ignore[no-untyped-def]
    """share = base + 2^(64-d)·lifted_mask: y_0 at P0 and P2, y_2 at P1."""
    lift = np.uint64(64 - d)
    for i in range(base.size):
        share[i] = base[i] + (np.uint64(lifted_mask[i]) << lift)


@njit(nogil=True, cache=True)
def truncation_part(u, short, lifted_mask, part):  # type: ignore[no-untyped-def]
    """One of the pair: part = [u + 2^62 < 2^63]·short - lifted_mask, the masked half of the wrap correction."""
    one = np.uint64(1)
    for i in range(u.size):
        keep = np.uint64(0) - (one ^ ((u[i] + (one << np.uint64(62))) >> np.uint64(63)))  # no branch on a secret
        part[i] = (np.uint64(short[i]) & keep) - np.uint64(lifted_mask[i])


@njit(nogil=True, cache=True)
def truncation_join(u, part, other, d, share):  # type: ignore[no-untyped-def]
    """The pair: y_1 = ((u + 2^62) >> d) + 1 - 2^(62-d) - 2^(64-d) + 2^(64-d)·(part + other).

    The + 1 makes up for the two bits of fraction that the two floors drop, one half each on average.
    """
    shift, lift, one = np.uint64(d), np.uint64(64 - d), np.uint64(1)
    constant = one - (one << np.uint64(62 - d)) - (one << lift)
    for i in range(u.size):
        shifted = u[i] + (one << np.uint64(62))
        share[i] = (shifted >> shift) + constant + ((np.uint64(part[i]) + np.uint64(other[i])) << lift)


@njit(nogil=True, cache=True)
def bit(plane, i):  # type: ignore[no-untyped-def]
    """Value i's bit of a plane, as 0 or 1."""
    return (plane[i >> 6] >> np.uint64(i & 63)) & np.uint64(1)


@njit(nogil=True, cache=True)
def transfer_send(x, choice_a, choice_b, masks, message, share):  # type: ignore[no-untyped-def]
    """Sender of an oblivious transfer of b·x, where b = (choice_a ^ choice_b) ^ the receiver's bit.

    x (n,); choices are planes; masks (2, n) = (w_0, w_1), known to sender and helper.
    message = (1 - 2c)·x + w_1 - w_0 goes to the receiver; share = c·x + w_0 is the sender's additive part.
    """
    one = np.uint64(1)
    for i in range(x.size):
        keep = np.uint64(0) - (bit(choice_a, i) ^ bit(choice_b, i))  # all ones where c = 1: no branch on a secret
        chosen = x[i] & keep
        message[i] = x[i] - (chosen << one) + masks[1, i] - masks[0, i]
        share[i] = chosen + masks[0, i]


@njit(nogil=True, cache=True)
def transfer_help(choice, masks, message):  # type: ignore[no-untyped-def]
    """Helper: message = w_choice, the one mask that the receiver may take off."""
    for i in range(message.size):
        keep = np.uint64(0) - bit(choice, i)
        message[i] = masks[0, i] ^ ((masks[0, i] ^ masks[1, i]) & keep)


@njit(nogil=True, cache=True)
def transfer_receive(choice, message, help_message, share, mask, out):  # type: ignore[no-untyped-def]
    """Receiver: out = share + (choice·message - help_message) - mask, ready to be exchanged within the pair."""
    for i in range(out.size):
        keep = np.uint64(0) - bit(choice, i)
        out[i] = share[i] + (message[i] & keep) - help_message[i] - mask[i]
