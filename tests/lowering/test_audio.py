"""What a row alone does not show of spectrograms."""

from __future__ import annotations

import numpy as np

from keras_private.lowering import draft_of
from keras_private.plan.evaluate import evaluate


def test_softer_than_the_loudest_by_more_than_top_db() -> None:
    """Row by row: as Keras, which takes the loudest value of a whole batch, does for one row."""
    import keras

    x = keras.Input((40,))
    y = keras.layers.MelSpectrogram(fft_length=16, sequence_stride=6, num_mel_bins=4, sampling_rate=100, top_db=6.0)(x)
    model = keras.Model(x, y)
    given = np.random.default_rng(0).uniform(-1, 1, (3, 40)).astype(np.float32) * [[1.0], [0.1], [3.0]]
    expected = np.concatenate([np.asarray(model(row[None])) for row in given])
    assert sum(np.isclose(expected.min(), expected).ravel()) > 1
    np.testing.assert_allclose(evaluate(draft_of(model, (-3.0, 3.0)), given), expected, atol=1e-4)


def test_a_trained_transform_is_secret() -> None:
    import keras

    x = keras.Input((20, 1))
    layer = keras.layers.STFTSpectrogram(mode="real", frame_length=8, frame_step=4)
    model = keras.Model(x, layer(x))
    assert [op.kind for op in draft_of(model).plan.ops if "matmul" in op.kind] == ["public_matmul"]
    layer.set_weights([layer.get_weights()[0] + 0.5])
    assert [op.kind for op in draft_of(model).plan.ops if "matmul" in op.kind] == ["matmul"]
