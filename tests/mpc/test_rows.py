"""Rows as vectors: taken apart into inputs, and put together from outputs, of any shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.errors import PlanError
from keras_private.mpc.program import Program
from keras_private.mpc.rows import apart, side_by_side
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.evaluate import evaluate_all
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Op, Output, Tensor
from keras_private.sharing.share import Share
from tests.mpc.test_program import programs_of
from tests.mpc.three import Three, rows_of, shares_of
from tests.plans import plan_of

shapes = st.lists(st.lists(st.integers(1, 4), max_size=4).map(tuple), min_size=1, max_size=5)


@settings(deadline=None, derandomize=True)
@given(shapes, st.integers(0, 3))
def test_apart_and_together_again(parts: list[tuple[int, ...]], batch: int) -> None:
    names = [f"x{i}" for i in range(len(parts))]
    plan = plan_of(16, names, names, {name: Tensor(part, 16) for name, part in zip(names, parts, strict=True)}, [])
    words = np.arange(batch * plan.input_words, dtype=np.uint64).reshape(batch, plan.input_words)
    found = apart(plan, Share(words, words + np.uint64(1)))
    assert [found[name].shape for name in names] == [(batch, *part) for part in parts]
    flat = np.concatenate([rows_of(found[name].mine) for name in names], axis=1)
    np.testing.assert_array_equal(flat, words)
    whole = side_by_side([found[name] for name in names])
    np.testing.assert_array_equal(whole.mine, words)
    np.testing.assert_array_equal(whole.next, words + np.uint64(1))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_program_of_several_inputs_and_outputs(memory_three: Three, batch: int) -> None:
    random = np.random.default_rng(batch)
    builder = PlanBuilder()
    a = builder.add_input("a", (2, 3), range=(-1, 1))
    b = builder.add_input("b", (), kind="bit")
    c = builder.add_input("c", (3,), kind="integer", range=(-4, 4))
    hidden = builder.op("relu", builder.op("matmul", a, weights=[builder.weight(random.normal(size=(3, 3)), "w")]))
    total = builder.op("add", [hidden, builder.op("reshape", c, shape=(1, 3))])
    outputs = [Output("total", total), Output("b", b, "bit"), Output("total again", total), Output("c", c, "integer")]
    draft = builder.finish(outputs)
    done = optimise(draft)
    xs = [random.uniform(-1, 1, (batch, 2, 3)), random.integers(0, 2, batch), random.integers(-4, 4, (batch, 3))]
    raw = [np.rint(x * 2.0**bits).astype(np.int64) for x, bits in zip(xs, (16, 0, 0), strict=True)]
    words = np.concatenate([x.reshape(batch, -1) for x in raw], axis=1).view(np.uint64)
    shares = memory_three.run(lambda party, program, x: program.protocol(party, x), programs_of(done), shares_of(words))
    first, second = ((shares[i].mine[:, at], shares[i].next[:, at]) for i, at in ((0, slice(0, 6)), (0, slice(7, 13))))
    assert not np.array_equal(first[0], second[0])  # one tensor under two names, each in summands of its own
    assert not np.array_equal(first[1], second[1])
    found = (shares[0].mine + shares[1].mine + shares[2].mine).view(np.int64)
    end = 0
    for made, expected in zip(done.plan.outputs, evaluate_all(draft, xs), strict=True):
        start, end = end, end + expected[0].size
        values = np.ldexp(found[:, start:end].astype(float), -done.plan.frac(made)).reshape(expected.shape)
        np.testing.assert_allclose(values, expected, atol=1e-3 if made.kind == "real" else 0)
    assert end == done.plan.output_words == found.shape[1]


def test_a_batch_of_other_rows_is_not_taken_apart(memory_three: Three) -> None:
    ops = [Op("add", ("x", "y"), (), "z")]
    plan = plan_of(16, ["x", "y"], ["z"], {name: Tensor((2,), 16) for name in "xyz"}, ops)
    for shape in ((3, 5), (3, 2), (3, 2, 2)):
        with pytest.raises(PlanError, match="the input has shape"):
            memory_three.run(
                lambda party, program, x: program.protocol(party, x),
                [Program(plan, {})] * 3,
                shares_of(np.zeros(shape, np.uint64)),
            )
