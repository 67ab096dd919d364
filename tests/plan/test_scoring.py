"""Scoring plans: derived from served ones, row by row, and what they score is what Keras' metrics mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.errors import PlanError
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.evaluate import evaluate_all
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import BIT, CONTRACT_BITS, INTEGER, REAL, Draft, Evaluation, Op, Output
from keras_private.plan.scoring import FEWEST, METRICS, check_evaluations, evaluations_of, scoring
from keras_private.plan.serialise import digest, parse, serialise, validate
from keras_private.plan.simulate import simulate

Array = np.ndarray[Any, Any]


def model(
    outputs: int = 7, *, range_: tuple[float, float] | None = (-1.0, 1.0), told: str = "values", activation: str = ""
) -> Draft:
    rng = np.random.default_rng(0)
    builder = PlanBuilder((6,), range_)
    made = builder.op("matmul", builder.input, weights=[builder.weight(rng.normal(size=(6, outputs)), "w")])
    kind = REAL
    if told == "label":
        made, kind = builder.op("argmax", made, axis=0), INTEGER
    elif told == "bits":
        made, kind = builder.op("to_number", builder.op("above", made, threshold=0.0)), BIT
    elif told == "top5":
        made, kind = builder.op("top_k", made, k=5, places=True), INTEGER
    told = "label" if told == "bits" else told
    return optimise(builder.finish([Output("y", made, kind, activation, told)]))


def scored(draft: Draft, metric: str, x: Array, y: Array, *, rounding: bool = True) -> Array:
    """The scores of every row, as parties compute them but for chance."""
    found = scoring(draft.plan, metric)
    validate(found.plan)
    run = simulate if rounding else evaluate_all
    (scores,) = run(replace(draft, plan=found.plan), [x, y.astype(np.float64)])
    return scores


X = np.random.default_rng(1).uniform(-1, 1, (300, 6))


def logits(draft: Draft) -> Array:
    return X @ next(iter(draft.values.values()))


def test_accuracy_is_that_of_keras() -> None:
    draft = model()
    y = np.random.default_rng(2).integers(0, 7, 300)
    np.testing.assert_array_equal(scored(draft, "accuracy", X, y), logits(draft).argmax(1) == y)


@pytest.mark.parametrize("told", ["label", "top5"])
def test_accuracy_of_what_is_told(told: str) -> None:
    draft, plain = model(told=told), model()
    y = np.random.default_rng(2).integers(0, 7, 300)
    np.testing.assert_array_equal(scored(draft, "accuracy", X, y), logits(plain).argmax(1) == y)


@pytest.mark.parametrize("told", ["values", "top5"])
def test_top5(told: str) -> None:
    draft = model(told=told)
    y = np.random.default_rng(2).integers(0, 7, 300)
    order = np.argsort(-logits(model()), axis=1)[:, :5]
    np.testing.assert_array_equal(scored(draft, "top5", X, y), (order == y[:, None]).any(1))


@pytest.mark.parametrize(
    ("told", "activation", "threshold"), [("values", "", 0.5), ("values", "sigmoid", 0.0), ("bits", "", 0.0)]
)
def test_binary_accuracy(told: str, activation: str, threshold: float) -> None:
    draft = model(2, told=told, activation=activation)
    y = np.random.default_rng(2).integers(0, 2, (300, 2))
    answers = logits(model(2)) > threshold
    np.testing.assert_array_equal(scored(draft, "binary_accuracy", X, y), answers == y)


@pytest.mark.parametrize(("metric", "error"), [("mean_absolute_error", np.abs), ("mean_squared_error", np.square)])
def test_errors_of_real_numbers(metric: str, error: Any) -> None:
    draft = model(2)
    y = np.random.default_rng(2).normal(0, 3, (300, 2))
    expected = error(logits(draft) - y)
    np.testing.assert_allclose(scored(draft, metric, X, y), expected, atol=2e-3)


@pytest.mark.parametrize("range_", [1.0, 2.0**16])
def test_exact_truncations_stay_exact(range_: float) -> None:
    builder = PlanBuilder((2,), (-range_, range_))
    draft = optimise(
        builder.finish(builder.op("mul", builder.input, weights=[builder.weight(np.array([0.3, 0.7]), "w")])),
        exact_truncation=True,
    )
    found = scoring(draft.plan, "mean_squared_error").plan
    validate(found)
    assert found.ops[: len(draft.plan.ops)] == draft.plan.ops
    assert [op.kind for op in found.ops if op.attrs.get("drop")] == ["floor"] * (2 if range_ == 1 else 3)
    x, y = np.array([[0.5, -0.5]]) * range_, np.array([[0.25, 0.75]]) * range_
    (score,) = simulate(replace(draft, plan=found), [x, y])
    np.testing.assert_allclose(score, (x * [0.3, 0.7] - y) ** 2, rtol=2e-3)


@given(st.integers(1, 26), st.sampled_from(["mean_absolute_error", "mean_squared_error"]))
def test_scores_stay_within_the_contract(bits: int, metric: str) -> None:
    """Whatever is proven of the output, the proof goes on, or the metric is refused."""
    builder = PlanBuilder((2,), (-(2.0**bits), 2.0**bits))
    draft = optimise(builder.finish(builder.op("relu", builder.input)))
    if metric == "mean_squared_error" and bits > 19:
        with pytest.raises(PlanError, match="squares of such numbers"):
            scoring(draft.plan, metric)
        return
    found = scoring(draft.plan, metric)
    validate(found.plan)
    x = np.full((1, 2), 2.0**bits)
    most = found.target.range
    assert most is not None
    assert most[1] >= 2.0**bits
    (score,) = simulate(replace(draft, plan=found.plan), [x, np.full((1, 2), most[0])])  # raises if one outgrows it
    bound = found.plan.tensors[found.plan.outputs[0].tensor].bound
    assert bound is not None
    assert score.max() * 2.0**16 < 2.0**bound
    assert found.most * found.counts * 2**bound <= 2**CONTRACT_BITS


def test_targets_that_are_none_are_never_right() -> None:
    draft = model()
    for wrong in (-1, 7, 12):
        assert not scored(draft, "accuracy", X, np.full(300, wrong)).any()
        assert not scored(draft, "top5", X, np.full(300, wrong)).any()


def test_a_class_for_each_of_many_places() -> None:
    builder = PlanBuilder((2, 3, 4), (-1.0, 1.0))
    draft = optimise(builder.finish(builder.op("relu", builder.input)))
    found = scoring(draft.plan, "accuracy")
    assert found.counts == 6
    assert found.plan.shape(found.target) == (2, 3)


def test_the_served_plan_comes_first_and_stays_as_it_is() -> None:
    plan = model().plan
    for metric in METRICS:
        found = scoring(plan, metric).plan
        assert found.ops[: len(plan.ops)] == plan.ops
        assert found.weights == plan.weights
        assert digest(scoring(plan, metric).plan) == digest(scoring(parse(serialise(plan)), metric).plan)


def test_an_input_may_be_called_target() -> None:
    builder = PlanBuilder()
    draft = optimise(builder.finish(builder.op("relu", builder.add_input("target", (7,), range=(-1, 1)))))
    found = scoring(draft.plan, "accuracy")
    validate(found.plan)
    assert [port.name for port in found.plan.inputs] == ["target", "target_"]


REFUSED = {
    "no metric": (model(), "auc", "evaluation knows accuracy, top5"),
    "one value": (model(1), "accuracy", "a value for each of several classes"),
    "few classes": (model(5), "top5", "6 to 1024 classes"),
    "label": (model(told="label"), "top5", "reveal='label'"),
    "label, binary": (model(told="label"), "binary_accuracy", "of several classes use accuracy"),
    "bits": (model(told="bits"), "accuracy", "several classes"),
    "softmax, binary": (model(activation="softmax"), "binary_accuracy", "of several classes use accuracy"),
    "logits of probabilities": (model(activation="softmax"), "mean_squared_error", "reveal='probabilities'"),
    "no proof": (model(range_=None), "mean_absolute_error", "declare input_range"),
}


@pytest.mark.parametrize(("draft", "metric", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_suit_is_refused_with_a_reason(draft: Draft, metric: str, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        scoring(draft.plan, metric)


def test_accuracy_needs_no_proof() -> None:
    draft = model(range_=None)
    y = np.random.default_rng(2).integers(0, 7, 300)
    np.testing.assert_array_equal(scored(draft, "accuracy", X, y), logits(draft).argmax(1) == y)


def test_several_outputs_are_refused() -> None:
    builder = PlanBuilder((6,), (-1.0, 1.0))
    made = [builder.op("relu", builder.input), builder.op("abs", builder.input)]
    plan = optimise(builder.finish([Output(name, name_) for name, name_ in zip("ab", made, strict=True)])).plan
    with pytest.raises(PlanError, match="2 outputs"):
        scoring(plan, "accuracy")
    with pytest.raises(PlanError, match=r"no metric suits the model's output: .*2 outputs"):
        evaluations_of("client", plan)


# --- what an owner may say


def test_what_an_owner_allows() -> None:
    plan = model().plan
    assert evaluations_of(None, plan) == ()
    assert {e.metric for e in evaluations_of("owner", plan)} == set(METRICS)
    assert {(e.recipient, e.fewest) for e in evaluations_of("owner", plan)} == {("owner", FEWEST)}
    given = evaluations_of({"top5": ["client", 1.0], "accuracy": "owner"}, plan)
    assert given == (Evaluation("accuracy", "owner", FEWEST), Evaluation("top5", "client", 1))


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("clients", "one of client, owner"),
        (("client", 0), "0 are the fewest"),
        (("client", 2.5), "whole number"),
        (("client", True), "whole number"),
        (("client", float("nan")), "whole number"),
        ({"auc": "client"}, "evaluation knows"),
        ({"accuracy": "everybody"}, "one of client, owner"),
        ({"accuracy": ("client", 1 << 40)}, "fewest"),
        (7, "one of client, owner"),
        (True, "one of client, owner"),
        ([], "one of client, owner"),
    ],
)
def test_what_an_owner_cannot_allow(wanted: Any, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        evaluations_of(wanted, model().plan)


def test_only_what_suits_is_allowed_by_a_word() -> None:
    assert [e.metric for e in evaluations_of("client", model(7, activation="softmax").plan)] == ["accuracy", "top5"]
    assert [e.metric for e in evaluations_of("client", model(told="label").plan)] == ["accuracy"]


# --- the plan and its parser


def test_evaluations_are_part_of_the_hash() -> None:
    plan = model().plan
    variants = [
        plan,
        *(
            replace(plan, evaluations=(Evaluation(*what),))
            for what in (("accuracy", "client", 20), ("accuracy", "owner", 20), ("accuracy", "client", 21))
        ),
    ]
    assert len({digest(variant) for variant in variants}) == len(variants)
    for variant in variants:
        assert parse(serialise(variant)) == variant


@pytest.mark.parametrize(
    "evaluations",
    [
        [("auc", "client", 20)],
        [("accuracy", "everybody", 20)],
        [("accuracy", "client", 0)],
        [("accuracy", "client", -1)],
        [("accuracy", "client", 1 << 62)],
        [("accuracy", "client", True)],
        [("accuracy", "client", 20.0)],
        [("accuracy", "client", 20), ("accuracy", "owner", 20)],
        [("accuracy", b"client", 20)],
        [(1, "client", 20)],
        [("accuracy", "client")],
        [("accuracy", "client", 20)] * 6,
        [None],
    ],
)
def test_a_strangers_evaluations_are_checked(evaluations: list[Any]) -> None:
    document = msgpack.unpackb(serialise(model().plan))
    document["evaluations"] = evaluations
    with pytest.raises(PlanError):
        parse(msgpack.packb(document))


def test_a_plan_that_cannot_be_evaluated_so_is_refused() -> None:
    with pytest.raises(PlanError, match="several classes"):
        validate(replace(model(1).plan, evaluations=(Evaluation("accuracy", "client", 20),)))


def test_a_served_plan_cannot_add_up_rows() -> None:
    """Neither by an axis that a row does not have, nor by any kind: those that parties run say that rows stay apart."""
    draft = model()
    plan = draft.plan
    (made,) = plan.outputs
    for axes in ((1,), (-1,)):
        op = Op("sum", (made.tensor,), (), "total", {"axes": axes, "keepdims": False})
        tensors = {**plan.tensors, "total": replace(plan.tensors[made.tensor], shape=())}
        with pytest.raises(PlanError):
            validate(replace(plan, ops=(*plan.ops, op), tensors=tensors, outputs=(replace(made, tensor="total"),)))
    check_evaluations(plan)
