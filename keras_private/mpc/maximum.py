"""The largest of several numbers, and what goes along with it, as a tournament.

Theory of operation. At every level neighbouring candidates meet, two or four at a time, and their differences are
compared at once (`sign`). Of two, a and b, with s = [a < b]:

    winner = a + s·(b - a)

Of four all six pairs are compared in the same rounds. One more exchange makes shared bits of them that say who wins
(`plan.gates.WINNER`: the winner of a and b meets the winner of c and d), and one selects:

    winner = a + e_b·(b - a) + e_c·(c - a) + e_d·(d - a)

So a level of four takes one exchange more than a level of two, and replaces two of them. Of few values both exchanges
may be one (`winner`), for many bytes. `plan.tournament` weighs rounds against bytes. An earlier candidate wins against
a later one of the same size, as numpy's `argmax` has it. What a candidate brings along, its index, is selected by the
same bits.

All that the dealer sends depends on its own summands, and it knows those of every winner from the start: it deals for
the whole tournament in the first round.
"""

from __future__ import annotations

import numpy as np

from keras_private.mpc.bits import SharedBits, empty_bits
from keras_private.mpc.gates import empty_planes, gates
from keras_private.mpc.later import later
from keras_private.mpc.party import Party
from keras_private.mpc.relu import relu
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, Words, together
from keras_private.mpc.select import choose
from keras_private.mpc.sign import sign
from keras_private.mpc.winner import winner
from keras_private.plan.cost import plane_words, window
from keras_private.plan.gates import WINNER
from keras_private.plan.tournament import Level, tournament
from keras_private.sharing.share import Share

_PAIRS = ((0, 1), (2, 3), (0, 2), (0, 3), (1, 2), (1, 3))  # of four, in the order of the inputs of WINNER


def maximum(
    party: Party, x: Share, bound: int, relu_bound: int | None = None, *, coarse: int = 0, wait: int = 0
) -> Protocol[Share]:
    """Share of the largest candidate, (channels, count). Rounds: `plan.tournament.maximum`, and `wait`.

    Args:
        x: (channels, candidates, count). Channel 0 is compared, the others go along. The pair's part may be filled
            during the first 1 + `wait` rounds.
        bound: of the *difference* of two candidates: |a - b| < 2^bound, 63 at most.
        relu_bound: take a ReLU of the result, whose bound this is; of one channel.
        coarse: low bits that comparisons may ignore: the winner is one of the candidates, and smaller than the largest
            by less than 2^coarse for each level of two, and twice that for each level of four.
        wait: rounds between the dealer's messages and the first exchange.
    """
    channels, candidates, count = x.shape
    protocols: list[Protocol[object]] = []
    for level in tournament(count, candidates, bound, coarse, channels):
        game = _Game(x, level)
        protocols += game.protocols(party, bound, coarse, wait)
        wait += level.cost.rounds
        x = game.winners
    if relu_bound is not None:
        result = Share(x.mine.reshape(1, count), x.next.reshape(1, count))
        protocols.append(relu(party, result, relu_bound, wait=wait))
        *_, last = yield from together(*protocols)
        return last  # type: ignore[no-any-return]
    yield from together(*protocols)
    return Share(x.mine.reshape(channels, count), x.next.reshape(channels, count))


class _Game:
    """One level of a tournament. Its numbers are filled in at the dealer at once, at the pair when they are known."""

    def __init__(self, x: Share, level: Level) -> None:
        channels, candidates, count = x.shape
        self.ways, self.groups, self.wide = level.ways, level.groups, level.wide
        self.games = level.groups * count
        self._x = x
        left = level.groups + max(0, candidates - level.ways * level.groups)
        # Of four, every pair begins at a new word of the planes, so that the bits of one game are in one place.
        rows = (1, self.games) if level.ways == 2 else (len(_PAIRS), 64 * plane_words(self.games))
        self.difference = Share(np.zeros(rows, np.uint64), np.zeros(rows, np.uint64))
        self.further = empty_share((channels, level.ways - 1, self.games))
        self.gain = empty_share((channels, self.games))
        self.winners = empty_share((channels, left, count))

    def protocols(self, party: Party, bound: int, coarse: int, wait: int) -> list[Protocol[object]]:
        """In the order in which they read what the others fill."""
        seen, size = window(bound, coarse, self.difference.mine.size), plane_words(self.games)
        compared = empty_bits(self.difference.mine.size)
        found: list[Protocol[object]] = [
            later(party, 1 + wait, self._meet),
            sign(party, self.difference, seen, wait=wait, out=compared),
        ]
        wait, won = wait + seen.levels, compared
        if self.wide:
            pairs = SharedBits(compared.mine.reshape(6, size), compared.next.reshape(6, size))
            found.append(winner(party, self.further, pairs, wait=wait, out=self.gain))
            found.append(later(party, 2 + wait, self._decide))
            return found
        if self.ways == 4:
            won = empty_planes((3, 1, size))
            pairs = SharedBits(compared.mine.reshape(6, 1, size), compared.next.reshape(6, 1, size))
            found.append(gates(party, WINNER, pairs, wait=wait, out=won))
            wait += 1
        won = SharedBits(won.mine.reshape(self.ways - 1, size), won.next.reshape(self.ways - 1, size))
        found.append(choose(party, self.further, won, wait=wait, out=self.gain))
        found.append(later(party, 2 + wait, self._decide))
        return found

    def _meet(self) -> None:
        for x, difference, further in zip(*map(_summands, (self._x, self.difference, self.further)), strict=True):
            met = [self._candidate(x, place) for place in range(self.ways)]
            pairs = _PAIRS if self.ways == 4 else ((0, 1),)
            for row, (a, b) in enumerate(pairs):
                np.subtract(met[a][0], met[b][0], out=difference[row, : self.games])
            for place in range(1, self.ways):
                np.subtract(met[place], met[0], out=further[:, place - 1])

    def _decide(self) -> None:
        for x, gain, winners in zip(*map(_summands, (self._x, self.gain, self.winners)), strict=True):
            winners[:, : self.groups] = (self._candidate(x, 0) + gain).reshape(x.shape[0], self.groups, -1)
            winners[:, self.groups :] = x[:, self.ways * self.groups :]

    def _candidate(self, x: Words, place: int) -> Words:
        """That of every group, (channels, groups · count). The last one of all stands in where a group lacks one."""
        taken = np.minimum(np.arange(place, self.ways * self.groups, self.ways), x.shape[1] - 1)
        return x[:, taken].reshape(x.shape[0], self.games)


def _summands(share: Share) -> tuple[Words, Words]:
    return share.mine, share.next
