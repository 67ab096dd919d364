"""The link between processes: one duplex TLS connection for each pair of parties.

Theory of operation. A query takes a dozen rounds or more, so what counts is the time from a neighbour's send to our
return. One thread owns both connections; their sockets are non-blocking. An exchange gives its frames to OpenSSL (a
small one is header and payload in one record, one segment), then polls for what is due and reads header and payload at
once into a buffer of exactly their size. It never reads past the frame that is due: the next one may be in the socket
already, and belongs to the next call. The header is looked at as soon as it is there, before anything waits for more.

Sends never block receives: whatever does not fit into the socket is sent on while receiving. All three parties may
send each other megabytes in the same round.

A party that fails tells its neighbours why before it hangs up, in a FAREWELL frame, if it is not in the middle of
another frame, and which party it blames: so the one who is blamed in the end is the party that died, and not the one
who noticed.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import cast

import numpy as np

from keras_private.config import PARTY_NAMES
from keras_private.errors import FrameError, LinkError, LinkTimeoutError, party_of
from keras_private.net.connection import Connection
from keras_private.net.frames import (
    HEADER_BYTES,
    LIMITS,
    Buffer,
    FrameType,
    as_bytes,
    check_header,
    pack_header,
    parse_header,
    payload_bytes,
    printable,
)
from keras_private.net.link import DEFAULT_TIMEOUT, Bytes, Link
from keras_private.net.tls import CHUNK_BYTES, explain

_NO_BYTES = np.empty(0, np.uint8)
_NOBODY = 255


class _Idle(Exception):  # noqa: N818  not an error: no control frame has begun
    pass


class _Neighbour:
    """One connection of the lane: what is still to be sent on it, and what is still to come."""

    def __init__(self, party: int, connection: Connection, lane: int) -> None:
        detached = connection.detach()
        self.party = party
        self.sock = detached.sock
        self.fileno = detached.sock.fileno()
        self.sent = detached.sent
        self.received = detached.received
        self.lane = lane
        self.unsent: list[memoryview] = []  # last first
        self.buffer: Bytes = _NO_BYTES
        self.view = _NO_BYTES.data
        self.missing = 0  # bytes
        self.unchecked = False  # whether the header is still to be looked at
        self.due = b""  # that header, if its length is known
        self.kind = FrameType.DATA

    def start_send(self, kind: FrameType, buffers: Sequence[Buffer], size: int) -> None:
        """Sends what the socket takes; `push` sends the rest."""
        header = pack_header(size, kind, self.lane, self.sent)
        self.sent += 1
        if size + HEADER_BYTES <= CHUNK_BYTES:
            try:
                frame = b"".join((header, *cast("Sequence[bytes]", buffers)))
            except TypeError:  # what is wrong with them, `as_bytes` says better
                frame = b"".join((header, *map(as_bytes, buffers)))
            try:
                sent = self.sock.send(frame)
            except ssl.SSLWantWriteError:
                sent = 0
            if sent < len(frame):
                self.unsent.append(memoryview(frame)[sent:])
        else:
            self.unsent.extend(as_bytes(buffer) for buffer in reversed(buffers))
            self.unsent.append(memoryview(header))
            self.push()

    def push(self) -> None:
        """Sends on, as much as the socket takes."""
        try:
            while self.unsent:
                # OpenSSL wants a write that did not fit to be repeated with the same bytes: they stay until they went.
                view = self.unsent[-1]
                view = view[self.sock.send(view[:CHUNK_BYTES]) :] if view else view
                if view:
                    self.unsent[-1] = view
                else:
                    self.unsent.pop()
        except ssl.SSLWantWriteError:
            pass

    def start_receive(self, kind: FrameType, length: int | None) -> None:
        """Expects a frame of `length` payload bytes, or with None of any length (only its header, for now)."""
        self.kind = kind
        self.due = b"" if length is None else pack_header(length, kind, self.lane, self.received)
        self.buffer = np.empty(HEADER_BYTES + (length or 0), np.uint8)
        self.view = self.buffer.data
        self.missing = self.view.nbytes
        self.unchecked = True

    def pull(self) -> None:
        """Reads what is there, up to the end of the frame that is due."""
        try:
            while self.missing:
                got = self.sock.recv_into(self.view[-self.missing :])
                if not got:
                    raise LinkError("it closed the connection")
                self.missing -= got
                if self.unchecked and self.view.nbytes - self.missing >= HEADER_BYTES:
                    self.unchecked = False
                    if self.view[:HEADER_BYTES] != self.due:
                        self._judge_header()
                    self.received += 1
        except ssl.SSLWantReadError:
            pass

    def _judge_header(self) -> None:
        """Any header but the one whose every byte was known."""
        header = parse_header(self.view)
        if header.type == FrameType.FAREWELL:
            raise self._last_words(header.length)
        length = parse_header(self.due).length if self.due else None
        size = check_header(self.view, self.kind, self.lane, self.received, length=length)
        self.buffer = np.empty(HEADER_BYTES + size, np.uint8)
        self.view = self.buffer.data
        self.missing = size

    def _last_words(self, length: int) -> LinkError:
        """What a farewell says: one byte, the number of the party that is blamed, or _NOBODY; then why."""
        text = self.view[HEADER_BYTES : self.view.nbytes - self.missing].tobytes()
        rest = min(length, LIMITS[FrameType.FAREWELL]) - len(text)
        with contextlib.suppress(OSError):  # it came in one record: what there is of it is there now
            text += self.sock.recv(rest) if rest > 0 else b""
        blamed = PARTY_NAMES[text[0]] if text[:1] and text[0] < len(PARTY_NAMES) else ""
        return LinkError(f"it gave up: {printable(text[1:length])}", blamed)

    def take(self) -> Bytes:
        """The payload that has come."""
        buffer = self.buffer
        self.buffer, self.view = _NO_BYTES, _NO_BYTES.data
        return buffer[HEADER_BYTES:]

    def farewell(self, reason: str, blamed: str) -> None:
        """Tells the other side why this was the last frame, and whose fault, unless the last one is not out yet."""
        if not self.unsent:
            with contextlib.suppress(OSError):
                who = PARTY_NAMES.index(blamed) if blamed in PARTY_NAMES else _NOBODY
                text = (bytes([who]) + reason.encode())[: LIMITS[FrameType.FAREWELL]]
                self.sock.send(pack_header(len(text), FrameType.FAREWELL, self.lane, self.sent) + text)

    def shutdown(self) -> None:
        """Wakes whoever polls this socket. Not SSLSocket.shutdown: that one would go on in the clear."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class TLSLink(Link):
    """One party's side of a lane over two established connections, which it takes over.

    Args:
        index: this party's number.
        next, prev: connections to its neighbours, both authenticated, with nothing on its way in them.
        lane: 0 to 65535, the same at both ends; frames of another lane are refused.
        timeout: seconds that a round may take.
    """

    def __init__(
        self,
        index: int,
        next: Connection,  # noqa: A002  the ring's word
        prev: Connection,
        lane: int = 0,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        names = [next.local.name] * 3
        names[(index + 1) % 3] = next.peer.name
        names[(index - 1) % 3] = prev.peer.name
        super().__init__(index, (names[0], names[1], names[2]), timeout)
        self._next = _Neighbour(self.next, next, lane)
        try:
            self._prev = _Neighbour(self.prev, prev, lane)
        except LinkError:
            self._next.sock.close()
            raise
        self._both = (self._next, self._prev)
        self._by_fileno = {neighbour.fileno: neighbour for neighbour in self._both}
        # Registering costs more than polling, so the three cases of every round are ready-made.
        self._poll_next = _poller((self._next.fileno, select.POLLIN))
        self._poll_prev = _poller((self._prev.fileno, select.POLLIN))
        self._poll_both = _poller((self._next.fileno, select.POLLIN), (self._prev.fileno, select.POLLIN))
        self._lock = threading.Lock()  # around the three fields below
        self._busy = False
        self._closed: str | None = None
        self._blamed = ""

    def exchange(
        self, to_next: Sequence[Buffer], to_prev: Sequence[Buffer], from_next: int, from_prev: int
    ) -> tuple[Bytes, Bytes]:
        seconds = self._patience(from_next + from_prev)
        deadline = time.monotonic() + seconds
        stats = self.stats
        self._enter()
        try:
            for neighbour, buffers in ((self._next, to_next), (self._prev, to_prev)):
                size = payload_bytes(buffers)
                if size:
                    self._start_send(neighbour, FrameType.DATA, buffers, size)
                    stats.sent_bytes += size
                    stats.sent_frames += 1
            if from_next:
                self._next.start_receive(FrameType.DATA, from_next)
            if from_prev:
                self._prev.start_receive(FrameType.DATA, from_prev)
            if not from_prev and from_next:
                self._quick(self._next, self._poll_next, seconds)
            elif not from_next and from_prev:
                self._quick(self._prev, self._poll_prev, seconds)
            self._run(deadline, seconds)
        except BaseException as error:
            self._give_up(error)
            raise
        finally:
            self._leave()
        stats.rounds += 1
        return (
            self._next.take() if from_next else np.empty(0, np.uint8),
            self._prev.take() if from_prev else np.empty(0, np.uint8),
        )

    def send_control(self, peer: int, payload: bytes) -> None:
        neighbour = self._neighbour(peer)
        self._enter()
        try:
            self._start_send(neighbour, FrameType.CONTROL, (payload,), len(payload))
            self._run(time.monotonic() + self.timeout, self.timeout)
        except BaseException as error:
            self._give_up(error)
            raise
        finally:
            self._leave()

    def receive_control(self, peer: int, timeout: float | None = None) -> bytes:
        neighbour = self._neighbour(peer)
        seconds = self.timeout if timeout is None else timeout
        self._enter()
        try:
            neighbour.start_receive(FrameType.CONTROL, None)
            try:
                self._run(time.monotonic() + seconds, seconds)
            except LinkTimeoutError:
                if neighbour.missing == HEADER_BYTES and neighbour.unchecked:  # nothing came, nothing is lost
                    neighbour.missing = 0
                    raise _Idle from None
                self._run(time.monotonic() + self.timeout, self.timeout)
            return neighbour.take().tobytes()
        except _Idle:
            raise self._timed_out(peer, seconds) from None
        except BaseException as error:
            self._give_up(error)
            raise
        finally:
            self._leave()

    def close(self, reason: str = "") -> None:
        with self._lock:
            if self._closed is not None:
                return
            self._closed = reason or "this side closed the link"
            for neighbour in self._both:
                if self._busy:  # another thread is inside: wake it, and it will close the sockets
                    neighbour.shutdown()
                else:
                    if reason:
                        neighbour.farewell(reason, "")
                    neighbour.sock.close()

    # ---- inside

    def _neighbour(self, peer: int) -> _Neighbour:
        self._check_peer(peer)
        return self._next if peer == self.next else self._prev

    def _enter(self) -> None:
        with self._lock:
            if self._closed is not None:
                raise self._error(None, self._closed, party=self._blamed)
            self._busy = True

    def _leave(self) -> None:
        with self._lock:
            self._busy = False
            if self._closed is not None:
                for neighbour in self._both:
                    neighbour.sock.close()

    def _give_up(self, error: BaseException) -> None:
        """Ends the lane after a failure, and tells the neighbours why."""
        with self._lock:
            if self._closed is None:
                self._closed, self._blamed = f"this side closed the link after: {error}", party_of(error)
                for neighbour in self._both:
                    neighbour.farewell(str(error), self._blamed)

    def _start_send(self, neighbour: _Neighbour, kind: FrameType, buffers: Sequence[Buffer], size: int) -> None:
        try:
            neighbour.start_send(kind, buffers, size)
        except (OSError, LinkError) as error:
            raise self._failure(neighbour, error, "→") from None

    def _quick(self, neighbour: _Neighbour, poller: select.poll, seconds: float) -> None:
        """The usual round, in as few steps as can be: all is sent, one frame is due. `_run` does what is left."""
        if not (self._next.unsent or self._prev.unsent):
            try:
                if neighbour.sock.pending() or poller.poll(seconds * 1000):
                    neighbour.pull()
            except (OSError, LinkError) as error:
                raise self._failure(neighbour, error, "←") from None

    def _run(self, deadline: float, seconds: float) -> None:
        """Moves bytes until everything is sent and everything due has come."""
        if self._what_to_poll() is None:
            return
        for neighbour in self._both:
            if neighbour.missing and neighbour.sock.pending():  # OpenSSL holds bytes that poll() knows nothing of
                self._move(neighbour, select.POLLIN)
        while (poller := self._what_to_poll()) is not None:
            ready = poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                raise self._late(seconds)
            for fileno, events in ready:
                self._move(self._by_fileno[fileno], events)

    def _what_to_poll(self) -> select.poll | None:
        """The sockets that something is still to go to or come from, and no other.

        A neighbour that has finished and left would be reported for ever, though nobody waits for it.
        """
        next_, prev = self._both
        if next_.unsent or prev.unsent:
            return _poller(
                *(
                    (it.fileno, (select.POLLIN if it.missing else 0) | (select.POLLOUT if it.unsent else 0))
                    for it in self._both
                    if it.missing or it.unsent
                )
            )
        if next_.missing:
            return self._poll_both if prev.missing else self._poll_next
        return self._poll_prev if prev.missing else None

    def _move(self, neighbour: _Neighbour, events: int) -> None:
        arrow = "→"
        try:
            if neighbour.unsent and events & ~select.POLLIN:
                neighbour.push()
            arrow = "←"
            if neighbour.missing and events & ~select.POLLOUT:
                neighbour.pull()
        except (OSError, LinkError) as error:
            raise self._failure(neighbour, error, arrow) from None

    def _late(self, seconds: float) -> LinkError:
        for neighbour in self._both:
            if neighbour.missing:
                return self._timed_out(neighbour.party, seconds)
        stuck = self._next if self._next.unsent else self._prev
        return self._error(stuck.party, f"it did not read for {seconds:g} s", "→", LinkTimeoutError)

    def _failure(self, neighbour: _Neighbour, error: OSError | LinkError, arrow: str) -> LinkError:
        """`error`, which knows only the cause, as one that names both sides and the phase."""
        if self._closed is not None:
            return self._error(neighbour.party, self._closed, arrow, party=self._blamed)
        if isinstance(error, LinkError):
            return self._error(neighbour.party, str(error), arrow, type(error), error.party)
        cause, blamed = explain(error), ""
        if arrow == "→":  # it is gone, and may have said why
            try:
                if not neighbour.missing:
                    neighbour.start_receive(FrameType.CONTROL, None)
                neighbour.pull()
            except FrameError:
                pass
            except LinkError as said:
                cause, blamed = str(said), said.party
            except OSError:
                pass
        return self._error(neighbour.party, cause, arrow, party=blamed)


def _poller(*watched: tuple[int, int]) -> select.poll:
    poller = select.poll()
    for fileno, events in watched:
        poller.register(fileno, events)
    return poller
