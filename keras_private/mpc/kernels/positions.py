"""Rows of bits of which one is set, in shares: where it is, what lies before and behind it, and what a table has there.

For `mpc/dpf.py` and `mpc/spline.py`. A row is w words, its bits counted from the lowest of the first word on. As in
`elementwise.py` no kernel's time depends on a share, and a secret bit that selects is spread over a word by one kernel
and ANDed by another.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, inline="always")
def _parity(word):  # type: ignore[no-untyped-def]
    for shift in (32, 16, 8, 4, 2, 1):
        word ^= word >> np.uint64(shift)
    return word & np.uint64(1)


@njit(nogil=True, cache=True)
def unit_bits(values, branches, points):  # type: ignore[no-untyped-def]
    """points (n, w) = one bit set of 64w, w a power of two: in its word the bit values mod 64, and which word say
    branches (log2 w, n), all ones or zero, from the lowest bit of the word's number on."""
    n, w = points.shape
    stages = branches.shape[0]
    if w != 1 << stages or branches.shape != (stages, n) or values.size != n:
        raise ValueError("unit_bits: the arrays' sizes do not fit together")
    for i in range(n):
        points[i, 0] = np.uint64(1) << (values[i] & np.uint64(63))
        for stage in range(stages):
            turn = branches[stage, i]
            width = 1 << stage
            for k in range(width):  # the words so far are those of the number's lower bits
                points[i, width + k] = points[i, k] & turn
                points[i, k] &= ~turn


@njit(nogil=True, cache=True)
def bits_at(bits, points, chosen):  # type: ignore[no-untyped-def]
    """chosen (n,) = 0 or 1, the bit of each row of bits (n, w) that is set in points (n, w)."""
    n, w = bits.shape
    if points.shape != (n, w) or chosen.size != n:
        raise ValueError("bits_at: the arrays' sizes do not fit together")
    for i in range(n):
        seen = np.uint64(0)
        for k in range(w):
            seen |= bits[i, k] & points[i, k]
        chosen[i] = _parity(seen)


@njit(nogil=True, cache=True)
def move_down(bits, amounts, branches, cyclic, out):  # type: ignore[no-untyped-def]
    """out (n, w) = rows of 64w bits moved downwards, bit by bit: by amounts (n,) mod 64, and by 2^j words where
    branches (stages, n) of stage j are all ones. What comes in from above is zero, or if `cyclic` what went out."""
    n, w = bits.shape
    stages = branches.shape[0]
    if out.shape != (n, w) or branches.shape != (stages, n) or amounts.size != n or (cyclic and w != 1 << stages):
        raise ValueError("move_down: the arrays' sizes do not fit together")
    line, moved = np.empty(w + 1, np.uint64), np.empty(w, np.uint64)
    for i in range(n):
        line[:w] = bits[i]
        for stage in range(stages):
            width, turn = 1 << stage, branches[stage, i]
            for k in range(w):
                source = k + width
                if source < w:
                    other = line[source]
                elif cyclic:
                    other = line[source - w]
                else:
                    other = np.uint64(0)
                moved[k] = line[k] ^ ((line[k] ^ other) & turn)
            line[:w] = moved
        line[w] = line[0] if cyclic else np.uint64(0)
        low = amounts[i] & np.uint64(63)
        for k in range(w):
            out[i, k] = (line[k] >> low) | ((line[k + 1] << np.uint64(1)) << (np.uint64(63) - low))


@njit(nogil=True, cache=True)
def add_parities(bits, first, stop, sums):  # type: ignore[no-untyped-def]
    """sums (n,) ^= the parity of the bits [first, stop) of each row of bits (n, w)."""
    n, w = bits.shape
    if sums.size != n or first < 0 or stop < first or stop > 64 * w:
        raise ValueError("add_parities: the arrays' sizes do not fit together")
    if first == stop:
        return
    begin, end = first // 64, (stop - 1) // 64
    whole = ~np.uint64(0)
    head, tail = whole << np.uint64(first % 64), whole >> np.uint64(63 - (stop - 1) % 64)
    for i in range(n):
        seen = np.uint64(0)
        for k in range(begin, end + 1):
            word = bits[i, k]
            if k == begin:
                word &= head
            if k == end:
                word &= tail
            seen ^= word
        sums[i] ^= _parity(seen)


@njit(nogil=True, cache=True)
def sum_rows(bits, rows, sums):  # type: ignore[no-untyped-def]
    """sums (e, n) = the sum of the entries of each of rows (e, K) whose bit is set among the first K of bits (n, w)."""
    n, words = bits.shape
    e, cells = rows.shape
    if cells > 64 * words or sums.shape != (e, n):
        raise ValueError("sum_rows: the arrays' sizes do not fit together")
    masks = np.empty((words, 64), np.uint64)
    line = masks.reshape(-1)
    for i in range(n):
        for k in range(words):
            word, place = bits[i, k], masks[k]
            for bit in range(64):
                place[bit] = np.uint64(0) - ((word >> np.uint64(bit)) & np.uint64(1))
        for r in range(e):
            row = rows[r]
            total = np.uint64(0)
            for k in range(cells):
                total += row[k] & line[k]
            sums[r, i] = total
