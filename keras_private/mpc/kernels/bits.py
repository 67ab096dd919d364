"""Bit planes: the comparison protocol's view of an array.

A plane holds one bit of every value, 64 values a word: value i is bit i mod 64 of word i // 64, and n values take
ceil(n / 64) words. In this form a bit of the protocol is a whole row, one AND works on 64 values, every message is
exactly as long as its bits, and no width is special. Turning values into planes is the transposition of 64x64 bit
matrices (Hacker's Delight, 2nd ed., section 7-3).
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def to_planes(values, low, planes):  # type: ignore[no-untyped-def]
    """planes[b] = bit low + b of every value; values (n,), planes (count, ceil(n / 64)), low + count <= 64."""
    count, words = planes.shape
    block = np.empty(64, np.uint64)
    shift_low = np.uint64(low)
    for w in range(words):
        start = w * 64
        filled = min(64, values.size - start)
        for i in range(filled):
            block[i] = values[start + i] >> shift_low
        for i in range(filled, 64):
            block[i] = np.uint64(0)
        half = 32
        mask = np.uint64(0xFFFFFFFF)
        while half:
            shift = np.uint64(half)
            for base in range(0, 64, 2 * half):
                for i in range(base, base + half):
                    swap = ((block[i] >> shift) ^ block[i + half]) & mask
                    block[i + half] ^= swap
                    block[i] ^= swap << shift
            half >>= 1
            mask ^= mask << np.uint64(half)
        for b in range(count):
            planes[b, w] = block[b]


@njit(nogil=True, cache=True)
def deal(planes, masks, dealt):  # type: ignore[no-untyped-def]
    """The dealer's message: for each group of three planes the seven products of its bits, then the top plane; masked.

    planes (3G + 1, m); masks, dealt (7G + 1, m).
    """
    groups = (planes.shape[0] - 1) // 3
    for g in range(groups):
        for w in range(planes.shape[1]):
            s0, s1, s2 = planes[3 * g, w], planes[3 * g + 1, w], planes[3 * g + 2, w]
            s01, s02, s12 = s0 & s1, s0 & s2, s1 & s2
            row = 7 * g
            dealt[row, w] = masks[row, w] ^ s0
            dealt[row + 1, w] = masks[row + 1, w] ^ s1
            dealt[row + 2, w] = masks[row + 2, w] ^ s2
            dealt[row + 3, w] = masks[row + 3, w] ^ s01
            dealt[row + 4, w] = masks[row + 4, w] ^ s02
            dealt[row + 5, w] = masks[row + 5, w] ^ s12
            dealt[row + 6, w] = masks[row + 6, w] ^ (s01 & s2)
    for w in range(planes.shape[1]):
        dealt[7 * groups, w] = masks[7 * groups, w] ^ planes[3 * groups, w]


@njit(nogil=True, cache=True)
def combine(planes, dealt, masks, first, out):  # type: ignore[no-untyped-def]
    """One of the pair: masked XOR shares of every group's generate and propagate bit.

    With the pair's own bits c and the dealer's s, shared as products:
      generate  = c2 s2 ^ (c2^s2) c1 s1 ^ (c2^s2)(c1^s1) c0 s0      propagate = (c2^s2)(c1^s1)(c0^s0)
    planes (3G + 1, m) of c; dealt (7G + 1, m) shares of the products; masks, out (2G - 1, m), laid out as in
    `carry_level`. `first` is 1 at the one party that adds the term in which no share occurs.
    """
    groups = (planes.shape[0] - 1) // 3
    for g in range(groups):
        row = 7 * g
        at = max(2 * g - 1, 0)
        for w in range(planes.shape[1]):
            c0, c1, c2 = planes[3 * g, w], planes[3 * g + 1, w], planes[3 * g + 2, w]
            s0, s1, s2 = dealt[row, w], dealt[row + 1, w], dealt[row + 2, w]
            s01, s02, s12, s012 = dealt[row + 3, w], dealt[row + 4, w], dealt[row + 5, w], dealt[row + 6, w]
            c01, c12 = c0 & c1, c1 & c2
            low = (c12 & s0) ^ (c2 & s01) ^ (c1 & s02) ^ s012
            out[at, w] = masks[at, w] ^ (c2 & s2) ^ (c12 & s1) ^ (c1 & s12) ^ (c0 & low)
            if g:
                propagate = low ^ (c0 & c2 & s1) ^ (c01 & s2) ^ (c0 & s12)
                if first:
                    propagate ^= c01 & c2
                out[at + 1, w] = masks[at + 1, w] ^ propagate


@njit(nogil=True, cache=True)
def carry_level(mine, next_, masks_mine, masks_next, out):  # type: ignore[no-untyped-def]
    """One level of the carry tree: this party's additive share of every pair's generate and propagate bit.

    A state of c groups is (2c - 1, m): row 0 is the lowest group's generate; rows 2g - 1 and 2g are group g's generate
    and propagate (the lowest group's propagate bit is never needed). out (2·(c // 2) - 1, m) is laid out the same way;
    a group left over at the top is not touched here.
      generate' = G_hi ^ (G_lo & P_hi)        propagate' = P_lo & P_hi
    Each AND is x_i y_i ^ x_i y_{i+1} ^ x_{i+1} y_i; the masks make the three parties' results XOR shares of it
    (Araki et al. 2016, section 2.2).
    """
    pairs = (out.shape[0] + 1) // 2
    for pair in range(pairs):
        lo = max(4 * pair - 1, 0)
        hi = 4 * pair + 1
        at = max(2 * pair - 1, 0)
        for w in range(out.shape[1]):
            p, p_next = mine[hi + 1, w], next_[hi + 1, w]
            g, g_next = mine[lo, w], next_[lo, w]
            out[at, w] = masks_mine[at, w] ^ masks_next[at, w] ^ mine[hi, w] ^ (g & (p ^ p_next)) ^ (g_next & p)
        if pair:
            for w in range(out.shape[1]):
                p, p_next = mine[hi + 1, w], next_[hi + 1, w]
                q, q_next = mine[lo + 1, w], next_[lo + 1, w]
                out[at + 1, w] = masks_mine[at + 1, w] ^ masks_next[at + 1, w] ^ (q & (p ^ p_next)) ^ (q_next & p)
