"""Truncation against plain division: exact to one unit for every |x| < 2^62."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol
from keras_private.mpc.truncation import truncation
from keras_private.plan import cost
from keras_private.plan.attributes import MAX_TRUNCATION
from keras_private.sharing.share import Share

from .strategies import ring_arrays
from .three import Three, shares_of


@given(
    x=ring_arrays(bits=63),
    d=st.one_of(st.sampled_from([1, 16, 17, 32, 33, MAX_TRUNCATION]), st.integers(1, MAX_TRUNCATION)),
)
def test_truncation_is_exact_to_one_unit(three: Three, x: np.ndarray, d: int) -> None:
    y = three.value(truncation, shares_of(x.view(np.uint64)), d).view(np.int64)
    for value, result in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True):
        assert abs(result - Fraction(value, 2**d)) <= 1
    declared = cost.truncation(x.size, d)
    assert three.counted() == (declared.rounds, declared.sent)


@given(x=ring_arrays(bits=63), d=st.integers(1, MAX_TRUNCATION), turn=st.integers(0, 2))
def test_the_sharing_rounds(memory_three: Three, x: np.ndarray, d: int, turn: int) -> None:
    """The functionality to the letter: which neighbour it is, the pair's number u decides, and nothing else."""

    def protocol(party: Party, x: Share) -> Protocol[Share]:
        party.take_turn(turn)
        y = yield from truncation(party, x, d)
        party.take_turn(0)
        return y

    shares = shares_of(x.view(np.uint64))
    y = memory_three.value(protocol, shares).view(np.int64)
    u = shares[-turn % 3].next  # P0 is server(-turn), and x_1 is what it holds with P1
    unit = 2**d
    for value, number, result in zip(x.ravel().tolist(), u.ravel().tolist(), y.ravel().tolist(), strict=True):
        assert result == value // unit + (number % unit <= value % unit)


def test_the_error_is_centred(three: Three) -> None:
    x = np.random.default_rng(0).integers(-(2**40), 2**40, 200_000)
    y = three.value(truncation, shares_of(x.view(np.uint64)), 16).view(np.int64)
    # Uniform fractions: the standard deviation of the mean is 0.41 / sqrt(200000) = 0.0009 units.
    assert abs(np.mean(y - x / 2.0**16)) < 0.006


@pytest.mark.parametrize(("count", "d", "nbytes"), [(1, 16, 8), (4, 16, 8), (5, 16, 16), (3, 17, 16), (2, 33, 16)])
def test_short_messages_are_whole_words(count: int, d: int, nbytes: int) -> None:
    assert cost.short_bytes(count, d) == nbytes
