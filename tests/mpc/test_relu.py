"""ReLU against numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.relu import relu
from keras_private.plan import cost

from .strategies import ring_arrays
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
