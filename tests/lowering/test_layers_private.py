"""Every layer, over its arguments, computed on shares by three parties, against Keras."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import numpy as np
import pytest

from keras_private import KerasHook, TFECluster, TFEWorker

from .cases import CASES, Case

# (Keras, whether a range is declared). With one, bounds are proven and comparisons narrower; without, only the contract
# holds. Whole numbers need one.
WAYS = {"keras, declared range": (0, True), "tf_keras, any range": (-1, False)}

PRIVATE = [case for case in CASES if case.private]


@pytest.fixture(scope="module")
def cluster() -> Iterator[TFECluster]:
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as started:
        yield started


@pytest.mark.parametrize(
    "way", [way if declared else pytest.param(way, marks=pytest.mark.slow) for way, (_, declared) in WAYS.items()]
)
@pytest.mark.parametrize("case", PRIVATE, ids=lambda case: case.name)
def test_a_client_gets_what_keras_computes(cluster: TFECluster, case: Case, way: str) -> None:
    which, declared = WAYS[way]
    input_range = case.range if declared or case.whole else None
    keras = importlib.import_module(case.keras[which])
    KerasHook(keras)
    model = case.model(keras)
    x = case.inputs(3)
    expected = np.asarray(model(x, training=False))
    with model.share(cluster, input_range=input_range), TFEWorker() as client:
        client.connect_to_model(x.shape, expected.shape, cluster)
        client.query_model_async(x)
        assert model.serve(num_requests=1) == 1
        np.testing.assert_allclose(client.query_model_join(), expected, atol=2e-3)
