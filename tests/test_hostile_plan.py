"""A dishonest owner uploads a plan that she wrote by hand, and two clients query it in one run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_private.errors import RefusedError
from keras_private.owner import OwnedModel
from keras_private.plan.ops import infer
from keras_private.plan.plan import Op, Plan, Tensor
from keras_private.worker import TFEWorker
from tests.plans import input_shape, output_shape, plan_of

ROWS = 4  # of all clients in the run, and the size of the axis that a row's own batch axis is to meet
FRAC = 16
SECRET = np.linspace(-0.9, 0.7, 5)


def handmade(shape: tuple[int, ...], *ops: Op, skip: str) -> Plan:
    """A plan of these ops; what the op that makes `skip` yields is broadcast as numpy does it, unchecked."""
    tensors = {"input": Tensor(shape, FRAC)}
    for op in ops:
        xs = [tensors[name] for name in op.inputs]
        if op.output == skip:
            tensors[op.output] = Tensor(tuple(np.broadcast_shapes(*(x.shape for x in xs))), FRAC)
        else:
            tensors[op.output] = infer(op, xs, [], FRAC)
    return plan_of(FRAC, ["input"], [ops[-1].output], tensors, ops)


def rows_into_answers() -> Plan:
    """(5,) + (4, 5): during a run of four rows (4, 5) + (4, 4, 5), so that row j of each answer is the j-th input."""
    return handmade(
        (5,),
        Op("reshape", ("input",), (), "line", {"shape": (1, 5)}),
        Op("concat", ("line",) * ROWS, (), "lines", {"axis": 0}),
        Op("sub", ("lines", "lines"), (), "zeros"),
        Op("add", ("input", "zeros"), (), "stolen"),
        skip="stolen",
    )


def larger_than_declared() -> Plan:
    """(2, 2, 1) + (): during a run (4, 2, 2, 4), and whatever sums its windows would write behind its output."""
    return handmade(
        (2, 2, 1),
        Op("sum_pool2d", ("input",), (), "sum", {"pool": (2, 2), "strides": (1, 1), "pads": (0, 0, 0, 0)}),
        Op("reshape", ("sum",), (), "number", {"shape": ()}),
        Op("add", ("input", "number"), (), "image"),
        Op("sum_pool2d", ("image",), (), "pooled", {"pool": (1, 1), "strides": (1, 1), "pads": (0, 0, 0, 0)}),
        skip="image",
    )


def attack(trio: Any, plan: Plan, until: Any) -> None:
    """The owner's accomplice asks beside an honest client, and looks for that client's row in her own answer."""
    model = OwnedModel.upload(trio, plan, {}, owner="mallory")
    try:
        with TFEWorker(name="alice") as honest, TFEWorker(name="eve") as accomplice:
            for client in (honest, accomplice):
                client.connect_to_model((1, *input_shape(plan)), (1, *output_shape(plan)), trio)
            honest.query_model_async(SECRET[None])
            accomplice.query_model_async(np.zeros((ROWS - 1, *input_shape(plan))))
            until(lambda: trio.waiting() == [2, 2, 2], "both requests wait")
            model.serve(2)
            answer = accomplice.query_model_join()
            assert not np.allclose(answer[0, 0], SECRET, atol=1e-3), f"eve has read alice's input: {answer[0, 0]}"
    finally:
        model.stop()


def test_no_plan_carries_one_clients_row_into_anothers_answer(trio: Any, until: Any) -> None:
    with pytest.raises(RefusedError, match=r"server0.*as many axes"):
        attack(trio, rows_into_answers(), until)


def test_no_value_outgrows_what_the_plan_says(trio: Any) -> None:
    with pytest.raises(RefusedError, match=r"server0.*as many axes"):
        OwnedModel.upload(trio, larger_than_declared(), {}, owner="mallory")


def lies(bits: int) -> Plan:
    """Comparisons and a truncation of values that outgrow what is claimed of them."""
    ops = (
        Op("scale_int", ("input",), (), "far", {"multiplier": 3 << 40, "shift": 40}),
        Op("max_pool2d", ("far",), (), "best", {"pool": (3, 3), "strides": (1, 1), "pads": (1,) * 4, "relu": True}),
        Op("relu", ("best",), (), "positive", {"drop": 40}),
        Op("add", ("positive", "input"), (), "output"),
    )
    tensors = {"input": Tensor((3, 3, 1), FRAC, bits)}
    for op in ops:
        made = infer(op, [tensors[name] for name in op.inputs], [], FRAC)
        tensors[op.output] = Tensor(made.shape, made.frac, bits)
    return plan_of(FRAC, ["input"], ["output"], tensors, ops)


@pytest.mark.parametrize("bits", [1, 7, 62])
def test_false_bounds_spoil_their_owners_answers_only(trio: Any, until: Any, bits: int) -> None:
    """Windows that miss the values' bits: wrong answers, each of its own row, and parties that go on."""
    model = OwnedModel.upload(trio, lies(bits), {}, owner="mallory")
    data = np.linspace(-1, 1, 27).reshape(3, 3, 3, 1)
    with TFEWorker(name="alice") as first, TFEWorker(name="eve") as second:
        for client in (first, second):
            client.connect_to_model((1, 3, 3, 1), (1, 3, 3, 1), trio)
        first.query_model_async(data)
        second.query_model_async(-data[:1])
        until(lambda: trio.waiting() == [2, 2, 2], "both requests wait")
        model.serve(2)
        assert first.query_model_join().shape == data.shape
        assert second.query_model_join().shape == (1, 3, 3, 1)
    model.stop()
    honest = handmade((3, 3, 1), Op("relu", ("input",), (), "output", {"drop": 0}), skip="")
    model = OwnedModel.upload(trio, honest, {}, owner="bob")
    with TFEWorker(name="alice") as client:
        client.connect_to_model((1, 3, 3, 1), (1, 3, 3, 1), trio)
        client.query_model_async(data)
        model.serve(1)
        assert np.abs(client.query_model_join() - np.maximum(data, 0)).max() < 2.0**-FRAC
    model.stop()
