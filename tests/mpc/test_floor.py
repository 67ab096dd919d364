"""Exact truncation: the floor, whatever the shares are, for every |x| < 2^62."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.floor import floor
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol
from keras_private.plan import cost
from keras_private.plan.attributes import MAX_TRUNCATION
from keras_private.sharing.share import Share

from .strategies import ring_arrays
from .three import Three, shares_of


@given(
    x=ring_arrays(bits=63),
    d=st.one_of(st.sampled_from([1, 16, 17, 32, 33, MAX_TRUNCATION]), st.integers(1, MAX_TRUNCATION)),
    turn=st.integers(0, 2),
    relu=st.booleans(),
)
def test_it_is_the_floor(memory_three: Three, x: np.ndarray, d: int, turn: int, relu: bool) -> None:
    def protocol(party: Party, x: Share) -> Protocol[Share]:
        party.take_turn(turn)
        y = yield from floor(party, x, d, relu=relu)
        party.take_turn(0)
        return y

    y = memory_three.value(protocol, shares_of(x.view(np.uint64))).view(np.int64)
    np.testing.assert_array_equal(y, np.maximum(x >> d, 0) if relu else x >> d)
    declared = cost.floor(x.size, d, relu=relu)
    rounds, sent = memory_three.counted()
    assert (rounds, sent) == (declared.rounds, tuple(declared.sent[(i + turn) % 3] for i in range(3)))


def test_another_sharing_of_the_same_numbers_gives_the_same(memory_three: Three) -> None:
    x = np.random.default_rng(0).integers(-(2**40), 2**40, 1000)
    for relu in (False, True):

        def protocol(party: Party, x: Share, relu: bool = relu) -> Protocol[Share]:
            return floor(party, x, 16, 41, relu=relu)

        results = [memory_three.value(protocol, shares_of(x.view(np.uint64))) for _ in range(2)]
        np.testing.assert_array_equal(*results)
