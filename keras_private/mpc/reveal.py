"""Reveal: what a client is shown of a result is a fresh sharing of it, and nothing else.

The summands of a result may remember how it was computed. After a truncation, y_0 + y_2 is the dealer's number
shifted by d bits; several truncations of one secret, all revealed, would tell a client more than their results. So
the parties add a sharing of zero that comes from their common stream, rho_0 + rho_1 + rho_2 = 0, each to the summands
it holds. Local, and both copies of every summand still agree, so that the client can check them.
"""

from __future__ import annotations

from keras_private.mpc.party import Party
from keras_private.sharing.share import Share


def refresh(party: Party, y: Share) -> Share:
    """The same secret in summands that depend on nothing else: uniform, but for their sum. Local.

    Args:
        y: a share of any shape.
    """
    common = party.masks.common
    rho_0, rho_1 = common.words(y.mine.size).reshape(y.shape), common.words(y.mine.size).reshape(y.shape)
    rho = (rho_0, rho_1, -(rho_0 + rho_1))
    return Share(y.mine + rho[party.index], y.next + rho[(party.index + 1) % 3])
