"""Of every sample that sends messages: each message is uniform, and masks and messages together are independent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_private.plan.ops import KINDS
from keras_private.sharing.share import Share
from tests.mpc.test_joint_view import SHARINGS, VALUES, deficits
from tests.mpc.test_privacy import LIMIT, chi_square
from tests.mpc.three import Three, shares_of
from tests.mpc.view import views_of

from .bound import INTERACTIVE, held, protocol, runs_of
from .samples import SAMPLES

# Those with one value of output a row; of the others a joint view would have too many bits to look at.
ALONE = [(kind, number) for kind, number in INTERACTIVE if SAMPLES[kind][number].outputs(kind) == 1]


def last(kind: str) -> int:
    return max(number for name, number in ALONE if name == kind)


# The last one of a kind in all turns, others in one.
TURNS = [(kind, last(kind), turn) for kind in dict(ALONE) for turn in (0, 1, 2)]
OTHERS = [
    pytest.param(kind, number, number % 3, marks=pytest.mark.slow) for kind, number in ALONE if number != last(kind)
]


def test_every_kind_is_looked_at() -> None:
    executable = {kind for kind, known in KINDS.items() if known.executable is not None}
    assert {kind for kind, _ in ALONE} == {kind for kind in executable if KINDS[kind].interactive}


def constant_shares(shape: tuple[int, ...], summands: tuple[int, int, int], dtype: Any = np.uint64) -> list[Share]:
    """Of bits (uint8) by the summands' lowest ones."""
    modulus = 2 if dtype == np.uint8 else 2**64
    return held([np.full(shape, summand % modulus, dtype) for summand in summands])


@pytest.mark.parametrize("secret", [0, 2**19 - 77])
@pytest.mark.parametrize(("kind", "number"), INTERACTIVE)
def test_what_is_received_is_uniform(memory_three: Three, kind: str, number: int, secret: int) -> None:
    sample, turn = SAMPLES[kind][number], number % 3
    plan, rows = sample.plan(kind), 64 * -(-VALUES // (64 * sample.outputs(kind)))  # whole words of bit planes
    runs = runs_of(plan, [shares_of(np.full(shape, 3, np.uint64)) for shape in sample.weights])
    xs = [
        shares_of(np.full((rows, *shape), secret & 1 if at in sample.bits else secret, sample.dtype(at)))
        for at, shape in enumerate(sample.inputs)
    ]
    views = views_of(memory_three, turn, protocol, runs, [(rows, *plan.tensors["y"].shape)] * 3, *xs)
    received = [data for view in views for data in view.received if data.size >= VALUES // 8]
    assert received
    assert all(chi_square(data) < LIMIT for data in received)


@pytest.mark.parametrize(("kind", "number", "turn"), [*TURNS, *OTHERS])
def test_masks_and_messages_together_add_up_to_no_constant(
    memory_three: Three, kind: str, number: int, turn: int
) -> None:
    sample = SAMPLES[kind][number]
    plan = sample.plan(kind)
    shape = (VALUES, *plan.tensors["y"].shape)
    runs = runs_of(plan, [constant_shares(shape, (3, 5, 7)) for shape in sample.weights])
    for sharing in SHARINGS:
        xs = [constant_shares((VALUES, *shape), sharing, sample.dtype(at)) for at, shape in enumerate(sample.inputs)]
        assert deficits(memory_three, turn, protocol, runs, [shape] * 3, *xs) == [0, 0, 0]
