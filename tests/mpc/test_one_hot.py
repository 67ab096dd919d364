"""A shared index as numbers, and a row looked up by it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc import one_hot as module
from keras_private.mpc.one_hot import one_hot
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share, reshare
from keras_private.mpc.rounds import Protocol, together
from keras_private.plan import cost, working
from keras_private.sharing.share import Share

from .test_joint_view import SHARINGS, deficits, fixed
from .three import Three, shares_of


def opened(three: Three, turn: int, x: np.ndarray, size: int) -> np.ndarray:
    for party in three.parties:
        party.take_turn(turn)
    outputs = three.run(one_hot, shares_of(x.view(np.uint64)), size)
    for party in three.parties:
        party.take_turn(0)
    dealer = (2 - turn) % 3
    assert outputs[dealer].shape == (0, size)
    declared = cost.one_hot(x.size, size)
    assert three.counted() == (declared.rounds, tuple(declared.sent[(i + turn) % 3] for i in range(3)))
    total: np.ndarray = outputs[(dealer + 1) % 3] + outputs[(dealer + 2) % 3]
    return total


@given(data=st.data(), size=st.integers(1, 70), turn=st.integers(0, 2), count=st.integers(0, 9))
def test_one_number_is_one(three: Three, data: st.DataObject, size: int, turn: int, count: int) -> None:
    x = np.array([data.draw(st.integers(0, size - 1)) for _ in range(count)], np.int64)
    assert np.array_equal(opened(three, turn, x, size), np.eye(size, dtype=np.uint64)[x])


@pytest.mark.parametrize("size", [127, 128, 129])
def test_every_index(memory_three: Three, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ONE_HOT_NODES", 10 * size)  # several chunks
    assert np.array_equal(opened(memory_three, 0, np.arange(size), size), np.eye(size, dtype=np.uint64))


@pytest.mark.parametrize(("count", "size"), [(5000, 10), (300, 1000), (2, 70_000)])
def test_no_more_memory_than_declared(memory_three: Three, count: int, size: int) -> None:
    shares = shares_of(np.zeros(count, np.uint64))
    memory_three.run(one_hot, shares, 3)  # what kernels take to be loaded does not count
    tracemalloc.start()
    try:
        memory_three.run(one_hot, shares, size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 2 * working.one_hot(count, size) + 3 * (1 << 16)  # the two of the pair at once


def test_a_row_is_looked_up(memory_three: Three) -> None:
    """Of a table of which the pair knows a summand, in the rounds of a reshare and one more."""
    table, x = np.random.default_rng(1).integers(0, 2**64, (50, 3), dtype=np.uint64), np.array([0, 49, 17, 17])

    def protocol(party: Party, x: Share) -> Protocol[Share]:
        chosen = yield from one_hot(party, x, len(table))
        z = np.zeros((4, 3), np.uint64) if party.is_dealer else chosen @ table
        return (yield from reshare(party, z, empty_share(z.shape)))

    assert np.array_equal(memory_three.value(protocol, shares_of(x.view(np.uint64))), table[x])
    assert memory_three.counted()[0] == 2


def test_behind_an_opening_and_with_rounds_that_go_by(memory_three: Three) -> None:
    x = np.array([3, 0, 6])
    parts = np.random.default_rng(3).integers(0, 2**64, (3, x.size), dtype=np.uint64)
    parts[2] = x.view(np.uint64) - parts[0] - parts[1]

    def protocol(party: Party, z: np.ndarray) -> Protocol[np.ndarray]:
        out = empty_share(z.shape)
        _, chosen = yield from together(reshare(party, z, out), one_hot(party, out, 7, wait=1))
        return chosen

    first, second, _ = memory_three.run(protocol, list(parts))
    assert np.array_equal(first + second, np.eye(7, dtype=np.uint64)[x])
    assert memory_three.counted()[0] == 2


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_masks_and_messages_add_up_to_no_constant(memory_three: Three, turn: int) -> None:
    for sharing in SHARINGS:
        assert deficits(memory_three, turn, lambda party, x: one_hot(party, x, 9), fixed(sharing)) == [0, 0, 0]
