"""What docs/security.md says of inputs out of range, so that it stays true: they are an oracle for a net's derivatives,
unless the parties hold them to their range: then they give zeros."""

from __future__ import annotations

import numpy as np

from keras_private.plan.builder import Draft, PlanBuilder
from keras_private.plan.checks.enforce import enforced
from keras_private.plan.optimise import optimise
from keras_private.sharing import fixed
from keras_private.sharing.share import reconstruct
from tests.plans import input_frac

from .test_program import programs_of
from .three import Three, shares_of

INPUTS, HIDDEN, OUTPUTS = 20, 64, 10
PRECISION = 8  # with more, weights get more bits, and products fill the word: what is added far up wraps around
FAR = 34  # beyond every bit that the comparison looks at


def net(random: np.random.Generator) -> Draft:
    builder = PlanBuilder((INPUTS,), (-1.0, 1.0))
    first = builder.weight(random.normal(size=(INPUTS, HIDDEN)) / np.sqrt(INPUTS), "first")
    hidden = builder.op("relu", builder.op("matmul", builder.input, weights=[first], layer="first"), layer="relu")
    second = builder.weight(random.normal(size=(HIDDEN, OUTPUTS)) / np.sqrt(HIDDEN), "second")
    output = builder.op("matmul", hidden, weights=[second], layer="second")
    return optimise(builder.finish(output), precision=PRECISION)


def rows_around(draft: Draft, point: np.ndarray) -> np.ndarray:
    """The point, moved far out along each axis; the last row is the point."""
    rows = np.tile(fixed.encode(point, input_frac(draft.plan)), (INPUTS + 1, 1))
    rows[range(INPUTS), range(INPUTS)] += np.uint64(1 << FAR)
    return rows


def test_rows_out_of_range_give_the_jacobian_at_a_chosen_point(memory_three: Three) -> None:
    random = np.random.default_rng(0)
    draft = net(random)
    assert draft.plan.ops[0].attrs["bound"] < FAR

    point = random.uniform(-1, 1, INPUTS)
    rows = rows_around(draft, point)
    answers = reconstruct(
        memory_three.run(lambda party, program, x: program.protocol(party, x), programs_of(draft), shares_of(rows))
    ).view(np.int64)
    jacobian = (answers[:INPUTS] - answers[INPUTS]) / 2.0 ** (FAR + PRECISION - input_frac(draft.plan))

    # The weights as the parties hold them, through the units that are active at the point.
    (first, second) = sorted(draft.plan.weights)
    encoded = {name: np.round(np.ldexp(draft.values[name], w.frac)) for name, w in draft.plan.weights.items()}
    a, b = (np.ldexp(encoded[name], -draft.plan.weights[name].frac) for name in (first, second))
    active = point @ a > 0
    assert 10 < active.sum() < HIDDEN - 10
    assert np.abs(jacobian - a[:, active] @ b[active]).max() < 2.0**-26


def test_parties_that_enforce_the_range_answer_them_with_zeros(memory_three: Three) -> None:
    random = np.random.default_rng(0)
    draft = enforced(net(random))
    rows = rows_around(draft, random.uniform(-1, 1, INPUTS))
    answers = reconstruct(
        memory_three.run(lambda party, program, x: program.protocol(party, x), programs_of(draft), shares_of(rows))
    ).view(np.int64)
    assert not answers[:INPUTS, :OUTPUTS].any()
    assert answers[INPUTS, :OUTPUTS].all()
    assert list(answers[:, OUTPUTS]) == [1] * INPUTS + [0]
