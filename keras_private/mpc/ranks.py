"""The k largest of n numbers, in order, and their places: every pair is compared at once.

Theory of operation. All differences x_i - x_j, i < j, are compared in the same rounds (`sign`). How many of the others
come before x_i is a sum of such bits and of their complements. It is opened to the pair as a sum of numbers of 16 bits
(`number`), and its lowest bits are compared with 0 … k-1 (`equal`). That gives, for each rank, one bit for each of the
numbers, of which exactly one is set, since an earlier number comes before a later one of the same size. These bits
select the values (`choose`) or, with public factors, the places (`number`).

The bits grow with n^2, the rounds hardly at all: right for a few of up to a thousand numbers.
"""

from __future__ import annotations

import numpy as np

from keras_private.mpc.bits import empty_bits
from keras_private.mpc.equal import equal
from keras_private.mpc.gates import empty_planes
from keras_private.mpc.kernels import bits
from keras_private.mpc.later import later
from keras_private.mpc.number import number
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Array, Protocol, together
from keras_private.mpc.select import choose
from keras_private.mpc.sign import sign
from keras_private.plan.cost import plane_words, window
from keras_private.plan.gates import conjunction
from keras_private.sharing.share import Share


def top(party: Party, x: Share, k: int, bound: int, *, places: bool) -> Protocol[Share]:
    """Share of the k largest, or of their places, (k, rows), the largest first. Rounds: `plan.tournament.top`.

    Args:
        x: (n, rows), n from 2 to 2^16; the pair's part may be filled during the first round.
        bound: of the *difference* of two numbers: |x_i - x_j| < 2^bound, 63 at most.
        places: their places among the n, as raw integers, instead of their values.
    """
    n, rows = x.shape
    width, several = (n - 1).bit_length(), k * rows
    race = _Race(x, k)
    seen = window(bound, 0, race.pairs * rows)
    known = seen.levels + 1  # rounds between the first one and that after which the ranks are known
    settled = known + len(conjunction(width, n * rows, k))
    protocols = [
        later(party, 1, race.differ),
        sign(party, race.difference, seen, out=race.behind),
        number(
            party,
            race.behind,
            race.pairs * rows,
            combine=race.count,
            results=n * rows,
            short=True,
            wait=seen.levels,
            out=race.ranks,
        ),
        later(party, 1 + known, lambda: race.count_places(party)),
        equal(party, race.ranks, width, range(k), wait=known, out=race.of_rank),
        later(party, 1 + settled, race.turn),
    ]
    if places:
        protocols.append(number(party, race.flat, n * several, combine=race.place, results=several, wait=settled))
    else:
        protocols.append(choose(party, race.copies, race.chosen, wait=settled))
    *_, result = yield from together(*protocols)
    return Share(result.mine.reshape(k, rows), result.next.reshape(k, rows))


class _Race:
    """What is in between. It is filled in at the dealer at once, at the pair when it is known."""

    def __init__(self, x: Share, k: int) -> None:
        n, rows = x.shape
        self._x, self._k = x, k
        self._first, self._second = np.triu_indices(n, 1)
        self.pairs = len(self._first)
        self.difference = empty_share((self.pairs, rows))
        self.behind = empty_bits(self.pairs * rows)  # [x_i < x_j], i < j
        self.ranks = empty_share((n * rows,))
        self.of_rank = empty_planes((k, plane_words(n * rows)))
        self.chosen = empty_planes((n, plane_words(k * rows)))  # the same bits, number by number
        self.flat = empty_bits(k * n * rows)  # and again, one behind the other
        self.copies = empty_share((1, n, k * rows))

    def differ(self) -> None:
        n, rows = self._x.shape
        for x, difference, copies in (
            (self._x.mine, self.difference.mine, self.copies.mine),
            (self._x.next, self.difference.next, self.copies.next),
        ):
            np.subtract(x[self._first], x[self._second], out=difference)
            copies.reshape(n, self._k, rows)[:] = x[:, None]

    def count(self, behind: Array) -> Array:
        """How many come before each, but for those that do by their place alone: a later one by its bit, and an earlier
        one unless its bit is set."""
        n, rows = self._x.shape
        table = np.zeros((n, n, rows), behind.dtype)
        table[self._first, self._second] = behind.reshape(self.pairs, rows)
        result: Array = (table.sum(1, dtype=behind.dtype) - table.sum(0, dtype=behind.dtype)).reshape(-1)
        return result

    def count_places(self, party: Party) -> None:
        if not party.is_dealer:
            n, rows = self._x.shape
            ranks = party.inner(self.ranks)
            ranks += np.repeat(np.arange(n, dtype=np.uint64), rows)

    def place(self, chosen: Array) -> Array:
        """The place of the one that is chosen for each rank."""
        n, rows = self._x.shape
        places = np.arange(n, dtype=chosen.dtype)[:, None]
        found: Array = (chosen.reshape(self._k, n, rows) * places).sum(1, dtype=chosen.dtype).reshape(-1)
        return found

    def turn(self) -> None:
        """From planes of all numbers for each rank to the other two orders."""
        n, rows = self._x.shape
        for of_rank, planes, flat in zip(self.of_rank, self.chosen, self.flat, strict=True):
            summand = np.empty((self._k, n * rows), np.uint8)
            for line, plane in zip(summand, of_rank, strict=True):
                bits.unpack(plane, line)
            bits.pack(summand.reshape(-1), flat)
            turned = np.ascontiguousarray(summand.reshape(self._k, n, rows).transpose(1, 0, 2)).reshape(n, -1)
            for line, plane in zip(turned, planes, strict=True):
                bits.pack(line, plane)
