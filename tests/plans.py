"""Plans written by hand, and a look at those with one input and one output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from keras_private.plan.plan import Draft, Input, Op, Output, Plan, Shape, Tensor, Weight


def plan_of(
    precision: int,
    inputs: Sequence[str],
    outputs: Sequence[str],
    tensors: Mapping[str, Tensor],
    ops: Sequence[Op],
    *,
    weights: Mapping[str, Weight] | None = None,
    input_range: tuple[float, float] | None = None,
) -> Plan:
    """A plan whose inputs and outputs, real numbers, are called as their tensors are."""
    return Plan(
        precision,
        tuple(Input(name, name, range=input_range) for name in inputs),
        tuple(Output(name, name) for name in outputs),
        tensors,
        weights or {},
        tuple(ops),
        "array" if len(inputs) == 1 else "list",
        "array" if len(outputs) == 1 else "list",
    )


def the_input(plan: Plan) -> Input:
    """The only one."""
    (given,) = plan.inputs
    return given


def the_output(plan: Plan) -> Output:
    """The only one."""
    (made,) = plan.outputs
    return made


def input_shape(plan: Plan) -> Shape:
    return plan.shape(the_input(plan))


def output_shape(plan: Plan) -> Shape:
    return plan.shape(the_output(plan))


def input_frac(plan: Plan) -> int:
    return plan.tensors[the_input(plan).tensor].frac


def output_frac(plan: Plan) -> int:
    return plan.tensors[the_output(plan).tensor].frac


def with_input(draft: Draft, **changed: Any) -> Draft:
    """The same draft with another declaration of its only input."""
    given = replace(the_input(draft.plan), **changed)
    return replace(draft, plan=replace(draft.plan, inputs=(given,)))


def with_output(draft: Draft, **changed: Any) -> Draft:
    """The same draft with another declaration of its only output."""
    made = replace(the_output(draft.plan), **changed)
    return replace(draft, plan=replace(draft.plan, outputs=(made,)))
