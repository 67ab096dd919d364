"""Reshare against plain sums in the ring."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share, reshare
from keras_private.mpc.rounds import Protocol, Words
from keras_private.plan import cost
from keras_private.sharing.share import Share

from .strategies import ring_arrays
from .three import Three


def reshare_new(party: Party, z: Words) -> Protocol[Share]:
    return reshare(party, z, empty_share(z.shape))


@given(x=ring_arrays(), seed=st.integers(0, 2**32))
def test_reshare_shares_the_sum(three: Three, x: np.ndarray, seed: int) -> None:
    generator = np.random.default_rng(seed)
    first, second = (generator.integers(0, 2**64, x.shape, dtype=np.uint64) for _ in range(2))
    summands = [first, second, x.view(np.uint64) - first - second]
    assert np.array_equal(three.value(reshare_new, summands), x.view(np.uint64))
    declared = cost.reshare(x.size)
    assert three.counted() == (declared.rounds, declared.sent)


def test_the_same_summands_give_another_sharing_every_time(three: Three) -> None:
    zeros = [np.zeros(1000, np.uint64)] * 3
    once, again = three.run(reshare_new, zeros), three.run(reshare_new, zeros)
    for a, b in zip(once, again, strict=True):
        assert not np.intersect1d(a.mine, b.mine).size
        assert not np.intersect1d(a.next, b.next).size
