"""Local steps of distributed point functions (`mpc/dpf.py`): trees of AES blocks, one tree a value.

A block is two words. `linear` below is the map that stands before AES in the hash H(s) = AES(linear(s)) ^ linear(s):
of each word by itself, its halves (high, low) become (high ^ low, high). `inputs` are blocks after it; `ciphers` are
what AES made of them, with one block behind the last that only AES itself needs, and are used up. A node's *control
bit* is the lowest bit of its first word; `masks` are all ones where it is set.

Blocks of c nodes in each of n trees are (c, n, 2), so that the inner loops run over trees, in vectors. Each loop reads
and writes few arrays: LLVM has to make sure that they do not overlap.

As in `elementwise.py` no kernel's time depends on a share, and a secret bit that selects is spread over a word in one
loop and ANDed in another.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from keras_private.mpc.kernels.positions import _parity

HIGH_HALF = np.uint64(0xFFFFFFFF00000000)


@njit(nogil=True, cache=True)
def bit_masks(values, positions, masks):  # type: ignore[no-untyped-def]
    """masks (p, n) = all ones where a value's bit of number positions (p,) is set, else zero; values (n,)."""
    p, n = masks.shape
    if values.size != n or positions.size != p:
        raise ValueError("bit_masks: the arrays' sizes do not fit together")
    for k in range(p):
        shift, line = np.uint64(positions[k]) & np.uint64(63), masks[k]
        for i in range(n):
            line[i] = np.uint64(0) - ((values[i] >> shift) & np.uint64(1))


@njit(nogil=True, cache=True, inline="always")
def _enter(nodes, inputs, masks):  # type: ignore[no-untyped-def]
    """inputs (n, 2) = linear(nodes (n, 2)); masks (n,)."""
    for i in range(masks.size):
        for half in range(2):
            word = nodes[i, half]
            inputs[i, half] = ((word << np.uint64(32)) | (word >> np.uint64(32))) ^ (word & HIGH_HALF)
    for i in range(masks.size):
        masks[i] = np.uint64(0) - (nodes[i, 0] & np.uint64(1))


@njit(nogil=True, cache=True)
def enter(nodes, inputs, masks):  # type: ignore[no-untyped-def]
    """What is hashed of nodes (n, 2): inputs (n, 2) and masks (n,)."""
    n = masks.size
    if nodes.shape != (n, 2) or inputs.shape != (n, 2):
        raise ValueError("enter: the arrays' sizes do not fit together")
    _enter(nodes, inputs, masks)


@njit(nogil=True, cache=True)
def correct(nodes, inputs, ciphers, masks, turns, word):  # type: ignore[no-untyped-def]
    """The dealer goes one level down the paths of n values: both parties' nodes (2n, 2), the first party's in front,
    become their children on the path, and word (n, 2) is the correction word that makes the others equal.

    inputs (2n, 2), ciphers (2n + 1, 2) and masks (2n,) of the nodes, and then of their children; turns (n,) = all ones
    where the path goes right.
    """
    n = turns.size
    if nodes.shape != (2 * n, 2) or inputs.shape != (2 * n, 2) or ciphers.shape != (2 * n + 1, 2):
        raise ValueError("correct: the arrays' sizes do not fit together")
    if masks.size != 2 * n or word.shape != (n, 2):
        raise ValueError("correct: the arrays' sizes do not fit together")
    for i in range(2 * n):
        for half in range(2):
            ciphers[i, half] ^= inputs[i, half]
    ours, theirs = nodes[:n], nodes[n:]
    for i in range(n):
        for half in range(2):
            theirs[i, half] ^= ours[i, half]  # what they are apart
    one, other = ciphers[:n], ciphers[n:]
    for i in range(n):
        for half in range(2):
            word[i, half] = one[i, half] ^ other[i, half] ^ (theirs[i, half] & ~turns[i])
    for i in range(n):
        for half in range(2):
            ours[i, half] = (ours[i, half] & turns[i]) ^ one[i, half]
    for i in range(n):
        for half in range(2):
            ours[i, half] ^= word[i, half] & masks[i]
    for i in range(n):
        for half in range(2):
            theirs[i, half] ^= ours[i, half]
    _enter(nodes, inputs, masks)


@njit(nogil=True, cache=True)
def expand(nodes, inputs, ciphers, masks, word, turns, first, kept, kept_inputs, kept_masks, out_inputs, out_masks):  # type: ignore[no-untyped-def]
    """One of the pair: all children of c nodes of each of n trees, in the order of their indices.

    nodes, inputs (c, n, 2), ciphers (c·n + 1, 2), masks (c, n); word (n, 2); turns (n,) = all ones where the bit of u
    is set, by which the order of the children begins one later: the last one goes to the front then.
    Of the 2c children those from `first` on go on: kept, kept_inputs (k, n, 2), kept_masks (k, n). Of the others there
    are out_inputs (2c - k, n, 2) and out_masks (2c - k, n).
    """
    c, n = masks.shape
    count, left_out = kept.shape[0], out_inputs.shape[0]
    if count + left_out != 2 * c or nodes.shape != (c, n, 2) or inputs.shape != (c, n, 2):
        raise ValueError("expand: the arrays' sizes do not fit together")
    if ciphers.shape != (c * n + 1, 2) or word.shape != (n, 2) or turns.size != n or first < 0 or first > left_out:
        raise ValueError("expand: the arrays' sizes do not fit together")
    if kept.shape != (count, n, 2) or kept_inputs.shape != (count, n, 2) or kept_masks.shape != (count, n):
        raise ValueError("expand: the arrays' sizes do not fit together")
    if out_inputs.shape != (left_out, n, 2) or out_masks.shape != (left_out, n):
        raise ValueError("expand: the arrays' sizes do not fit together")
    for p in range(c):  # from here on `ciphers` are the left children
        left, given, mask = ciphers[p * n : p * n + n], inputs[p], masks[p]
        for i in range(n):
            for half in range(2):
                left[i, half] ^= given[i, half]
        for i in range(n):
            for half in range(2):
                left[i, half] ^= word[i, half] & mask[i]
    spare = np.empty((n, 2), np.uint64)
    for k in range(2 * c):
        p, inside = k >> 1, first <= k < first + count
        child = kept[k - first] if inside else spare
        left, node = ciphers[p * n : p * n + n], nodes[p]
        if k & 1:  # the right child, or else the left one
            for i in range(n):
                for half in range(2):
                    child[i, half] = left[i, half] ^ (node[i, half] & ~turns[i])
        else:  # the left child, or else the right one of the node before
            q = p - 1 if p else c - 1
            before, node = ciphers[q * n : q * n + n], nodes[q]
            for i in range(n):
                for half in range(2):
                    child[i, half] = before[i, half] ^ node[i, half]
            for i in range(n):
                for half in range(2):
                    child[i, half] = left[i, half] ^ ((left[i, half] ^ child[i, half]) & turns[i])
        at = k - first if inside else (k if k < first else k - count)
        if inside:
            _enter(child, kept_inputs[at], kept_masks[at])
        else:
            _enter(child, out_inputs[at], out_masks[at])


@njit(nogil=True, cache=True)
def payload_word(inputs, ciphers, masks, payload, word):  # type: ignore[no-untyped-def]
    """The dealer's correction word of a payload in Z/2^64 of n paths: word = (-1)^t (pad_0 - pad_1 - payload).

    inputs (2n, 2), ciphers (2n + 1, 2), masks (2n,) of both parties' nodes, t is the first one's control bit;
    payload, word (n, 2).
    """
    n = word.shape[0]
    if word.shape != (n, 2) or payload.shape != (n, 2) or inputs.shape != (2 * n, 2) or masks.size != 2 * n:
        raise ValueError("payload_word: the arrays' sizes do not fit together")
    if ciphers.shape != (2 * n + 1, 2):
        raise ValueError("payload_word: the arrays' sizes do not fit together")
    for i in range(2 * n):
        for half in range(2):
            ciphers[i, half] ^= inputs[i, half]
    one, other = ciphers[:n], ciphers[n:]
    for i in range(n):
        for half in range(2):
            apart = one[i, half] - other[i, half] - payload[i, half]
            word[i, half] = (apart ^ masks[i]) - masks[i]


@njit(nogil=True, cache=True)
def weigh(inputs, ciphers, masks, word, rows, turns, sums):  # type: ignore[no-untyped-def]
    """One of the pair: adds its summands (e, g) of the payload at l leaves of each of n trees, times the leaf's row:
    T0·e + T1·g to sums[0] and T1·e to sums[1].

    inputs (l, n, 2), ciphers (l·n + 1, 2), masks (l, n); word (n, 2); rows (l + 1, 2), sums (2, n). The first leaf's
    row is the last one of `rows` where turns (n,) is all ones (`expand`).
    """
    leaves, n = masks.shape
    if inputs.shape != (leaves, n, 2) or ciphers.shape != (leaves * n + 1, 2) or word.shape != (n, 2):
        raise ValueError("weigh: the arrays' sizes do not fit together")
    if leaves < 1 or rows.shape != (leaves + 1, 2) or turns.size != n or sums.shape != (2, n):
        raise ValueError("weigh: the arrays' sizes do not fit together")
    constant, linear = sums[0], sums[1]
    first = np.empty((n, 2), np.uint64)
    for i in range(n):
        for half in range(2):
            first[i, half] = rows[0, half] ^ ((rows[0, half] ^ rows[leaves, half]) & turns[i])
    for k in range(leaves):
        value, given, mask = ciphers[k * n : k * n + n], inputs[k], masks[k]
        for i in range(n):
            for half in range(2):
                value[i, half] ^= given[i, half]
        for i in range(n):
            for half in range(2):
                value[i, half] += word[i, half] & mask[i]
        offset, slope = rows[k, 0], rows[k, 1]
        if k:
            for i in range(n):
                constant[i] += offset * value[i, 0] + slope * value[i, 1]
            for i in range(n):
                linear[i] += slope * value[i, 0]
        else:
            for i in range(n):
                constant[i] += first[i, 0] * value[i, 0] + first[i, 1] * value[i, 1]
            for i in range(n):
                linear[i] += first[i, 1] * value[i, 0]


@njit(nogil=True, cache=True)
def leaf_numbers(inputs, ciphers, masks, word, numbers):  # type: ignore[no-untyped-def]
    """One of the pair: numbers (n, l) = its summands of the payload, of one word, at l leaves of each of n trees.

    inputs (l, n, 2), ciphers (l·n + 1, 2), masks (l, n); word (n,).
    """
    leaves, n = masks.shape
    if inputs.shape != (leaves, n, 2) or ciphers.shape != (leaves * n + 1, 2):
        raise ValueError("leaf_numbers: the arrays' sizes do not fit together")
    if word.size != n or numbers.shape != (n, leaves):
        raise ValueError("leaf_numbers: the arrays' sizes do not fit together")
    for k in range(leaves):
        for i in range(n):
            numbers[i, k] = (ciphers[k * n + i, 0] ^ inputs[k, i, 0]) + (word[i] & masks[k, i])


@njit(nogil=True, cache=True)
def leaf_bits(inputs, ciphers, masks, word, bits):  # type: ignore[no-untyped-def]
    """One of the pair: bits (n, 2m) = its shares of the 128 bits at each of m leaves of each of n trees.

    inputs (m, n, 2), ciphers (m·n + 1, 2), masks (m, n); word (n, 2).
    """
    m, n = masks.shape
    if inputs.shape != (m, n, 2) or ciphers.shape != (m * n + 1, 2) or word.shape != (n, 2) or bits.shape != (n, 2 * m):
        raise ValueError("leaf_bits: the arrays' sizes do not fit together")
    for k in range(m):
        for i in range(n):
            for half in range(2):
                bits[i, 2 * k + half] = ciphers[k * n + i, half] ^ inputs[k, i, half] ^ (word[i, half] & masks[k, i])


@njit(nogil=True, cache=True)
def leaf_word(inputs, ciphers, masks, points, word, chosen):  # type: ignore[no-untyped-def]
    """The dealer's correction word (n, 2) of the 128 bits at the end of n paths; points (n, 2) has the one bit set in
    which the parties differ, and chosen (n,) becomes the first party's share of it, 0 or 1.

    inputs (2n, 2), ciphers (2n + 1, 2), masks (2n,) of both parties' nodes.
    """
    n = chosen.size
    if inputs.shape != (2 * n, 2) or ciphers.shape != (2 * n + 1, 2) or masks.size != 2 * n:
        raise ValueError("leaf_word: the arrays' sizes do not fit together")
    if points.shape != (n, 2) or word.shape != (n, 2):
        raise ValueError("leaf_word: the arrays' sizes do not fit together")
    for i in range(n):
        seen = np.uint64(0)
        for half in range(2):
            pad = ciphers[i, half] ^ inputs[i, half]
            fix = pad ^ ciphers[n + i, half] ^ inputs[n + i, half] ^ points[i, half]
            word[i, half] = fix
            seen ^= (pad ^ (fix & masks[i])) & points[i, half]
        chosen[i] = _parity(seen)


@njit(nogil=True, cache=True)
def add_controls(masks, first, turns, below, above):  # type: ignore[no-untyped-def]
    """below (n,) ^= the masks of the first `first` of c nodes of each tree, above (n,) ^= those of the others; but that
    of the very first one goes to above where turns (n,) is all ones (`expand`). masks (c, n)."""
    c, n = masks.shape
    if first < 1 or first > c or turns.size != n or below.size != n or above.size != n:
        raise ValueError("add_controls: the arrays' sizes do not fit together")
    floating = masks[0]
    for i in range(n):
        below[i] ^= floating[i] & ~turns[i]
    for i in range(n):
        above[i] ^= floating[i] & turns[i]
    for k in range(1, c):
        side, line = below if k < first else above, masks[k]
        for i in range(n):
            side[i] ^= line[i]
