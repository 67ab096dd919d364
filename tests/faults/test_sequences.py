"""Generated sequences of faults over real processes, and those that once found something. `make soak` runs more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.sequences import Sequence
from tests.faults.soak import generated
from tests.faults.world import World

KEPT = sorted((Path(__file__).parent / "kept").glob("*.json"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One set of processes for all sequences."""
    with World(tmp_path_factory.mktemp("world")) as world:
        yield world


def check(world: World, sequence: Sequence) -> None:
    outcome = world.run(sequence)
    assert not outcome.findings, "\n".join([json.dumps({"sequence": sequence}), *map(str, outcome.findings)])


@pytest.mark.slow
@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_once_broke(world: World, path: Path) -> None:
    check(world, json.loads(path.read_text())["sequence"])


@pytest.mark.slow
def test_generated_sequences(world: World) -> None:
    answered = 0
    for sequence in generated(seed=0, count=6, longest=12):
        outcome = world.run(sequence)
        assert not outcome.findings, "\n".join([json.dumps({"sequence": sequence}), *map(str, outcome.findings)])
        answered += outcome.answered
    assert answered > 0
