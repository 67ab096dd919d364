"""Logs: one JSON line an event, at the level asked for."""

from __future__ import annotations

import json

import pytest

from keras_private.logs import party_log


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_PRIVATE_LOG", "info")
    party_log("server1").info("run done", rows=3, cause="a\nb ←")
    (line,) = lines(capsys)
    assert line.pop("timestamp")
    assert line == {"party": "server1", "event": "run done", "level": "info", "rows": 3, "cause": "a\nb ←"}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("debug", 4), ("info", 3), ("WARNING", 2), ("error", 1), ("critical", 0), ("nonsense", 3), (None, 2)],
)
def test_levels(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, setting: str | None, expected: int
) -> None:
    monkeypatch.delenv("KERAS_PRIVATE_LOG")
    if setting is not None:
        monkeypatch.setenv("KERAS_PRIVATE_LOG", setting)
    log = party_log("server0", "warning")
    log.debug("1"), log.info("2"), log.warning("3"), log.error("4")
    assert len(lines(capsys)) == expected


def test_a_traceback_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_PRIVATE_LOG", "error")
    try:
        raise ValueError("oops")
    except ValueError as error:
        party_log("server0").error("failed", exc_info=error)
    (line,) = lines(capsys)
    assert "ValueError: oops" in str(line["exception"])
