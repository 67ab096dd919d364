"""Rows of a secret table, looked up in plans; the kind's own suite is in `tests/ops`."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.mpc.kernels import ring
from keras_private.mpc.ops import bind
from keras_private.mpc.ops.registry import Run
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.ops import KINDS
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import INTEGER, Draft
from keras_private.plan.schedule import total
from keras_private.plan.simulate import simulate
from keras_private.sharing.share import Share, reconstruct
from tests.ops.sample import Sample

from .test_one_time import Run as Watched
from .test_one_time import check_streams, random_shares
from .test_program import programs_of
from .three import Three, rows_of, shares_of


def a_text(places: int = 20, last: int = 19) -> Draft:
    """Three words, each in four numbers, their mean, and a layer."""
    random, builder = np.random.default_rng(4), PlanBuilder()
    x = builder.add_input("words", (3,), kind=INTEGER, range=(0, last))
    rows = builder.op("lookup", x, weights=builder.weight(random.normal(size=(places, 4)), "table"))
    mean = builder.op("scale", builder.op("sum", rows, axes=(0,), keepdims=False), factor=1 / 3)
    weight = builder.weight(random.normal(size=(4, 2)), "kernel")
    return builder.finish(builder.op("relu", builder.op("matmul", mean, weights=weight)))


def test_a_text_is_looked_up_and_goes_through_a_layer(three: Three) -> None:
    draft = optimise(a_text(), precision=16)
    x = np.random.default_rng(1).integers(0, 20, (5, 3))
    (expected,) = simulate(draft, [x.astype(np.float64)])
    programs = programs_of(draft)
    xs = shares_of(rows_of(x).view(np.uint64))
    found = three.value(lambda party, program, x: program.protocol(party, x), programs, xs)
    assert three.counted()[0] == total(draft.plan, 5).rounds
    np.testing.assert_allclose(found.view(np.int64) / 2**16, expected, atol=2**-14)


def test_the_bound_of_the_result_is_that_of_the_table_whatever_is_declared_of_the_index() -> None:
    plan = optimise(a_text(last=900), precision=16).plan
    (op,) = (op for op in plan.ops if op.kind == "lookup")
    assert plan.tensors[op.inputs[0]].bound == 10
    made, table = plan.tensors[op.output], plan.weights[op.weights[0]]
    assert made.frac == table.frac
    assert made.bound is not None
    assert made.bound - made.frac <= 2


def test_a_real_number_is_no_index() -> None:
    builder = PlanBuilder((3,), (0, 19))
    draft = builder.finish(builder.op("lookup", builder.input, weights=builder.weight(np.ones((20, 2)), "table")))
    with pytest.raises(PlanError, match="lookup: an index is a whole number, not one with 16 fractional bits"):
        optimise(draft, precision=16)


@pytest.mark.parametrize("shape", [(), (2**20 + 1, 2)])
def test_a_table_that_cannot_be(shape: tuple[int, ...]) -> None:
    builder = PlanBuilder()
    x = builder.add_input("x", (3,), kind=INTEGER, range=(0, 9))
    with pytest.raises(PlanError, match=r"lookup: a table of shape .* it needs from 1 to 2\^20 rows"):
        builder.op("lookup", x, weights=builder.weight(np.zeros(shape), "table"))


def bound_to(places: int, columns: int, count: int, bound: int) -> tuple[Sample, list[Run], list[Share]]:
    sample = Sample(((count,),), {}, ((places, columns),), (9,), bound=bound, whole=(0,))
    plan, (weight,) = sample.plan("lookup"), sample.raw_weights(np.random.default_rng(0))
    shares = shares_of(weight.view(np.uint64))
    return sample, [bind(plan.ops[0], plan, [share]) for share in shares], shares


def looked_up(party: Party, run: Run, x: Share, columns: int) -> Protocol[Share]:
    return run(party, [x], (*x.shape, columns))


@pytest.mark.parametrize(("places", "columns", "count"), [(50_000, 3, 2), (3000, 2, 300), (40, 64, 1000)])
def test_of_long_tables_no_more_memory_is_taken_than_declared(
    memory_three: Three, places: int, columns: int, count: int
) -> None:
    sample, runs, table = bound_to(places, columns, count, bound=(places - 1).bit_length())
    x = np.random.default_rng(2).integers(0, places, (1, count))
    xs = shares_of(x.view(np.uint64))
    memory_three.run(looked_up, runs, xs, columns)  # what kernels take to be loaded does not count
    compiled = len(ring.add_rows.signatures)
    tracemalloc.start()
    try:
        found = memory_three.run(looked_up, runs, xs, columns)
        peak = tracemalloc.get_traced_memory()[1] / 3
    finally:
        tracemalloc.stop()
    assert np.array_equal(reconstruct(found), reconstruct(table)[x])
    plan = sample.plan("lookup")
    assert peak <= KINDS["lookup"].memory(plan.ops[0], plan, count * columns) + 16 * count * columns + (1 << 16)
    assert len(ring.add_rows.signatures) == compiled


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_both_holders_of_a_stream_draw_the_same_in_the_same_rounds(turn: int) -> None:
    """Three dealers in one round; that each message has a mask of its own the test of one-time masks can tell of all
    but keys (`mpc/dpf.py`)."""
    _, runs, _ = bound_to(20, 2, 3, bound=5)
    shares = random_shares(5, 2, 3)
    check_streams(Watched(lambda party, i: looked_up(party, runs[i], shares[i], 2), turn))
