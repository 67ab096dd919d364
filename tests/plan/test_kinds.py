"""A kind declares everything, and nobody takes one that has declared nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest

from keras_private.config import Limits
from keras_private.errors import PlanError
from keras_private.mpc.program import Program
from keras_private.plan import bounds, evaluate, memory, schedule
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.fixed_point import fixed_point
from keras_private.plan.fractions import Fractions
from keras_private.plan.interval import Interval
from keras_private.plan.measure import measure
from keras_private.plan.ops import KINDS, infer, kind
from keras_private.plan.ops.dealt import Dealt
from keras_private.plan.ops.elementwise import Relu, Truncating
from keras_private.plan.optimise import optimise, simplify
from keras_private.plan.passes.layout import layout
from keras_private.plan.plan import Draft, Op, Plan, Tensor
from keras_private.plan.serialise import parse, serialise
from keras_private.plan.simulate import simulate
from keras_private.plan.summary import private_summary
from tests.plans import plan_of

CUBE = Op("cube", ("input",), (), "t0", {}, "layer")
X = np.linspace(-1.0, 9.0, 8).reshape(2, 4)


def plan(precision: int) -> Plan:
    tensors = {"input": Tensor((4,), precision, 40), "t0": Tensor((4,), precision, 40)}
    return plan_of(precision, ["input"], ["t0"], tensors, [CUBE], input_range=(-1.0, 9.0))


def recorded() -> Draft:
    return Draft(plan(0), {})


def executable() -> Draft:
    return Draft(plan(16), {})


def written() -> Draft:
    """By the fixed-point pass; all that it asks beforehand was asked of a plan of known kinds."""
    builder = PlanBuilder((4,), (-1.0, 9.0))
    known = builder.finish(builder.op("relu", [builder.input]))
    fractions = Fractions(known, 16, 0, measure(known, (X,)))
    return fixed_point(recorded(), fractions)


def parsed() -> Plan:
    builder = PlanBuilder((4,), (-1.0, 9.0))
    document = msgpack.unpackb(serialise(optimise(builder.finish(builder.op("relu", [builder.input]))).plan))
    document["ops"][0][0] = "cube"
    return parse(msgpack.packb(document))


ASKED: dict[str, Callable[[], Any]] = {
    "infer": lambda: infer(CUBE, [Tensor((4,), 16)], [], 16),
    "infer, recorded": lambda: infer(CUBE, [Tensor((4,))], [], 0),
    "builder": lambda: PlanBuilder((4,)).op("cube", ["input"]),
    "evaluate": lambda: evaluate.evaluate(recorded(), X),
    "bounds": lambda: bounds.propagate(CUBE, [Interval(X[:1], X[1:])], []),
    "bounds, nothing known": lambda: bounds.propagate(CUBE, [None], []),
    "bounds after it": lambda: bounds.after_product(CUBE, Interval(X[:1], X[1:]), 0.0),
    "error": lambda: bounds.error(CUBE, plan(16)),
    "measure": lambda: measure(recorded(), (X,)),
    "simulate": lambda: simulate(executable(), [X]),
    "fractions": lambda: Fractions(recorded(), 16, 0, measure(recorded(), (X,))),
    "fixed point": written,
    "passes": lambda: simplify(recorded()),
    "optimise": lambda: optimise(recorded()),
    "stages": lambda: schedule.stages(plan(16)),
    "cost": lambda: schedule.total(plan(16), 1),
    "memory": lambda: memory.room(plan(16), Limits()),
    "summary": lambda: private_summary(plan(16)),
    "serialise": lambda: serialise(plan(16)),
    "parse": parsed,
    "program": lambda: Program(plan(16), {}),
}


@pytest.mark.parametrize("who", ASKED)
def test_nobody_takes_a_kind_that_is_not_known(who: str) -> None:
    with pytest.raises(PlanError, match="unknown op kind 'cube'"):
        ASKED[who]()


# --- defining one


@pytest.fixture
def registry() -> Iterator[dict[str, kind.Kind]]:
    """The registered kinds, as they were afterwards."""
    kinds, classes = dict(kind._KINDS), set(kind._CLASSES)
    yield kind._KINDS
    for now, before in ((kind._KINDS, kinds), (kind._CLASSES, classes)):
        now.clear()
        now.update(before)  # type: ignore[arg-type]


def declared() -> dict[str, Any]:
    """All that a kind declares, with the values of `relu`."""
    every = {**vars(kind.Kind), **vars(Dealt), **vars(Truncating), **vars(Relu)}
    own = {name: every[name] for name in (*kind._DECLARATIONS, *vars(kind.Kind)) if name in every}
    return {name: value for name, value in own.items() if not name.startswith("_")} | {"name": "another"}


DECLARED = list(declared())


def test_a_kind_that_declares_everything_is_registered(registry: dict[str, kind.Kind]) -> None:
    type("Another", (kind.Kind,), declared())
    assert registry.keys() - {"another"} == {name for name in KINDS if name != "another"}
    assert infer(Op("another", ("x",), (), "y", {"drop": 3}), [Tensor((4,), 16)], [], 16) == Tensor((4,), 13)


def test_every_declaration_is_looked_for() -> None:
    assert len(DECLARED) == len(kind._DECLARATIONS) + 11 + len(kind._RECORDED) + len(kind._EXECUTABLE)


@pytest.mark.parametrize("left_out", DECLARED)
def test_a_kind_that_leaves_something_out_cannot_be_defined(left_out: str, registry: dict[str, kind.Kind]) -> None:
    body = declared()
    del body[left_out]
    with pytest.raises(TypeError, match=f"kind Another does not declare: {left_out}"):
        type("Another", (kind.Kind,), body)
    assert "another" not in registry


def test_what_a_form_of_plans_asks_for_is_needed_in_that_form_only(registry: dict[str, kind.Kind]) -> None:
    body = {name: value for name, value in declared().items() if name not in kind._EXECUTABLE}
    type("Another", (kind.Kind,), body | {"executable": None})
    op = Op("another", ("input",), (), "t0", {})
    another = registry["another"]
    for ask in (
        lambda: another.cost(op, plan(16), 1),
        lambda: another.memory(op, plan(16), 1),
        lambda: another.error(op, plan(16)),
    ):
        with pytest.raises(PlanError, match="another does not belong in an executable plan"):
            ask()


def test_other_ways_to_declare_nothing(registry: dict[str, kind.Kind]) -> None:
    with pytest.raises(TypeError, match="inherits from a kind"):
        type("Another", (Relu,), {"name": "another"})
    with pytest.raises(TypeError, match="two kinds of the name 'relu'"):
        type("Another", (kind.Kind,), declared() | {"name": "relu"})
    with pytest.raises(TypeError, match="in no form of a plan"):
        type("Another", (kind.Kind,), declared() | {"recorded": None, "executable": None})
    assert "another" not in registry


def test_a_kind_whose_rows_meet_is_in_no_executable_plan(registry: dict[str, kind.Kind]) -> None:
    type("Another", (kind.Kind,), declared() | {"rowwise": False})
    op = Op("another", ("input",), (), "t0", {"drop": 0})
    with pytest.raises(PlanError, match="another does not belong in an executable plan"):
        infer(op, [Tensor((4,), 16)], [], 16)
    assert infer(replace(op, attrs={}), [Tensor((4,))], [], 0) == Tensor((4,))


def test_all_weights_of_an_op_move_along_with_it(registry: dict[str, kind.Kind]) -> None:
    body = declared() | {"weights": (2, 2), "plain": lambda _, op, xs, ws: xs[0] * ws[0] + ws[1]}
    type("Another", (kind.Kind,), body)
    random = np.random.default_rng(2)

    def weighted(builder: PlanBuilder, source: str, *shapes: tuple[int, ...]) -> str:
        weights = [builder.weight(random.normal(size=shape), "w") for shape in shapes]
        return builder.op("another", source, weights=weights)

    past_transpose = PlanBuilder((2, 3, 4))
    turned = past_transpose.op("transpose", past_transpose.input, perm=(2, 0, 1))
    last = weighted(past_transpose, turned, (4, 2, 1), (3,))
    past_reshape = PlanBuilder((2, 3, 4))
    flat = past_reshape.op("reshape", past_reshape.input, shape=(6, 4))
    for draft in (
        past_transpose.finish(past_transpose.op("transpose", last, perm=(1, 2, 0))),
        past_reshape.finish(weighted(past_reshape, flat, (4,), (6, 4))),
        past_reshape.finish(weighted(past_reshape, flat, (4,), (6, 1))),  # which does not fit what comes in
    ):
        x, moved = random.normal(size=(5, 2, 3, 4)), layout(draft)
        np.testing.assert_allclose(evaluate.evaluate(moved, x), evaluate.evaluate(draft, x))
