"""The comparison against plain signs, over windows of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.bits import SharedBits
from keras_private.mpc.sign import sign
from keras_private.plan import cost
from keras_private.plan.cost import GROUP_SIZES, RADICES, Window, window

from .strategies import ring_arrays
from .three import Three, shares_of

FULL = Window(0, 21, 3, 3)  # all 64 bits


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
    seen = window(bits, drop, data.draw(st.sampled_from([1, 1000, 10**5])))
    x = data.draw(ring_arrays(bits=bits + 1))
    shares = shares_of(x.view(np.uint64))
    negative = opened(three.run(sign, shares, seen), x.size)
    exact = (x.ravel() < 0) | (x.ravel() >= 2**seen.low)
    assert np.array_equal(negative[exact], (x.ravel() < 0)[exact])
    low = np.uint64(2**seen.low - 1)  # which of the others are called negative, the pair's number decides
    below = (shares[0].next & low) > (x.view(np.uint64) & low)
    assert np.array_equal(negative, (x.ravel() < 0) | (~exact & below.ravel()))
    assert seen.low <= max(drop, 0)
    declared = cost.sign(x.size, seen)
    assert three.counted() == (declared.rounds, declared.sent)


def check(three: Three, seen: Window, x: np.ndarray) -> None:
    negative = opened(three.run(sign, shares_of(x.view(np.uint64)), seen), x.size)
    exact = (x < 0) | (x >= 2**seen.low)
    assert np.array_equal(negative[exact], (x < 0)[exact])
    declared = cost.sign(x.size, seen)
    assert three.counted() == (declared.rounds, declared.sent)


@pytest.mark.parametrize("size", GROUP_SIZES)
@pytest.mark.parametrize("groups", [1, 2, 3, 5])
def test_groups_of_every_size(three: Three, groups: int, size: int) -> None:
    seen = Window(4, groups, size)
    x = np.random.default_rng(size).integers(-(2**seen.top) + 32, 2**seen.top, 200)
    x[::3] >>= 3
    check(three, seen, x)


@pytest.mark.parametrize("radix", RADICES)
@pytest.mark.parametrize("groups", range(1, 15))
def test_trees_of_every_shape(memory_three: Three, groups: int, radix: int) -> None:
    """Nodes that are full, nodes that are not, and groups that are left over; carries that run through all of them."""
    seen = Window(0, groups, 2, radix)
    limit = 2**seen.top
    x = np.random.default_rng(groups).integers(-limit, limit, 300)
    x[:4] = (-1, 0, limit - 1, -limit)
    check(memory_three, seen, x)


@pytest.mark.parametrize(
    ("bits", "drop", "count", "expected", "rounds"),
    [
        (None, 16, 10**5, Window(15, 16, 3, 3), 5),
        (63, 0, 10**5, FULL, 5),
        (38, 16, 10**5, Window(15, 8, 3, 3), 4),
        (40, 16, 10**5, Window(14, 9, 3, 3), 4),
        (40, 16, 1, Window(16, 5, 5, 5), 3),
        (2, 0, 1, Window(0, 1, 2), 2),
        (5, 30, 1, Window(4, 1, 2), 2),
    ],
)
def test_the_cheapest_window(bits: int | None, drop: int, count: int, expected: Window, rounds: int) -> None:
    assert window(bits, drop, count) == expected
    assert cost.sign(count, expected).rounds == rounds


@given(bits=st.none() | st.integers(1, 63), drop=st.integers(0, 60), count=st.integers(1, 10**6))
def test_every_window_holds_its_bound(bits: int | None, drop: int, count: int) -> None:
    seen = window(bits, drop, count)
    needed = 62 if bits is None else bits
    assert 0 <= seen.low <= drop
    assert needed + (seen.low > 0) <= max(seen.top, drop + 1) <= 63 or needed <= drop


def test_shared_bits_show_no_bits() -> None:
    assert repr(SharedBits(np.ones(2, np.uint64), np.ones(2, np.uint64))) == "SharedBits(2 words)"
