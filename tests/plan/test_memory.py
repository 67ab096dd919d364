"""The estimate of a run's memory, held against what the protocols really take."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

from keras_private.config import Limits
from keras_private.errors import PlanError
from keras_private.mpc.masks import agree_masks
from keras_private.mpc.party import Party
from keras_private.mpc.program import Program
from keras_private.net.frames import MAX_DATA_BYTES
from keras_private.net.memory import memory_links
from keras_private.plan.memory import room, row_bytes
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Draft, Op, Tensor
from keras_private.plan.schedule import costs
from keras_private.sharing import fixed
from keras_private.sharing.share import split
from tests.plan.models import Model
from tests.plans import plan_of


def relu(**given: Any) -> Model:
    model = Model((40_000,), **given)
    model.op("relu")
    return model


def dense() -> Model:
    model = Model((1000,), size=0.03)
    model.op("matmul", weights=[model.weight(1000, 500)])
    model.op("relu")
    return model


def convolutions(**given: Any) -> Model:
    model = Model((24, 24, 3), **given)
    for filters in (16, 16):
        model.conv(filters)
        model.op("relu")
    return model


def pooling() -> Model:
    model = Model((24, 24, 3))
    model.conv(16)
    model.window("max_pool2d", pool=(2, 2), strides=(2, 2))
    model.back()
    model.op("relu")
    return model


def residual() -> Model:
    model = Model((24, 24, 8))
    first = model.at
    model.conv(8, kernel=1)
    model.op("relu")
    model.op("add", [first, model.at])
    return model


def linear() -> Model:
    model = Model((32, 32, 3))
    model.conv(16)
    return model


MODELS = {
    "relu": (relu, 8),
    "relu without bounds": (lambda: relu(input_range=None), 8),
    "dense": (dense, 200),
    "linear": (linear, 8),
    "convolutions": (convolutions, 8),
    "convolutions without bounds": (lambda: convolutions(input_range=None), 8),
    "pooling": (pooling, 16),
    "residual": (residual, 16),
}


def measured(draft: Draft, rows: int) -> float:
    """Bytes that a party takes at most for a run, the three parties' mean: they run in lockstep."""
    plan, links = draft.plan, memory_links(60)
    weights = {name: split(fixed.encode(draft.values[name], w.frac)) for name, w in plan.weights.items()}
    programs = [
        Program(plan, {name: parts[index].expand(plan.weights[name].shape) for name, parts in weights.items()})
        for index in range(3)
    ]
    data = np.random.default_rng(0).uniform(0, 1, (rows, plan.input_words))
    packages = split(fixed.encode(data, plan.precision))
    parties: dict[int, Party] = {}

    def everywhere(act: Any) -> None:
        threads = [threading.Thread(target=act, args=(index,)) for index in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()

    everywhere(lambda index: parties.update({index: Party(links[index], agree_masks(links[index], b"memory"))}))
    tracemalloc.start()
    try:
        everywhere(lambda index: programs[index].run(parties[index], packages[index].expand(data.shape)))
        return tracemalloc.get_traced_memory()[1] / 3
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", MODELS)
def test_an_estimate_is_from_above_and_not_from_far(name: str) -> None:
    make, rows = MODELS[name]
    model = make()
    draft = optimise(model.builder.finish(model.at))
    ratio = row_bytes(draft.plan) * rows / measured(draft, rows)
    assert 1.0 <= ratio <= 3.0, ratio


def test_rows_that_fit() -> None:
    model = dense()
    plan = optimise(model.builder.finish(model.at)).plan
    each = row_bytes(plan)
    limits = Limits(max_batch=65536, request_mb=1, memory_mb=100)
    found = room(plan, limits)
    assert found.row_bytes == each
    assert found.run_rows == 50 * 2**20 // each
    assert found.query_rows == 25 * 2**20 // (16 * 1500 + 8 * 1000)
    assert room(plan, Limits(max_batch=7, request_mb=1, memory_mb=100))[:2] == (7, 7)


def test_no_message_of_a_run_is_larger_than_a_frame() -> None:
    """With memory for any number of rows: what is dealt ahead for a whole op is one message."""
    model = relu(input_range=None)
    plan = optimise(model.builder.finish(model.at)).plan
    rows = room(plan, Limits(max_batch=65536, request_mb=1, memory_mb=1_048_576)).run_rows
    largest = [sent for cost in costs(plan, rows) for sent in cost.sent]
    assert max(largest) <= MAX_DATA_BYTES < 2 * max(largest)


def test_a_row_whose_messages_are_too_large() -> None:
    size = 5_000  # squared, at some 50 bytes a value: more than 1 GiB
    tensors = {name: Tensor((size, size, 1), 16) for name in ("x", "y")}
    plan = plan_of(16, ["x"], ["y"], tensors, [Op("relu", ("x",), (), "y", {"drop": 0})])
    with pytest.raises(PlanError, match=r"messages of up to \d+ MB between the parties, the limit is 1024 MB"):
        room(plan, Limits(request_mb=1, memory_mb=1_048_576))


def test_not_one_row() -> None:
    model = relu(input_range=None)
    plan = optimise(model.builder.finish(model.at)).plan
    with pytest.raises(PlanError, match=r"not even one row.*limits.memory_mb is 12, it takes (\d+)") as caught:
        room(plan, Limits(request_mb=1, memory_mb=12))
    needed = int(str(caught.value).split("it takes ")[1].split()[0])
    assert room(plan, Limits(request_mb=1, memory_mb=needed)).run_rows == 1


def test_the_memory_must_hold_the_largest_request() -> None:
    with pytest.raises(ValueError, match=r"memory_mb \(100\) must be at least 12 times request_mb \(64\)"):
        Limits(memory_mb=100)
