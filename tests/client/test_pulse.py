"""When a party is asked whether it is there, and when it is silent: by a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from keras_private.client import pulse
from keras_private.client.pulse import QUIET_S, SILENT_S, Pulse


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pulse, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_who_owes_nothing_is_not_asked(clock: Clock) -> None:
    of = Pulse()
    for _ in range(3):
        clock.now += 100
        assert of.look(set()) == ([], [])
    assert of.look({1}) == ([], [])  # it has just begun to owe something
    clock.now += QUIET_S + 0.1
    assert of.look({1}) == ([1], [])


def test_who_answers_is_asked_again_later_and_is_never_silent(clock: Clock) -> None:
    of = Pulse()
    of.look(set())
    for _ in range(5):
        clock.now += QUIET_S + 0.1
        assert of.look({0, 2}) == ([0, 2], [])
        for index in (0, 2):
            of.sent(index)
        clock.now += SILENT_S - 0.1
        assert of.look({0, 2}) == ([], [])
        for index in (0, 2):
            of.heard(index)


def test_who_says_nothing_is_silent(clock: Clock) -> None:
    of = Pulse()
    of.look(set())
    clock.now += QUIET_S + 0.1
    assert of.look({0, 1, 2}) == ([0, 1, 2], [])
    for index in range(3):
        of.sent(index)
    of.heard(1)
    clock.now += SILENT_S + 0.1
    assert of.look({0, 1, 2}) == ([1], [0, 2])


def test_time_runs_from_when_the_ping_is_on_its_way(clock: Clock) -> None:
    """A large query is being sent before it, which takes long; and what came back meanwhile counts."""
    of = Pulse()
    of.look(set())
    clock.now += QUIET_S + 0.1
    assert of.look({0, 1}) == ([0, 1], [])
    clock.now += 10 * SILENT_S
    assert of.look({0, 1}) == ([], [])
    of.heard(1)
    of.sent(0)
    of.sent(1)
    clock.now += SILENT_S + 0.1
    assert of.look({0, 1}) == ([1], [0])


def test_one_looks_now_and_then(clock: Clock) -> None:
    of = Pulse()
    assert of.due
    assert not of.due
    clock.now += 0.2
    assert of.due
