"""The comparison against plain signs, over windows of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.sign import SharedBits, sign
from keras_private.plan import cost
from keras_private.plan.cost import FULL, Window, window

from .strategies import ring_arrays
from .three import Three, shares_of


def opened(outputs: list[SharedBits], count: int) -> np.ndarray:
    """The shared bits; both copies of every share must agree."""
    for i in range(3):
        assert np.array_equal(outputs[i].next, outputs[(i + 1) % 3].mine)
    plane = outputs[0].mine ^ outputs[1].mine ^ outputs[2].mine
    return np.unpackbits(plane.view(np.uint8), bitorder="little")[:count].astype(bool)


@given(x=ring_arrays())
def test_64_bit_signs_are_exact(three: Three, x: np.ndarray) -> None:
    negative = opened(three.run(sign, shares_of(x.view(np.uint64)), FULL), x.size)
    assert np.array_equal(negative, x.ravel() < 0)
    declared = cost.sign(x.size, FULL)
    assert three.counted() == (declared.rounds, declared.sent)


@given(data=st.data(), bits=st.integers(1, 62), drop=st.integers(0, 40))
def test_a_window_is_wrong_only_for_small_positive_values(
    three: Three, data: st.DataObject, bits: int, drop: int
) -> None:
    seen = window(bits, drop)
    x = data.draw(ring_arrays(bits=bits + 1))
    negative = opened(three.run(sign, shares_of(x.view(np.uint64)), seen), x.size)
    exact = (x.ravel() < 0) | (x.ravel() >= 2**seen.low)
    assert np.array_equal(negative[exact], (x.ravel() < 0)[exact])
    assert seen.low <= max(drop, 0)
    declared = cost.sign(x.size, seen)
    assert three.counted() == (declared.rounds, declared.sent)


@pytest.mark.parametrize(
    ("bits", "drop", "expected", "rounds"),
    [
        (None, 16, Window(15, 16), 6),
        (62, 0, Window(0, 21), 7),
        (38, 16, Window(15, 8), 5),
        (39, 16, Window(16, 8), 5),
        (40, 16, Window(14, 9), 6),
        (2, 0, Window(0, 1), 2),
        (5, 30, Window(3, 1), 2),
    ],
)
def test_windows(bits: int | None, drop: int, expected: Window, rounds: int) -> None:
    assert window(bits, drop) == expected
    assert cost.sign(1, expected).rounds == rounds


def test_shared_bits_show_no_bits() -> None:
    assert repr(SharedBits(np.ones(2, np.uint64), np.ones(2, np.uint64))) == "SharedBits(2 words)"
