"""What the protocols take of a party's memory beside their operands and results: estimates from above, in bytes.

Counted per value, from the protocols as they are written: arrays of words (masks, messages to and from two peers) and
planes of bits, of which a comparison needs a few for every bit of its window.
"""

from __future__ import annotations

from keras_private.plan.cost import ONE_HOT_NODES, ONE_HOT_TREES, Window, one_hot_levels, plane_words, window
from keras_private.plan.gates import conjunction
from keras_private.plan.tournament import tournament, winner

SHARE = 16  # bytes of a value: two summands
BITS = 2  # of a bit
RESHARE = 48  # the product, the masked summand, two masks, what comes from two peers
TRUNCATION = 48
SELECT = 88  # what is dealt and its masks, the halves, the results
NUMBER = 72  # the bits as bytes and numbers, what is dealt, its mask, the summand, what is sent and got
LOCAL = 8  # one summand is made while the other is kept: some ops make a copy in between


def local(count: int) -> int:
    return LOCAL * count


def truncation(count: int) -> int:
    return TRUNCATION * count


def relu(count: int, bound: int | None, drop: int) -> int:
    compared = comparison(count, window(bound, drop, count))
    return compared + (SELECT + SHARE) * count + (TRUNCATION + SHARE if drop else 0) * count


def comparison(count: int, seen: Window) -> int:
    """Planes: the window's bits, what is dealt and its masks, and the exchanged pairs of bits: sent, got, two masks."""
    planes = seen.size * seen.groups + 1 + 2 * seen.dealt + 4 * (2 * seen.groups)
    return 8 * planes * plane_words(count)


def linear(count: int, drop: int, relu_bound: int | None) -> int:
    """A secret product of `count` outputs, its truncation, and its ReLU if the product's bound is given."""
    if relu_bound is not None:
        return RESHARE * count + relu(count, relu_bound, drop)
    return (RESHARE + (SHARE + TRUNCATION if drop else 0)) * count


def maximum(
    count: int, candidates: int, bound: int, relu_bound: int | None, *, coarse: int = 0, channels: int = 1
) -> int:
    """A tournament whose levels all live at once: the candidates, what is compared at every level, the comparisons."""
    needed = SHARE * channels * candidates * count
    for level in tournament(count, candidates, bound, coarse, channels):
        games = count * level.groups
        pairs = games if level.ways == 2 else 6 * 64 * plane_words(games)
        needed += SHARE * pairs + comparison(pairs, window(bound, coarse, pairs))
        needed += (SHARE * (level.ways + 2) * channels + SELECT * (1 + channels) // 2 * (level.ways - 1)) * games
        if level.wide:  # what is dealt, its masks, what they are made of
            needed += 3 * winner(games, channels).sent[2]
    return needed + (0 if relu_bound is None else relu(count, relu_bound, 0))


def compared(count: int, bound: int | None) -> int:
    """Numbers whose sign becomes bits, and those before they are."""
    return comparison(count, window(bound, 0, count)) + (SHARE + BITS) * count


def equal(count: int, width: int, variants: int = 1) -> int:
    """The planes that are compared, and for each exchange what is dealt, its products, and the results four times."""
    planes = 4 * width * variants
    for level in conjunction(width, count, variants):
        planes += 4 * len(level.dealt) + 6 * len(level.outputs) * variants
    return 8 * planes * plane_words(count) + SHARE * count


def top(rows: int, candidates: int, k: int, bound: int) -> int:
    """All pairs' differences, their comparison, their table in numbers of 16 bits, and what is selected."""
    pairs = candidates * (candidates - 1) // 2 * rows
    table = 2 * candidates * candidates * rows
    return (
        compared(pairs, bound)
        + 16 * pairs
        + table
        + (SELECT + SHARE + NUMBER) * candidates * k * rows
        + equal(candidates * rows, (candidates - 1).bit_length(), k)
    )


def lookup(count: int, size: int, bound: int | None, results: int) -> int:
    """What is dealt, and got from two dealers, with roots; the opening; and the nodes of trees that are walked
    together, with their numbers."""
    trees = min(count, ONE_HOT_TREES)
    nodes = min(trees * size, ONE_HOT_NODES) + 4 * trees
    return (96 * one_hot_levels(size, bound) + 256) * count + RESHARE * results + 136 * nodes
