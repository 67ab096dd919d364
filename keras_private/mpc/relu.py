"""ReLU = (1 - sign(x))·x, and the maximum built from it."""

from __future__ import annotations

import numpy as np

from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, together
from keras_private.mpc.select import negate, select
from keras_private.mpc.sign import sign
from keras_private.mpc.truncation import truncation
from keras_private.plan.cost import window
from keras_private.sharing.share import Share


def relu(party: Party, x: Share, bits: int | None, drop: int = 0) -> Protocol[Share]:
    """Share of max(x, 0) / 2^drop. 4 + ceil(log2(groups)) rounds: the truncation runs in the rounds of the sign.

    Args:
        x: a share of any shape, |x| < 2^bits; its pair's part may be filled during the first round.
        bits: the proven bound, up to 63 (up to 62 with `drop`); None: the contract's.
        drop: bits to truncate by, 0 for none; results smaller than one unit may then come out as 0.
    """
    seen = window(bits, drop, x.mine.size)
    if drop:
        y, negative = yield from together(truncation(party, x, drop), sign(party, x, seen))
    else:
        y, negative = x, (yield from sign(party, x, seen))
    return (yield from select(party, y, negate(party, negative)))


def maximum(party: Party, candidates: list[Share], bits: int) -> Protocol[Share]:
    """Share of the elementwise maximum of shares of one shape, as a tournament: max(a, b) = b + relu(a - b).

    ceil(log2(len(candidates))) times the rounds of a ReLU; all pairs of a level are compared at once.

    Args:
        bits: bound of the *difference* of two candidates: |a - b| < 2^bits, 63 at most.
    """
    while len(candidates) > 1:
        half = len(candidates) // 2
        a_mine, a_next = _stacked(candidates[:half])
        b_mine, b_next = _stacked(candidates[half : 2 * half])
        gain = yield from relu(party, Share(a_mine - b_mine, a_next - b_next), bits)
        mine, next_ = b_mine + gain.mine, b_next + gain.next
        candidates = [Share(mine[i], next_[i]) for i in range(half)] + candidates[2 * half :]
    return candidates[0]


def _stacked(shares: list[Share]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([share.mine for share in shares]), np.stack([share.next for share in shares])
