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
    if words != (values.size + 63) // 64 or low < 0 or low + count > 64:
        raise ValueError("to_planes: the arrays' sizes do not fit together")
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
    if planes.shape[0] != size * groups + 1 or dealt.shape != ((subsets - 1) * groups + 1, words):
        raise ValueError("deal: the arrays' sizes do not fit together")
    if masks.shape != dealt.shape:
        raise ValueError("deal: the arrays' sizes do not fit together")
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
    planes (size·G + 1, m) of c; dealt as made by `deal`; masks, out (2G - 1, m), a state of `deal_level`.
    `first` is 1 at the one party that adds the term in which no share occurs.
    """
    words = planes.shape[1]
    subsets = 1 << size
    groups = (planes.shape[0] - 1) // size
    if planes.shape[0] != size * groups + 1 or dealt.shape != ((subsets - 1) * groups + 1, words):
        raise ValueError("combine: the arrays' sizes do not fit together")
    if out.shape != (2 * groups - 1, words) or masks.shape != out.shape:
        raise ValueError("combine: the arrays' sizes do not fit together")
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


@njit(nogil=True, cache=True, inline="always")
def _level_rows(groups, radix):  # type: ignore[no-untyped-def]
    """Rows that are dealt for one level of the carry tree, and rows of its results; see `deal_level`."""
    dealt, results = 0, 0
    for first in range(0, groups, radix):
        children = min(radix, groups - first)
        if children > 1:
            subsets = 1 << (children - 1)
            dealt += 3 * subsets - 2 + (subsets if first else 0)
            results += 2 if first else 1
    return dealt, results


@njit(nogil=True, cache=True)
def deal_level(state, masks, radix, dealt):  # type: ignore[no-untyped-def]
    """The dealer's message for one level of the carry tree, masked; `state` are its own bits of the level below.

    A state of n groups is (2n - 1, m): row 0 is the lowest group's generate; rows 2g - 1 and 2g are group g's generate
    and propagate (the lowest group's propagate bit is never needed). Every `radix` neighbours are one node. With r_j
    and t_j for the dealer's bits of the generate and propagate of a node's groups j = 0 … q - 1, and t_U for the
    product of t_(k+1) over the bits k of U, a node's rows are
      t_U             for U > 0
      r_j t_U         for every j, and every U of bits from j on
      t_0 t_U         for every U, but not for the lowest node
    `_level_rows` counts them; a node of one group has none.
    """
    words = state.shape[1]
    groups = (state.shape[0] + 1) // 2
    rows, _ = _level_rows(groups, radix)
    if state.shape[0] != 2 * groups - 1 or dealt.shape != (rows, words) or masks.shape != dealt.shape:
        raise ValueError("deal_level: the arrays' sizes do not fit together")
    products = np.empty((1 << (radix - 1), words), np.uint64)
    at = 0
    for first in range(0, groups, radix):
        children = min(radix, groups - first)
        if children == 1:
            continue
        subsets = 1 << (children - 1)
        _multiply_propagates(state, first, children, products)
        for subset in range(1, subsets):
            for w in range(words):
                dealt[at, w] = masks[at, w] ^ products[subset, w]
            at += 1
        for j in range(children):
            row = max(2 * (first + j) - 1, 0)
            for subset in range(0, subsets, 1 << j):
                for w in range(words):
                    dealt[at, w] = masks[at, w] ^ (products[subset, w] & state[row, w])
                at += 1
        if first:
            for subset in range(subsets):
                for w in range(words):
                    dealt[at, w] = masks[at, w] ^ (products[subset, w] & state[2 * first, w])
                at += 1


@njit(nogil=True, cache=True)
def combine_level(state, dealt, masks, radix, first_party, out):  # type: ignore[no-untyped-def]
    """One of the pair: masked XOR shares of every node's generate and propagate bit.

    With a_j and b_j for the pair's bits of the generates and propagates, of which g_j = a_j ^ r_j and p_j = b_j ^ t_j
    are the true ones (`deal_level`), a node's are
      generate  = XOR over j of g_j AND over k > j of p_k
      propagate = AND over all j of p_j
    which, multiplied out, is a sum of products of the pair's bits, each times one row of what was dealt.
    state (2n - 1, m); masks, out: two rows a node that has more than one group, one for the lowest. `first_party` is 1
    at the one party that adds the terms in which no dealt row occurs.
    """
    words = state.shape[1]
    groups = (state.shape[0] + 1) // 2
    rows, results = _level_rows(groups, radix)
    if state.shape[0] != 2 * groups - 1 or dealt.shape != (rows, words):
        raise ValueError("combine_level: the arrays' sizes do not fit together")
    if out.shape != (results, words) or masks.shape != out.shape:
        raise ValueError("combine_level: the arrays' sizes do not fit together")
    products = np.empty((1 << (radix - 1), words), np.uint64)
    at, to = 0, 0
    for first in range(0, groups, radix):
        children = min(radix, groups - first)
        if children == 1:
            continue
        subsets = 1 << (children - 1)
        whole = subsets - 1
        _multiply_propagates(state, first, children, products)
        for w in range(words):
            out[to, w] = masks[to, w]
        if first_party:
            for j in range(children):
                row, above = max(2 * (first + j) - 1, 0), whole & ~((1 << j) - 1)
                for w in range(words):
                    out[to, w] ^= state[row, w] & products[above, w]
        for subset in range(1, subsets):
            for j in range(children):
                above = whole & ~((1 << j) - 1)
                if subset & ~above:
                    break
                row = max(2 * (first + j) - 1, 0)
                for w in range(words):
                    out[to, w] ^= state[row, w] & products[above ^ subset, w] & dealt[at, w]
            at += 1
        for j in range(children):
            above = whole & ~((1 << j) - 1)
            for subset in range(0, subsets, 1 << j):
                for w in range(words):
                    out[to, w] ^= products[above ^ subset, w] & dealt[at, w]
                at += 1
        to += 1
        if not first:
            continue
        at_subsets = at - (subsets - 1) - (2 * subsets - 1)  # where this node's t_U are
        for w in range(words):
            out[to, w] = masks[to, w]
        if first_party:
            for w in range(words):
                out[to, w] ^= state[2 * first, w] & products[whole, w]
        for subset in range(1, subsets):
            for w in range(words):
                out[to, w] ^= state[2 * first, w] & products[whole ^ subset, w] & dealt[at_subsets + subset - 1, w]
        for subset in range(subsets):
            for w in range(words):
                out[to, w] ^= products[whole ^ subset, w] & dealt[at, w]
            at += 1
        to += 1


@njit(nogil=True, cache=True)
def _multiply_propagates(state, first, children, products):  # type: ignore[no-untyped-def]
    """products[U] = AND of the propagate bits of groups first + 1 + k over the bits k of U."""
    for w in range(state.shape[1]):
        products[0, w] = ~np.uint64(0)
    for bit in range(children - 1):
        row = 2 * (first + 1 + bit)
        for rest in range(1 << bit):
            for w in range(state.shape[1]):
                products[rest | (1 << bit), w] = products[rest, w] & state[row, w]


@njit(nogil=True, cache=True)
def spread(plane, words):  # type: ignore[no-untyped-def]
    """words[i] = all ones where value i's bit of the plane is set, else 0; plane (ceil(n / 64),), words (n,).

    A pass of its own on purpose: where such a word is made and used in one expression, the compiler may turn the AND
    into a branch on the secret bit.
    """
    if plane.size != (words.size + 63) // 64:
        raise ValueError("spread: the arrays' sizes do not fit together")
    for w in range(plane.size):
        word, line = plane[w], words[64 * w : 64 * w + 64]
        for i in range(line.size):
            line[i] = np.uint64(0) - ((word >> np.uint64(i)) & np.uint64(1))


@njit(nogil=True, cache=True)
def pack(values, plane):  # type: ignore[no-untyped-def]
    """Bit i of the plane = the lowest bit of values[i]; values (n,) bytes, plane (ceil(n / 64),), its rest zero."""
    if plane.size != (values.size + 63) // 64:
        raise ValueError("pack: the arrays' sizes do not fit together")
    for w in range(plane.size):
        line, word = values[64 * w : 64 * w + 64], np.uint64(0)
        for i in range(line.size):
            word |= np.uint64(line[i] & np.uint8(1)) << np.uint64(i)
        plane[w] = word


@njit(nogil=True, cache=True)
def unpack(plane, values):  # type: ignore[no-untyped-def]
    """values[i] = bit i of the plane, 0 or 1; plane (ceil(n / 64),), values (n,) bytes."""
    if plane.size != (values.size + 63) // 64:
        raise ValueError("unpack: the arrays' sizes do not fit together")
    for w in range(plane.size):
        word, line = plane[w], values[64 * w : 64 * w + 64]
        for i in range(line.size):
            line[i] = np.uint8((word >> np.uint64(i)) & np.uint64(1))
