"""Several inputs and outputs at the client: what is taken and refused, what is encoded, what comes back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from keras_private.client.answer import combine
from keras_private.client.checks import check_data, check_model
from keras_private.client.parts import put_together
from keras_private.client.session import _encoded
from keras_private.client.shapes import check_shapes, shapes_of
from keras_private.errors import InputError, PartyError
from keras_private.net.frames import as_bytes
from keras_private.party.messages import Answer, InputPort, OutputPort
from keras_private.sharing.share import split

from .described import INPUT, OUTPUT, described

X = InputPort("x", (4,), "real", 16, (-1.0, 1.0), None)
N = InputPort("how many", (2, 3), "integer", 0, (-2.0, 7.0), None)
B = InputPort("b/1", (), "bit", 0, (0.0, 1.0), None)
MODEL = described([X, N, B])
Y = OutputPort("y", (3,), "real", 16, "", "values")
LABEL = OutputPort("label", (), "integer", 0, "", "label")
MASK = OutputPort("mask", (2, 2), "bit", 0, "", "values")


def data(rows: int = 2) -> dict[str, Any]:
    random = np.random.default_rng(rows)
    return {
        "x": random.uniform(-1, 1, (rows, 4)),
        "how many": random.integers(-2, 7, (rows, 2, 3), endpoint=True),
        "b/1": random.random(rows) < 0.5,
    }


@pytest.mark.parametrize("takes", ["list", "tuple", "dict"])
def test_a_list_or_a_dict_by_name_means_the_same(takes: str) -> None:
    model, parts = replace(MODEL, takes=takes), data()
    by_name = check_data(dict(reversed(parts.items())), model)
    for one, other in zip(by_name, parts.values(), strict=True):
        np.testing.assert_array_equal(one, other)
    if takes == "dict":
        with pytest.raises(InputError, match=r"the data is a list; the model takes a dict of 3 arrays: 'x'"):
            check_data(list(parts.values()), model)
        return
    for how in (list, tuple):
        for one, other in zip(by_name, check_data(how(parts.values()), model), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_single_input_is_given_as_it_is_or_by_its_name() -> None:
    values = np.ones((2, 4))
    for takes in ("array", "dict"):
        model = described(takes=takes)
        for given_data in (values, values.tolist(), {"x": values}):
            (found,) = check_data(given_data, model)
            np.testing.assert_array_equal(found, values)
    (found,) = check_data([values], described(takes="list"))
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("x"), "the data lacks 'x'; the model takes a list of 3 arrays: 'x' (batch, 4), 'how many'"),
        (lambda d: d.update(z=1), "the data has 'z', which the model does not know; the model takes"),
        (lambda d: d.update({"x": d["x"][:1]}), "the same number of rows; they have 'x' 1, 'how many' 2, 'b/1' 2"),
        (lambda d: d.update({"x": d["x"].T}), "input 'x': the data has shape (4, 2); the model takes real numbers of"),
        (lambda d: d.update({"x": d["x"] + 9}), "input 'x': the data reaches from"),
        (lambda d: d.update({"x": [["a"] * 4] * 2}), "input 'x': data of type <U1 cannot be queried"),
        (lambda d: d.update({"x": [[1], [2, 3]]}), "input 'x': the data is not a rectangular array"),
        (lambda d: d.update({"x": np.full((2, 4), np.nan)}), "input 'x': the data holds NaN"),
        (lambda d: d.update({"x": np.zeros((0, 4))}), "input 'x': a batch of 0 rows"),
        (
            lambda d: d.update({"how many": d["how many"] + 0.5}),
            "input 'how many': the data holds numbers that",
        ),
        (
            lambda d: d.update({"how many": d["how many"] * 0 + 8}),
            "from 8 to 8, the model was shared for values",
        ),
        (lambda d: d.update({"how many": d["how many"] * 0 + 2**60}), "input 'how many': the data reaches from"),
        (lambda d: d.update({"b/1": np.array([0, 2])}), "input 'b/1': the data reaches from 0 to 2"),
        (lambda d: d.update({"b/1": np.array([0, 0.5])}), "not whole; the model takes bits, 0 or 1, of shape (batch)"),
    ],
)
def test_refusals_name_the_part(change: Any, words: str) -> None:
    parts = data()
    change(parts)
    with pytest.raises(InputError) as caught:
        check_data(parts, MODEL)
    assert words in str(caught.value)


@pytest.mark.parametrize("parts", [np.ones((2, 4)), [1, 2], 7, "abc", None, [np.ones((2, 4))] * 4])
def test_what_is_no_list_of_three(parts: Any) -> None:
    with pytest.raises(InputError, match="the model takes a list of 3 arrays"):
        check_data(parts, MODEL)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(1, 4), st.permutations([X, N, B]))
def test_rows_are_encoded_side_by_side(rows: int, ports: list[InputPort]) -> None:
    model, parts = described(ports), data(rows)
    words = _encoded(check_data(parts, model), model.inputs).view(np.int64)
    assert words.shape == (rows, model.input_words)
    scale = {"real": 2.0**16, "integer": 1, "bit": 1}
    expected = [np.rint(parts[port.name].reshape(rows, -1) * scale[port.kind]) for port in ports]
    np.testing.assert_array_equal(words, np.concatenate(expected, axis=1))


@pytest.mark.parametrize("gives", ["list", "tuple", "dict"])
def test_outputs_come_back_as_the_model_gives_them(gives: str) -> None:
    model = described(outputs=[Y, LABEL, MASK], gives=gives)
    values = np.array([[0.5, -1.0, 3.0], [0, 2, 4]], np.float32)
    label, mask = np.array([-(2**55) - 1, 7]), np.array([[[0, 1], [1, 1]], [[1, 0], [0, 0]]], np.uint64)
    raw = np.concatenate([(values * 2**16).astype(np.int64), label[:, None], mask.reshape(2, 4).view(np.int64)], axis=1)
    shares = [package.expand(raw.shape) for package in split(raw.view(np.uint64))]
    answers = {i: Answer(bytes(16), as_bytes(share.mine), as_bytes(share.next)) for i, share in enumerate(shares)}
    found = put_together(combine(answers, 2, model), model)
    assert type(found).__name__ == gives
    parts = list(found.values()) if gives == "dict" else found
    assert [part.dtype for part in parts] == [np.float32, np.int64, np.bool_]
    for part, expected in zip(parts, (values, label, mask), strict=True):
        np.testing.assert_array_equal(part, expected)
    if gives == "dict":
        assert list(found) == ["y", "label", "mask"]
    with pytest.raises(PartyError, match="wrong size"):
        combine({**answers, 1: Answer(bytes(16), answers[1].mine[8:], answers[1].next)}, 2, model)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (described(kind="complex"), "of the kind 'complex'"),
        (described(takes="tree"), "'tree'"),
        (described(gives="tree"), "'tree'"),
        (described(outputs=[replace(OUTPUT, kind="text")]), "of the kind 'text'"),
        (described(outputs=[replace(OUTPUT, reveal="rank")]), "reveals 'rank'"),
        (described(outputs=[replace(OUTPUT, final_activation="cosine")]), "ends in 'cosine'"),
    ],
)
def test_what_this_release_does_not_know_is_not_guessed(model: Any, words: str) -> None:
    check_model(MODEL)
    with pytest.raises(PartyError, match=f"{words}, which this client does not know; install the parties' release"):
        check_model(model)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (described([INPUT, INPUT]), "two inputs have the name 'x'"),
        (described(outputs=[OUTPUT, OUTPUT], gives="dict"), "two outputs have the name 'y'"),
        (described([INPUT, X], takes="array"), "an array is one alone"),
        (described(outputs=[OUTPUT, LABEL], gives="array"), "an array is one alone"),
        (described(name="\x1b[2J"), "cannot have the name"),
        (described(shape=(1 << 20, 1 << 20)), "more than"),
        (described(outputs=[replace(OUTPUT, shape=(1 << 28, 2))]), "more than"),
        (described(range=(1.0, -1.0)), "in order"),
        (described(range=(-1.0, 1.0), limit=2.0), "its limit must be"),
        (described(limit=3.0), "its limit must be"),
        (described([replace(N, range=None)]), "input_range must say"),
        (described([replace(N, frac=3)]), "no fractional bits"),
        (described([replace(B, range=(0.0, 9.0))]), r"of a bit is \(0, 1\)"),
        (described(outputs=[replace(MASK, frac=3)]), "no fractional bits"),
        (described(outputs=[replace(OUTPUT, reveal="label")]), "'label' reveals"),
        (described(outputs=[replace(LABEL, final_activation="sigmoid")]), "is for real numbers"),
        (described(outputs=[replace(OUTPUT, shape=(), final_activation="softmax")]), "needs an axis"),
        (described(outputs=[OUTPUT, replace(OUTPUT, name="z", frac=49)]), "must have 16 to 48 fractional bits"),
    ],
)
def test_what_no_owner_could_have_shared_is_refused(model: Any, words: str) -> None:
    """Three parties that lie together, or software of another kind: nothing is encoded by what they say."""
    with pytest.raises(PartyError, match=f"describe what is no model .*{words}"):
        check_model(model)


@pytest.mark.parametrize(
    "shapes",
    [
        None,
        [(1, 4), (None, 2, 3), [5.0]],
        ((1, 4), np.array([1, 2, 3]), (1,)),
        {"how many": (1, 2, 3), "x": (1, 4), "b/1": (1,)},
    ],
)
def test_shapes_of_several(shapes: Any) -> None:
    check_shapes("input", shapes_of(shapes, "input_shape"), MODEL.inputs)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ((1, 4), "given is (batch, 4), the served model's is 'x' (batch, 4), 'how many' (batch, 2, 3), 'b/1' (batch)"),
        ([(1, 4), (1, 2, 3)], "given is (batch, 4), (batch, 2, 3), the served"),
        ({"x": (1, 4)}, "given is 'x' (batch, 4), the served"),
        ({"x": (1, 4), "how many": (1, 2, 4), "b/1": (1,)}, "'how many' (batch, 2, 4)"),
        ({"x": (1, 4.5)}, "input_shape['x'] must list whole numbers"),
        ([(1, 4), (1, "a"), (1,)], "input_shape[1] must list whole numbers"),
    ],
)
def test_other_shapes_than_the_models(shapes: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        check_shapes("input", shapes_of(shapes, "input_shape"), MODEL.inputs)
    assert words in str(caught.value)


def test_other_output_shapes_than_what_is_told() -> None:
    label = replace(OUTPUT, shape=(), kind="integer", frac=0, reveal="label")
    with pytest.raises(
        InputError, match=r"is \(batch, 10\), .* is \(batch\); its owner has clients told the label alone"
    ):
        check_shapes("output", shapes_of((1, 10), "output_shape"), [label])


def test_a_single_input_by_name_or_in_a_list() -> None:
    for shape in ((1, 4), [(1, 4)], {"x": (1, 4)}):
        check_shapes("input", shapes_of(shape, "input_shape"), [INPUT])
