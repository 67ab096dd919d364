"""Logs: one JSON line per event, at the level asked for; nothing that befalls their reader befalls the work."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from typing import Any

import pytest

from keras_private import logs
from keras_private.logs import Log, Repeats, Writer, party_log


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert logs.flush(20)
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


class Disk:
    """Where lines go; it can be full, and it can block."""

    def __init__(self) -> None:
        self.full = False
        self.free = threading.Event()
        self.free.set()
        self.lines: list[dict[str, Any]] = []

    def __call__(self, line: bytes) -> None:
        self.free.wait()
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.lines.append(json.loads(line))


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def writer(disk: Disk) -> Writer:
    return Writer(disk, retry_s=0.01)


@pytest.fixture
def log(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setenv("KERAS_PRIVATE_LOG", "info")
    return party_log("server0", writer=writer)


def test_what_cannot_be_written_now_is_written_later(disk: Disk, writer: Writer, log: Log) -> None:
    disk.full = True
    for number in range(100):
        log.info("run done", run=number)
    assert not writer.flush(20)
    disk.full = False
    log.info("run done", run=100)
    while not writer.flush(20):  # it may have failed once more before there was room
        pass
    assert [line["run"] for line in disk.lines] == list(range(101))


@pytest.mark.parametrize("how", ["full", "blocked"])
def test_what_finds_the_queue_full_is_counted(
    disk: Disk, writer: Writer, log: Log, monkeypatch: pytest.MonkeyPatch, until: Any, how: str
) -> None:
    monkeypatch.setattr(logs, "QUEUE_BYTES", 20_000)
    disk.full = how == "full"
    if how == "blocked":
        disk.free.clear()
    for number in range(1000):
        log.info("run done", run=number)
    assert not writer.flush(0.01)
    disk.full = False
    disk.free.set()
    until(lambda: disk.lines and "lost" in disk.lines[-1], "the number of lost lines is said")
    *kept, last = disk.lines
    assert [line["run"] for line in kept] == list(range(len(kept)))  # what was there first, in order
    assert 100 < len(kept) < 1000
    assert last.pop("timestamp")
    cause = "[Errno 28] No space left on device" if how == "full" else "they were written too slowly"
    assert last == {
        "party": "server0", "event": "log lines lost", "level": "warning", "lost": 1000 - len(kept), "cause": cause,
    }  # fmt: skip
    log.info("run done", run=1000)
    assert writer.flush(20)
    assert disk.lines[-1]["run"] == 1000


def test_no_value_makes_logging_fail(disk: Disk, writer: Writer, log: Log) -> None:
    class Bad:
        def __repr__(self) -> str:
            raise RuntimeError("no words for it")

    log.info("odd", value=Bad())
    log.info("odd", value="\ud800", event_=b"\xff")
    assert writer.flush(20)
    assert [line.get("lost") for line in disk.lines] == [None, 1]


def test_what_repeats_itself_is_summed_up(disk: Disk, writer: Writer, log: Log) -> None:
    for number in range(11_000):
        log.warning("refused", cause=f"server0 ← 127.0.0.1:{number}: it does not speak TLS")
    log.warning("refused", peer="client:bob", cause="the queue is full")  # of another kind: not drowned by the others
    log.error("refused", cause="the last")
    for number in range(100):
        log.info("run done", run=number)  # never summed up
    assert writer.flush(20)
    warnings = [line for line in disk.lines if line["event"] == "refused"]
    assert len(warnings) == logs.BURST + 2
    assert [line.get("peer") for line in warnings].count("client:bob") == 1
    assert warnings[-1]["repeated"] == 11_001 - logs.BURST
    assert warnings[-1]["cause"] == "the last"
    assert len(disk.lines) == len(warnings) + 100


def test_a_sum_comes_at_the_end_of_its_window() -> None:
    repeats, now = Repeats(), time.monotonic()
    for _ in range(logs.BURST + 5):
        repeats.absorb({"event": "refused", "level": "warning", "exc_info": ValueError()})
    assert repeats.due(now + logs.WINDOW_S - 1) == []
    (total,) = repeats.due(now + logs.WINDOW_S + 60)
    assert total == {"event": "refused", "level": "warning", "repeated": 5}
    assert not repeats  # nothing is kept


def test_many_peers_take_little_memory() -> None:
    repeats = Repeats()
    for number in range(5000):
        repeats.absorb({"event": "refused", "level": "warning", "peer": f"client:{number}"})
    assert len(repeats.due(float("inf"))) == 1
    assert not repeats


def test_a_sum_is_written_though_nothing_follows(
    disk: Disk, log: Log, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    monkeypatch.setattr(logs, "WINDOW_S", 0.1)
    for _ in range(logs.BURST + 5):
        log.warning("refused")
    until(lambda: sum(line.get("repeated", 0) for line in disk.lines) == 5, "the sum")


def test_the_thread_outlives_a_line_that_cannot_be_made(
    disk: Disk, writer: Writer, log: Log, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    def no_memory(event: Any) -> bytes:
        if "repeated" in event:
            raise MemoryError
        return render(event)

    render = logs._render
    monkeypatch.setattr(logs, "WINDOW_S", 0.05)
    monkeypatch.setattr(logs, "_render", no_memory)
    for _ in range(logs.BURST + 5):
        log.warning("refused")
    until(lambda: not writer.repeats, "the sum was to be written")
    log.info("run done")
    until(lambda: sum(line.get("lost", 0) for line in disk.lines) == 1, "its loss is said")
    assert "run done" in [line["event"] for line in disk.lines]


def test_a_fork_logs_for_itself(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_PRIVATE_LOG", "info")
    path, stuck = tmp_path / "lines", threading.Event()

    def write(line: bytes) -> None:
        if os.getpid() == parent:
            stuck.wait()  # the parent's thread is in the middle of a line
        with path.open("ab") as file:
            file.write(line)

    parent, writer = os.getpid(), Writer(write)
    os.register_at_fork(after_in_child=writer.forget)
    log = party_log("server0", writer=writer)
    log.info("of the parent")
    child = os.fork()
    if not child:
        log.info("of the child")
        os._exit(not writer.flush(20))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [json.loads(line)["event"] for line in path.read_bytes().splitlines()] == ["of the child"]
    stuck.set()
    assert writer.flush(20)
    assert [json.loads(line)["event"] for line in path.read_bytes().splitlines()] == ["of the child", "of the parent"]
