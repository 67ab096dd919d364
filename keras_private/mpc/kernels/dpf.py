"""Local steps of distributed point functions (`mpc/dpf.py`): trees of AES blocks, one tree a value.

A block is two words, (low, high). `linear` below is the map (low, high) -> (high, low ^ high) that stands before AES in
the hash H(s) = AES(linear(s)) ^ linear(s); `ciphers` are what AES made of `inputs`, with one block behind the last
that only AES itself needs. A node's *control bit* is the lowest bit of its block.

As in `elementwise.py` no kernel's time depends on a share, and a secret bit that selects is spread over a word by one
kernel and ANDed by another.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from keras_private.mpc.kernels.positions import _parity


@njit(nogil=True, cache=True)
def bit_masks(values, position, masks):  # type: ignore[no-untyped-def]
    """masks = all ones where bit `position` of a value is set, else zero; values, masks (n,)."""
    if masks.size != values.size or position < 0 or position > 63:
        raise ValueError("bit_masks: the arrays' sizes do not fit together")
    shift = np.uint64(position)
    for i in range(values.size):
        masks[i] = np.uint64(0) - ((values[i] >> shift) & np.uint64(1))


@njit(nogil=True, cache=True)
def enter(nodes, inputs, masks):  # type: ignore[no-untyped-def]
    """What AES is given for nodes (n, 2): inputs (n, 2) = linear(node); masks (n,) = all ones where the control bit is
    set."""
    n = nodes.shape[0]
    if nodes.shape != (n, 2) or inputs.shape != (n, 2) or masks.size != n:
        raise ValueError("enter: the arrays' sizes do not fit together")
    for i in range(n):
        low, high = nodes[i, 0], nodes[i, 1]
        inputs[i, 0] = high
        inputs[i, 1] = low ^ high
        masks[i] = np.uint64(0) - (low & np.uint64(1))


@njit(nogil=True, cache=True)
def correct(nodes, inputs, ciphers, masks, turns, word):  # type: ignore[no-untyped-def]
    """The dealer goes one level down the paths of n values: both parties' nodes (2n, 2), the first party's in front,
    become their children on the path, and word (n, 2) is the correction word that makes the others equal.

    inputs (2n, 2), ciphers (2n + 1, 2) and masks (2n,) of the nodes; turns (n,) = all ones where the path goes right.
    """
    n = turns.size
    if nodes.shape != (2 * n, 2) or inputs.shape != (2 * n, 2) or ciphers.shape != (2 * n + 1, 2):
        raise ValueError("correct: the arrays' sizes do not fit together")
    if masks.size != 2 * n or word.shape != (n, 2):
        raise ValueError("correct: the arrays' sizes do not fit together")
    for i in range(n):
        for half in range(2):
            node = nodes[i, half]
            apart = node ^ nodes[n + i, half]
            hashed = ciphers[i, half] ^ inputs[i, half]
            fix = hashed ^ ciphers[n + i, half] ^ inputs[n + i, half] ^ (apart & ~turns[i])
            child = hashed ^ (node & turns[i]) ^ (fix & masks[i])
            word[i, half] = fix
            nodes[i, half] = child
            nodes[n + i, half] = child ^ apart


@njit(nogil=True, cache=True)
def expand(nodes, inputs, ciphers, masks, word, turns, first, kept, dropped):  # type: ignore[no-untyped-def]
    """One of the pair: all children of c nodes of each of n trees, in the order of their indices.

    nodes, inputs (n·c, 2), ciphers (n·c + 1, 2), masks (n·c,); word (n, 2); turns (n,) = all ones where the bit of u is
    set, by which the order of the children begins one later: the last one goes to the front then.
    Of the 2c children those from `first` on go to kept (n, k, 2), the others to dropped (n, 2c - k, 2).
    """
    n = turns.size
    count, left_out = kept.shape[1], dropped.shape[1]
    if (count + left_out) % 2 or kept.shape != (n, count, 2) or dropped.shape != (n, left_out, 2):
        raise ValueError("expand: the arrays' sizes do not fit together")
    c = (count + left_out) // 2
    if nodes.shape != (n * c, 2) or inputs.shape != (n * c, 2) or ciphers.shape != (n * c + 1, 2):
        raise ValueError("expand: the arrays' sizes do not fit together")
    if masks.size != n * c or word.shape != (n, 2) or first < 0 or first > left_out:
        raise ValueError("expand: the arrays' sizes do not fit together")
    for i in range(n):
        turn = turns[i]
        for half in range(2):
            fix = word[i, half]
            last = i * c + c - 1
            before = inputs[last, half] ^ ciphers[last, half] ^ (fix & masks[last]) ^ nodes[last, half]
            for p in range(c):
                at = i * c + p
                left = inputs[at, half] ^ ciphers[at, half] ^ (fix & masks[at])
                right = left ^ nodes[at, half]
                for side in range(2):
                    own, other = (left, before) if side == 0 else (right, left)
                    child = own ^ ((own ^ other) & turn)
                    k = 2 * p + side
                    if k < first:
                        dropped[i, k, half] = child
                    elif k < first + count:
                        kept[i, k - first, half] = child
                    else:
                        dropped[i, k - count, half] = child
                before = right


@njit(nogil=True, cache=True)
def payload_word(inputs, ciphers, masks, payload, word):  # type: ignore[no-untyped-def]
    """The dealer's correction word of a payload in Z/2^64 of n paths: word = (-1)^t (pad_0 - pad_1 - payload).

    inputs (2n, 2), ciphers (2n + 1, 2), masks (2n,) of both parties' nodes, t is the first one's control bit;
    payload, word (d, n), d <= 2: the pads' low words, and their high ones.
    """
    d, n = word.shape
    if d > 2 or payload.shape != (d, n) or inputs.shape != (2 * n, 2) or ciphers.shape != (2 * n + 1, 2):
        raise ValueError("payload_word: the arrays' sizes do not fit together")
    if masks.size != 2 * n:
        raise ValueError("payload_word: the arrays' sizes do not fit together")
    for half in range(d):
        for i in range(n):
            pad = ciphers[i, half] ^ inputs[i, half]
            apart = pad - (ciphers[n + i, half] ^ inputs[n + i, half]) - payload[half, i]
            word[half, i] = (apart ^ masks[i]) - masks[i]


@njit(nogil=True, cache=True)
def weigh(inputs, ciphers, masks, word, rows, turns, sums):  # type: ignore[no-untyped-def]
    """One of the pair: sums += the payloads at l leaves of each of n trees, each times its row.

    inputs (n·l, 2), ciphers (n·l + 1, 2), masks (n·l,); word (d, n), d <= 2; rows (l + 1, e, d), sums (e, n). The first
    leaf's row is the last one of `rows` where turns (n,) is all ones (`expand`).
    """
    d, n = word.shape
    leaves, e = rows.shape[0] - 1, rows.shape[1]
    if d > 2 or leaves < 1 or rows.shape != (leaves + 1, e, d) or sums.shape != (e, n) or turns.size != n:
        raise ValueError("weigh: the arrays' sizes do not fit together")
    if inputs.shape != (n * leaves, 2) or ciphers.shape != (n * leaves + 1, 2) or masks.size != n * leaves:
        raise ValueError("weigh: the arrays' sizes do not fit together")
    for i in range(n):
        turn = turns[i]
        for half in range(d):
            fix = word[half, i]
            at = i * leaves
            value = (ciphers[at, half] ^ inputs[at, half]) + (fix & masks[at])
            for r in range(e):
                row = rows[0, r, half]
                sums[r, i] += (row ^ ((row ^ rows[leaves, r, half]) & turn)) * value
            for k in range(1, leaves):
                value = (ciphers[at + k, half] ^ inputs[at + k, half]) + (fix & masks[at + k])
                for r in range(e):
                    sums[r, i] += rows[k, r, half] * value


@njit(nogil=True, cache=True)
def leaf_numbers(inputs, ciphers, masks, word, numbers):  # type: ignore[no-untyped-def]
    """One of the pair: numbers (n, l) = its summands of the payload, of one word, at l leaves of each of n trees.

    inputs (n·l, 2), ciphers (n·l + 1, 2), masks (n·l,); word (n,).
    """
    n, leaves = numbers.shape
    if inputs.shape != (n * leaves, 2) or ciphers.shape != (n * leaves + 1, 2) or masks.size != n * leaves:
        raise ValueError("leaf_numbers: the arrays' sizes do not fit together")
    if word.size != n:
        raise ValueError("leaf_numbers: the arrays' sizes do not fit together")
    for i in range(n):
        fix = word[i]
        for k in range(leaves):
            at = i * leaves + k
            numbers[i, k] = (ciphers[at, 0] ^ inputs[at, 0]) + (fix & masks[at])


@njit(nogil=True, cache=True)
def leaf_bits(inputs, ciphers, masks, word, bits):  # type: ignore[no-untyped-def]
    """One of the pair: bits (n, 2m) = its shares of the 128 bits at each of m leaves of each of n trees.

    inputs (n·m, 2), ciphers (n·m + 1, 2), masks (n·m,); word (n, 2).
    """
    n = word.shape[0]
    m = bits.shape[1] // 2
    if bits.shape != (n, 2 * m) or word.shape != (n, 2) or masks.size != n * m:
        raise ValueError("leaf_bits: the arrays' sizes do not fit together")
    if inputs.shape != (n * m, 2) or ciphers.shape != (n * m + 1, 2):
        raise ValueError("leaf_bits: the arrays' sizes do not fit together")
    for i in range(n):
        for k in range(m):
            at = i * m + k
            for half in range(2):
                bits[i, 2 * k + half] = ciphers[at, half] ^ inputs[at, half] ^ (word[i, half] & masks[at])


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
def add_controls(nodes, first, turns, below, above):  # type: ignore[no-untyped-def]
    """below (n,) ^= the control bits of the first `first` nodes of each tree, above (n,) ^= those of the others; but
    that of the very first one goes to above where turns (n,) is all ones (`expand`). nodes (n, c, 2)."""
    n, c = nodes.shape[0], nodes.shape[1]
    if nodes.shape[2] != 2 or first < 1 or first > c or turns.size != n or below.size != n or above.size != n:
        raise ValueError("add_controls: the arrays' sizes do not fit together")
    for i in range(n):
        low, high = np.uint64(0), np.uint64(0)
        for k in range(1, first):
            low ^= nodes[i, k, 0]
        for k in range(first, c):
            high ^= nodes[i, k, 0]
        floating = nodes[i, 0, 0]
        below[i] ^= (low ^ (floating & ~turns[i])) & np.uint64(1)
        above[i] ^= (high ^ (floating & turns[i])) & np.uint64(1)
