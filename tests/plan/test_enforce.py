"""Inputs that are held to their declared ranges: zeros for whatever is outside, to the unit, in all words there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.plan.builder import Draft, PlanBuilder
from keras_private.plan.checks.enforce import enforced, raw_ends
from keras_private.plan.cost import further, window
from keras_private.plan.evaluate import evaluate_all
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import BIT, CHECKS, INTEGER, REAL, Output
from keras_private.plan.ports import check_ports
from keras_private.plan.schedule import total
from keras_private.plan.scoring import scoring
from keras_private.plan.serialise import validate


def three_inputs() -> Draft:
    builder = PlanBuilder()
    real = builder.add_input("real", (3,), range=(-0.5, 2.0))
    whole = builder.add_input("whole", (2,), kind=INTEGER, range=(3, 9))
    bit = builder.add_input("bit", (1,), kind=BIT)
    summed = builder.op("matmul", real, weights=builder.weight(np.ones((3, 2)), "w"))
    both = builder.op("concat", [whole, bit], axis=0)
    outputs = [
        Output("sum", summed),
        Output("places", builder.op("argmax", summed, axis=0), INTEGER, reveal="label"),
        Output("both", both, INTEGER),
    ]
    return optimise(builder.finish(outputs, gives="dict"))


def test_it_is_a_plan_that_parties_accept_and_says_what_it_tells() -> None:
    draft = enforced(three_inputs())
    validate(draft.plan)
    assert [(made.name, made.reveal) for made in draft.plan.outputs][-1] == ("(range)", "range")
    assert [made.name for made in draft.plan.results] == ["sum", "places", "both"]
    assert draft.plan.outputs[1].reveal == "label"  # zeros or the label, and no value


def test_the_comparison_takes_all_bits_whatever_is_proven_of_the_input() -> None:
    draft = enforced(three_inputs())
    (compared,) = [op for op in draft.plan.ops if op.kind == "below" and op.layer in CHECKS]
    assert draft.plan.tensors[compared.inputs[0]].bound is None


def test_without_a_bound_the_sign_of_the_whole_word_is_taken_however_many_values_there_are() -> None:
    for count in (1, 2, 64, 1000, 10**5, 10**7):
        seen = window(further(None), 0, count)
        assert (seen.low, seen.top) == (0, 63)


def test_ends_are_those_that_a_client_encodes() -> None:
    plan = three_inputs().plan
    real, whole, bit = plan.inputs
    frac = plan.frac(real)
    assert raw_ends(real, frac) == (-(1 << frac) // 2, 2 << frac)
    assert (raw_ends(whole, 0), raw_ends(bit, 0)) == ((3, 9), (0, 1))
    assert raw_ends(replace(real, range=(0.1, 0.3)), 16) == (6554, 19661)


def test_an_input_without_a_range_is_refused_by_name() -> None:
    builder = PlanBuilder((2,))
    draft = optimise(builder.finish(builder.op("relu", builder.input)))
    with pytest.raises(PlanError, match="input_range for every input, and 'input' has none"):
        enforced(draft)


def test_an_output_that_is_withheld_promises_what_it_did() -> None:
    """`reveal` is held against the op behind the selection, and against no other selection."""
    draft = enforced(three_inputs())
    plan = draft.plan
    values = [replace(plan.outputs[0], reveal="label", kind=INTEGER), *plan.outputs[1:]]
    with pytest.raises(PlanError, match=r"label|fractional"):
        check_ports(replace(plan, outputs=tuple(values)))
    (zeros,) = [op for op in plan.ops if op.kind == "scale_int" and op.output == selected(plan)[2]]
    ops = tuple(replace(op, attrs={**op.attrs, "multiplier": 1}) if op is zeros else op for op in plan.ops)
    with pytest.raises(PlanError, match="'label' reveals"):
        check_ports(replace(plan, ops=ops))


def selected(plan) -> tuple[str, ...]:  # type: ignore[no-untyped-def]
    (made,) = [made for made in plan.outputs if made.name == "places"]
    (op,) = [op for op in plan.ops if op.output == made.tensor]
    assert op.kind == "select"
    return op.inputs


def test_a_notice_is_one_bit_of_a_check_and_stands_once() -> None:
    plan = enforced(three_inputs()).plan
    with pytest.raises(PlanError, match="each notice about a query once"):
        check_ports(replace(plan, outputs=(*plan.outputs, replace(plan.outputs[-1], name="again"))))
    with pytest.raises(PlanError, match="'guard' reveals a bit"):
        check_ports(replace(plan, outputs=(*plan.outputs, Output("x", plan.inputs[2].tensor, BIT, reveal="guard"))))
    with pytest.raises(PlanError, match="a plan has from 1"):
        check_ports(replace(plan, outputs=plan.outputs[-1:]))
    assert REAL  # the kinds are public


def test_a_row_without_an_answer_is_right_in_no_evaluation() -> None:
    builder = PlanBuilder((3,), (-1.0, 1.0))
    done = optimise(builder.finish(builder.op("relu", builder.input)))
    for draft in (done, enforced(done)):
        found = scoring(draft.plan, "accuracy")
        x, target = np.array([[0.1, 0.2, 0.9], [0.9, 0.1, 0.0], [0.5, 0.1, 3.0]]), np.array([2.0, 0.0, 0.0])
        scores = evaluate_all(replace(draft, plan=found.plan), [x, target])[0]
        assert list(scores) == [1, 1, 0]  # zeros would have the label 0


def test_rows_that_a_guard_has_taken_out_do_not_count_as_exact() -> None:
    plan = enforced(three_inputs()).plan
    made = replace(plan.outputs[-1], name="(guard)", reveal="guard")
    with pytest.raises(PlanError, match="would count as exact"):
        scoring(replace(plan, outputs=(plan.outputs[0], made)), "mean_absolute_error")


def test_inputs_are_compared_in_the_rounds_of_the_first_layers() -> None:
    """What is left is the selection, and what comes of it."""
    random, builder = np.random.default_rng(2), PlanBuilder((20,), (-1.0, 1.0))
    at = builder.input
    for number in range(4):
        at = builder.op(
            "relu", builder.op("matmul", at, weights=builder.weight(random.normal(size=(20, 20)), f"w{number}"))
        )
    plain, draft = (optimise(builder.finish(at), enforce_range=enforce) for enforce in (False, True))
    assert total(draft.plan, 1).rounds <= total(plain.plan, 1).rounds + 4
    validate(draft.plan)
