"""Inputs without fractional bits: every kind takes them, and what is fractional beside them is not rounded away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_private.plan import samples
from keras_private.plan.builder import Draft, PlanBuilder
from keras_private.plan.evaluate import evaluate_all
from keras_private.plan.ops import KINDS
from keras_private.plan.optimise import optimise
from keras_private.plan.serialise import validate
from keras_private.plan.simulate import simulate
from tests.ops.samples import SAMPLES

OF_NUMBERS = [kind for kind, known in KINDS.items() if known.recorded is not None and not SAMPLES[kind][0].bits]
BITS = ("above", "below", "equal", "equal_to", "less")  # what they make


def error(draft: Draft) -> float:
    """The largest difference between the parties' answers and those of plain numbers."""
    done = optimise(draft)
    validate(done.plan)
    xs = samples.inputs(draft, 8)
    (expected,), (found,) = evaluate_all(draft, xs), simulate(done, xs)
    return float(np.abs(expected - found).max())


@pytest.mark.parametrize("kind", OF_NUMBERS)
def test_every_kind_takes_whole_numbers(kind: str) -> None:
    sample, known, random, builder = SAMPLES[kind][0], KINDS[kind], np.random.default_rng(0), PlanBuilder()
    attrs = {name: value for name, value in sample.attrs.items() if name in {**known.attrs, **(known.recorded or {})}}
    shapes = enumerate(sample.inputs)
    xs = [builder.add_input(f"x{i}", shape, kind="integer", range=(1, 9)) for i, shape in shapes]
    ws = [builder.weight(random.normal(size=shape), "w") for shape in sample.weights]
    made = builder.op(kind, xs, weights=ws, **attrs)
    draft = builder.finish(builder.op("to_number", made) if kind in BITS else made)
    assert error(draft) < 2e-3


@pytest.mark.parametrize(
    ("kind", "attrs"),
    [
        ("add", {}),
        ("sub", {}),
        ("mul", {}),
        ("scale", {"factor": 0.3}),
        ("clip", {"low": -0.5, "high": 2.25}),
        ("below", {"threshold": 1.5}),
        ("above", {"threshold": 1.5}),
        ("equal_to", {"value": 1.5}),
        ("softmax", {"axis": 0}),
    ],
)
@pytest.mark.parametrize("first", ["nothing", "argmax", "a bit"])
def test_fractions_beside_whole_numbers_are_kept(kind: str, attrs: dict[str, Any], first: str) -> None:
    builder = PlanBuilder()
    x = builder.add_input("x", (6, 3), range=(-2, 3), kind="integer" if first == "nothing" else "real")
    if first == "argmax":
        x = builder.op("argmax", x, axis=0)
    elif first == "a bit":
        x = builder.op("to_number", builder.op("above", x, threshold=0.1))
    weights = [builder.weight([0.5, 0.3, -0.7], "w")] if kind in ("add", "sub", "mul") else []
    made = builder.op(kind, x, weights=weights, **attrs)
    assert error(builder.finish(builder.op("to_number", made) if kind in BITS else made)) < 2e-3


def test_a_number_alone_takes_a_weight_too() -> None:
    builder = PlanBuilder()
    x = builder.add_input("x", (), kind="integer", range=(-2, 3))
    assert error(builder.finish(builder.op("add", x, weights=[builder.weight(0.3, "w")]))) < 1e-4


def layer(given: str, size: float) -> Draft:
    random, builder = np.random.default_rng(0), PlanBuilder()
    x = builder.add_input("x", (50,), kind=given, range=None if given == "bit" else (0, 9))
    x = builder.op("matmul", x, weights=[builder.weight(random.normal(size=(50, 20)) * size, "w")])
    return builder.finish(builder.op("matmul", x, weights=[builder.weight(random.normal(size=(20, 4)), "v")]))


@pytest.mark.parametrize(
    ("given", "size", "drop"), [("integer", 1.0, 0), ("integer", 1e-3, 16), ("bit", 1.0, 0), ("bit", 1e-3, 0)]
)
def test_the_first_product_of_whole_numbers_needs_no_truncation(given: str, size: float, drop: int) -> None:
    """Unless weights so small meet inputs so large that more fractional bits are needed than the result has."""
    draft = layer(given, size)
    done = optimise(draft)
    assert done.plan.ops[0].attrs["drop"] == drop
    assert done.accuracy is not None
    assert done.accuracy.relative < 1e-3
    assert error(draft) < done.accuracy.error


@pytest.mark.parametrize(("high", "frac"), [(2.0, 0), (2.25, 16)])
def test_the_ends_of_a_clip_are_not_rounded_to_whole_numbers(high: float, frac: int) -> None:
    builder = PlanBuilder()
    x = builder.add_input("x", (3,), kind="integer", range=(-5, 9))
    plan = optimise(builder.finish(builder.op("clip", x, low=-1.0, high=high))).plan
    (clip,) = (op for op in plan.ops if op.kind == "clip")
    assert plan.tensors[clip.inputs[0]].frac == frac
