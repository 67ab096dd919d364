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
def select_deal(mine, next_, chosen, masks, dealt):  # type: ignore[no-untyped-def]
    """The dealer's part of a selection, for v = mine + next_ and its bit r, given as chosen = 0 or all ones (n,).

    dealt (2, n) = (r, r·v) - masks, for P1.
    """
    one = np.uint64(1)
    for i in range(mine.size):
        dealt[0, i] = (chosen[i] & one) - masks[0, i]
        dealt[1, i] = ((mine[i] + next_[i]) & chosen[i]) - masks[1, i]


@njit(nogil=True, cache=True)
def select_part(u, own, chosen, dealt, mask, part):  # type: ignore[no-untyped-def]
    """One of the pair: part = b·own + (1 - 2b)(dealt_0·u + dealt_1) - mask, where b is given as chosen = 0 or all ones.

    own is u + x_0 at P0 and x_2 at P1. Adding `chosen` after an exclusive or with it negates: no branch on a secret.
    """
    for i in range(u.size):
        turned = (dealt[0, i] * u[i] + dealt[1, i]) ^ chosen[i]
        part[i] = (own[i] & chosen[i]) + (turned - chosen[i]) - mask[i]
