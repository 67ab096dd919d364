"""A shared index as numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc import one_hot as module
from keras_private.mpc.one_hot import Numbers, one_hot
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol
from keras_private.plan import cost
from keras_private.sharing.share import Share

from .test_joint_view import SHARINGS, deficits, fixed
from .three import Three, shares_of


def every_number(party: Party, x: Share, size: int, bound: int | None) -> Protocol[list[Numbers]]:
    return list((yield from one_hot(party, x, size, bound)))


def opened(three: Three, turn: int, x: np.ndarray, size: int, bound: int | None) -> np.ndarray:
    for party in three.parties:
        party.take_turn(turn)
    outputs = three.run(every_number, shares_of(x.view(np.uint64)), size, bound)
    for party in three.parties:
        party.take_turn(0)
    dealer = (2 - turn) % 3
    assert not outputs[dealer]
    declared = cost.one_hot(x.size, size, bound)
    assert three.counted() == (declared.rounds, tuple(declared.sent[(i + turn) % 3] for i in range(3)))
    total = np.full((x.size, size), 2, np.uint64)
    for one, other in zip(outputs[(dealer + 1) % 3], outputs[(dealer + 2) % 3], strict=True):
        assert one[:2] == other[:2]
        total[one.values, one.places] = one.words + other.words
    return total


def expected(x: np.ndarray, size: int) -> np.ndarray:
    return (x[:, None] == np.arange(size)).astype(np.uint64)


@given(data=st.data(), size=st.integers(1, 70), bound=st.integers(1, 9), turn=st.integers(0, 2))
def test_one_number_is_one_and_beside_the_places_none(
    three: Three, data: st.DataObject, size: int, bound: int, turn: int
) -> None:
    x = np.array(data.draw(st.lists(st.integers(-(2**bound) + 1, 2**bound - 1), max_size=9)), np.int64)
    assert np.array_equal(opened(three, turn, x, size, bound), expected(x, size))


@pytest.mark.parametrize("bound", [None, 62])
def test_any_whole_number_may_be_an_index(memory_three: Three, bound: int | None) -> None:
    x = np.array([0, 4, 5, -1, 2**62 - 1, -(2**62) + 1, 2**61, -(2**40), 3])
    assert np.array_equal(opened(memory_three, 0, x, 5, bound), expected(x, 5))


@pytest.mark.parametrize("size", [127, 128, 129])
@pytest.mark.parametrize(("trees", "nodes"), [(10, 10 * 17), (300, 300 * 64), (7, 1 << 20)])
def test_every_index_of_many_trees_and_places(
    memory_three: Three, size: int, trees: int, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ONE_HOT_TREES", trees)
    monkeypatch.setattr(module, "ONE_HOT_NODES", nodes)
    assert np.array_equal(opened(memory_three, 0, np.arange(size), size, 8), np.eye(size, dtype=np.uint64))


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_masks_and_messages_add_up_to_no_constant(memory_three: Three, turn: int) -> None:
    for sharing in SHARINGS:
        assert deficits(memory_three, turn, lambda party, x: one_hot(party, x, 9, 4), fixed(sharing)) == [0, 0, 0]
