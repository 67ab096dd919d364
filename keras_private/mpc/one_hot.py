"""One-hot: a shared index as numbers, one for every place, of which the index's is 1 and all others are 0.

Theory of operation. x = u + v, u known to the pair and v to the dealer (`party`). The dealer deals a point function of
the low bits of v whose payload is 1 (`dpf.py`), and the pair grows both trees to all places i = u + v from 0 to the
size. Each of the pair then has a summand of every number, without another message: sums of public numbers, or of
numbers that both know, with these weights are again split between the two, and go into a `reshare`. So a row of a table
of which the pair knows a summand is looked up at a place that nobody learns.

    round 1   P2 -> P0, P1   16 bytes a level and 8

(The index as a point function: Boyle, Gilboa and Ishai, CCS 2016, section 1.)
"""

from __future__ import annotations

import numpy as np

from keras_private.mpc.dpf import Frontier, Hashes, Path, chunks, spans
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, Words, as_words
from keras_private.plan.cost import ONE_HOT_NODES, one_hot_levels
from keras_private.sharing.share import Share


def one_hot(party: Party, x: Share, size: int, *, wait: int = 0) -> Protocol[Words]:
    """Summands of [x = i] for every value of x and 0 <= i < size. 1 + `wait` rounds.

    Args:
        x: a share of any shape, 0 <= x < size; its pair's part may be filled during the first 1 + `wait` rounds.
        size: how many places there are.
        wait: rounds that go by behind the dealer's message.

    Returns:
        (values, size) words: at P0 and P1 those whose sum is 1 at the index and 0 elsewhere, at the dealer no values,
        (0, size).
    """
    count, levels, hashes = x.mine.size, one_hot_levels(size), Hashes.fresh(party.masks)
    step = max(1, ONE_HOT_NODES // size)
    if party.is_dealer:
        seeds = party.masks.next.words(2 * count), party.masks.mine.words(2 * count)
        v = (x.mine + x.next).reshape(-1)
        words, last = np.empty((levels, count, 2), np.uint64), np.empty(count, np.uint64)
        for part in chunks(count, step):
            pairs = slice(2 * part.start, 2 * part.stop)
            path = Path(hashes, (seeds[0][pairs], seeds[1][pairs]), v[part], levels, levels)
            for word in words:
                path.down(word[part])
            word = np.empty((part.stop - part.start, 2), np.uint64)
            path.payload(np.ones_like(word), word)
            last[part] = word[:, 0]  # one number will do
        yield party.dealer_step([words, last], [words, last])
        for _ in range(wait):
            yield party.dealer_step()
        return np.empty((0, size), np.uint64)

    seed = party.outer_masks.words(2 * count)
    _, got = party.pair_received((yield party.pair_step((), 0, (16 * levels + 8) * count)))
    for _ in range(wait):
        yield party.pair_step()
    key, u, first = as_words(got), party.inner(x), party.role == 0
    words, last = key[: 2 * levels * count].reshape(levels, count, 2), key[2 * levels * count :]
    kept, _ = spans(0, size, levels, levels)
    found = np.empty((count, size), np.uint64)
    for part in chunks(count, step):
        frontier = Frontier(hashes, seed[2 * part.start : 2 * part.stop], u[part], levels, levels, first=first)
        for word, span in zip(words, kept, strict=True):
            frontier.down(word[part], *span)
        found[part] = frontier.nodes.numbers(last[part])
    return found if first else np.negative(found, out=found)
