"""Plans of several inputs and outputs: from what was recorded to what the parties run, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.errors import InputError, PlanError
from keras_private.plan import samples
from keras_private.plan.builder import Draft, PlanBuilder
from keras_private.plan.evaluate import evaluate, evaluate_all
from keras_private.plan.memory import row_bytes
from keras_private.plan.optimise import optimise, simplify
from keras_private.plan.plan import Input, Op, Output, Tensor
from keras_private.plan.ports import said_range
from keras_private.plan.serialise import digest, parse, serialise, validate
from keras_private.plan.simulate import simulate
from keras_private.plan.summary import private_summary
from tests.plan import integers
from tests.plans import plan_of

WIDTH = 5


def drawn(seed: int, count: int, ranged: bool = True) -> Draft:
    """Inputs of all kinds that meet in random ways, and outputs anywhere, one of them under two names."""
    random = np.random.default_rng(seed)
    builder, made = PlanBuilder(), []
    for number in range(count):
        kind = str(random.choice(["real", "integer", "bit"]))
        ends = {"real": (-1.5, 2.0) if ranged else None, "integer": (-3, 9), "bit": None}[kind]
        made.append(builder.add_input(f"in {number}", (WIDTH,), kind=kind, range=ends))
    waiting = list(made)
    while len(waiting) > 1 or len(made) < count + 3:
        x = waiting.pop(int(random.integers(len(waiting))))
        y = waiting.pop() if waiting else str(random.choice(made))
        weight = builder.weight(random.normal(size=(WIDTH, WIDTH)) * 0.5, "w")
        choice = random.integers(4)
        if choice == 0:
            x = builder.op("matmul", x, weights=[weight])
        elif choice == 1:
            x = builder.op("relu", x)
        elif choice == 2:
            x = builder.op("add", x, weights=[builder.weight(random.normal(size=WIDTH), "b")])
        made.append(builder.op(str(random.choice(["add", "sub"])), [x, y]))
        waiting.append(made[-1])
    outputs = [Output("last", waiting[0]), Output("again", waiting[0])]
    outputs += [Output(f"out/{i}", str(name)) for i, name in enumerate(random.choice(made, 2))]
    return builder.finish(outputs, gives="dict")


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 4), st.booleans())
def test_every_output_is_what_was_recorded(seed: int, count: int, ranged: bool) -> None:
    draft = drawn(seed, count, ranged)
    xs = samples.inputs(draft, 4)
    expected = evaluate_all(draft, xs)
    for one, other in zip(evaluate_all(simplify(draft), xs), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    done = optimise(draft)
    validate(done.plan)
    assert parse(serialise(done.plan)) == done.plan
    assert [given.name for given in done.plan.inputs] == [given.name for given in draft.plan.inputs]
    assert [made.name for made in done.plan.outputs] == ["last", "again", "out/0", "out/1"]
    assert done.plan.outputs[0].tensor == done.plan.outputs[1].tensor
    raw = integers.run(done, *xs)
    for made, answer, simulated in zip(done.plan.outputs, expected, simulate(done, xs), strict=True):
        np.testing.assert_allclose(np.ldexp(raw[made.tensor].astype(float), -16), answer, atol=2e-3)
        np.testing.assert_allclose(simulated, answer, atol=2e-3)
    for given_, x in zip(done.plan.inputs, xs, strict=True):
        assert (given_.limit is None) == (given_.range is not None)
        assert done.plan.frac(given_) == (0 if given_.kind != "real" else 16)
        assert given_.kind == "real" or np.array_equal(x, np.rint(x))


def test_whole_numbers_reach_the_first_product_without_a_truncation() -> None:
    builder = PlanBuilder()
    x = builder.add_input("x", (4,), kind="integer", range=(0, 255))
    weight = builder.weight(np.random.default_rng(0).normal(size=(4, 3)) / 300, "w")
    draft = builder.finish(builder.op("matmul", x, weights=[weight]))
    done = optimise(draft)
    first = done.plan.ops[0]
    assert done.plan.tensors[first.inputs[0]].bound == 9  # exactly: below 2^8 is not below 2^8 - 1/2
    values = samples.inputs(draft, 50)
    raw = integers.run(done, *values)[done.plan.outputs[0].tensor]
    assert np.abs(raw / 2**16 - evaluate(draft, values[0])).max() < 3 * 2.0**-16


@pytest.mark.parametrize("op", ["none", "relu", "reshape"])
def test_whole_numbers_may_be_an_output(op: str) -> None:
    """As they are, or as the real numbers that they are too."""
    builder = PlanBuilder()
    x = builder.add_input("x", (4,), kind="integer", range=(-5, 5))
    end = {"none": x, "relu": None, "reshape": None}[op]
    end = end or builder.op(op, x, **({"shape": (2, 2)} if op == "reshape" else {}))
    draft = builder.finish([Output("whole", end, "integer")])
    done = optimise(draft)
    assert {done.plan.frac(made) for made in done.plan.outputs} == {0}
    with pytest.raises(PlanError, match="output 'y': it is to be bits, and may be other numbers"):
        optimise(builder.finish([Output("y", end, "bit")]))
    done = optimise(builder.finish(end))
    assert done.plan.frac(done.plan.outputs[0]) == 16
    values = np.array([[-5, -1, 0, 5]])
    expected = np.maximum(values, 0) if op == "relu" else values
    raw = integers.run(done, values)[done.plan.outputs[0].tensor]
    np.testing.assert_array_equal(raw.reshape(1, 4), expected * 2**16)


def test_a_real_number_is_no_whole_output() -> None:
    builder = PlanBuilder((4,), (0, 1))
    with pytest.raises(PlanError, match="output 'y': an integer has no fractional bits, not 16"):
        optimise(builder.finish([Output("y", builder.op("relu", builder.input), "integer")]))


def test_one_tensor_is_no_integer_and_real_output_at_once() -> None:
    builder = PlanBuilder()
    x = builder.add_input("x", (4,), kind="integer", range=(-5, 5))
    with pytest.raises(PlanError, match="fractional bits"):
        optimise(builder.finish([Output("a", x, "integer"), Output("b", x)]))


def unused(builder: PlanBuilder) -> None:
    builder.add_input("b", (3,))
    builder.finish(builder.op("relu", builder.input))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (unused, "no output depends on the input 'b'; leave it out of the model"),
        (lambda b: b.finish([]), "from 1 to 256 outputs, not 0"),
        (lambda b: b.finish([Output("y", "input"), Output("y", "input")]), "two outputs have the name 'y'"),
        (lambda b: b.finish([Output("y\n", "input")]), "printable"),
        (lambda b: b.finish([Output("y", "t9")]), "no tensor 't9'"),
        (
            lambda b: b.finish([Output("y", "input", reveal="label")]),
            "'label' reveals where .* of kind integer",
        ),
        (
            lambda b: b.finish([Output("y", "input", "integer", reveal="label")]),
            "what an argmax or a to_number op makes",
        ),
        (lambda b: b.finish([Output("y", "input", reveal="nothing")]), "reveal must be one of values, label, top5"),
        (lambda b: b.finish([Output("y", "input", recipient="owner")]), "recipient must be one of client"),
        (
            lambda b: b.finish([Output("y", "input", "bit", "softmax")]),
            "final_activation 'softmax' is for real numbers",
        ),
        (lambda b: b.finish([Output("y", "input")], gives="tree"), "form of 1 outputs must be one of array, list"),
        (
            lambda b: b.add_input("n", (2,), kind="integer") and b.finish("input"),
            "input_range must say from which",
        ),
        (lambda b: b.add_input("n", (2, 0)), "every axis must be 1 or more"),
        (lambda b: b.add_input("n", (2,), range=(1, 0)), "in order"),
    ],
)
def test_what_a_plan_may_not_take_or_give(write: Any, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        write(PlanBuilder((2,)))


@pytest.mark.parametrize(
    ("kind", "ends", "words"),
    [
        ("integer", (0, 2.5), "two whole numbers"),
        ("integer", (0, 2**53), "two whole numbers below 2^53"),
        ("integer", None, "from which to which"),
        ("date", (0, 1), "kind must be one of real, integer, bit"),
    ],
)
def test_ranges_of_kinds(kind: str, ends: Any, words: str) -> None:
    builder = PlanBuilder()
    x = builder.add_input("x", (2,), kind=kind, range=ends)
    with pytest.raises(PlanError, match=words.replace("^", r"\^")):
        builder.finish(x)


def test_what_is_told_is_part_of_the_hash() -> None:
    plan = optimise(drawn(1, 2)).plan
    given_, made = plan.inputs[0], plan.outputs[0]
    others = [
        replace(plan, takes="dict"),
        replace(plan, gives="list"),
        replace(plan, inputs=(replace(given_, name="other"), *plan.inputs[1:])),
        replace(plan, outputs=(replace(made, name="other"), *plan.outputs[1:])),
        replace(plan, outputs=(replace(made, reveal="label"), *plan.outputs[1:])),
        replace(plan, outputs=(replace(made, recipient="owner"), *plan.outputs[1:])),
        replace(plan, outputs=plan.outputs[::-1]),
    ]
    assert len({digest(other) for other in [plan, *others]}) == len(others) + 1


def test_evaluate_says_what_is_missing() -> None:
    draft = drawn(1, 2)
    with pytest.raises(PlanError, match="evaluate_all"):
        evaluate(draft, np.zeros((1, WIDTH)))
    with pytest.raises(InputError, match="expected 2 inputs, got 1"):
        evaluate_all(draft, [np.zeros((1, WIDTH))])
    with pytest.raises(InputError, match=r"rows"):
        evaluate_all(draft, [np.zeros((1, WIDTH)), np.zeros((2, WIDTH))])
    with pytest.raises(InputError, match="'in 1'"):
        evaluate_all(draft, [np.zeros((1, WIDTH)), np.zeros((1, 7))])


def test_the_summary_shows_every_input_and_output() -> None:
    builder = PlanBuilder()
    a = builder.add_input("pixels", (4,), kind="integer", range=(0, 255))
    b = builder.add_input("mask", (4,), kind="bit")
    c = builder.add_input("rest", (4,), range=(-1, 1))
    total = builder.op("add", [builder.op("add", [a, b]), c])
    outputs = [Output("sum", total, final_activation="softmax"), Output("pixels", a, "integer")]
    text = private_summary(optimise(builder.finish(outputs)).plan)
    for words in (
        "input pixels",
        "whole numbers 0 to 255",
        "input mask",
        "0 or 1",
        "input rest",
        "range -1 to 1",
        "output sum",
        "output pixels",
        "values to the client",
        "Final softmax of sum:",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100
    assert said_range(Input("x", "x")) == "any range"


def test_memory_grows_with_every_input_and_output() -> None:
    def bytes_of(count: int, names: int) -> int:
        builder = PlanBuilder()
        made = [builder.add_input(f"x{i}", (100,), range=(0, 1)) for i in range(count)]
        end = builder.op("concat", made, axis=0) if count > 1 else made[0]
        return row_bytes(optimise(builder.finish([Output(f"y{i}", end) for i in range(names)])).plan)

    assert bytes_of(1, 1) < bytes_of(2, 1) < bytes_of(3, 1)
    assert bytes_of(2, 1) < bytes_of(2, 2) < bytes_of(2, 3)


def labelled(axis: int) -> Draft:
    builder = PlanBuilder((2, 3), (-1, 1))
    logits = builder.op("matmul", builder.input, weights=[builder.weight(np.eye(3)[::-1] + 0.1, "w")])
    place = builder.op("argmax", logits, axis=axis)
    return builder.finish([Output("label", place, "integer", reveal="label" if axis == 1 else "values")])


def test_a_label_is_what_an_argmax_along_the_last_axis_makes() -> None:
    done = optimise(labelled(1))
    assert parse(serialise(done.plan)) == done.plan
    assert done.accuracy is not None
    assert done.accuracy.relative == 0
    assert "label to the client" in private_summary(done.plan, accuracy=done.accuracy)
    assert "Largest error" not in private_summary(done.plan, accuracy=done.accuracy)
    (x,) = samples.inputs(labelled(1), 5)
    np.testing.assert_array_equal(evaluate(done, x), (x @ (np.eye(3)[::-1] + 0.1)).argmax(axis=-1))
    other = optimise(labelled(0))
    with pytest.raises(PlanError, match="'label' reveals"):
        validate(replace(other.plan, outputs=(replace(other.plan.outputs[0], reveal="label"),)))


def test_a_label_that_is_moved_on_is_refused() -> None:
    """It could be put together with anything else on the way."""
    done = optimise(labelled(1))
    plan, made = done.plan, done.plan.outputs[0]
    moved = Op("reshape", (made.tensor,), (), "moved", {"shape": (1, 2)})
    tensors = {**plan.tensors, "moved": Tensor((1, 2))}
    further = replace(plan, tensors=tensors, ops=(*plan.ops, moved), outputs=(replace(made, tensor="moved"),))
    with pytest.raises(PlanError, match="'label' reveals"):
        validate(further)
    validate(replace(further, outputs=(replace(made, tensor="moved", reveal="values"),)))


@pytest.mark.parametrize("kind", ["real", "integer", "bit"])
@pytest.mark.parametrize("shown", ["what a comparison makes", "an input"])
def test_bits_that_are_shared_by_exclusive_or_are_neither_taken_nor_given(kind: str, shown: str) -> None:
    bits = Tensor((WIDTH,), bit=True)
    if shown == "an input":
        tensors, ops = {"x": bits, "y": Tensor((WIDTH,))}, [Op("to_number", ("x",), (), "y", {})]
    else:
        tensors, ops = {"x": Tensor((WIDTH,)), "y": bits}, [Op("below", ("x",), (), "y", {"threshold": 0.0})]
    plan = plan_of(16, ["x"], ["y"], tensors, ops)
    kinds = replace(plan.inputs[0], kind="integer", range=(0.0, 1.0)), replace(plan.outputs[0], kind=kind)
    with pytest.raises(PlanError, match="numbers, not bits"):
        validate(replace(plan, inputs=kinds[:1], outputs=kinds[1:]))
