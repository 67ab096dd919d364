"""The kind `spline` in whole plans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.plan import schedule
from keras_private.plan.evaluate import evaluate
from keras_private.plan.ops.piecewise import MAX_TABLES, table_for
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Op, Plan, Tensor
from keras_private.plan.serialise import parse, serialise
from keras_private.plan.simulate import simulate
from keras_private.plan.spline.table import Refined, Uniform
from tests.plan.models import Model, inputs
from tests.plans import plan_of

SIGMOID = {"function": "sigmoid", "parameters": (), "goal": 21}


def model(name: str = "sigmoid", units: int = 30) -> Model:
    found = Model((20,), (-1.0, 1.0))
    found.dense(units)
    found.op("spline", function=name, parameters=(), goal=21, layer="act")
    found.dense(3)
    return found


def plan_with(*changes: dict[str, Any]) -> Plan:
    """A plan of splines of the input, one for each of these."""
    tensors, ops = {"x": Tensor((2,), 16, 20)}, []
    for number, change in enumerate(changes):
        attrs = {**SIGMOID, "frac": 16, **change}
        ops.append(Op("spline", ("x",), (), f"t{number}", attrs, "act"))
        tensors[f"t{number}"] = Tensor((2,), attrs["frac"])
    return plan_of(16, ["x"], [f"t{number}" for number in range(len(changes))], tensors, ops)


def test_a_product_and_a_sigmoid_take_three_rounds_and_no_truncation() -> None:
    for units in (30, 3000):
        plan = optimise(model(units=units).draft()).plan
        assert [op.kind for op in plan.ops] == ["matmul", "spline", "matmul"]
        assert plan.ops[0].attrs["drop"] == 0
        assert sum(cost.rounds for cost in schedule.costs(plan, 1)[:2]) <= 3


def test_few_values_are_read_in_two_rounds_and_many_for_fewer_bytes() -> None:
    plan = optimise(model().draft()).plan
    assert isinstance(table_for(plan.ops[1], plan, 10), Refined)
    assert isinstance(table_for(plan.ops[1], plan, 10_000), Uniform)


@pytest.mark.parametrize("name", ["sigmoid", "gelu"])
def test_the_simulation_reads_the_parties_tables(name: str) -> None:
    draft = optimise(model(name).draft())
    x = inputs(draft)
    (found,), plain = simulate(draft, [x]), evaluate(draft, x)
    error = np.max(np.abs(found - plain))
    assert 2**-17 < error < 2**-5
    assert draft.accuracy is not None
    assert draft.accuracy.error > 2**-17


def test_a_parsed_plan_is_the_same() -> None:
    plan = optimise(model().draft()).plan
    assert parse(serialise(plan)) == plan


@pytest.mark.parametrize(
    "change",
    [
        {"function": "cosh"},
        {"function": 3},
        {"parameters": (1.0,)},
        {"parameters": (float("inf"),)},
        {"function": "elu", "parameters": (-1.0,)},
        {"function": "reciprocal", "parameters": (0.0, 1.0, 0.0)},
        {"goal": 60},
        {"frac": 41},
        {"frac": True},
    ],
)
def test_what_no_table_can_be_of_is_refused_by_the_parser(change: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="act"):
        parse(serialise(plan_with(change)))


def test_a_plan_may_not_ask_for_tables_without_end() -> None:
    within = [{"function": "elu", "parameters": (1 + k / 1024,)} for k in range(MAX_TABLES)]
    assert parse(serialise(plan_with(*within, within[0])))
    with pytest.raises(PlanError, match="different tables"):
        parse(serialise(plan_with(*within, {"goal": 20})))


def test_a_table_that_takes_too_long_is_refused_when_its_cost_is_asked_for() -> None:
    plan = plan_with({"goal": 30})
    with pytest.raises(PlanError, match=r"'act'.*no table of 'sigmoid'"):
        schedule.total(parse(serialise(plan)), 1)


def test_the_interval_is_that_of_the_function() -> None:
    draft = optimise(model().draft())
    op = draft.plan.ops[1]
    assert draft.plan.tensors[op.output].bound == draft.plan.tensors[op.output].frac  # below 1 and the table's error
    far = replace(draft.plan, tensors={**draft.plan.tensors, op.inputs[0]: Tensor((30,), 32, None)})
    assert schedule.total(far, 1).rounds  # without a proof there is a table for all of 62 bits
