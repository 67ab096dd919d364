"""Tables whose rows give back what they are read at, or where."""

from __future__ import annotations

import numpy as np

from keras_private.plan.spline.table import SPARE_BITS, Compared, Level, Periodic, Refined, Uniform


def uniform(bound: int, width: int, drop: int, first: int, cells: int) -> Uniform:
    """y = x, but for what `drop` leaves out."""
    offsets = np.arange(first, first + cells, dtype=np.int64) << width
    rows = np.stack([offsets, np.full(cells, 1 << drop, np.int64)])
    return Uniform(bound, width, drop, first, rows, (0, 1), (0, 1), 16)


def compared(bound: int, width: int, drop: int, first: int, cells: int, down: int = 0) -> Compared:
    """y = x / 2^down, but for what `drop`, no less than `down`, leaves out."""
    offsets = np.arange(first, first + cells, dtype=np.int64) << width - down
    rows = np.stack([offsets, np.full(cells, 1 << drop - down, np.int64)])
    bits = max((max(-first, first + cells) - 1).bit_length() + 1, 6)
    inner = Periodic(width + bits, width, drop, first, rows, (0, 0), (0, 0), 16)
    return Compared(bound, inner, (0, 1), (0, 1), down)


def refined(bound: int, drop: int, ranges: list[tuple[int, int]]) -> Refined:
    """y = x, but for what `drop` leaves out.

    Args:
        ranges: the refined cells of the levels behind the first two, where all are, and before the last, where none is.
    """
    levels, (a, b) = [], (0, 1)
    for count, (low, high) in enumerate([(-1, 1), (-2, 2), *ranges, (None, None)], 1):
        width, first = bound + SPARE_BITS - count, 2 * a
        index = np.arange(first, 2 * b + 1, dtype=np.int64)[: None if count > SPARE_BITS else 0]
        low_bits = min(drop, width) if len(index) else 0
        rows = np.stack([index << width, np.full(len(index), 1 << low_bits)])
        a, b = (first + 1, first + 1) if low is None else (low, high)
        levels.append(Level(width, low_bits, (a, b), first, rows))
    return Refined(bound, 16, tuple(levels))
