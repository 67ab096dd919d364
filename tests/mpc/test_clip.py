"""Clips and absolute values against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.absolute import absolute
from keras_private.mpc.clip import clip
from keras_private.plan import cost

from .strategies import ring_arrays
from .three import Three, shares_of


@given(x=ring_arrays(63), bits=st.sampled_from([1, 20, 62, None]))
def test_absolute_values_are_exact(three: Three, x: np.ndarray, bits: int | None) -> None:
    x = x >> (62 - bits) if bits else x
    y = three.value(absolute, shares_of(x.view(np.uint64)), bits).view(np.int64)
    np.testing.assert_array_equal(y, np.abs(x))
    declared = cost.absolute(x.size, bits)
    assert three.counted() == (declared.rounds, declared.sent)


@given(data=st.data(), bits=st.sampled_from([7, 40, 62, None]), drop=st.sampled_from([0, 0, 3, 17]))
def test_clips(three: Three, data: st.DataObject, bits: int | None, drop: int) -> None:
    """Exact without a truncation, to a unit with one; ends may lie beyond all values."""
    size = bits or 62
    x = data.draw(ring_arrays(size + 1))
    reach = 1 << min(61, size + 2)
    low = data.draw(st.one_of(st.sampled_from([0, -1, int(x.flat[0])]), st.integers(-reach, reach))) >> drop
    high = max(low, data.draw(st.one_of(st.sampled_from([0, 6, int(x.flat[-1])]), st.integers(-reach, reach))) >> drop)
    y = three.value(clip, shares_of(x.view(np.uint64)), low, high, bits, drop).view(np.int64)
    if drop:
        assert np.all(np.abs(y - np.clip(x / 2.0**drop, low, high)) <= 1)
    else:
        np.testing.assert_array_equal(y, np.clip(x, low, high))
    declared = cost.clip(x.size, bits, drop)
    assert three.counted() == (declared.rounds, declared.sent)


@pytest.mark.parametrize(
    ("bits", "drop", "low", "high"),
    [
        (10, 4, -1, 1000),
        (10, 4, -1000, 5),
        (10, 4, 64, 1000),
        (10, 4, -1000, -64),
        (30, 16, -(1 << 20), 1 << 20),
        (5, 9, -3, 3),
        (62, 16, 1 << 50, 1 << 51),
        (None, 16, -(1 << 51), -(1 << 50)),
        (None, 16, -(1 << 50), 1 << 50),
    ],
)
def test_ends_beyond_the_largest_values(three: Three, bits: int | None, drop: int, low: int, high: int) -> None:
    """Where comparisons ignore low bits, no value looks as if it were beyond an end that lies further off than all."""
    largest = (1 << (bits or 62)) - 1
    x = np.repeat(np.array([largest, largest - 1, -largest, 1 - largest, 0]), 200)
    y = three.value(clip, shares_of(x.view(np.uint64)), low, high, bits, drop).view(np.int64)
    assert np.all(np.abs(y - np.clip(x / 2.0**drop, low, high)) <= 1)
