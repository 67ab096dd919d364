"""Comparisons in whole plans: written by the fixed-point pass, run by three parties."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from keras_private.mpc.ops import bind
from keras_private.plan import cost, schedule
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.evaluate import evaluate
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Draft, Op, Tensor
from keras_private.plan.serialise import validate
from keras_private.sharing import fixed
from keras_private.sharing.share import reconstruct
from tests.plans import output_shape, plan_of

from .test_one_time import ALL_MASKED, random_shares, unmasked
from .test_program import programs_of
from .three import Three, rows_of, shares_of

RANDOM = np.random.default_rng(3)
SIZE = 6


def dense(b: PlanBuilder, x: str, units: int) -> str:
    weight = b.weight(RANDOM.normal(0, 0.5, (b.shape(x)[-1], units)), "kernel")
    return b.op("matmul", [x], weights=[weight], layer="dense")


def several_users(b: PlanBuilder) -> str:
    """One comparison of two products: what is larger, what is smaller, what differs, and that it was compared."""
    x, y = dense(b, b.input, 4), dense(b, b.input, 4)
    less = b.op("less", [x, y], layer="less")
    larger, smaller = b.op("select", [less, y, x]), b.op("select", [less, x, y])
    turned = b.op("not", [b.op("reshape", [less], shape=(2, 2))])
    counted = b.op("reshape", [b.op("to_number", [turned])], shape=(4,))
    return b.op("concat", [larger, b.op("sub", [larger, smaller]), counted], axis=0, layer="out")


def of_bits(b: PlanBuilder) -> str:
    x = dense(b, b.input, 5)
    inside = b.op("and", [b.op("above", [x], threshold=-0.5), b.op("below", [x], threshold=0.25)])
    same = b.op("equal", [b.input, b.op("gather", [b.input], axis=0, indices=(0, 2, 1, 3, 4, 5))])
    first = b.op("equal_to", [b.op("argmax", [x], axis=0)], value=2.0)
    either = b.op("concat", [b.op("xor", [inside, b.op("not", [inside])]), inside, same], axis=0)
    whole = b.op("to_number", [b.op("concat", [either, b.op("reshape", [first], shape=(1,))], axis=0)])
    return b.op("add", [whole, b.op("scale", [whole], factor=0.5)])


def ordered(b: PlanBuilder) -> str:
    x = b.op("reshape", [dense(b, b.input, 12)], shape=(3, 4))
    rows = [b.op("reduce_max", [x], axis=1), b.op("reduce_min", [x], axis=1), b.op("argmin", [x], axis=0)]
    best = b.op("top_k", [x], k=2, places=False)
    clipped = b.op("clip", [dense(b, b.op("reshape", [x], shape=(12,)), 3)], low=-0.3, high=1.0)
    two = b.op("abs", [b.op("minimum", [b.op("reshape", [best], shape=(6,)), b.op("concat", rows[:2], axis=0)])])
    return b.op("concat", [*rows, two, b.op("maximum", [clipped, rows[0]])], axis=0)


@pytest.mark.parametrize("input_range", [(-1.0, 2.0), None])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("model", [several_users, of_bits, ordered])
def test_a_plan_computes_what_it_says(
    memory_three: Three, model: Callable[[PlanBuilder], str], input_range: tuple[float, float] | None, batch: int
) -> None:
    builder = PlanBuilder((SIZE,), input_range)
    recorded = builder.finish(model(builder))
    draft = optimise(recorded, precision=16)
    validate(draft.plan)
    x = np.random.default_rng(batch).integers(-16, 32, (batch, SIZE)) / 16
    outputs = memory_three.run(
        lambda party, program, x: program.protocol(party, x),
        programs_of(draft),
        shares_of(rows_of(fixed.encode(x, 16))),
    )
    found = fixed.decode(reconstruct(outputs), 16).reshape(batch, *output_shape(draft.plan))
    assert np.abs(found - evaluate(recorded, x)).max() < 1e-3
    declared = schedule.total(draft.plan, batch)
    assert memory_three.counted() == (declared.rounds, declared.sent)


@pytest.mark.parametrize(
    "model", [several_users, *(pytest.param(model, marks=pytest.mark.slow) for model in (of_bits, ordered))]
)
def test_every_message_of_a_plan_has_a_mask_of_its_own(model: Callable[[PlanBuilder], str]) -> None:
    builder = PlanBuilder((SIZE,), (-1.0, 2.0))
    programs = programs_of(optimise(builder.finish(model(builder)), precision=16))
    x = random_shares(4, 12, SIZE)
    assert unmasked(lambda party, i: programs[i].protocol(party, x[i]), 0) == ALL_MASKED


def bytes_of(draft: Draft, kind: str) -> int:
    costs = schedule.costs(draft.plan, 1)
    return sum(sum(found.sent) for op, found in zip(draft.plan.ops, costs, strict=True) if op.kind == kind)


def test_one_comparison_serves_several_users() -> None:
    builder = PlanBuilder((SIZE,), (-1.0, 2.0))
    draft = optimise(builder.finish(several_users(builder)), precision=16)
    kinds = [op.kind for op in draft.plan.ops]
    assert (kinds.count("less"), kinds.count("select"), kinds.count("to_number")) == (1, 2, 1)
    (less,) = [op for op in draft.plan.ops if op.kind == "less"]
    bound = max(draft.plan.tensors[name].bound or 62 for name in less.inputs)
    assert bytes_of(draft, "less") == sum(cost.sign(4, cost.window(bound + 1, 0, 4)).sent)
    assert bytes_of(draft, "select") == 2 * sum(cost.select(4).sent)


def test_a_clip_of_a_product_takes_its_truncation_along() -> None:
    """In the rounds of one ReLU, the opening of the product and what is dealt being one."""
    for kind, attrs in (("clip", {"low": 0.0, "high": 6.0}), ("relu", {})):
        builder = PlanBuilder((SIZE,), (-1.0, 2.0))
        recorded = builder.finish(builder.op(kind, [dense(builder, builder.input, 5)], **attrs))
        plan = optimise(recorded, precision=16).plan
        assert not any(op.kind == "truncate" for op in plan.ops)
        assert schedule.total(plan, 1).rounds == 4
    assert plan.tensors[plan.ops[-1].output].bound is not None


def test_what_is_clipped_is_proven_to_be_small() -> None:
    """However large values could get before."""
    builder = PlanBuilder((SIZE,), (-1.0, 2.0))
    x = builder.input
    for _ in range(30):
        x = builder.op("clip", [dense(builder, x, SIZE)], low=0.0, high=6.0)
    plan = optimise(builder.finish(x), precision=16).plan
    for op in plan.ops:
        made = plan.tensors[op.output]
        assert made.bound is not None
        assert op.kind != "clip" or made.bound <= made.frac + 3  # below 8


@pytest.mark.parametrize("kind", ["below", "above"])
def test_thresholds_are_kept_to_the_last_unit(memory_three: Three, kind: str) -> None:
    """Between two numbers, on one, at the largest ones, and beyond."""
    x = np.array([-31, -30, -9, -8, -7, -1, 0, 1, 7, 8, 9, 30, 31])
    compared = np.less if kind == "below" else np.greater
    for raw in (-1e9, -32, -31.5, -31, -30.5, -8.25, -8, -0.5, 0, 0.5, 8, 8.75, 30.5, 31, 31.5, 32, 1e9):
        op = Op(kind, ("x",), (), "y", {"threshold": raw / 16})
        plan = plan_of(4, ["x"], ["y"], {"x": Tensor(x.shape, 4, 5), "y": Tensor(x.shape, bit=True)}, [op])
        run, words = bind(op, plan, []), x.reshape(1, -1).view(np.uint64)
        outputs = memory_three.run(lambda party, x, run: run(party, [x], x.shape), shares_of(words), run)
        found = outputs[0].mine ^ outputs[1].mine ^ outputs[2].mine
        np.testing.assert_array_equal(found.reshape(-1), compared(x, raw), err_msg=str(raw))
