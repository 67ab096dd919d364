"""Embedding: indices that only the client knows, in a table that only the owner knows."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from keras_private import KerasHook, TFECluster, TFEWorker
from keras_private.errors import InputError, PlanError
from keras_private.lowering import draft_of
from keras_private.plan.optimise import optimise

from .cases import randomise


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def texts(keras: Any, dtype: str = "int32") -> Any:
    layers = keras.layers
    x = keras.Input((6,), dtype=dtype, name="words")
    table = layers.Embedding(30, 4)
    y = layers.Dense(5, activation="relu")(layers.Flatten()(table(x)))
    return randomise(keras.Model(x, layers.Add()([y, layers.Dense(5)(layers.GlobalAveragePooling1D()(table(x)))])))


WORDS = np.random.default_rng(3).integers(0, 30, (7, 6)).astype(np.int32)


def test_a_client_gets_what_keras_computes(keras: Any) -> None:
    """Without a declared range it is the table's."""
    KerasHook(keras)
    model = texts(keras)
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as cluster, model.share(cluster), TFEWorker() as client:
        client.connect_to_model(WORDS.shape, (7, 5), cluster)
        with pytest.raises(InputError, match="from 0 to 29"):
            client.query_model_async(WORDS + 30)
        client.query_model_async(WORDS)
        assert model.serve(num_requests=1) == 1
        np.testing.assert_allclose(client.query_model_join(), np.asarray(model(WORDS)), atol=2e-3)


def test_a_declared_range_counts(keras: Any) -> None:
    plan = optimise(draft_of(texts(keras), (0, 5))).plan
    assert plan.inputs[0].range == (0.0, 5.0)
    assert plan.tensors[plan.inputs[0].tensor].bound == 3


def test_indices_of_a_float_type(keras: Any) -> None:
    with pytest.raises(PlanError, match="give the model's input an integer dtype"):
        optimise(draft_of(texts(keras, "float32")))


def test_an_index_that_is_read_otherwise_too_has_no_range_of_its_own(keras: Any) -> None:
    x = keras.Input((6,), dtype="int32")
    both = [keras.layers.Flatten()(keras.layers.Embedding(5, 3)(x)), keras.layers.Rescaling(0.5)(x)]
    with pytest.raises(PlanError, match="input_range must say from which to which"):
        draft_of(keras.Model(x, keras.layers.Concatenate()(both)))
