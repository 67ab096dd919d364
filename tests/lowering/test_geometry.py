"""Windows against TensorFlow's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_private.lowering.geometry import same_counts, same_pads, transposed


@pytest.mark.parametrize("size", [(1, 1), (5, 4), (6, 7)])
@pytest.mark.parametrize("window", [(1, 1), (2, 3), (3, 2), (5, 5)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3), (3, 1)])
def test_same_counts_what_lies_inside(size: tuple[int, int], window: tuple[int, int], strides: tuple[int, int]) -> None:
    """A convolution of ones with ones counts the cells inside."""
    counted = tf.nn.conv2d(np.ones((1, *size, 1), np.float32), np.ones((*window, 1, 1), np.float32), strides, "SAME")
    np.testing.assert_array_equal(same_counts(size, window, strides), counted[0, :, :, 0])


def test_the_odd_zero_goes_to_the_end() -> None:
    assert same_pads((4, 4), (2, 4), (1, 1)) == (0, 1, 1, 2)
    assert same_pads((5, 5), (3, 3), (1, 1), (2, 1)) == (2, 2, 1, 1)
    assert same_pads((4, 6), (2, 2), (2, 3)) == (0, 0, 0, 0)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("window", "stride"), [(1, 1), (2, 2), (3, 2), (4, 2), (5, 3), (2, 5)])
def test_no_tap_is_lost(window: int, stride: int, padding: str) -> None:
    """Every tap of the kernel is one output's at one place; those at the edges only are left out with them."""
    way = transposed(4, window, stride, 1, padding, None)
    taps = [tap for row in way.taps for tap in row if tap is not None]
    assert sorted(taps) == list(range(window))
    assert 4 + way.before + way.after - len(way.taps) + 1 == -(-way.length // stride)
