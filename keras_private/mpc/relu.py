"""ReLU = (1 - sign(x))·x.

All that the dealer sends depends on its own summands, and it knows those of every result in between before the pair
knows anything (`sign`, `select`, `truncation`). So its messages for a comparison and for the selection after it travel
in the first round.
"""

from __future__ import annotations

from typing import Any

from keras_private.mpc.bits import empty_bits
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, together
from keras_private.mpc.select import select
from keras_private.mpc.sign import sign
from keras_private.mpc.truncation import truncation
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
    *_, result = yield from together(*relu_steps(party, x, bound, drop, wait=wait, out=out))
    return result  # type: ignore[no-any-return]


def relu_steps(
    party: Party, x: Share, bound: int | None, drop: int = 0, *, wait: int = 0, out: Share | None = None
) -> list[Protocol[Any]]:
    """What `relu` runs together, for who has more to run in the same rounds; the last one returns the result."""
    seen, negative = window(bound, drop, x.mine.size), empty_bits(x.mine.size)
    compared = sign(party, x, seen, wait=wait, out=negative)
    later = wait + seen.levels
    if not drop:
        return [compared, select(party, x, negative, negated=True, wait=later, out=out)]
    y = empty_share(x.shape)
    return [truncation(party, x, drop, y), compared, select(party, y, negative, negated=True, wait=later, out=out)]
