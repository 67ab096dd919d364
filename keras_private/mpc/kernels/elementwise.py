"""Elementwise local steps of truncation and selection, each fused into one pass over memory.

Arrays are flat. `word` below is uint64; `short` is the smallest unsigned type that holds d bits: the correction terms
of a truncation by d bits are multiplied by 2^(64-d), so that only their low d bits matter and only those are sent.

No kernel's time may depend on a share. Where a secret bit selects, it is first spread over a word, all ones or all
zeros, by a kernel of its own (`top_masks` here, `bits.spread`), and read back from memory by the kernel that ANDs it.
In one kernel LLVM would see through the words and make a conditional jump of them. `tests/mpc/test_constant_time.py`
looks at the compiled code.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def top_masks(values, offset, masks):  # type: ignore[no-untyped-def]
    """masks = all ones where values + offset >= 2^63, else zero; values (n,) words, masks (n,) of any unsigned type."""
    if masks.size != values.size:
        raise ValueError("top_masks: the arrays' sizes do not fit together")
    shift = np.uint64(offset)
    for i in range(values.size):
        masks[i] = np.int64(values[i] + shift) >> np.int64(63)


@njit(nogil=True, cache=True)
def truncation_deal(mine, next_, d, mask, short_mask, lifted_mask, high, short, share):  # type: ignore[no-untyped-def]
    """The dealer's part of a truncation, for v = mine + next_; words are (n,), shorts (short_mask, lifted_mask, short)
    n or more.

    high = (v >> d) - mask and short = short_mask - [v >= 2^63] are for P1; share = high + 2^(64-d)·lifted_mask is the
    dealer's own y_2.
    """
    n = mine.size
    if next_.size != n or mask.size != n or high.size != n or share.size != n:
        raise ValueError("truncation_deal: the arrays' sizes do not fit together")
    if short_mask.size < n or lifted_mask.size < n or short.size < n:
        raise ValueError("truncation_deal: the arrays' sizes do not fit together")
    shift, lift = np.uint64(d), np.uint64(64 - d)
    for i in range(n):
        v = mine[i] + next_[i]
        high[i] = (v >> shift) - mask[i]
        short[i] = np.uint64(short_mask[i]) - (v >> np.uint64(63))
        share[i] = high[i] + (np.uint64(lifted_mask[i]) << lift)


@njit(nogil=True, cache=True)
def lift_mask(base, lifted_mask, d, share):  # type: ignore[no-untyped-def]
    """share = base + 2^(64-d)·lifted_mask: y_0 at P0 and P2, y_2 at P1; base, share (n,), shorts of n or more."""
    if share.size != base.size or lifted_mask.size < base.size:
        raise ValueError("lift_mask: the arrays' sizes do not fit together")
    lift = np.uint64(64 - d)
    for i in range(base.size):
        share[i] = base[i] + (np.uint64(lifted_mask[i]) << lift)


@njit(nogil=True, cache=True)
def truncation_part(top, short, lifted_mask, part):  # type: ignore[no-untyped-def]
    """One of the pair: part = short - lifted_mask where `top` is zero, else -lifted_mask; all shorts.

    `top` (n,) are the masks of the top bit of u + 2^62; the others have n elements or more. The result is the masked
    half of the wrap correction.
    """
    if short.size < top.size or lifted_mask.size < top.size or part.size < top.size:
        raise ValueError("truncation_part: the arrays' sizes do not fit together")
    for i in range(top.size):
        part[i] = (short[i] & ~top[i]) - lifted_mask[i]


@njit(nogil=True, cache=True)
def truncation_join(u, part, other, d, share):  # type: ignore[no-untyped-def]
    """The pair: y_1 = ((u + 2^62) >> d) + 1 - 2^(62-d) - 2^(64-d) + 2^(64-d)·(part + other).

    The + 1 makes up for the two bits of fraction that the two floors drop, one half each on average. u, share (n,)
    words, the others shorts of n or more.
    """
    if share.size != u.size or part.size < u.size or other.size < u.size:
        raise ValueError("truncation_join: the arrays' sizes do not fit together")
    shift, lift, one = np.uint64(d), np.uint64(64 - d), np.uint64(1)
    constant = one - (one << np.uint64(62 - d)) - (one << lift)
    for i in range(u.size):
        shifted = u[i] + (one << np.uint64(62))
        share[i] = (shifted >> shift) + constant + ((np.uint64(part[i]) + np.uint64(other[i])) << lift)


@njit(nogil=True, cache=True)
def select_deal(mine, next_, chosen, masks, dealt):  # type: ignore[no-untyped-def]
    """The dealer's part of a selection, for v = mine + next_ (channels, terms, n) and its bits r of the terms, given as
    chosen = 0 or all ones (terms, n).

    dealt (1 + channels, terms, n) = (r, r·v of every channel) - masks, for P1.
    """
    channels, terms, n = mine.shape
    if not channels or next_.shape != mine.shape or chosen.shape != (terms, n):
        raise ValueError("select_deal: the arrays' sizes do not fit together")
    if masks.shape != (1 + channels, terms, n) or dealt.shape != masks.shape:
        raise ValueError("select_deal: the arrays' sizes do not fit together")
    one = np.uint64(1)
    for t in range(terms):
        for i in range(n):  # with the first channel in one pass: mostly there is no other
            dealt[0, t, i] = (chosen[t, i] & one) - masks[0, t, i]
            dealt[1, t, i] = ((mine[0, t, i] + next_[0, t, i]) & chosen[t, i]) - masks[1, t, i]
        for c in range(1, channels):
            for i in range(n):
                dealt[1 + c, t, i] = ((mine[c, t, i] + next_[c, t, i]) & chosen[t, i]) - masks[1 + c, t, i]


@njit(nogil=True, cache=True)
def select_part(u, own, chosen, dealt, mask, part):  # type: ignore[no-untyped-def]
    """One of the pair: part = sum over the terms of b·own + (1 - 2b)(dealt_0·u + dealt_c) - mask, for every channel c.

    b is given as chosen = 0 or all ones (terms, n). own is u + x_0 at P0 and x_2 at P1, as u (channels, terms, n);
    dealt as made by `select_deal`, mask and part (channels, n). Adding `chosen` after an exclusive or with it negates:
    no branch on a secret.
    """
    channels, terms, n = u.shape
    if not terms or own.shape != u.shape or chosen.shape != (terms, n) or dealt.shape != (1 + channels, terms, n):
        raise ValueError("select_part: the arrays' sizes do not fit together")
    if mask.shape != (channels, n) or part.shape != mask.shape:
        raise ValueError("select_part: the arrays' sizes do not fit together")
    for c in range(channels):
        for i in range(n):
            turned = (dealt[0, 0, i] * u[c, 0, i] + dealt[1 + c, 0, i]) ^ chosen[0, i]
            part[c, i] = (own[c, 0, i] & chosen[0, i]) + (turned - chosen[0, i]) - mask[c, i]
        for t in range(1, terms):
            for i in range(n):
                turned = (dealt[0, t, i] * u[c, t, i] + dealt[1 + c, t, i]) ^ chosen[t, i]
                part[c, i] += (own[c, t, i] & chosen[t, i]) + (turned - chosen[t, i])
