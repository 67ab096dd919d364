"""Windows against TensorFlow's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_private.lowering.geometry import same_counts, same_pads


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
