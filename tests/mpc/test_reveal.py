"""What a client is shown: the same secret, in summands that depend on nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from keras_private.mpc.party import Party
from keras_private.mpc.reveal import refresh
from keras_private.mpc.rounds import Protocol
from keras_private.mpc.truncation import truncation
from keras_private.sharing.share import Share

from .strategies import ring_arrays
from .three import Three, shares_of


def refreshed(party: Party, y: Share) -> Protocol[Share]:
    yield from ()
    return refresh(party, y)


@given(y=ring_arrays())
def test_refresh_keeps_the_secret_and_both_copies_of_every_summand(three: Three, y: np.ndarray) -> None:
    assert np.array_equal(three.value(refreshed, shares_of(y.view(np.uint64))), y.view(np.uint64))
    assert three.counted() == (0, (0, 0, 0))


def test_what_a_truncation_leaves_in_the_summands_is_gone(three: Three) -> None:
    """Without `refresh`, two truncations of one secret have the same y_0 + y_2 in their low bits."""

    def shown(party: Party, x: Share, *, fresh: bool) -> Protocol[list[Share]]:
        outputs = []
        for _ in range(2):
            y = yield from truncation(party, x, 16)
            outputs.append(refresh(party, y) if fresh else y)
        return outputs

    x = shares_of(np.arange(1000, dtype=np.uint64) << np.uint64(20))
    low = np.uint64(2**48 - 1)
    for fresh in (False, True):
        outputs = three.run(lambda party, x, fresh=fresh: shown(party, x, fresh=fresh), x)
        once, again = ((outputs[2][i].mine + outputs[2][i].next) & low for i in range(2))
        assert np.array_equal(once, again) is not fresh
