"""ReLU = (1 - sign(x))·x, and the maximum built from it.

All that the dealer sends depends on its own summands, and it knows those of every result in between before the pair
knows anything (`sign`, `select`, `truncation`). So its messages for a comparison, for the selection after it, and for
every level of a tournament travel in the first round.
"""

from __future__ import annotations

import numpy as np

from keras_private.mpc.bits import empty_bits
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, together
from keras_private.mpc.select import select
from keras_private.mpc.sign import sign
from keras_private.mpc.truncation import truncation
from keras_private.plan.cost import relu as relu_cost
from keras_private.plan.cost import window
from keras_private.sharing.share import Share


def relu(
    party: Party, x: Share, bound: int | None, drop: int = 0, *, wait: int = 0, out: Share | None = None
) -> Protocol[Share]:
    """Share of max(x, 0) / 2^drop. 2 + `wait` + window.levels rounds: the truncation runs in the rounds of the sign.

    Args:
        x: a share of any shape, |x| < 2^bound; its pair's part may be filled during the first 1 + `wait` rounds.
        bound: bits, proven, up to 63 (up to 62 with `drop`); None: the contract's.
        drop: bits to truncate by, 0 for none; results smaller than one unit may then come out as 0. Without `wait`.
        wait: rounds between the dealer's messages and the first exchange.
        out: where to put the result; the dealer's part of it is there before the first round.
    """
    seen, negative = window(bound, drop, x.mine.size), empty_bits(x.mine.size)
    compared = sign(party, x, seen, wait=wait, out=negative)
    later = wait + seen.levels
    if drop:
        y = empty_share(x.shape)
        chosen = select(party, y, negative, negated=True, wait=later, out=out)
        *_, result = yield from together(truncation(party, x, drop, y), compared, chosen)
    else:
        *_, result = yield from together(compared, select(party, x, negative, negated=True, wait=later, out=out))
    return result  # type: ignore[no-any-return]


def maximum(party: Party, candidates: list[Share], bound: int, relu_bound: int | None = None) -> Protocol[Share]:
    """Share of the elementwise maximum of shares of one shape, as a tournament: max(a, b) = b + relu(a - b).

    All pairs of a level are compared at once.

    Args:
        bound: of the *difference* of two candidates: |a - b| < 2^bound, 63 at most.
        relu_bound: take a ReLU of the result, whose bound this is.
    """
    protocols: list[Protocol[object]] = []
    done = 0  # rounds until the candidates are known to the pair, the first one not counted
    while len(candidates) > 1:
        half = len(candidates) // 2
        game = _Game(candidates[:half], candidates[half : 2 * half])
        protocols.append(game.compare(party, 1 + done))
        protocols.append(relu(party, game.difference, bound, wait=done, out=game.gain))
        done += relu_cost(game.difference.mine.size, bound, 0).rounds - 1
        protocols.append(game.decide(party, 1 + done))
        candidates = game.winners + candidates[2 * half :]
    largest = candidates[0]
    if relu_bound is not None:
        protocols.append(relu(party, largest, relu_bound, wait=done))
    if not protocols:
        return largest
    *_, last = yield from together(*protocols)
    return largest if relu_bound is None else last


class _Game:
    """One level of a tournament. Its numbers are filled in at the dealer at once, at the pair when they are known."""

    def __init__(self, a: list[Share], b: list[Share]) -> None:
        self._a, self._b = a, b
        shape = (len(a), *a[0].shape)
        self.difference, self.gain, self._won = empty_share(shape), empty_share(shape), empty_share(shape)
        self.winners = [Share(self._won.mine[i], self._won.next[i]) for i in range(len(a))]

    def compare(self, party: Party, rounds: int) -> Protocol[None]:
        """a - b, once a and b are known."""
        yield from _idle(party, rounds)
        for i, (a, b) in enumerate(zip(self._a, self._b, strict=True)):
            np.subtract(a.mine, b.mine, out=self.difference.mine[i])
            np.subtract(a.next, b.next, out=self.difference.next[i])

    def decide(self, party: Party, rounds: int) -> Protocol[None]:
        """b + relu(a - b), once that is known."""
        yield from _idle(party, rounds)
        for i, b in enumerate(self._b):
            np.add(b.mine, self.gain.mine[i], out=self._won.mine[i])
            np.add(b.next, self.gain.next[i], out=self._won.next[i])


def _idle(party: Party, rounds: int) -> Protocol[None]:
    """Let rounds go by at the pair; the dealer is always ready."""
    for _ in range(0 if party.is_dealer else rounds):
        yield party.pair_step()
