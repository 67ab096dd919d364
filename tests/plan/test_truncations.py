"""Where the truncations of products of two tensors go, what they cost, and that the results are right."""

from __future__ import annotations

import numpy as np
import pytest

from keras_private.plan.builder import Draft
from keras_private.plan.evaluate import evaluate
from keras_private.plan.fixed_point import fixed_point
from keras_private.plan.fractions import Fractions
from keras_private.plan.measure import measure
from keras_private.plan.ops import dropped
from keras_private.plan.optimise import optimise, simplify
from keras_private.plan.plan import Op
from keras_private.plan.schedule import costs
from tests.plans import the_output

from . import models
from .integers import run
from .models import Model


def ops(draft: Draft) -> list[Op]:
    """Of the executable plan, whose results are right within a few units."""
    done = optimise(draft)
    x = models.inputs(draft)
    answers = np.ldexp(run(done, x)[the_output(done.plan).tensor].astype(np.float64), -done.plan.precision)
    expected = evaluate(draft, x)
    assert np.max(np.abs(answers - expected)) <= 1e-3 * max(1.0, float(np.max(np.abs(expected))))
    return list(done.plan.ops)


def two_layers(*, size: float = 0.3, units: int = 8) -> tuple[Model, str, str]:
    """Of values that are no inputs."""
    model = Model((8,), size=size)
    source = model.op("relu")
    left = model.dense(units)
    return model, left, model.op("matmul", source, weights=[model.weight(8, units)])


def test_one_operand_is_taken_untruncated() -> None:
    model, left, right = two_layers()
    model.op("mul", [left, right])
    _, *done = ops(model.draft())
    assert [(op.kind, dropped(op)) for op in done] == [("matmul", 32), ("matmul", 0), ("mul", 32)]


def test_both_are_where_there_is_room() -> None:
    for kind, drop in (("mul", 24), ("square", 32)):  # the square's one weight gets what room is left
        model, left, right = two_layers()
        model.op(kind, [left, right] if kind == "mul" else right)
        draft = simplify(model.draft())
        fractions = Fractions(draft, 8, 0, measure(draft, (models.inputs(draft),)))
        _, *layers, product = fixed_point(draft, fractions).plan.ops
        assert (product.kind, dropped(product)) == (kind, drop)
        assert not any(map(dropped, layers))


def test_none_is_where_values_are_large() -> None:
    model, left, right = two_layers(size=50.0)
    model.op("mul", [left, right])
    _, *done = ops(model.draft())
    assert all(dropped(op) for op in done)
    assert [op.kind for op in done] == ["matmul", "matmul", "mul"]


def test_none_is_where_the_result_is_much_larger() -> None:
    """A larger truncation of many values costs more than one of a few, and a round."""
    model = Model((96,), size=1.0)
    source = model.at
    left = model.op("mul", source, weights=[model.weight(96)])
    model.op("einsum", [left, model.op("relu", source)], equation="i,j->ij")
    done = ops(model.draft())
    assert dropped(done[0]) > 0
    assert dropped(done[-1]) == 16


def test_what_others_need_truncated_is_truncated_for_all() -> None:
    model = Model((8,))
    layer = model.dense(8)
    positive = model.op("relu", layer)
    pooled = model.op("reshape", model.op("mul", [layer, positive]), shape=(8,))
    model.dense(4)
    model.op("concat", [model.at, model.op("matmul", layer, weights=[model.weight(8, 2)]), pooled], axis=0)
    done = ops(model.draft())
    assert dropped(done[0]) > 0
    assert "truncate" not in [op.kind for op in done]


def test_without_a_range_nothing_is_proven_and_every_operand_truncated() -> None:
    model = Model((8,), None)
    source = model.at
    left = model.dense(8)
    model.op("mul", [left, model.op("matmul", source, weights=[model.weight(8, 8)])])
    assert [dropped(op) for op in ops(model.draft())] == [16, 16, 16]


@pytest.mark.parametrize("kind", ["mul", "square", "matmul", "einsum"])
def test_a_product_costs_what_a_layer_costs(kind: str) -> None:
    """Two rounds, and 46 bytes a value over all parties."""
    model = Model((24, 24), (-1.0, 1.0))
    source = model.at
    if kind == "square":
        model.op("square", source)
    else:
        attrs = {"equation": "ij,kj->ik"} if kind == "einsum" else {}
        model.op(kind, [source, model.op("relu", source)], **attrs)
    done = optimise(model.draft())
    cost, values = costs(done.plan, 1)[-1], 24 * 24
    assert cost.rounds == 2
    assert sum(cost.sent) == 46 * values


def test_inputs_of_unequal_rank_are_spelt_out() -> None:
    model = Model((3, 4))
    source = model.at
    row = model.op("reshape", model.op("einsum", source, weights=[model.weight(3)], equation="ij,i->j"), shape=(4,))
    model.op("mul", [source, row])
    assert [op.kind for op in ops(model.draft())][-2:] == ["reshape", "mul"]
