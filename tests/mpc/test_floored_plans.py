"""Plans with exact truncations: the same answer for every sharing, bit for bit, and as exact as before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.program import Program
from keras_private.plan.builder import Draft, PlanBuilder
from keras_private.plan.evaluate import evaluate
from keras_private.plan.floors import floored, is_floored
from keras_private.plan.ops import dropped
from keras_private.plan.optimise import optimise
from keras_private.plan.schedule import total
from keras_private.plan.serialise import validate
from keras_private.sharing import fixed
from keras_private.sharing.share import reconstruct
from tests.plan import integers
from tests.plans import input_frac

from .test_program import programs_of
from .three import Three, shares_of

RANDOM = np.random.default_rng(11)


def recorded() -> Draft:
    """All that truncates: products with and without a ReLU, sums of products, a square, a clip, a ReLU, a maximum."""
    builder = PlanBuilder((6, 6, 1), (-1.0, 1.0))
    image = builder.op(
        "conv2d", builder.input, weights=builder.weight(RANDOM.normal(size=(3, 3, 1, 4)) / 3, "k"), strides=(1, 1)
    )
    image = builder.op("relu", image)
    image = builder.op("max_pool2d", image, pool=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0))
    flat = builder.op("reshape", image, shape=(16,))
    first = builder.op("matmul", flat, weights=builder.weight(RANDOM.normal(size=(16, 8)) / 4, "a"))
    second = builder.op("matmul", flat, weights=builder.weight(RANDOM.normal(size=(16, 8)) / 4, "b"))
    both = builder.op("clip", builder.op("add", [first, second]), low=-0.5, high=0.75)
    squared = builder.op("square", both)
    product = builder.op("mul", [squared, first])
    return builder.finish(builder.op("matmul", product, weights=builder.weight(RANDOM.normal(size=(8, 3)), "c")))


@pytest.fixture(scope="module")
def drafts() -> tuple[Draft, Draft, Draft]:
    draft = recorded()
    return draft, optimise(draft), optimise(draft, exact_truncation=True)


def test_no_truncation_is_left_that_rounds_by_the_sharing(drafts: tuple[Draft, Draft, Draft]) -> None:
    _, rounded, exact = drafts
    validate(exact.plan)
    assert {op.kind for op in rounded.plan.ops if dropped(op)} >= {"conv2d", "mul", "clip"}
    assert {op.kind for op in exact.plan.ops if dropped(op)} == {"floor"}
    assert is_floored(exact.plan)
    assert not is_floored(rounded.plan)
    assert floored(exact.plan) == exact.plan
    assert total(exact.plan, 1).rounds > total(rounded.plan, 1).rounds  # it has its price, and says so


def test_two_sharings_of_a_query_get_the_same_answer(memory_three: Three, drafts: tuple[Draft, Draft, Draft]) -> None:
    plain, rounded, exact = drafts
    x = RANDOM.uniform(-1, 1, (20, 6, 6, 1))

    def answers(draft: Draft) -> list[np.ndarray]:
        raw = fixed.encode(x, input_frac(draft.plan)).reshape(20, 36)

        def run(party, program, x):  # type: ignore[no-untyped-def]
            return program.protocol(party, x)

        programs: list[Program] = programs_of(draft)
        return [reconstruct(memory_three.run(run, programs, shares_of(raw))).view(np.int64) for _ in range(3)]

    first, *others = answers(exact)
    assert all(np.array_equal(first, other) for other in others)
    first_rounded, *others_rounded = answers(rounded)
    assert not all(np.array_equal(first_rounded, other) for other in others_rounded)
    end = exact.plan.outputs[0].tensor
    np.testing.assert_array_equal(first, integers.run(exact, x)[end])  # and it is the one that integers give
    assert np.abs(first / 2.0**16 - evaluate(plain, x)).max() < 1e-3


@given(scale=st.floats(-1, 1))
def test_proven_bounds_hold(drafts: tuple[Draft, Draft, Draft], scale: float) -> None:
    _, _, exact = drafts
    x = scale * np.sign(np.random.default_rng(5).normal(size=(4, 6, 6, 1)))
    values = integers.run(exact, x)
    for name, tensor in exact.plan.tensors.items():
        assert tensor.bound is None or np.abs(values[name]).max() < 2**tensor.bound
