"""The bar is drawn where it can be, and never in the way."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest

from keras_private.progress import serving_bar


def count(total: int | None = 3) -> None:
    with serving_bar(total) as bar:
        bar.trouble("server1 is away")
        for served in range(1, 4):
            bar.show(served)


@pytest.mark.parametrize(("total", "last"), [(3, "served 3 of 3 |"), (None, "served 3, ")])
def test_it_counts(total: int | None, last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    count(total)
    assert last in screen.getvalue()


@pytest.fixture
def unread_pipe() -> Iterator[TextIO]:
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(BrokenPipeError), open(writer, "w", buffering=1) as stream:
        yield stream


def test_nobody_reads_it(unread_pipe: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", unread_pipe)
    count()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "w")  # noqa: SIM115  closing it fails
    monkeypatch.setattr(sys, "stderr", full)
    count()
    with pytest.raises(OSError, match="No space left"):  # what it had buffered
        full.close()


def test_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    count()


def test_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    count()


def test_lines_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with serving_bar(None) as bar:
        bar.trouble("server1 is away")
        bar.trouble("")
    lines = [line.rpartition("\r")[2] for line in screen.getvalue().split("\n")]
    assert lines[:2] == ["serving is held up: server1 is away", "serving goes on"]


def test_quiet(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with serving_bar(3, quiet=True) as bar:
        bar.show(1)
        bar.trouble("server1 is away")
        bar.show(3)
    assert screen.getvalue() == ""
    assert caplog.messages == ["serving is held up: server1 is away"]
