"""Links within one process: three threads, six queues of frames.

For tests and for clusters whose workers have no hosts. The frames carry real headers and pass the same checks as
those on a wire, so a protocol that is out of step fails here in the same words.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_private.config import PARTY_NAMES
from keras_private.errors import FrameError, LinkError, LinkTimeoutError, party_of
from keras_private.net.frames import Buffer, FrameType, as_bytes, check_header, pack_header, payload_bytes
from keras_private.net.link import DEFAULT_TIMEOUT, Bytes, Link


class _Closed(NamedTuple):
    by: int
    reason: str
    blames: str


class _Pipe:
    """One direction between two parties: a queue of (header, payload), and which ends are closed."""

    def __init__(self) -> None:
        self._frames: deque[tuple[bytes, Bytes]] = deque()
        self._changed = threading.Condition()
        self._closed: _Closed | None = None
        self.sent = 0
        self.received = 0

    def put(self, header: bytes, payload: Bytes) -> _Closed | None:
        """Appends a frame; returns who closed the pipe, if somebody did."""
        with self._changed:
            if self._closed is None:
                self._frames.append((header, payload))
                self.sent += 1
                self._changed.notify()
            return self._closed

    def get(self, deadline: float) -> tuple[bytes, Bytes] | _Closed | None:
        """The next frame, or who closed the pipe before there was one, or None when the deadline passed."""
        with self._changed:
            while not self._frames:
                if self._closed is not None:
                    return self._closed
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not self._changed.wait(remaining):
                    if self._frames or self._closed is not None:
                        continue
                    return None
            return self._frames.popleft()

    def close(self, closed: _Closed) -> None:
        with self._changed:
            if self._closed is None:
                self._closed = closed
            self._changed.notify_all()


class MemoryLink(Link):
    """See `memory_links`."""

    def __init__(self, index: int, pipes: dict[tuple[int, int], _Pipe], timeout: float) -> None:
        super().__init__(index, PARTY_NAMES, timeout)
        self._out = {peer: pipes[index, peer] for peer in (self.next, self.prev)}
        self._in = {peer: pipes[peer, index] for peer in (self.next, self.prev)}
        self._closed = False

    def exchange(
        self, to_next: Sequence[Buffer], to_prev: Sequence[Buffer], from_next: int, from_prev: int
    ) -> tuple[Bytes, Bytes]:
        seconds = self._patience(from_next + from_prev)
        deadline = time.monotonic() + seconds
        if self._closed:
            raise self._error(None, "this side closed the link")
        try:
            for peer, buffers in ((self.next, to_next), (self.prev, to_prev)):
                size = payload_bytes(buffers)
                if size:
                    self._send(peer, FrameType.DATA, buffers, size)
                    self.stats.sent_bytes += size
                    self.stats.sent_frames += 1
            received_next = self._receive(self.next, FrameType.DATA, from_next, deadline, seconds)
            received_prev = self._receive(self.prev, FrameType.DATA, from_prev, deadline, seconds)
        except BaseException as error:
            self._end(str(error), party_of(error))
            raise
        self.stats.rounds += 1
        return received_next, received_prev

    def send_control(self, peer: int, payload: bytes) -> None:
        self._check_peer(peer)
        self._send(peer, FrameType.CONTROL, [payload], len(payload))

    def receive_control(self, peer: int, timeout: float | None = None) -> bytes:
        self._check_peer(peer)
        seconds = self.timeout if timeout is None else timeout
        try:
            return self._receive(peer, FrameType.CONTROL, None, time.monotonic() + seconds, seconds).tobytes()
        except LinkTimeoutError:
            raise
        except LinkError as error:
            self._end(str(error), error.party)
            raise

    def close(self, reason: str = "") -> None:
        self._end(reason, "")

    def _end(self, reason: str, blames: str) -> None:
        self._closed = True
        for pipe in (*self._out.values(), *self._in.values()):
            pipe.close(_Closed(self.index, reason, blames))

    def _send(self, peer: int, kind: FrameType, buffers: Sequence[Buffer], size: int) -> None:
        pipe = self._out[peer]
        try:
            header = pack_header(size, kind, 0, pipe.sent)
        except FrameError as error:
            raise self._error(peer, str(error), "→", FrameError) from None
        payload = np.empty(size, np.uint8)
        start = 0
        for buffer in buffers:
            view = as_bytes(buffer)
            payload[start : start + view.nbytes] = view
            start += view.nbytes
        closed = pipe.put(header, payload)
        if closed is not None:
            raise self._gone(peer, closed, "→")

    def _receive(self, peer: int, kind: FrameType, length: int | None, deadline: float, seconds: float) -> Bytes:
        """The next frame's payload; `length` 0 expects no frame, None takes any size."""
        if length == 0:
            return np.empty(0, np.uint8)
        pipe = self._in[peer]
        got = pipe.get(deadline)
        if got is None:
            raise self._timed_out(peer, seconds)
        if isinstance(got, _Closed):
            raise self._gone(peer, got, "←")
        header, payload = got
        try:
            check_header(header, kind, 0, pipe.received, length=length)
        except FrameError as error:
            raise self._error(peer, str(error), kind=FrameError) from None
        pipe.received += 1
        return payload

    def _gone(self, peer: int, closed: _Closed, arrow: str) -> LinkError:
        if closed.by == self.index:
            return self._error(peer, "this side closed the link", arrow)
        cause = f"it gave up: {closed.reason}" if closed.reason else "it closed the connection"
        return self._error(peer, cause, arrow, party=closed.blames)


def memory_links(timeout: float = DEFAULT_TIMEOUT) -> tuple[MemoryLink, MemoryLink, MemoryLink]:
    """The three ends of one lane within this process, one for each party's thread."""
    pipes = {(i, j): _Pipe() for i in range(3) for j in range(3) if i != j}
    return MemoryLink(0, pipes, timeout), MemoryLink(1, pipes, timeout), MemoryLink(2, pipes, timeout)
