"""Operations between layers against Keras: in plain numbers, as the parties round, and computed by them."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_private import KerasHook, TFECluster, TFEWorker
from keras_private.errors import PlanError
from keras_private.lowering import draft_of
from keras_private.lowering.graph import graph_of
from keras_private.lowering.operation import known_operations
from keras_private.lowering.operations.catalogue import text
from keras_private.lowering.tensorflow import known_functions
from keras_private.plan.evaluate import evaluate, evaluate_all
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Draft
from keras_private.plan.simulate import simulate

from .cases import operations
from .cases_operations import OPERATIONS, ROWS, Operation


def listed(made: Any) -> list[np.ndarray]:
    return [np.asarray(each) for each in (made if isinstance(made, list | tuple) else [made])]


def recorded(case: Operation) -> tuple[Draft, list[np.ndarray], list[np.ndarray]]:
    """The draft, an input, and what Keras makes of it."""
    model, x = case.model(), case.inputs()
    low, high = case.range
    return draft_of(model, (low, high - 1 if "int" in case.dtype else high)), [x], listed(model(x))


@pytest.mark.parametrize("case", OPERATIONS, ids=lambda case: case.name)
def test_plan_computes_what_keras_computes(case: Operation) -> None:
    draft, x, expected = recorded(case)
    for got, right in zip(evaluate_all(draft, x), expected, strict=True):
        np.testing.assert_allclose(got, right, rtol=case.tolerance, atol=case.tolerance)


@pytest.mark.slow
def test_every_operation_and_function_has_a_case() -> None:
    kinds, symbols = set(), set()
    models = [case.model() for case in OPERATIONS]
    models += [case.model(importlib.import_module(name)) for case in operations.CASES for name in case.keras]
    for graph in map(graph_of, models):
        assert graph is not None
        kinds |= {call.operation.kind for call in graph.calls if call.operation is not None}
        symbols |= {getattr(call.layer, "symbol", "") for call in graph.calls}
    assert not known_operations() - kinds
    assert not known_functions() - symbols


@pytest.mark.slow
@pytest.mark.parametrize("case", OPERATIONS, ids=lambda case: case.name)
def test_as_the_parties_round(case: Operation) -> None:
    """Within 2^-10 of the largest value or 1, and a unit; but for what steps make of it exactly where they are."""
    draft, x, expected = recorded(case)
    for got, right in zip(simulate(optimise(draft), x), expected, strict=True):
        np.testing.assert_allclose(got, right, atol=2.0**-10 * max(1.0, float(np.max(np.abs(right)))) + 2.0**-14)


SEVERAL = 24  # outputs of one model
SHARED = [case for case in OPERATIONS if (case.shape, case.keras, case.range) == (ROWS, "keras", (-2.0, 2.0))]


@pytest.fixture(scope="module")
def cluster() -> Iterator[TFECluster]:
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, len(SHARED), SEVERAL))
def test_a_client_gets_what_keras_computes(cluster: TFECluster, first: int) -> None:
    KerasHook(keras)
    x = keras.Input(ROWS)
    made = [case.compute(keras.ops, x) for case in SHARED[first : first + SEVERAL]]
    outputs = [each for one in made for each in (one if isinstance(one, list | tuple) else [one])]
    model, sample = keras.Model(x, outputs), SHARED[first].inputs()
    expected = listed(model(sample))
    with model.share(cluster, input_range=(-2.0, 2.0)), TFEWorker() as client:
        client.connect_to_model(cluster)
        client.query_model_async(sample)
        assert model.serve(num_requests=1) == 1
        for got, right in zip(client.query_model_join(), expected, strict=True):
            np.testing.assert_allclose(got, right, atol=2.0**-9 * max(1.0, float(np.max(np.abs(right)))))


def test_the_document_is_what_is_generated() -> None:
    document = Path(__file__).parents[2] / "docs" / "operations.md"
    command = "python -m keras_private.lowering.operations.catalogue > docs/operations.md"
    assert document.read_text(encoding="utf-8") == text(), command


# --- shapes that broadcast

_PAIRS = {
    "add": lambda ops, x, y: x + y,
    "subtract": lambda ops, x, y: x - y,
    "multiply": lambda ops, x, y: x * y,
    "maximum": lambda ops, x, y: ops.maximum(x, y),
    "minimum": lambda ops, x, y: ops.minimum(x, y),
    "less": lambda ops, x, y: ops.less(x, y),
    "where": lambda ops, x, y: ops.where(x > 0, x, y),
    "divide": lambda ops, x, y: x / (y + 3.0),
}


@settings(deadline=None, max_examples=12)
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=3, max_side=3), data=st.data())
def test_shapes_that_broadcast(shapes: hnp.BroadcastableShapes, data: st.DataObject) -> None:
    """Of two tensors with as many axes; layers put axes that are missing behind the batch."""
    first, second = shapes.input_shapes
    rank = max(len(first), len(second))
    longer = [(1,) * (rank - len(shape)) + shape for shape in (first, second)]
    name = data.draw(st.sampled_from(sorted(_PAIRS)))
    x, y = (keras.Input(shape) for shape in longer)
    drawn = [np.random.default_rng(rank).integers(-16, 16, (5, *shape)) / 8.0 for shape in longer]
    model = keras.Model([x, y], _PAIRS[name](keras.ops, x, y))
    draft = draft_of(model, (-2.0, 2.0))
    np.testing.assert_allclose(evaluate_all(draft, drawn)[0], np.asarray(model(drawn)), rtol=1e-5, atol=1e-6)

    layer = getattr(keras.layers, data.draw(st.sampled_from(["Add", "Multiply", "Average", "Maximum", "Minimum"])))()
    x, y = keras.Input(first), keras.Input(second)
    drawn = [one.reshape(5, *shape) for one, shape in zip(drawn, (first, second), strict=True)]
    model = keras.Model([x, y], layer([x, y]))
    np.testing.assert_allclose(
        evaluate_all(draft_of(model, (-2.0, 2.0)), drawn)[0], np.asarray(model(drawn)), rtol=1e-5, atol=1e-6
    )


# --- every activation

_NOT_OF_LAYERS = {"threshold", "glu"}  # one needs arguments; of the other, layers declare the shape of its input
_NO_FUNCTIONS = {"get", "serialize", "deserialize"}


def activations(package: Any) -> list[str]:
    return sorted(name for name in dir(package.activations) if name[0] != "_" and name not in _NO_FUNCTIONS)


@pytest.fixture(scope="module", params=["keras", "tf_keras"])
def all_of_them(request: pytest.FixtureRequest) -> tuple[Any, Draft]:
    """Every activation by name, as a layer of its own and as a Dense's."""
    package = pytest.importorskip(request.param)
    x = package.Input((8,))
    names = [name for name in activations(package) if name not in _NOT_OF_LAYERS]
    assert len(names) >= 14
    same = {"kernel_initializer": "identity"}
    outputs = [package.layers.Activation(name)(x) for name in names]
    outputs += [package.layers.Dense(8, activation=name, **same)(x) for name in names]
    model = package.Model(x, [y * 1.0 for y in outputs])
    return model, draft_of(model, (-8.0, 8.0))


@settings(deadline=None, max_examples=10)
@given(
    x=hnp.arrays(
        np.float32,
        (2, 8),
        elements=st.one_of(
            st.sampled_from([-6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0]), st.floats(-8, 8, width=16)
        ),
    )
)
def test_every_activation(all_of_them: tuple[Any, Draft], x: np.ndarray) -> None:
    model, draft = all_of_them
    for got, right in zip(evaluate_all(draft, [x]), model(x), strict=True):
        np.testing.assert_allclose(got, np.asarray(right), rtol=2e-4, atol=2e-5)


def test_all_names_are_there() -> None:
    """32, and what the layer `Activation` cannot be given is an operation."""
    names = set(activations(keras))
    assert len(names) == 32
    assert {"Threshold", "Glu"} <= known_operations()


# --- what must be proven

UNPROVEN = {
    "a quotient": (
        lambda ops, x: 1 / x,
        "layer 'true_divide.*divisor is not proven to be away from 0.*keras.ops.maximum",
    ),
    "a reciprocal": (lambda ops, x: ops.reciprocal(x), "not proven to be away from 0"),
    "a logarithm": (lambda ops, x: ops.log(x), "not proven to be positive"),
    "a root": (lambda ops, x: ops.rsqrt(ops.square(x)), "not proven to be positive"),
    "rounding": (lambda ops, x: ops.floor(x * 1000.0), "not proven to lie within 256"),
}


@pytest.mark.parametrize("case", UNPROVEN)
def test_what_is_not_proven_is_refused_by_name(case: str) -> None:
    compute, expected = UNPROVEN[case]
    x = keras.Input((3,))
    with pytest.raises(PlanError, match=expected):
        draft_of(keras.Model(x, compute(keras.ops, x)), (-2.0, 2.0))


def test_a_proof_needs_no_range_where_the_model_gives_it() -> None:
    x = keras.Input((3,))
    model = keras.Model(x, 1 / ops_maximum(x) + keras.ops.log(keras.ops.square(x) + 0.5))
    sample = np.array([[-3.0, 0.0, 5.0]], np.float32)
    np.testing.assert_allclose(evaluate(draft_of(model), sample), np.asarray(model(sample)), rtol=1e-5)


def ops_maximum(x: Any) -> Any:
    return keras.ops.maximum(x, 0.25)


@settings(deadline=None, max_examples=20)
@given(low=st.floats(2.0**-10, 2.0**10), size=st.floats(1.0, 2.0**10), negative=st.booleans(), number=st.floats(-4, 4))
def test_quotients_over_ranges(low: float, size: float, negative: bool, number: float) -> None:
    """The table of 1/x holds for every divisor in the range that was declared."""
    high = low * size
    ends = (-high, -low) if negative else (low, high)
    x = keras.Input((3,))
    draft = draft_of(keras.Model(x, number / x), ends)
    sample = np.array([[ends[0], ends[1], math.copysign(math.sqrt(low * high), ends[0])]])
    np.testing.assert_allclose(evaluate(draft, sample), number / sample, rtol=1e-6, atol=1e-12)


# --- several results, nested models, shared layers


def test_several_results_in_models_within_models() -> None:
    inner_in = keras.Input((4, 6))
    halves = keras.ops.split(inner_in, 2, axis=2)
    values, places = keras.ops.top_k(halves[0], 2)
    inner = keras.Model(inner_in, [values, places, halves[1]], name="inner")
    x, shared = keras.Input((4, 6)), keras.layers.Dense(6)
    one, where, rest = inner(shared(x))
    two, _, _ = inner(shared(keras.ops.flip(x, 1)))
    model = keras.Model(x, {"sum": one + two, "where": where, "rest": keras.layers.Maximum()([rest, rest * 0.5])})
    sample = np.random.default_rng(1).normal(size=(3, 4, 6)).astype(np.float32)
    draft, expected = draft_of(model, (-8.0, 8.0)), model(sample)
    names = [made.name for made in draft.plan.outputs]
    for name, got in zip(names, evaluate_all(draft, [sample]), strict=True):
        np.testing.assert_allclose(got, np.asarray(expected[name]), rtol=1e-5, atol=1e-5)


def test_results_that_nothing_needs_cost_nothing() -> None:
    x = keras.Input((6,))
    kinds = [op.kind for op in optimise(draft_of(keras.Model(x, keras.ops.top_k(x, 2)[0]), (-1, 1))).plan.ops]
    assert kinds == ["top_k"]


def test_what_moves_along_axes_is_gathered_along_them() -> None:
    """A roll or a mirrored border of an image is one gather an axis, not one place at a time."""
    x = keras.Input((64, 48, 3))
    y = keras.ops.pad(keras.ops.roll(x, 5, axis=1), ((0, 0), (2, 2), (1, 0), (0, 0)), mode="reflect")
    ops = draft_of(keras.Model(x, y), (-1, 1)).plan.ops
    assert [(op.kind, len(op.attrs["indices"])) for op in ops] == [("gather", 64), ("gather", 68), ("gather", 49)]


# --- layers of keras.applications' own


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_layers_of_the_applications(package: str) -> None:
    library = pytest.importorskip(package)
    convnext = pytest.importorskip(f"{package}.src.applications.convnext")
    inception = pytest.importorskip(f"{package}.src.applications.inception_resnet_v2")
    x = library.Input((4, 5))
    y = convnext.LayerScale(0.5, 5)(x)
    y = inception.CustomScaleLayer(0.2)([y, convnext.StochasticDepth(0.3)(x)])
    model, sample = library.Model(x, y), np.random.default_rng(3).normal(size=(2, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(evaluate(draft_of(model), sample), np.asarray(model(sample)), rtol=1e-5, atol=1e-6)
