"""How the largest of several numbers is found cheapest, and what that costs (`mpc/maximum.py`)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from keras_private.plan import gates
from keras_private.plan.cost import Cost, choose, dealt_ahead, number, plane_words, price, relu, sign, window
from keras_private.plan.gates import WINNER, WINNING_BITS, WINNING_PARTS


class Level(NamedTuple):
    """One level of a tournament: `groups` times `ways` neighbouring candidates meet, those left over pass on."""

    ways: int
    groups: int
    cost: Cost
    wide: bool = False  # of four: what wins is found and selected in one exchange


@lru_cache(maxsize=4096)
def tournament(count: int, candidates: int, bound: int, coarse: int = 0, channels: int = 1) -> tuple[Level, ...]:
    """The cheapest levels to find the largest of so many candidates, `count` times.

    Args:
        bound: of the difference of two candidates.
        coarse: low bits that the comparisons may ignore.
        channels: numbers that go along with each candidate, its own included.
    """
    if candidates == 1:
        return ()
    found = []
    for ways, wide in ((2, False), (4, False), (4, True)):
        if ways > candidates + 1:
            continue
        groups = max(1, candidates // ways)  # of three candidates, the last one may stand in for a fourth
        cost = _level(count * groups, ways, bound, coarse, channels, wide=wide)
        level = Level(ways, groups, cost, wide)
        left = groups + max(0, candidates - ways * groups)
        rest = tournament(count, left, bound, coarse, channels)
        found.append((level, *rest))
    return min(found, key=lambda levels: sum(price(level.cost) for level in levels))


def winner(count: int, channels: int = 1) -> Cost:
    """The winner of four by their comparisons, in one exchange; see `mpc.winner`."""
    each = 8 * count * channels
    words = len(WINNING_BITS) + channels * sum(map(len, WINNING_PARTS))
    return Cost(2, (each, each, 8 * count * words))


def _level(count: int, ways: int, bound: int, coarse: int, channels: int, *, wide: bool) -> Cost:
    """`count` games. Its first round is not its own: what is dealt travels in an earlier one."""
    if ways == 2:
        found = dealt_ahead(sign(count, window(bound, coarse, count)), choose(count, 1, channels))
    else:
        padded = 6 * 64 * plane_words(count)
        found = sign(padded, window(bound, coarse, padded))
        if wide:
            found = dealt_ahead(found, winner(count, channels))
        else:
            found = dealt_ahead(dealt_ahead(found, gates.cost(WINNER, plane_words(count))), choose(count, 3, channels))
    return Cost(found.rounds - 1, found.sent)


def maximum(
    count: int, candidates: int, bound: int, relu_bound: int | None = None, *, coarse: int = 0, channels: int = 1
) -> Cost:
    """A tournament, and a ReLU of the result if its bound is given. All that is dealt travels in the first round."""
    games = [level.cost for level in tournament(count, candidates, bound, coarse, channels)]
    if relu_bound is not None:
        last = relu(count, relu_bound, 0)
        games.append(Cost(last.rounds - 1, last.sent))
    return sum(games, Cost(1)) if games else Cost()


def top(rows: int, candidates: int, k: int, bound: int, *, places: bool) -> Cost:
    """The k largest of so many candidates, `rows` times, or their places."""
    pairs = candidates * (candidates - 1) // 2 * rows
    width, several = (candidates - 1).bit_length(), k * rows
    found = sign(pairs, window(bound, 0, pairs))
    found = dealt_ahead(found, number(pairs, candidates * rows, short=True))
    found = dealt_ahead(found, gates.equal(candidates * rows, width, k))
    if places:
        return dealt_ahead(found, number(candidates * several, several))
    return dealt_ahead(found, choose(several, candidates))
