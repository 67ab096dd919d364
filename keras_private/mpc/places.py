"""Which cell of a uniform table a shared number is in: XOR shares of a bit for every cell, one of which is set.

Theory of operation. The dealer knows the place j = v >> s among 2^k (`plan/spline/table.py`), and the pair looks at
cells i = j + (u >> s). In one of two ways it gets shares of a row of bits that has the bit j set:
- *By a tree* (`dpf.py`) down to leaves of 128 bits each, of which the pair looks at those that may hold cells of the
  table. Control bits of the nodes left out add up to shares of whether x is below all cells, or above.
- *Plainly*, where k is small: all 2^k bits, P0's share of them is a mask of k_0.
Then the row is moved down by a number that the pair knows, so that the table's first cell comes first. What comes
behind the last cell, and (around the row's end, or below its beginning) before the first one, goes to the tails.

The same share of the same bit at both parties means "not here", so that sums over a party's ones of anything are equal
but for the set bit. Which of the two has it there is a sign that only the dealer can tell.
"""

from __future__ import annotations

import numpy as np

from keras_private.mpc.dpf import Frontier, Hashes, Path, bit_masks, chunks, spans
from keras_private.mpc.kernels import dpf, positions
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Words
from keras_private.plan.spline.cost import LEAF_BITS, key_words, place_bits, tails, tree_levels
from keras_private.plan.spline.table import Uniform


def deal_places(party: Party, v: Words, table: Uniform) -> tuple[list[Words], list[Words], Words]:
    """The dealer's messages to both of the pair and to P1 alone; and P0's bit of the place, (n,) 0 or 1."""
    levels, bits, chosen = tree_levels(table), place_bits(table), np.empty(v.size, np.uint64)
    place = v >> np.uint64(table.width)
    if not levels:
        points = _unit_bits(place, bits)
        masks = party.masks.next.words(points.size).reshape(points.shape)
        positions.bits_at(masks, points, chosen)
        return [], [np.bitwise_xor(points, masks, out=points)], chosen
    key, hashes = np.empty((levels + 1, v.size, 2), np.uint64), Hashes.fresh(party.masks)
    seeds = party.masks.next.words(2 * v.size), party.masks.mine.words(2 * v.size)
    for part in chunks(v.size):
        pairs = slice(2 * part.start, 2 * part.stop)
        path = Path(hashes, (seeds[0][pairs], seeds[1][pairs]), place[part], bits, levels)
        for word in key[:-1]:
            path.down(word[part])
        chosen[part] = path.bits(_unit_bits(place[part], LEAF_BITS), key[-1, part])
    return [key], [], chosen


class Places:
    """One of the pair's side of it, for `count` values. Draws its masks at once."""

    __slots__ = ("_cells", "_first", "_hashes", "_own", "_table", "due")

    def __init__(self, party: Party, table: Uniform, count: int) -> None:
        self._table, self._first = table, party.role == 0
        key, plain = key_words(table) * count, tree_levels(table) == 0
        self.due = 0 if plain and self._first else 8 * key
        """Bytes that the dealer sends."""
        if plain and not self._first:
            self._own = np.empty(0, np.uint64)  # its share of the bits is the dealer's message
        else:
            self._own = party.outer_masks.words(key if plain else 2 * count)
        if not plain:
            self._hashes = Hashes.fresh(party.masks)
        # Cells that no x is in are left out: where indices go around there is nothing to tell below from above.
        self._cells = table.indices

    def read(self, u: Words, key: Words) -> tuple[Words, list[Words]]:
        """Sums (2, n) of the rows of this party's ones, and its share of the bit of every tail, (n,) 0 or 1."""
        table, cells = self._table, self._cells
        kept = slice(max(0, cells.start - table.first), max(0, cells.start - table.first) + len(cells))
        rows = table.rows.view(np.uint64)[:, kept].copy()
        rows[0] -= np.uint64(table.below[0] % (1 << 64))
        sums, tail = np.empty((2, u.size), np.uint64), np.empty((2, u.size), np.uint64)
        read = self._by_tree if tree_levels(table) else self._plainly
        for part in chunks(u.size):
            bits, below, above = read(u[part] >> np.uint64(table.width), key, part)
            found = np.empty((2, below.size), np.uint64)
            positions.sum_rows(bits, rows, found)
            sums[:, part] = found
            tail[:, part] = below, above
        return sums, [tail[int(one.above)] for one in tails(table)]

    def _plainly(self, place: Words, key: Words, part: slice) -> tuple[Words, Words, Words]:
        first, stop, bits = self._cells.start, self._cells.stop, place_bits(self._table)
        row = (self._own if self._first else key).reshape(-1, 1 << bits - 6)[part]
        moved = np.empty_like(row)
        amounts = np.uint64(first % (1 << 64)) - place
        positions.move_down(row, amounts, _branches(amounts, bits - 6), True, moved)
        half, below, above = (1 << bits - 1) - first, np.zeros(place.size, np.uint64), np.zeros(place.size, np.uint64)
        positions.add_parities(moved, stop - first, half, above)
        positions.add_parities(moved, half, 1 << bits, below)
        return moved, below, above

    def _by_tree(self, place: Words, key: Words, part: slice) -> tuple[Words, Words, Words]:
        # All indices are moved up until the first cell's begins a leaf: then the cells lie below fewer nodes.
        more = -self._cells.start % (1 << LEAF_BITS)
        place, first, stop = place + np.uint64(more), self._cells.start + more, self._cells.stop + more
        levels, bits = tree_levels(self._table), place_bits(self._table)
        words = key.reshape(levels + 1, len(self._own) // 2, 2)[:, part]
        below, above = np.zeros(place.size, np.uint64), np.zeros(place.size, np.uint64)
        seed = self._own[2 * part.start : 2 * part.stop]
        frontier = Frontier(self._hashes, seed, place, bits, levels, first=self._first)
        kept, start = spans(first, stop, bits, levels)
        for word, span in zip(words[:-1], kept, strict=True):
            others = frontier.down(word, span.first, span.size)
            if others.masks.size:
                dpf.add_controls(others.masks, span.first, frontier.turns, below, above)
        row = frontier.nodes.bits(words[-1])
        # A leaf of index i has the cells from 2^7·i + (the place's low 7 bits) on.
        amounts = np.uint64((first - (start << LEAF_BITS)) % (1 << 64)) - (place & np.uint64((1 << LEAF_BITS) - 1))
        moved, width = np.empty_like(row), 64 * row.shape[1]
        positions.move_down(row, amounts, _branches(amounts, 2), False, moved)
        positions.add_parities(row, 0, width, below)
        positions.add_parities(moved, 0, width, below)
        positions.add_parities(moved, stop - first, width, above)
        return moved, below, above


def _unit_bits(values: Words, bits: int) -> Words:
    """Rows of 2^bits bits, bits >= 6, in words, with one bit set: in each the one whose number the value's low `bits`
    bits are."""
    stages = bits - 6
    points = np.empty((values.size, 1 << stages), np.uint64)
    positions.unit_bits(values, _branches(values, stages), points)
    return points


def _branches(values: Words, stages: int) -> Words:
    """(stages, n): all ones where bit 6 + stage of a value is set."""
    return np.ascontiguousarray(bit_masks(values, 6 + stages, stages)[::-1])
