"""The largest of several numbers in order, and sums of bits, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.bits import SharedBits, empty_bits, pack
from keras_private.mpc.number import number
from keras_private.mpc.party import Party
from keras_private.mpc.ranks import top
from keras_private.mpc.rounds import Protocol
from keras_private.plan import cost, tournament
from keras_private.sharing.share import Share

from .strategies import ring_arrays
from .three import Three, shares_of


def ranked(three: Three, x: np.ndarray, k: int, bits: int, *, places: bool) -> np.ndarray:
    def protocol(party: Party, x: Share) -> Protocol[Share]:
        return (yield from top(party, x, k, bits, places=places))

    found = three.value(protocol, shares_of(x.view(np.uint64))).view(np.int64)
    declared = tournament.top(x.shape[1], len(x), k, bits, places=places)
    assert three.counted() == (declared.rounds, declared.sent)
    return found


@given(data=st.data(), n=st.integers(2, 12), bits=st.sampled_from([5, 31, 63]), places=st.booleans())
def test_the_largest_in_order(three: Three, data: st.DataObject, n: int, bits: int, places: bool) -> None:
    """Earlier ones come before later ones of the same size."""
    x = data.draw(ring_arrays(bits, st.just((n, 3))))
    k = data.draw(st.integers(1, n))
    order = np.argsort(-x, axis=0, kind="stable")[:k]
    wanted = order if places else np.take_along_axis(x, order, 0)
    np.testing.assert_array_equal(ranked(three, x, k, bits, places=places), wanted)


def test_five_of_many(memory_three: Three) -> None:
    x = np.random.default_rng(0).integers(-50, 50, (150, 2))
    order = np.argsort(-x, axis=0, kind="stable")[:5]
    np.testing.assert_array_equal(ranked(memory_three, x, 5, 8, places=True), order)
    np.testing.assert_array_equal(ranked(memory_three, x, 5, 8, places=False), np.take_along_axis(x, order, 0))


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("count", [1, 70])
@pytest.mark.parametrize("wait", [0, 1])
def test_bits_as_numbers(three: Three, count: int, wait: int, short: bool) -> None:
    bits = np.random.default_rng(count).integers(0, 2, count, np.uint8)

    def protocol(party: Party, b: Share) -> Protocol[Share]:
        planes: SharedBits = empty_bits(count)
        pack(b, planes)
        each = yield from number(party, planes, count, wait=wait, short=short)
        total = yield from number(party, planes, count, combine=lambda n: n.sum()[None], results=1, short=short)
        return Share(np.append(each.mine, total.mine), np.append(each.next, total.next))

    found = three.value(protocol, shares_of(bits)) & np.uint64(0xFFFF if short else 2**64 - 1)
    np.testing.assert_array_equal(found, np.append(bits, bits.sum()))
    declared = cost.number(count, short=short) + cost.number(count, 1, short=short)
    assert three.counted() == (declared.rounds + wait, declared.sent)
