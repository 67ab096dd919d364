"""Tournaments against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.maximum import maximum
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol
from keras_private.plan.cost import plane_words, window
from keras_private.plan.ops import KINDS
from keras_private.plan.ops.order import decisions
from keras_private.plan.tournament import maximum as cost_of_maximum
from keras_private.plan.tournament import tournament
from keras_private.sharing.share import Share
from tests.ops.sample import Sample

from .strategies import ring_arrays
from .three import Three, shares_of

FEW, SOME, MANY = 3, 500, 20_000  # values for which a level of fours is cheapest in one exchange, in two, and pairs


def largest(three: Three, x: np.ndarray, bits: int, coarse: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The largest of x (candidates, count) and its place, as the parties find them; the cost is as declared."""
    places = np.broadcast_to(np.arange(len(x))[:, None], x.shape)
    both = np.stack([x, places]).astype(np.int64)

    def protocol(party: Party, x: Share) -> Protocol[Share]:
        return (yield from maximum(party, x, bits, coarse=coarse))

    found = three.value(protocol, shares_of(both.view(np.uint64))).view(np.int64)
    declared = cost_of_maximum(x.shape[1], len(x), bits, coarse=coarse, channels=2)
    assert three.counted() == (declared.rounds, declared.sent)
    return found[0], found[1]


@given(data=st.data(), candidates=st.integers(2, 17), bits=st.sampled_from([9, 31, 63]))
def test_the_largest_and_its_place(three: Three, data: st.DataObject, candidates: int, bits: int) -> None:
    """Differences up to the bound, and so candidates of half of it, at the edges too; the first of equal ones wins."""
    x = data.draw(ring_arrays(bits, st.just((candidates, FEW))))
    x = np.where(data.draw(st.booleans()), x >> (bits - 4), x)  # many are equal
    found, place = largest(three, x, bits)
    np.testing.assert_array_equal(found, x.max(axis=0))
    np.testing.assert_array_equal(place, x.argmax(axis=0))


@pytest.mark.parametrize("candidates", range(2, 10))
@pytest.mark.parametrize("count", [FEW, SOME, MANY])
def test_every_shape_of_tournament(three: Three, count: int, candidates: int) -> None:
    x = np.random.default_rng(candidates).integers(-40, 40, (candidates, count))
    found, place = largest(three, x, 20)
    np.testing.assert_array_equal(found, x.max(axis=0))
    np.testing.assert_array_equal(place, x.argmax(axis=0))


def test_what_is_cheapest() -> None:
    def ways(count: int, candidates: int) -> list[tuple[int, bool]]:
        return [(level.ways, level.wide) for level in tournament(count, candidates, 20)]

    assert ways(MANY, 4) == [(2, False), (2, False)]
    assert ways(SOME, 4) == [(4, False)]
    assert ways(FEW, 4) == ways(FEW, 3) == [(4, True)]
    assert ways(FEW, 10) == [(4, True), (4, True)]
    assert ways(FEW, 1) == []


@given(data=st.data(), candidates=st.integers(2, 9), count=st.sampled_from([FEW, 200]))
def test_a_coarse_maximum_is_one_of_the_candidates_and_little_too_small(
    three: Three, data: st.DataObject, candidates: int, count: int
) -> None:
    """Values so near to each other that the bits of one game contradict each other: still exactly one wins."""
    x = data.draw(ring_arrays(14, st.just((candidates, count))))
    found, place = largest(three, x, 15, coarse=11)
    np.testing.assert_array_equal(np.take_along_axis(x, place[None], 0)[0], found)
    levels = len(tournament(count, candidates, 15, 11, 2))
    assert np.all(found > x.max(axis=0) - 2 * levels * 2**11)


@pytest.mark.parametrize(("candidates", "lost"), [(2, 1), (3, 2), (4, 2), (5, 3), (10, 4), (64, 6)])
def test_how_often_the_largest_of_a_coarse_maximum_may_lose(candidates: int, lost: int) -> None:
    plan = Sample(((candidates,),), {"axis": 0, "coarse": 11}).plan("reduce_max")
    assert KINDS["reduce_max"].error(plan.ops[0], plan) == lost * 2**11


def test_the_largest_of_four_may_lose_twice(memory_three: Three) -> None:
    """Three quarters of what is ignored each time."""
    (level,) = tournament(SOME, 4, 15, 11, 2)
    assert (level.ways, window(15, 11, 6 * 64 * plane_words(SOME)).low) == (4, 11)
    x = np.repeat(np.array([[3 * 2**10], [3 * 2**9], [0], [-(2**14)]]), SOME, axis=1)
    found, _ = largest(memory_three, x, 15, coarse=11)
    assert np.any(found == 0)
    assert np.all(found > 3 * 2**10 - decisions(4) * 2**11)


@pytest.mark.parametrize("candidates", [2, 4])
def test_a_coarse_maximum_of_the_most_distant_numbers(three: Three, candidates: int) -> None:
    """Their differences leave no bit above them into which a comparison could be off."""
    x = np.full((candidates, 200), 1 - 2**62)
    x[-1] = 2**62 - 1
    found, place = largest(three, x, 63, coarse=20)
    assert np.all(found == 2**62 - 1)
    assert np.all(place == candidates - 1)


@pytest.mark.parametrize("candidates", [1, 2, 5])
def test_a_relu_of_the_largest(three: Three, candidates: int) -> None:
    x = np.random.default_rng(candidates).integers(-99, 30, (1, candidates, 70))
    y = three.value(maximum, shares_of(x.view(np.uint64)), 8, 7).view(np.int64)
    np.testing.assert_array_equal(y, np.maximum(x[0].max(axis=0), 0).reshape(y.shape))
    declared = cost_of_maximum(70, candidates, 8, 7)
    assert three.counted() == (declared.rounds, declared.sent)
