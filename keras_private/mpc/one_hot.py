"""One-hot: a shared index as numbers, one for every place, of which the index's is 1 and all others are 0.

Theory of operation. x = u + v, u known to the pair and v to the dealer (`party`). The dealer deals a point function of
the low bits of v whose payload is 1 (`dpf.py`), and the pair grows both trees to all places i = u + v from 0 to the
size. Each of the pair then has a summand of every number, without another message: sums of public numbers, or of
numbers that both know, with these weights are again split between the two, and go into a `reshare`. So a row of a table
of which the pair knows a summand is looked up at a place that nobody learns.

    round 1   P2 -> P0, P1   16 bytes a level and 8

The trees have one bit more than any index that is proven possible, so that an index beside the places is at none of
them: all its numbers are 0. What is computed never depends on where an index is.

(The index as a point function: Boyle, Gilboa and Ishai, CCS 2016, section 1.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_private.mpc.dpf import Frontier, Hashes, Path, chunks, spans
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, Words, as_words
from keras_private.plan.cost import ONE_HOT_NODES, ONE_HOT_TREES, one_hot_levels
from keras_private.sharing.share import Share


class Numbers(NamedTuple):
    """Of some values and some places, (values, places) words."""

    values: slice
    places: slice
    words: Words


def one_hot(party: Party, x: Share, size: int, bound: int | None) -> Protocol[Iterator[Numbers]]:
    """Summands of [x = i] for every value of x and 0 <= i < size. One round, in which only the dealer sends.

    Args:
        x: a share of any shape, |x| < 2^bound (None: the contract's). Beyond, x counts modulo 2^levels.
        size: how many places there are.

    Returns:
        at P0 and P1 all numbers, some at a time, made as they are asked for; their sum over P0 and P1 is 1 at the index
        and 0 elsewhere. At the dealer none.
    """
    count, levels, hashes = x.mine.size, one_hot_levels(size, bound), Hashes.fresh(party.masks)
    if party.is_dealer:
        seeds = party.masks.next.words(2 * count), party.masks.mine.words(2 * count)
        words, last = np.empty((levels, count, 2), np.uint64), np.empty(count, np.uint64)
        _deal(hashes, (x.mine + x.next).reshape(-1), seeds, words, last)
        yield party.dealer_step([words, last], [words, last])
        return iter(())

    seed = party.outer_masks.words(2 * count)
    _, got = party.pair_received((yield party.pair_step((), 0, (16 * levels + 8) * count)))
    return _read(party, hashes, party.inner(x), seed, as_words(got), size, levels)


def _deal(hashes: Hashes, v: Words, seeds: tuple[Words, Words], words: Words, last: Words) -> None:
    """The correction words of the levels, (levels, n, 2), and of the payload, (n,)."""
    levels = len(words)
    for part in chunks(v.size):
        pairs = slice(2 * part.start, 2 * part.stop)
        path = Path(hashes, (seeds[0][pairs], seeds[1][pairs]), v[part], levels, levels)
        for word in words:
            path.down(word[part])
        word = np.empty((part.stop - part.start, 2), np.uint64)
        path.payload(np.ones_like(word), word)
        last[part] = word[:, 0]  # one number will do


def _read(party: Party, hashes: Hashes, u: Words, seed: Words, key: Words, size: int, levels: int) -> Iterator[Numbers]:
    """Many trees to few places at a time, few trees to many; each time from the roots on, which is a few nodes more."""
    words, last = key[: 2 * levels * u.size].reshape(levels, u.size, 2), key[2 * levels * u.size :]
    for part in chunks(u.size, ONE_HOT_TREES):
        pairs, trees = slice(2 * part.start, 2 * part.stop), part.stop - part.start
        for places in chunks(size, ONE_HOT_NODES // trees):
            kept, _ = spans(places.start, places.stop, levels, levels)
            frontier = Frontier(hashes, seed[pairs], u[part], levels, levels, first=party.role == 0)
            for word, span in zip(words, kept, strict=True):
                frontier.down(word[part], *span)
            numbers = frontier.nodes.numbers(last[part])
            del frontier
            yield Numbers(part, places, numbers if party.role == 0 else np.negative(numbers, out=numbers))
