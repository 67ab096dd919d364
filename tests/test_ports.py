"""Models of several named inputs and outputs, shared and queried over TLS, one of them among real processes."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from keras_private import KerasHook
from keras_private import check as check_model
from keras_private.errors import InputError, RefusedError
from keras_private.owner import OwnedModel
from keras_private.plan.builder import Draft, PlanBuilder
from keras_private.plan.evaluate import evaluate_all
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Output
from keras_private.worker import TFEWorker
from tests.plans import with_output

RANDOM = np.random.default_rng(3)


def recorded() -> Draft:
    builder = PlanBuilder()
    image = builder.add_input("image", (4, 3), range=(-1, 1))
    age = builder.add_input("age", (3,), kind="integer", range=(0, 120))
    smokes = builder.add_input("smokes", (), kind="bit")
    hidden = builder.op("relu", builder.op("reshape", image, shape=(12,)))
    hidden = builder.op("matmul", hidden, weights=[builder.weight(RANDOM.normal(size=(12, 3)), "w")])
    years = builder.op("mul", age, weights=[builder.weight([0.01, 0.02, -0.03], "by year")])
    total = builder.op("add", [builder.op("add", [hidden, years]), builder.op("reshape", smokes, shape=(1,))])
    outputs = [
        Output("risk", total, final_activation="sigmoid"),
        Output("the same", total),
        Output("age again", age, "integer"),
        Output("smokes again", smokes, "bit"),
    ]
    return builder.finish(outputs, gives="dict")


def data(rows: int) -> dict[str, Any]:
    return {
        "image": RANDOM.uniform(-1, 1, (rows, 4, 3)),
        "age": RANDOM.integers(0, 120, (rows, 3), endpoint=True),
        "smokes": RANDOM.random(rows) < 0.5,
    }


def check(draft: Draft, given: dict[str, Any], answer: Any) -> None:
    _, logits, age, smokes = evaluate_all(draft, [*given.values()])
    assert list(answer) == ["risk", "the same", "age again", "smokes again"]
    np.testing.assert_allclose(answer["the same"], logits, atol=1e-3)
    np.testing.assert_allclose(answer["risk"], 1 / (1 + np.exp(-logits)), atol=1e-3)
    np.testing.assert_array_equal(answer["age again"], age)
    np.testing.assert_array_equal(answer["smokes again"], smokes)
    assert [part.dtype for part in answer.values()] == [np.float32, np.float32, np.int64, np.bool_]


def test_clients_give_and_get_every_part_in_one_run(trio: Any, until: Any) -> None:
    draft = recorded()
    done = optimise(draft)
    model = OwnedModel.upload(trio, done.plan, done.values, owner="owner")
    with TFEWorker(name="alice") as alice, TFEWorker(name="bob") as bob:
        alice.connect_to_model([(1, 4, 3), (1, 3), (1,)], None, trio)
        bob.connect_to_model(trio)
        assert [(port.name, port.shape, port.kind, port.range) for port in bob.inputs] == [
            ("image", (4, 3), "real", (-1.0, 1.0)),
            ("age", (3,), "integer", (0.0, 120.0)),
            ("smokes", (), "bit", (0.0, 1.0)),
        ]
        assert [port.reveal for port in bob.outputs] == ["values"] * 4
        first, second = data(3), data(2)
        tickets = alice.query_model_async(list(first.values())), bob.query_model_async(second)
        until(lambda: trio.waiting() == [2, 2, 2], "both wait")
        with pytest.raises(InputError, match=r"input 'age': the data reaches from 121 to 121"):
            bob.query_model({**second, "age": np.full((2, 3), 121)})
        model.serve(2)
        check(draft, first, tickets[0].result(20))
        check(draft, second, tickets[1].result(20))
    model.stop()


def test_only_the_parties_say_what_shapes_there_are(trio: Any, tiny: Any) -> None:
    """`connect_to_model(cluster)`, by position or by name."""
    model = tiny.upload(trio)
    for where in ((trio,), ()):
        with TFEWorker() as client:
            client.connect_to_model(*where, **({} if where else {"cluster": trio}))
            ticket = client.query_model_async(tiny.batch(2))
            model.serve(1)
            np.testing.assert_allclose(ticket.result(20), tiny.expected(tiny.batch(2)), atol=1e-3)
    with TFEWorker() as client, pytest.raises(InputError, match=r"'x' \(batch, 6\).*'input' \(batch, 6\)"):
        client.connect_to_model({"x": (1, 6)}, None, trio)
    assert client.inputs is None
    model.stop()


def test_a_label_is_not_a_name_that_can_be_put_on_whole_values(trio: Any) -> None:
    builder = PlanBuilder()
    x = builder.add_input("x", (3,), kind="integer", range=(0, 9))
    done = optimise(builder.finish([Output("y", builder.op("relu", x), "integer")]))
    with pytest.raises(RefusedError, match=r"server0.*'label' reveals .* what an argmax or a to_number op makes"):
        OwnedModel.upload(trio, with_output(done, reveal="label").plan, {}, owner="owner")


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    module = importlib.import_module(request.param)
    KerasHook(module)
    return module


@pytest.mark.parametrize("form", ["list", "dict"])
def test_private_answers_are_those_of_predict(keras: Any, process_cluster: Any, form: str) -> None:
    """Two inputs, two outputs and a third name for one of them, in Keras' own form and order."""
    layers = keras.layers
    picture, facts = keras.Input((6, 6, 1), name="picture"), keras.Input((4,), dtype="int32", name="facts")
    seen = layers.Flatten()(layers.Conv2D(2, 3, activation="relu")(picture))
    both = layers.Concatenate()([seen, layers.Rescaling(0.1)(facts)])
    kind = layers.Dense(3, activation="softmax", name="kind")(both)
    size = layers.Dense(1, name="size")(layers.Dense(5, activation="relu")(both))
    named = {"picture": picture, "facts": facts}, {"kind": kind, "size": size, "size again": size}
    model = keras.Model(*(part if form == "dict" else list(part.values()) for part in named))
    x = {"picture": RANDOM.random((3, 6, 6, 1), np.float32), "facts": RANDOM.integers(0, 9, (3, 4))}
    given = x if form == "dict" else list(x.values())
    expected = model.predict(given, verbose=0)
    names = ["kind", "size", "size again"] if form == "dict" else ["kind", "size", "size_1"]
    with model.share(process_cluster, {"picture": (0, 1), "facts": (0, 9)}, verbose=0), TFEWorker() as client:
        shapes: Any = {"picture": (1, 6, 6, 1), "facts": (1, 4)}, [(1, 3), (1, 1), (1, 1)]
        client.connect_to_model(*shapes, process_cluster)
        assert [port.name for port in client.outputs] == names
        tickets = [client.query_model_async(data) for data in (given, x)]
        model.serve(2, verbose=0)
        for ticket in tickets:
            answer = ticket.result(20)
            assert type(answer) is type(expected)
            places = list(expected) if form == "dict" else [0, 1, 2]
            assert form == "list" or list(answer) == places
            for place in places:
                assert answer[place].dtype == expected[place].dtype == np.float32
                np.testing.assert_allclose(answer[place], expected[place], atol=1e-3)


def test_check_and_summary_show_every_part(keras: Any, memory_cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = keras.Input((4,), name="alpha"), keras.Input((4,), name="beta")
    total = keras.layers.Add(name="total")([a, b])
    model = keras.Model([a, b], [total, keras.layers.Dense(2, activation="sigmoid", name="risk")(total)])
    report = check_model(model, [(0, 1), (-2, 2)])
    assert report.ok
    with model.share(memory_cluster, [(0, 1), (-2, 2)], verbose=0):
        model.private_summary()
    for text in (repr(report), capsys.readouterr().out):
        for words in ("input alpha", "range 0 to 1", "input beta", "range -2 to 2", "output total", "output risk"):
            assert words in text
        assert "Final sigmoid of risk" in text


def test_a_client_may_be_given_the_label_alone(trio: Any) -> None:
    builder = PlanBuilder((4,), (-1, 1))
    weight = RANDOM.normal(size=(4, 6))
    logits = builder.op("matmul", builder.input, weights=[builder.weight(weight, "w")])
    draft = builder.finish([Output("which", builder.op("argmax", logits, axis=0), "integer", reveal="label")])
    done = optimise(draft)
    model = OwnedModel.upload(trio, done.plan, done.values, owner="owner")
    with TFEWorker() as client:
        client.connect_to_model((1, 4), (1,), trio)
        assert [(port.kind, port.reveal) for port in client.outputs] == [("integer", "label")]
        x = RANDOM.uniform(-1, 1, (9, 4))
        ticket = client.query_model_async(x)
        model.serve(1)
        answer = ticket.result(20)
    model.stop()
    assert (answer.dtype, answer.shape) == (np.int64, (9,))
    np.testing.assert_array_equal(answer, (x @ weight).argmax(axis=1))
