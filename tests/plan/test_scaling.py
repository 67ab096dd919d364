"""Compiling takes work in proportion to the number of ops. Work is counted in lines of Python."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from keras_private.plan.memory import row_bytes
from keras_private.plan.optimise import optimise, simplify
from keras_private.plan.plan import Draft

from .models import Model


def dense(blocks: int) -> Draft:
    """Three ops a block, all weights of one name."""
    model = Model((4,), size=0.5)
    for _ in range(blocks):
        model.dense(4)
        model.relu()
    return model.draft()


def diamonds(count: int) -> Draft:
    """Local ops alone, behind a product: as many ways through them as 2^count, and each may take the truncation."""
    model = Model((4,))
    model.dense(4)
    for _ in range(count):
        top = model.at
        left = model.op("reshape", top, shape=(2, 2))
        right = model.op("pad", model.op("gather", top, axis=0, indices=(0, 1)), paddings=((0, 2),))
        model.op("add", [model.op("reshape", left, shape=(4,)), right])
    model.op("relu")
    model.op("scale", factor=0.5**count)
    model.dense(2)
    return model.draft()


def residual(blocks: int) -> Draft:
    model = Model((4,), size=0.3)
    for _ in range(blocks):
        top = model.at
        model.relu()
        model.dense(4)
        model.op("add", [top, model.at])
        model.relu()
    return model.draft()


def transposes(count: int) -> Draft:
    """One that sinks past all ops before another takes it back."""
    model = Model((2, 3, 2), (-1.0, 1.0))
    model.op("transpose", perm=(2, 0, 1))
    for _ in range(count):
        model.op("relu")
        model.op("scale", factor=-0.5)
    model.op("transpose", perm=(1, 2, 0))
    return model.draft()


def wide(count: int) -> Draft:
    """One value with many users."""
    model = Model((4,))
    top = model.op("scale", factor=0.25)
    parts = [model.op("relu", model.op("scale", top, factor=1.0 + i)) for i in range(count)]
    model.op("concat", parts, axis=0)
    return model.draft()


def sums(count: int) -> Draft:
    """One unbroken chain of additions, each of another product of tensors: all are carried together."""
    model = Model((4,), (-0.1, 0.1))
    top = model.op("relu")
    total = model.op("square")
    for _ in range(count):
        total = model.op("add", [total, model.op("mul", [model.builder.input, top])])
    model.op("relu", total)
    return model.draft()


def steps(work: Callable[[Draft], Any], draft: Draft) -> int:
    """Lines of Python that run, each turn of a loop or comprehension being one at least."""
    count = 0

    def counted(*_: object) -> Any:
        nonlocal count
        count += 1
        return counted

    before = sys.gettrace()
    sys.settrace(counted)
    try:
        work(draft)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    ("build", "size"), [(dense, 100), (diamonds, 15), (residual, 80), (transposes, 150), (wide, 150), (sums, 80)]
)
def test_twice_as_many_ops_are_twice_the_work(build: Callable[[int], Draft], size: int) -> None:
    for work in (simplify, optimise):
        once, twice = steps(work, build(size)), steps(work, build(2 * size))
        assert twice < 2.3 * once


def test_a_chain_of_thirty_diamonds_is_little_work() -> None:
    """Once for every way through them it would be a billion."""
    draft = diamonds(30)
    assert len(draft.plan.ops) > 150
    assert steps(optimise, draft) < 500_000


@pytest.mark.slow
def test_a_plan_of_ten_thousand_ops() -> None:
    """It takes about two seconds; the margin is for busy machines."""
    draft = dense(3333)
    started = time.process_time()
    plan = optimise(draft).plan
    row_bytes(plan)
    assert time.process_time() - started < 20
    assert len(plan.ops) == 3333
