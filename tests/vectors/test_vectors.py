"""No format changes without a new version number: see `make`."""

from __future__ import annotations

import pytest

from keras_private.errors import FrameError, PlanError
from keras_private.party import wire
from keras_private.plan import serialise

from .make import ALL, VERSIONS, changed, stored

ADVICE = "; then run: python -m tests.vectors.make"
WHERE = {
    "messages": "party/messages.py",
    "plans": "plan/serialise.py",
    "views": "party/messages.py",
}


@pytest.mark.parametrize("name", ALL)
def test_bytes_are_those_of_their_version(name: str) -> None:
    version, vectors = stored(name)
    made = ALL[name]()
    assert version == VERSIONS[name], f"{name}: there is a new version{ADVICE}"
    others = changed(name, made)
    assert not others, f"{name}: other bytes for {', '.join(others)}: raise VERSION in {WHERE[name]}{ADVICE}"
    assert vectors.keys() == made.keys(), f"{name}: some are new{ADVICE}"


@pytest.mark.parametrize("kind", stored("messages")[1])
def test_old_messages_read(kind: str) -> None:
    data = bytes.fromhex(stored("messages")[1][kind])
    assert wire.encode(wire.decode(data)) == data
    with pytest.raises(FrameError):
        wire.decode(data[:-1])


@pytest.mark.parametrize("kind", stored("plans")[1])
def test_old_plans_read(kind: str) -> None:
    data = bytes.fromhex(stored("plans")[1][kind])
    plan = serialise.parse(data)
    assert kind in [op.kind for op in plan.ops]
    assert serialise.serialise(plan) == data
    with pytest.raises(PlanError):
        serialise.parse(data[:-1])


def test_a_changed_byte_is_noticed() -> None:
    for name, make in ALL.items():
        made = make() if name != "views" else dict(stored(name)[1])
        key = min(made)
        assert changed(name, {**made, key: "another"}) == [key]
        assert key in changed(name, {each: made[each] for each in made if each != key})
