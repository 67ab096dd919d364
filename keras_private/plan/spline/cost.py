"""What a spline costs, and which form of its table is the cheaper one; see `mpc/spline.py` for the protocols.

The parties choose by these numbers, each for itself: a change of them needs a new party.messages.VERSION.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from keras_private.errors import PlanError
from keras_private.plan import working
from keras_private.plan.cost import Cost, Window, choose, dealt_ahead, plane_words, price, sign, truncation, window
from keras_private.plan.spline.table import PLAIN_BITS, WORD_BITS, Compared, Refined, Table, Uniform

LEAF_BITS: Final = 7  # a leaf of a tree over a uniform table holds 2^7 places
CHUNK: Final = 2048  # values whose trees are walked together: their blocks stay in a core's cache
_BLOCK: Final = 16  # bytes
_NODE: Final = 96  # bytes: its block, what is hashed of it and made of that, its control bit; and half of its parent


class Tail(NamedTuple):
    """What is added where x lies beside the cells of a uniform table: offset + slope·x."""

    above: bool
    offset: int
    slope: int


def tails(table: Uniform) -> tuple[Tail, ...]:
    """Those that are not zero, once the offset of the lower one has been taken off everything."""
    (base, falling), (offset, slope) = table.below, table.above
    found = (Tail(True, offset - base, slope), Tail(False, 0, falling))
    return tuple(tail for tail in found if tail.offset or tail.slope)


def place_bits(table: Uniform) -> int:
    """How many bits the index of a cell has, of a whole word of places at least.

    Raises:
        PlanError: the cells are so wide that there are not so many.
    """
    bits = max(table.bits - table.width, WORD_BITS)
    if table.width + bits > 64:
        raise PlanError(f"a uniform table with cells of {table.width} bits is too coarse; make them narrower")
    return bits


def tree_levels(table: Uniform) -> int:
    """How many levels the trees have that deal the place; 0: it is dealt as one bit of many."""
    bits = place_bits(table)
    return 0 if bits <= PLAIN_BITS else bits - LEAF_BITS


def key_words(table: Uniform | Refined) -> int:
    """Words of a value's key, without the root: 2 a level and 2 for each payload, or the bits of the place."""
    if isinstance(table, Refined):
        return 2 * len(table.levels) + 2 * sum(level.rows.size > 0 for level in table.levels)
    levels = tree_levels(table)
    return 2 * (levels + 1) if levels else 1 << place_bits(table) - WORD_BITS


def dealt_words(table: Uniform) -> int:
    """Words of a value that the dealer shares beside the key: the sign, times its remainder, what the masks come to;
    for each tail the mask of its bit, and times its number."""
    return 3 + sum(1 + bool(tail.slope) for tail in tails(table))


def spline(count: int, table: Table) -> Cost:
    """Of `count` values. Rounds: one in which the dealer sends, then one exchange of the pair for a refined table, two
    for a uniform one, and those of the comparisons, or at least three, for one to be compared with."""
    if isinstance(table, Compared):
        padded = compared_values(count)
        read = spline(count, table.inner) | sign(padded, seen(count, table))
        if table.down:
            read |= truncation(count, table.down)
        return dealt_ahead(read, choose(count, 2))
    key = 8 * key_words(table) * count
    if isinstance(table, Refined):
        return Cost(2, (8 * count, 8 * count, 2 * key))
    opened = 8 * (3 * count + plane_words(count) * len(tails(table)))
    to_both = 2 if tree_levels(table) else 1
    return Cost(3, (opened, opened, to_both * key + 8 * dealt_words(table) * count))


def compared_values(count: int) -> int:
    """How many numbers are compared: two a value, each half from a new word of the planes on."""
    return 2 * 64 * plane_words(count)


def seen(count: int, table: Compared) -> Window:
    """The bits that comparisons look at: of differences up to twice as large as the bound. A window that leaves out low
    bits has room for that."""
    exactly = table.compare_from == 0
    return window(table.bound + exactly, table.compare_from, compared_values(count))


def cheapest(count: int, tables: Sequence[Table]) -> Table:
    """The one to take for `count` values; the first of several that cost the same."""
    return min(tables, key=lambda table: price(spline(count, table)))


def memory(count: int, table: Table) -> int:
    """Bytes that a party needs beside its operand and the output: keys, what is dealt and opened, and of a chunk the
    nodes of the largest level and their children."""
    if isinstance(table, Compared):
        compared = working.comparison(compared_values(count), seen(count, table))
        beside = working.SHARE * 6 + working.TRUNCATION + 2 * working.SELECT
        return compared + count * beside + memory(count, table.inner)
    if isinstance(table, Refined):
        (low, high), nodes = (0, 1), 0
        for level in table.levels:
            nodes, (low, high) = max(nodes, 2 * (high - low)), level.refined
        return count * 8 * (key_words(table) + 8) + min(count, CHUNK) * nodes * _NODE
    blocks = (table.cells >> LEAF_BITS) + 3 if tree_levels(table) else 0
    chunk = 2 * blocks * (_NODE + 2 * _BLOCK) + 2 * 8 * key_words(table)
    return count * 8 * (2 * key_words(table) + 3 * dealt_words(table) + 16) + min(count, CHUNK) * chunk
