"""Every kept input once more: readers raise what they declare, take little memory and make few steps."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tests.fuzz.corpus import kept
from tests.fuzz.reached import worth_keeping
from tests.fuzz.targets import FREE_BYTES, FREE_STEPS, TARGETS
from tests.fuzz.trees import mutated


def inputs(name: str) -> list[bytes]:
    return [*TARGETS[name].seeds(), *kept(name), b"", b"\x00", b"\xff" * 100]


def calls_of(run: Callable[[bytes], None], data: bytes) -> int:
    """How many calls it makes, of Python's functions and of C's."""
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        run(data)
    finally:
        sys.setprofile(before)
    return calls


def peak_of(run: Callable[[bytes], None], data: bytes) -> int:
    """How many bytes it takes at a time."""
    tracemalloc.start()
    try:
        run(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", TARGETS)
def test_promises_are_kept_and_steps_are_few(name: str) -> None:
    target = TARGETS[name]
    for data in inputs(name):
        assert calls_of(target.run, data) <= FREE_STEPS + target.steps * len(data), data.hex()


@pytest.mark.parametrize("name", TARGETS)
def test_memory_is_little(name: str) -> None:
    target = TARGETS[name]
    for data in inputs(name):
        assert peak_of(target.run, data) <= FREE_BYTES + target.weight * len(data), data.hex()


def test_what_blows_up_is_noticed() -> None:
    def wasteful(data: bytes) -> None:
        for _ in range(30_000):
            len(data)
        bytes(1 << 24)

    assert calls_of(wasteful, b"") > FREE_STEPS
    assert peak_of(wasteful, b"") > FREE_BYTES


def test_what_reaches_nothing_new_is_not_kept() -> None:
    (one, *_), run = list(TARGETS["role"].seeds()), TARGETS["role"].run
    assert worth_keeping(run, [], [one, one + b"x"]) == [one]
    assert worth_keeping(run, [one], [one + b"x"]) == []


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.tree])
def test_changed_trees(name: str) -> None:
    """Without a fuzzer at hand: what `trees` makes of the seeds, a few hundred inputs, the same ones each time."""
    target = TARGETS[name]
    for number, data in enumerate(target.seeds()):
        for seed in range(8):
            changed = mutated(data, 1000 * number + seed, target.longest)
            if changed is not None:
                target.run(changed)
