"""Whole plans at three parties against their plain evaluation, and their declared cost against what was counted."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.mpc.program import Program
from keras_private.plan import schedule
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.evaluate import evaluate, evaluate_all
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Draft, Op, Plan, Tensor
from keras_private.plan.schedule import stages
from keras_private.plan.scoring import METRICS, scoring
from keras_private.sharing import fixed
from keras_private.sharing.share import Share, reconstruct, split
from tests.plans import output_shape, plan_of

from .three import Three, rows_of, shares_of

RANDOM = np.random.default_rng(7)


def programs_of(draft: Draft) -> list[Program]:
    """The plan bound to each party's shares of the weights."""
    shared: dict[str, list[Share]] = {}
    for name, weight in draft.plan.weights.items():
        packages = split(fixed.encode(draft.values[name], weight.frac))
        shared[name] = [package.expand(weight.shape) for package in packages]
    return [Program(draft.plan, {name: shares[i] for name, shares in shared.items()}) for i in range(3)]


def convolution(b: PlanBuilder, x: str, filters: int, **geometry: Any) -> str:
    kernel = b.weight(RANDOM.normal(0, 0.3, (3, 3, b.shape(x)[-1], filters)), "kernel")
    geometry = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilation": (1, 1), "data_format": "NHWC", **geometry}
    bias = b.weight(RANDOM.normal(0, 0.1, (filters,)), "bias")
    return b.op("add", [b.op("conv2d", [x], weights=[kernel], layer="conv", **geometry)], weights=[bias], layer="conv")


def pooled(b: PlanBuilder, x: str, kind: str, **geometry: Any) -> str:
    return b.op(
        kind,
        [x],
        layer=kind,
        **{"pool": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0), "data_format": "NHWC", **geometry},
    )


def small_cnn(b: PlanBuilder) -> str:
    x = b.op("relu", [pooled(b, convolution(b, b.input, 4), "max_pool2d")], layer="relu")
    x = b.op("scale", [pooled(b, convolution(b, x, 5, pads=(0, 0, 0, 0)), "sum_pool2d")], factor=0.25, layer="pool")
    x = b.op("relu", [x], layer="relu")
    x = b.op("reshape", [x], shape=(int(np.prod(b.shape(x))),))
    return b.op("matmul", [x], weights=[b.weight(RANDOM.normal(0, 0.2, (b.shape(x)[0], 3)), "dense")], layer="dense")


def branches(b: PlanBuilder) -> str:
    left = b.op("relu", [convolution(b, b.input, 2)], layer="left")
    right = convolution(b, b.input, 2, strides=(1, 1))
    merged = b.op("concat", [b.op("add", [left, right]), b.op("sub", [left, right])], axis=2, layer="merge")
    leaky = b.op("add", [b.op("scale", [merged], factor=0.3), b.op("scale", [b.op("relu", [merged])], factor=0.7)])
    gain = b.op("mul", [leaky], weights=[b.weight(RANDOM.normal(0, 1, (4,)), "gain")], layer="gain")
    padded = b.op("pad", [b.op("transpose", [gain], perm=(2, 0, 1))], paddings=((0, 0), (1, 0), (0, 2)))
    return b.op("relu", [padded], layer="out")


def beside(b: PlanBuilder) -> str:
    """Protocols of several kinds in the same rounds."""
    x = b.op("slice", [b.input], starts=(0, 0, 0), stops=(2, 2, 2), strides=(1, 1, 1), layer="in")
    x = b.op("matmul", [x], weights=[b.weight(RANDOM.normal(0, 0.3, (2, 3)), "kernel")], layer="opened")
    comparing = [b.op(kind, [x], layer=kind) for kind in ("relu", "abs")]
    clipped = b.op("clip", [x], low=-0.25, high=0.5, layer="clip")
    return b.op("concat", [*comparing, clipped, b.op("square", [b.op("scale", [x], factor=0.5)])], axis=2)


def depthwise(b: PlanBuilder) -> str:
    kernel = b.weight(RANDOM.normal(0, 0.4, (3, 3, 2, 2)), "kernel")
    x = b.op(
        "depthwise_conv2d",
        [b.input],
        weights=[kernel],
        layer="depthwise",
        strides=(2, 1),
        pads=(1, 0, 0, 1),
        dilation=(1, 2),
        data_format="NHWC",
    )
    return pooled(b, x, "max_pool2d", pool=(3, 2), strides=(1, 1), pads=(1, 1, 0, 1))


def gathers(b: PlanBuilder) -> str:
    x = b.op("relu", [b.op("gather", [convolution(b, b.input, 3)], axis=0, indices=(7, 1, 2))], layer="crop")
    wide = b.op("gather", [x], axis=1, indices=(0, 0, 1, 1, 5), layer="repeat")
    spread = b.op("gather", [b.op("pad", [wide], paddings=((0, 1), (0, 0), (0, 0)))], axis=0, indices=(0, 3, 1, 3, 2))
    return b.op("gather", [convolution(b, spread, 2)], axis=2, indices=(1, 0, 1))


def joined(b: PlanBuilder) -> str:
    """Products that are opened in the round in which what follows them begins."""
    left = b.op("relu", [b.op("add", [convolution(b, b.input, 4), convolution(b, b.input, 4)])], layer="left")
    both = b.op("add", [convolution(b, left, 3), convolution(b, left, 3)])
    largest = pooled(b, both, "max_pool2d")
    return b.op("add", [convolution(b, largest, 2), convolution(b, largest, 2)])


def wide(b: PlanBuilder) -> str:
    """A layer so large that its values are dealt by several parties."""
    flat = b.op("reshape", [b.input], shape=(144,))
    kernel = b.weight(RANDOM.normal(0, 0.1, (144, 5000)), "kernel")
    out = b.op("relu", [b.op("matmul", [flat], weights=[kernel], layer="wide")])
    return b.op("matmul", [out], weights=[b.weight(RANDOM.normal(0, 0.02, (5000, 3)), "kernel")])


def curves(b: PlanBuilder) -> str:
    """Functions of products before their truncation, in both forms of tables, and of what comes out of tables."""

    def curve(x: str, name: str, *parameters: float) -> str:
        return b.op("spline", [x], function=name, parameters=parameters, goal=26, layer=name)

    x = b.op("reshape", [curve(convolution(b, b.input, 2), "gelu")], shape=(144,))
    x = b.op("matmul", [x], weights=[b.weight(RANDOM.normal(0, 0.05, (144, 5)), "kernel")], layer="dense")
    x = curve(curve(x, "softplus"), "reciprocal", 0.25, 8.0, 0.0)
    return b.op("matmul", [x], weights=[b.weight(RANDOM.normal(0, 0.1, (5, 2)), "kernel")], layer="dense")


def classes(b: PlanBuilder) -> str:
    """A softmax of what is proven to lie close together, and, where nothing is proven, by the largest of each row."""
    flat = b.op("reshape", [b.input], shape=(144,))
    logits = b.op("matmul", [flat], weights=[b.weight(RANDOM.normal(0, 0.1, (144, 7)), "kernel")], layer="dense")
    return b.op("softmax", [logits], axis=0, layer="softmax")


def quotients(b: PlanBuilder) -> str:
    """Rows by their own size, and a number by another that is never small."""
    flat = b.op("reshape", [b.input], shape=(144,))
    rows = b.op("matmul", [flat], weights=[b.weight(RANDOM.normal(0, 0.1, (144, 6)), "kernel")], layer="dense")
    rows = b.op("normalise", [rows], axes=(0,), epsilon=1e-3, centre=True, layer="norm")
    largest = b.op("add", [b.op("relu", [rows])], weights=[b.weight(np.ones(6), "one")])
    return b.op("divide", [rows, largest], low=1.0, high=4.0, layer="quotient")


def wide_curve(b: PlanBuilder) -> str:
    """A layer and a function behind it, value by value, so large that both are dealt by several parties."""
    flat = b.op("reshape", [b.input], shape=(144,))
    kernel = b.weight(RANDOM.normal(0, 0.1, (144, 700)), "kernel")
    out = b.op("matmul", [flat], weights=[kernel], layer="wide")
    out = b.op("spline", [out], function="sigmoid", parameters=(), goal=26, layer="sigmoid")
    return b.op("matmul", [out], weights=[b.weight(RANDOM.normal(0, 0.02, (700, 3)), "kernel")])


def nothing(b: PlanBuilder) -> str:
    height, width, channels = b.shape(b.input)
    return b.op("reshape", [b.input], shape=(height, width * channels))


MODELS = [
    small_cnn,
    branches,
    beside,
    depthwise,
    gathers,
    joined,
    wide,
    curves,
    wide_curve,
    classes,
    quotients,
    nothing,
]


@pytest.mark.parametrize("input_range", [(-1.0, 2.0), None])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_plan_computes_what_it_says(three: Three, model: Any, input_range: Any, batch: int) -> None:
    builder = PlanBuilder((9, 8, 2), input_range)
    recorded = builder.finish(model(builder))
    draft = optimise(recorded, precision=16)
    x = np.random.default_rng(batch).uniform(-1, 2, (batch, 9, 8, 2))
    outputs = three.run(
        lambda party, program, x: program.protocol(party, x),
        programs_of(draft),
        shares_of(rows_of(fixed.encode(x, 16))),
    )
    logits = fixed.decode(reconstruct(outputs), 16).reshape(batch, *output_shape(draft.plan))
    assert np.abs(logits - evaluate(recorded, x)).max() < 1e-3
    declared = schedule.total(draft.plan, batch)
    assert declared.rounds == three.links[0].stats.rounds
    assert three.counted() == (declared.rounds, declared.sent)


@pytest.mark.parametrize("metric", METRICS)
def test_scores_follow_a_program_with_the_weights_that_are_there(memory_three: Three, metric: str) -> None:
    builder = PlanBuilder((6,), (-1.0, 1.0))
    made = builder.op(
        "relu", [builder.op("matmul", [builder.input], weights=[builder.weight(RANDOM.normal(0, 1, (6, 7)), "w")])]
    )
    draft = optimise(builder.finish(made), precision=16)
    scored = scoring(draft.plan, metric)
    frac, shape = scored.plan.frac(scored.target), scored.plan.shape(scored.target)
    x, y = np.random.default_rng(3).uniform(-1, 1, (9, 6)), np.random.default_rng(4).integers(0, 2, (9, *shape)) * 1.0
    words = np.concatenate([fixed.encode(x, 16), fixed.encode(y, frac).reshape(9, -1)], axis=1)
    outputs = memory_three.run(
        lambda party, program, x: program.protocol(party, x),
        [program.followed_by(scored.plan) for program in programs_of(draft)],
        shares_of(words),
    )
    (made_frac,) = (scored.plan.frac(told) for told in scored.plan.outputs)
    (expected,) = evaluate_all(replace(draft, plan=scored.plan), [x, y])
    found = fixed.decode(reconstruct(outputs), made_frac)
    np.testing.assert_allclose(found, expected.reshape(9, -1), atol=2e-3 if made_frac else 0)
    declared = schedule.total(scored.plan, 9)
    assert memory_three.counted() == (declared.rounds, declared.sent)


def test_only_what_begins_with_a_program_follows_it() -> None:
    plans = []
    for kind in ("relu", "abs"):
        builder = PlanBuilder((4,), (0.0, 1.0))
        weight = builder.weight(np.full(4, 0.5), "w")
        plans.append(optimise(builder.finish(builder.op(kind, [builder.op("mul", [builder.input], weights=[weight])]))))
    first, other = (programs_of(draft)[0] for draft in plans)
    scored = scoring(first.plan, "accuracy").plan
    assert repr(first.followed_by(scored)).startswith("Program(")
    with pytest.raises(PlanError, match="only what begins with a program's ops"):
        other.followed_by(scored)
    weighted = replace(scored.ops[-1], weights=("w",))
    with pytest.raises(PlanError, match="no weights of its own"):
        first.followed_by(replace(scored, ops=(*scored.ops[:-1], weighted)))


def test_weights_must_match_the_plan() -> None:
    builder = PlanBuilder((9, 8, 2), (0, 1))
    draft = optimise(builder.finish(small_cnn(builder)), precision=16)
    shares = {name: Share(*[np.zeros(w.shape, np.uint64)] * 2) for name, w in draft.plan.weights.items()}
    first = next(iter(shares))
    with pytest.raises(PlanError, match=first):
        Program(draft.plan, {name: share for name, share in shares.items() if name != first})
    with pytest.raises(PlanError, match="unknown"):
        Program(draft.plan, {**shares, "unknown": shares[first]})
    with pytest.raises(PlanError, match="shape"):
        Program(draft.plan, {**shares, first: Share(*[np.zeros((1, 1), np.uint64)] * 2)})
    builder = PlanBuilder((2,), None)
    recorded = builder.finish(builder.op("relu", [builder.input])).plan
    with pytest.raises(PlanError, match="executable"):
        Program(recorded, {})


def unchecked(shape: tuple[int, ...], *ops: Op, **shapes: tuple[int, ...]) -> Plan:
    """A plan that no parser has seen: every tensor has the shape that is claimed."""
    tensors = {"x": Tensor(shape, 16)} | {name: Tensor(claimed, 16) for name, claimed in shapes.items()}
    return plan_of(16, ["x"], [ops[-1].output], tensors, ops)


POOL = {"pool": (1, 1), "strides": (1, 1), "pads": (0, 0, 0, 0)}


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (  # (4, 5) + (4, 1, 5) at four rows would have the shape that is claimed
            unchecked(
                (5,),
                Op("reshape", ("x",), (), "line", {"shape": (1, 5)}),
                Op("concat", ("line",) * 4, (), "lines", {"axis": 0}),
                Op("add", ("x", "lines"), (), "mixed"),
                line=(1, 5),
                lines=(4, 5),
                mixed=(4, 5),
            ),
            "unequal rank would mix the rows",
        ),
        (
            unchecked((2, 2, 1), Op("sum_pool2d", ("x",), (), "y", POOL), y=(2, 2, 4)),
            "sum_pool2d: the arrays' sizes do not fit together",
        ),
        (
            unchecked((5,), Op("concat", ("x", "x"), (), "y", {"axis": 0}), y=(5,)),
            r"concat has shape \(4, 10\), the plan says \(4, 5\)",
        ),
        (
            unchecked(
                (5, 1), Op("add", ("x", "x"), (), "y"), Op("relu", ("y",), (), "z", {"drop": 0}), y=(1, 5), z=(1, 5)
            ),
            r"add has shape \(4, 5, 1\), the plan says \(4, 1, 5\)",
        ),
    ],
)
def test_a_value_of_another_shape_than_the_plan_says_is_not_used(memory_three: Three, plan: Plan, reason: str) -> None:
    programs = [Program(plan, {}) for _ in range(3)]
    x = shares_of(np.arange(4 * plan.input_words, dtype=np.uint64).reshape(4, plan.input_words))
    with pytest.raises(ValueError, match=reason):
        memory_three.run(lambda party, program, x: program.protocol(party, x), programs, x)


def test_an_input_of_another_shape_is_not_used(memory_three: Three) -> None:
    plan = unchecked((5,), Op("add", ("x", "x"), (), "y"), y=(5,))
    with pytest.raises(PlanError, match=r"the input has shape \(5, 4\)"):
        memory_three.run(
            lambda party, program, x: program.protocol(party, x),
            [Program(plan, {})] * 3,
            shares_of(np.zeros((5, 4), np.uint64)),
        )


def test_a_program_shows_no_weight() -> None:
    builder = PlanBuilder((9, 8, 2), (0, 1))
    program = programs_of(optimise(builder.finish(small_cnn(builder)), precision=16))[0]
    assert re.fullmatch(r"Program\(\d+ ops, \d+ weights\)", repr(program))


def test_protocols_that_need_nothing_of_each_other_run_in_the_same_rounds() -> None:
    builder = PlanBuilder((9, 8, 2), (-1.0, 2.0))
    plan = optimise(builder.finish(beside(builder)), precision=16).plan
    kinds = [{op.kind for op in plan.ops[stage.first : stage.last + 1]} for stage in stages(plan)]
    assert any({"relu", "abs", "clip", "square"} <= found for found in kinds), kinds
