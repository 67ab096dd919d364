"""ReLU and maximum against numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.party import Party
from keras_private.mpc.relu import maximum, relu
from keras_private.mpc.rounds import Protocol
from keras_private.plan import cost
from keras_private.sharing.share import Share

from .strategies import SHAPES, ring_arrays
from .three import Three, shares_of


@given(x=ring_arrays())
def test_64_bit_relu_is_exact(three: Three, x: np.ndarray) -> None:
    y = three.value(relu, shares_of(x.view(np.uint64)), 63, 0).view(np.int64)
    assert np.array_equal(y, np.maximum(x, 0))
    declared = cost.relu(x.size, 63, 0)
    assert three.counted() == (declared.rounds, declared.sent)


@given(x=ring_arrays(bits=45), drop=st.sampled_from([8, 16, 20]))
def test_relu_with_truncation_is_exact_to_one_unit(three: Three, x: np.ndarray, drop: int) -> None:
    y = three.value(relu, shares_of(x.view(np.uint64)), 44, drop).view(np.int64)
    assert np.abs(y - np.maximum(x, 0) / 2.0**drop).max() <= 1
    declared = cost.relu(x.size, 44, drop)
    assert three.counted() == (declared.rounds, declared.sent)


@given(data=st.data(), candidates=st.integers(1, 9), bits=st.sampled_from([9, 31, 63]))
def test_maximum(three: Three, data: st.DataObject, candidates: int, bits: int) -> None:
    """Differences up to the bound, and so candidates of half of it, at the edges too."""
    shape = data.draw(SHAPES)
    x = data.draw(ring_arrays(bits, st.just((candidates, *shape))))
    shared = [shares_of(row.view(np.uint64)) for row in x]

    def protocol(party: Party) -> Protocol[Share]:
        return (yield from maximum(party, [row[party.index] for row in shared], bits))

    assert np.array_equal(three.value(protocol).view(np.int64), x.max(axis=0))
    declared = cost.maximum(x[0].size, candidates, bits)
    if declared.rounds:
        assert three.counted() == (declared.rounds, declared.sent)
