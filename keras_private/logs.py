"""What an operator reads: one JSON line per event, on standard error, never a share, a key or a weight.

    {"event": "run done", "party": "server0", "requests": 1, "rows": 1, "rounds": 14, "bytes": 80392, "ms": 4.039, …}

`KERAS_PRIVATE_LOG` sets the lowest level that is written: debug, info (a party's default), warning, error.

Theory of operation. Whoever logs puts a line into a bounded queue and goes on; a thread writes. So a disk that is full,
a closed standard error, or a pipe that nobody reads cannot fail or delay the work. What cannot be written waits in the
queue and is tried again every second; what finds the queue full is lost and counted, and the count is a line of its
own (`log lines lost`) as soon as there is room. (The standard library's `QueueListener` is not used: it cannot be
stopped while its handler blocks.) A process that ends gives the thread a second for what is left.

Strangers must not be able to fill a disk: of warnings and errors of one kind about one peer, the first `BURST` within
`WINDOW_S` seconds are written; the others are counted, and one line says at the window's end how many there were.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, MutableMapping
from typing import Any, Final, Protocol

import structlog

from keras_private.events import LOST

LEVEL_VARIABLE = "KERAS_PRIVATE_LOG"
BURST: Final = 10
WINDOW_S: Final = 10.0
QUEUE_BYTES: Final = 1 << 20
_RETRY_S = 1.0
_FLUSH_S = 1.0
_MAX_KINDS = 1000  # of warnings that are told apart at once; beyond that, those of different peers count as one kind

Event = MutableMapping[str, Any]


class Log(Protocol):
    """The part of structlog's loggers that is used here."""

    def debug(self, event: str, **fields: Any) -> None: ...
    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...


class _Window:
    """Warnings of one kind within `WINDOW_S`: how many, and the last one that was not written."""

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.seen = 0
        self.last: Event = {}


class Repeats:
    """Counts what repeats itself too often, instead of writing it. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[tuple[object, ...], _Window] = {}

    def __bool__(self) -> bool:
        return bool(self._windows)

    def absorb(self, event: Event) -> bool:
        """Whether the event is only counted; it may be changed by this."""
        if event["level"] not in ("warning", "error"):
            return False
        kind = (event.get("party"), event["event"], event.get("peer"))
        with self._lock:
            if kind not in self._windows and len(self._windows) >= _MAX_KINDS:
                kind = (*kind[:2], None)
            window = self._windows.setdefault(kind, _Window(time.monotonic() + WINDOW_S))
            window.seen += 1
            if window.seen <= BURST:
                return False
            event.pop("exc_info", None)  # a traceback holds on to everything that was at work
            window.last = event
            return True

    def due(self, now: float) -> list[Event]:
        """The sums of the windows that have ended by `now` (of `time.monotonic`), which are forgotten."""
        with self._lock:
            ended = {kind: window for kind, window in self._windows.items() if window.ends <= now}
            for kind in ended:
                del self._windows[kind]
        return [{**each.last, "repeated": each.seen - BURST} for each in ended.values() if each.seen > BURST]


class Writer:
    """The queue, and the thread that empties it. The thread is started with the first line.

    Args:
        write: writes one line wholly or raises, in which case it will be called again with the same line. May block.
    """

    def __init__(self, write: Callable[[bytes], None], retry_s: float = _RETRY_S) -> None:
        self._write = write
        self._retry_s = retry_s
        self._reset()

    def _reset(self) -> None:
        self.repeats = Repeats()
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()  # the first stays until it is written
        self._bytes = 0
        self._lost: Counter[str] = Counter()
        self._failure = ""  # why the last attempt to write failed
        self._thread: threading.Thread | None = None

    forget = _reset
    """In the child of a fork: the lines are the parent's to write, and the thread exists there only."""

    def put(self, event: Event) -> None:
        """Write this event when it is its turn. Returns at once and raises nothing."""
        try:
            if not self.repeats.absorb(event):
                self._append(event)
            self._start()
        except Exception:  # noqa: BLE001  a log that cannot be written is no reason to stop working
            self._lose(event)

    def flush(self, timeout: float = _FLUSH_S) -> bool:
        """Write what waits, sums included, unless that fails or takes longer. Returns whether all is written."""
        for event in self.repeats.due(math.inf):
            self._append(event)
        with self._changed:
            self._changed.wait_for(lambda: not self._lines or self._failure, timeout)
            return not self._lines

    def _append(self, event: Event, bounded: bool = True) -> None:
        try:
            line = _render(event)
        except Exception:  # noqa: BLE001  no memory, say: the thread that writes must live on
            self._lose(event)
            return
        with self._changed:
            if bounded and self._bytes + len(line) > QUEUE_BYTES:
                self._lose(event)
                return
            self._lines.append(line)
            self._bytes += len(line)
            self._changed.notify_all()

    def _lose(self, event: Event) -> None:
        with self._changed:
            self._lost[str(event.get("party"))] += 1

    def _start(self) -> None:
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._live, name="log writer", daemon=True)
                thread.start()
                self._thread = thread

    def _live(self) -> None:
        while True:
            with self._changed:
                if not self._lines:
                    self._changed.wait(_RETRY_S if self.repeats else None)
                line = self._lines[0] if self._lines else b""
            if line:
                self._attempt(line)
            for event in self.repeats.due(time.monotonic()):
                self._append(event)

    def _attempt(self, line: bytes) -> None:
        try:
            self._write(line)
        except Exception as error:  # noqa: BLE001  of whatever kind: it is tried again
            with self._changed:
                self._failure = str(error) or type(error).__name__
                self._changed.notify_all()
            time.sleep(self._retry_s)
            return
        with self._changed:
            self._lines.popleft()
            self._bytes -= len(line)
            cause, self._failure = self._failure, ""
            lost, self._lost = self._lost, Counter()
            self._changed.notify_all()
        for party, count in lost.items():
            cause = cause or "they were written too slowly"
            event = {"party": party, "lost": count, "cause": cause, "event": LOST, "level": "warning"}
            self._append(_stamp(None, "", event), bounded=False)


class _StandardError:
    """Writes lines to standard error, whatever that is at the moment."""

    def __init__(self) -> None:
        self._torn = False  # the last line was written in part

    def __call__(self, line: bytes) -> None:
        stream, original = sys.stderr, sys.__stderr__
        if stream is None:  # closed before this process began: nobody will ever read it
            return
        if original is None or stream is not original:  # a notebook's, or a test's
            stream.write(line.decode())
            stream.flush()
            return
        # Beneath Python's buffer: that one's lock, held by a write that blocks, would keep the process from ending.
        rest = memoryview(b"\n" + line if self._torn else line)
        while rest:
            rest = rest[os.write(original.fileno(), rest) :]
            self._torn = bool(rest)


_writer = Writer(_StandardError())
atexit.register(_writer.flush)
os.register_at_fork(after_in_child=_writer.forget)


def flush(timeout: float = _FLUSH_S) -> bool:
    """See `Writer.flush`. Happens by itself when the process ends."""
    return _writer.flush(timeout)


def party_log(party: str, level: str = "info", writer: Writer = _writer) -> Log:
    """A logger whose every line names the party. Its methods return at once and raise nothing.

    Args:
        level: used where the environment does not say otherwise; a word that is no level means info.
    """
    wanted = os.environ.get(LEVEL_VARIABLE, level).upper()
    logger = structlog.wrap_logger(
        _Sink(writer),
        processors=[structlog.processors.add_log_level, _stamp, _as_one],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping().get(wanted, logging.INFO)),
        context_class=dict,
    )
    bound: Log = logger.bind(party=party)
    return bound


class _Sink:
    """Where structlog puts events."""

    def __init__(self, writer: Writer) -> None:
        self.debug = self.info = self.warning = self.error = writer.put


def _as_one(_logger: object, _method: str, event: Event) -> tuple[tuple[Event], dict[str, object]]:
    return (event,), {}  # the arguments that `_Sink` is called with


_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
_to_text = structlog.processors.JSONRenderer(ensure_ascii=False)


def _render(event: Event) -> bytes:
    text = _to_text(None, "", structlog.processors.format_exc_info(None, "", event))
    return str(text).encode(errors="backslashreplace") + b"\n"
