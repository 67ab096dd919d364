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
def _multiply_subsets(planes, first, size, products):  # type: ignore[no-untyped-def]
    """products[U] = AND of the planes first + j for which bit j of U is set; products (2^size, m)."""
    products[0] = ~np.uint64(0)
    for bit in range(size):
        for rest in range(1 << bit):
            for w in range(planes.shape[1]):
                products[rest | (1 << bit), w] = products[rest, w] & planes[first + bit, w]


@njit(nogil=True, cache=True)
def deal(planes, masks, size, dealt):  # type: ignore[no-untyped-def]
    """The dealer's message: for each group of planes the products of all its subsets, then the top plane; masked.

    planes (size·G + 1, m); masks, dealt ((2^size - 1)·G + 1, m). Row U - 1 of a group is the product of the planes
    whose bits are set in U, for U from 1 to 2^size - 1.
    """
    words = planes.shape[1]
    subsets = 1 << size
    groups = (planes.shape[0] - 1) // size
    products = np.empty((subsets, words), np.uint64)
    for g in range(groups):
        _multiply_subsets(planes, size * g, size, products)
        row = (subsets - 1) * g - 1
        for subset in range(1, subsets):
            for w in range(words):
                dealt[row + subset, w] = masks[row + subset, w] ^ products[subset, w]
    for w in range(words):
        dealt[-1, w] = masks[-1, w] ^ planes[-1, w]


@njit(nogil=True, cache=True)
def combine(planes, dealt, masks, size, first, out):  # type: ignore[no-untyped-def]
    """One of the pair: masked XOR shares of every group's generate and propagate bit.

    With the pair's own bits c and the dealer's s, whose products s_U over subsets U are shared:
      propagate = AND over all j of (c_j ^ s_j)                          = XOR over U of c_(not U) s_U
      generate  = XOR over j of c_j s_j AND over k > j of (c_k ^ s_k)    = XOR over U > 0 of c_(rest of U) s_U
    where rest of U are the lowest bit j of U and the bits above j that are not in U.
    planes (size·G + 1, m) of c; dealt as made by `deal`; masks, out (2G - 1, m), laid out as in `carry_level`.
    `first` is 1 at the one party that adds the term in which no share occurs.
    """
    words = planes.shape[1]
    subsets = 1 << size
    groups = (planes.shape[0] - 1) // size
    products = np.empty((subsets, words), np.uint64)
    for g in range(groups):
        _multiply_subsets(planes, size * g, size, products)
        at = max(2 * g - 1, 0)
        for w in range(words):
            out[at, w] = masks[at, w]
            if g:
                out[at + 1, w] = masks[at + 1, w]
                if first:
                    out[at + 1, w] ^= products[subsets - 1, w]
        row = (subsets - 1) * g - 1
        for subset in range(1, subsets):
            lowest = subset & -subset
            others = ((subsets - lowest) ^ subset) | lowest
            for w in range(words):
                out[at, w] ^= products[others, w] & dealt[row + subset, w]
            if g:
                for w in range(words):
                    out[at + 1, w] ^= products[subsets - 1 - subset, w] & dealt[row + subset, w]


@njit(nogil=True, cache=True)
def carry_level(mine, next_, masks_mine, masks_next, out):  # type: ignore[no-untyped-def]
    """One level of the carry tree: this party's additive share of every pair's generate and propagate bit.

    A state of c groups is (2c - 1, m): row 0 is the lowest group's generate; rows 2g - 1 and 2g are group g's
    generate and propagate (the lowest group's propagate bit is never needed). out (2·(c // 2) - 1, m) is laid out the
    same way; a group left over at the top is not touched here.
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
