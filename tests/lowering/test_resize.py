"""Matrices that a layer is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.lowering import draft_of
from keras_private.lowering.resize import matrices_of


def test_matrices_of_a_crop_and_a_fill() -> None:
    found = matrices_of(lambda image: np.pad(image[:, 1:], ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=3.0), 3, 2)
    np.testing.assert_array_equal(found.rows, [[0, 0], [1, 0], [0, 1]])
    np.testing.assert_array_equal(found.columns, [[1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(found.offset, [[0, 0, 3], [0, 0, 3]])


@pytest.mark.parametrize("bent", [np.abs, lambda image: image.swapaxes(1, 2)])
def test_what_is_no_pair_of_matrices_is_refused(bent: object) -> None:
    with pytest.raises(PlanError, match="does not treat rows and columns each by themselves"):
        matrices_of(bent, 3, 3)  # type: ignore[arg-type]


def test_an_image_that_keras_does_not_crop() -> None:
    import keras

    x = keras.Input((6, 5, 3))
    with pytest.raises(PlanError, match=r"as they are at inference.*use CenterCrop"):
        draft_of(keras.Model(x, keras.layers.RandomCrop(4, 4)(x)))
