"""Keras models with several inputs and outputs, in lists, tuples and dicts."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from keras_private.errors import PlanError, UnsupportedModelError
from keras_private.lowering import compare_lowerings, draft_of
from keras_private.lowering.ports import ports_of
from keras_private.plan.evaluate import evaluate_all
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Plan

RANDOM = np.random.default_rng(2)
FINAL = {
    "": lambda y: y,
    "softmax": lambda y: np.exp(y) / np.exp(y).sum(axis=-1, keepdims=True),
    "sigmoid": lambda y: 1 / (1 + np.exp(-y)),
}


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def parts(keras: Any) -> tuple[Any, Any, Any, Any]:
    """Inputs z and a, and what heads and tails make of them."""
    layers = keras.layers
    z, a = keras.Input((4, 3), name="z"), keras.Input((5,), name="a")
    both = layers.Concatenate(name="both")([layers.Flatten()(z), a])
    head = layers.Dense(3, activation="softmax", name="head")(both)
    tail = layers.Dense(2, activation="relu", name="tail")(both)
    return z, a, head, tail


def arrays(plan: Plan, rows: int = 3) -> dict[str, np.ndarray]:
    return {given.name: RANDOM.uniform(-1, 1, (rows, *plan.shape(given))).astype(np.float32) for given in plan.inputs}


def as_form(form: str, named: dict[str, Any]) -> Any:
    whole = {"dict": dict, "list": lambda d: list(d.values()), "tuple": lambda d: tuple(d.values())}
    return next(iter(named.values())) if form == "array" else whole[form](named)


def as_list(whole: Any) -> list[Any]:
    return list(whole.values() if isinstance(whole, dict) else whole)


def assert_same(model: Any, **options: Any) -> Plan:
    """The draft and what the parties run give what `predict` gives, in its form and order."""
    draft = draft_of(model, **options)
    given = arrays(draft.plan)
    expected = model.predict(as_form(draft.plan.takes, given), verbose=0)
    for done in (draft, optimise(draft)):
        values = evaluate_all(done, list(given.values()))
        named = {
            made.name: FINAL[made.final_activation](value)
            for made, value in zip(done.plan.outputs, values, strict=True)
        }
        found = as_form(done.plan.gives, named)
        assert type(found) is type(expected)
        if isinstance(found, dict):
            assert list(found) == list(expected)
        expected_parts = [expected] if done.plan.gives == "array" else as_list(expected)
        for one, other in zip(named.values(), expected_parts, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)
    return done.plan


def test_lists(keras: Any) -> None:
    z, a, head, tail = parts(keras)
    plan = assert_same(keras.Model([z, a], [head, tail]))
    assert [(given.name, plan.shape(given)) for given in plan.inputs] == [("z", (4, 3)), ("a", (5,))]
    assert [(made.name, made.final_activation) for made in plan.outputs] == [("head", "softmax"), ("tail", "")]


def test_tuples(keras: Any) -> None:
    z, a, head, tail = parts(keras)
    plan = assert_same(keras.Model((z, a), (tail, head)))
    assert (plan.takes, plan.gives) == ("tuple", "tuple")


def test_dicts_keep_their_order_and_names(keras: Any) -> None:
    """Keras sorts by key inside."""
    z, a, head, tail = parts(keras)
    plan = assert_same(keras.Model({"picture": z, "facts": a}, {"which": head, "how much": tail}))
    assert [given.name for given in plan.inputs] == ["picture", "facts"]
    assert [made.name for made in plan.outputs] == ["which", "how much"]


@pytest.mark.parametrize("form", ["list", "dict"])
def test_one_output_under_two_names(keras: Any, form: str) -> None:
    z, a, head, _ = parts(keras)
    model = keras.Model([z, a], [head, head] if form == "list" else {"u": head, "v": head})
    plan = assert_same(model)
    assert plan.outputs[0].tensor == plan.outputs[1].tensor
    assert [made.name for made in plan.outputs] == (["head", "head_1"] if form == "list" else ["u", "v"])
    assert {made.final_activation for made in plan.outputs} == {"softmax"}


def test_a_list_of_one_is_an_array_and_a_dict_of_one_a_dict(keras: Any) -> None:
    x = keras.Input((3,), name="x")
    y = keras.layers.Dense(2, name="y")(x)
    plan = assert_same(keras.Model([x], [y]))
    assert (plan.takes, plan.gives) == ("array", "array")
    plan = assert_same(keras.Model({"k": x}, {"l": y}))
    assert (plan.takes, plan.gives) == ("dict", "dict")
    plan = assert_same(keras.Sequential([keras.Input((3,), name="first"), keras.layers.Dense(2, name="last")]))
    assert (plan.inputs[0].name, plan.outputs[0].name) == ("first", "last")


def test_an_output_in_the_middle_and_one_that_is_an_input(keras: Any) -> None:
    x = keras.Input((6,), name="x")
    hidden = keras.layers.Dense(4, activation="relu", name="hidden")(x)
    end = keras.layers.Dense(2, activation="sigmoid", name="end")(hidden)
    plan = assert_same(keras.Model(x, [hidden, end, x]), input_range=(-1, 1))
    assert [made.final_activation for made in plan.outputs] == ["", "sigmoid", ""]


def test_probabilities_beside_their_logits(keras: Any) -> None:
    x = keras.Input((6,), name="x")
    logits = keras.layers.Dense(4, name="logits")(x)
    model = keras.Model(x, {"logits": logits, "p": keras.layers.Softmax(name="p")(logits)})
    plan = assert_same(model)
    assert plan.outputs[0].tensor == plan.outputs[1].tensor
    assert [made.final_activation for made in plan.outputs] == ["", "softmax"]


def test_a_softmax_that_the_model_goes_on_with_is_none_of_the_clients(keras: Any) -> None:
    x = keras.Input((6,), name="x")
    p = keras.layers.Dense(4, activation="softmax", name="p")(x)
    q = keras.layers.Dropout(0.5)(p)
    plan = draft_of(keras.Model(x, [q, keras.layers.Dense(2)(q)])).plan
    assert [made.final_activation for made in plan.outputs] == ["", ""]
    assert [op.kind for op in plan.ops].count("softmax") == 1


def test_models_within_models(keras: Any) -> None:
    z, a, head, tail = parts(keras)
    inner = keras.Model([z, a], [head, tail], name="inner")
    outer_z, outer_a = keras.Input((4, 3), name="oz"), keras.Input((5,), name="oa")
    one, two = inner([outer_z, outer_a])
    assert_same(keras.Model([outer_a, outer_z], [two, one]))


def test_models_within_models_in_dicts(keras: Any) -> None:
    z, a, head, tail = parts(keras)
    inner = keras.Model({"z": z, "a": a}, {"which": head, "how much": tail}, name="inner")
    outer_z, outer_a = keras.Input((4, 3), name="oz"), keras.Input((5,), name="oa")
    made = inner({"a": outer_a, "z": outer_z})
    assert_same(keras.Model([outer_a, outer_z], [made["which"], made["how much"]]))


def test_a_list_that_is_called_by_name_is_refused(keras: Any) -> None:
    """Keras sorts these tensors by name, and gives them to the inner model in another order."""
    p, q = keras.Input((3,), name="q"), keras.Input((3,), name="p")
    inner = keras.Model([p, q], keras.layers.Subtract()([p, q]), name="inner")
    x, y = keras.Input((3,), name="x"), keras.Input((3,), name="y")
    with pytest.raises(UnsupportedModelError, match=r"inner .*: it is called with a dict of tensors"):
        draft_of(keras.Model([x, y], inner({"q": x, "p": y})))


def test_kinds_follow_the_types(keras: Any) -> None:
    ids, mask = keras.Input((4,), dtype="int32", name="ids"), keras.Input((4,), dtype="bool", name="mask")
    pixels, x = keras.Input((4,), dtype="uint8", name="pixels"), keras.Input((4,), name="x")
    added = keras.layers.Rescaling(1 / 255)(pixels)
    model = keras.Model([ids, mask, pixels, x], {"ids": ids, "mask": mask, "y": keras.layers.Add()([added, x])})
    plan = optimise(draft_of(model, {"ids": (0, 999), "x": (0, 1)})).plan
    assert [(given.name, given.kind, given.range) for given in plan.inputs] == [
        ("ids", "integer", (0.0, 999.0)),
        ("mask", "bit", (0.0, 1.0)),
        ("pixels", "integer", (0.0, 255.0)),
        ("x", "real", (0.0, 1.0)),
    ]
    assert [(made.name, made.kind) for made in plan.outputs] == [("ids", "integer"), ("mask", "bit"), ("y", "real")]
    with pytest.raises(PlanError, match="input 'ids': it holds integers, and input_range must say from which to which"):
        draft_of(model)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, [None, None]),
        ((0, 1), [(0, 1), (0, 1)]),
        ([0, 1], [(0, 1), (0, 1)]),
        ([(0, 1), (2, 3)], [(0, 1), (2, 3)]),
        (((0, 1), None), [(0, 1), None]),
        ({"a": (2, 3)}, [None, (2, 3)]),
        ({"a": [2, 3], "z": np.array([0, 1])}, [(0, 1), (2, 3)]),
    ],
)
def test_a_range_for_all_or_one_for_each(given: Any, expected: list[Any]) -> None:
    keras: Any = importlib.import_module("keras")
    z, a, head, _ = parts(keras)
    assert [made.range for made in draft_of(keras.Model([z, a], head), given).plan.inputs] == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"b": (0, 1)}, "input_range names 'b'; the model's inputs are 'z', 'a'"),
        ([(0, 1)], "input_range has 1 ranges, and the model 2 inputs"),
        ([(0, 1), (0, 1), (0, 1)], "has 3 ranges"),
        ({"a": (1, 0)}, "in order"),
        ([(0, 1), "ab"], "two numbers"),
        ("ab", "two numbers"),
        (7, "two numbers"),
    ],
)
def test_ranges_that_are_none(given: Any, words: str) -> None:
    keras: Any = importlib.import_module("keras")
    z, a, head, _ = parts(keras)
    with pytest.raises(PlanError, match=words):
        draft_of(keras.Model([z, a], head), given)


def test_nested_lists_are_refused(keras: Any) -> None:
    z, a, head, tail = parts(keras)
    model = keras.Model([z, {"a": a}], [head, {"t": tail}])
    assert ports_of(model, "inputs") is None
    with pytest.raises(UnsupportedModelError) as caught:
        draft_of(model)
    assert "its inputs are nested; give Model(…) one list or one dict of inputs" in str(caught.value)
    assert "its outputs are nested" in str(caught.value)


def test_an_input_that_does_nothing_is_refused(keras: Any) -> None:
    z, a, _, _ = parts(keras)
    with pytest.raises(UnsupportedModelError, match="no output depends on its input 'a'; leave that input out"):
        draft_of(keras.Model([z, a], keras.layers.Flatten()(z)))


def test_a_name_that_no_line_can_show() -> None:
    keras: Any = importlib.import_module("keras")
    x = keras.Input((3,), name="x")
    with pytest.raises(PlanError, match="cannot have the name 'a\\\\nb'"):
        draft_of(keras.Model({"a\nb": x}, keras.layers.Dense(2)(x)))


def test_lowerings_of_ones_own_are_compared_in_models_of_several_inputs(keras: Any) -> None:
    z, a, head, tail = parts(keras)
    assert compare_lowerings(keras.Model([z, a], [head, tail])) == []


def test_what_keras_says_is_whole_is_whole(keras: Any) -> None:
    """keras says that a sum of whole numbers is not, and gives whole ones all the same."""
    x, y = keras.Input((4,), dtype="int32", name="x"), keras.Input((4,), dtype="int32", name="y")
    total, moved = keras.layers.Add(name="total")([x, y]), keras.layers.Reshape((2, 2), name="square")(x)
    model = keras.Model([x, y], [total, moved])
    done = optimise(draft_of(model, (-9, 9)))
    assert done.accuracy is not None
    assert done.accuracy.relative == 0
    given = [RANDOM.integers(-9, 9, (3, 4)) for _ in range(2)]
    expected = model.predict(given, verbose=0)
    for end, made, one, other in zip(
        model.outputs, done.plan.outputs, evaluate_all(done, given), expected, strict=True
    ):
        assert (made.kind, done.plan.frac(made)) == (("integer", 0) if "int" in str(end.dtype) else ("real", 16))
        np.testing.assert_array_equal(one, other)
    assert "integer" in {made.kind for made in done.plan.outputs}
