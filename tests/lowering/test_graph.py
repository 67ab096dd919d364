"""Reading a model's graph: order of calls, shared layers, nested models."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from keras_private.lowering.graph import graph_of

from .cases import CASES

BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def test_inputs_come_before_users(keras: Any) -> None:
    for case in CASES:
        if keras.__name__ not in case.keras:
            continue
        graph = graph_of(case.model(keras))
        assert graph is not None
        known = set(graph.inputs)
        for call in graph.calls:
            assert known.issuperset(call.inputs), case.name
            known.update(call.outputs)
        assert known.issuperset(graph.outputs)


def test_a_shared_layer_is_called_twice(keras: Any) -> None:
    graph = graph_of(BY_NAME["shared layer"].model(keras))
    assert graph is not None
    first, second, joined = graph.calls
    assert first.layer is second.layer
    assert (first.inputs, second.inputs) == ((0,), first.outputs)
    assert joined.many
    assert joined.inputs == (*second.outputs, 0)


def test_nested_models_are_written_out(keras: Any) -> None:
    graph = graph_of(BY_NAME["nested models"].model(keras))
    assert graph is not None
    kinds = [type(call.layer).__name__ for call in graph.calls]
    assert kinds == ["Dense", "Dropout", "Add"] * 2 + ["Dense"]
    assert graph.calls[0].name.startswith("outer/inner/dense")


def test_the_same_tensor_twice(keras: Any) -> None:
    graph = graph_of(BY_NAME["Add with itself"].model(keras))
    assert graph is not None
    assert graph.calls[0].inputs == (0, 0)


def test_what_a_call_was_given_besides_tensors(keras: Any) -> None:
    x = keras.Input((4,))
    graph = graph_of(keras.Model(x, keras.layers.Dropout(0.5)(x, training=True)))
    assert graph is not None
    assert graph.calls[0].arguments["training"] is True


def test_a_layer_is_no_graph(keras: Any) -> None:
    assert graph_of(keras.layers.Dense(2)) is None
