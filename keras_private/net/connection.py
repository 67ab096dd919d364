"""A connection between two participants, once it is established: messages in both directions over TLS.

Theory of operation. OpenSSL must not be entered by two threads at once on one connection, and yet a lane thread has
to be able to answer while a reader thread waits for the next request. So the socket is non-blocking: every call into
OpenSSL is made under a lock and returns at once, and the waiting is done by poll(), outside of it.

A frame begins whenever the other side likes (`receive`'s timeout), but once it has begun it must keep coming, and so
must the reader of what we send: the time allowed for a whole frame is the connection's timeout plus what its size
takes at the slowest rate we put up with. Nobody can hold a thread for ever.

`close` may come from any thread. It shuts the socket down, which ends every wait; the file descriptor itself goes
when the last thread has left, since its number might already mean another file.

Whatever ends a frame in the middle, Ctrl-C too, closes the connection: the next bytes would be taken for a header. And
a connection belongs to the process that made it: a fork has the same keys and counters, and two who encrypt with the
same ones give both their messages away.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from keras_private.errors import FrameError, LinkError, LinkTimeoutError, RefusedError, StateError
from keras_private.net.frames import (
    HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    Buffer,
    FrameType,
    as_bytes,
    check_header,
    pack_header,
    payload_bytes,
)
from keras_private.net.link import DEFAULT_TIMEOUT
from keras_private.net.roles import Role
from keras_private.net.tls import CHUNK_BYTES, link_error

SLOWEST_BYTES_PER_SECOND = 100_000
FREE_BYTES = 1 << 16
"""A message up to this size needs no room."""
_ROOM_STEP = 1 << 20  # bytes of room asked for at a time
_STEP = 1 << 16  # bytes taken from OpenSSL at a time


Reserve = Callable[[int], None]
"""Asked before so many more bytes of a message are kept; raises RefusedError if there is no room for them."""


class Detached(NamedTuple):
    """What `Connection.detach` hands over: the socket, and how many frames went and came on it."""

    sock: ssl.SSLSocket
    sent: int
    received: int


def wait_readable(connections: Sequence[Connection], seconds: float) -> list[Connection]:
    """Those on which something has come, or which ended, once there is one; none after `seconds`.

    What has come may be a part of a message: `receive` with a timeout of 0 says so.

    Raises:
        LinkError: one was closed by this side.
    """
    with contextlib.ExitStack() as stack:
        for connection in connections:
            stack.enter_context(connection._using())  # poll() must not see another file's number
        if buffered := [connection for connection in connections if connection._buffered()]:
            return buffered  # poll() knows nothing of what OpenSSL holds
        poller, by_number = select.poll(), {connection.fileno(): connection for connection in connections}
        for number in by_number:
            poller.register(number, select.POLLIN)
        return [by_number[number] for number, _ in poller.poll(1000 * max(0.0, seconds))]


class Connection:
    """One established, authenticated connection.

    `send` is for any number of threads, `receive` for one at a time, `close` for any.

    Attributes:
        local: who we are, by our certificate.
        peer: who the other side is, by its certificate.
        phase: what the connection is used for, in words; it becomes part of every error.
        timeout: seconds, see the top of this file.
    """

    def __init__(self, sock: ssl.SSLSocket, local: Role, peer: Role, timeout: float = DEFAULT_TIMEOUT) -> None:
        sock.setblocking(False)
        self.local = local
        self.peer = peer
        self.phase = "connected"
        self.timeout = timeout
        self._sock = sock
        self._ssl = threading.Lock()  # around every call into OpenSSL, and around the fields below
        self._sending = threading.Lock()  # around a whole frame
        self._sent = 0
        self._received = 0
        self._header = bytearray(HEADER_BYTES)  # of the message that has begun to come
        self._begun = 0  # bytes of it that are here
        self._payload = b""  # what `receive_at_once` has of the message, if it is not the whole of it
        self._users = 0
        self._closed = ""
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"<Connection {self.local.name} ↔ {self.peer.name}{', closed' if self._closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether this side has closed it. That the other side has is learnt from `receive`."""
        return bool(self._closed)

    def fileno(self) -> int:
        """The socket's file descriptor, for poll(); -1 once closed."""
        return self._sock.fileno()

    # ---- messages

    def send(self, *buffers: Buffer) -> None:
        """Sends one message, the concatenation of contiguous buffers.

        Raises:
            FrameError: the message is too large; nothing was sent.
            LinkTimeoutError: the other side does not read; the connection is closed.
            LinkError: the other side is gone, or the connection was closed.
            StateError: it is another process's, see the top of this file; so does `receive`.
        """
        self.send_frame(FrameType.MESSAGE, buffers, self.timeout)

    def receive(
        self, timeout: float | None = None, max_bytes: int = MAX_MESSAGE_BYTES, room: Reserve | None = None
    ) -> bytes:
        """The next message.

        Args:
            timeout: seconds to wait until it begins; None waits `self.timeout`.
            max_bytes: the largest payload accepted; nothing is allocated for a larger one.
            room: asked for room as the bytes of a large message come in; it may wait for it.

        Raises:
            RefusedError: `room` said no. The rest of the message was thrown away; the connection stays usable.
            LinkTimeoutError: nothing came; the connection stays usable unless a part of a message did.
            FrameError: something other than a message came, or too much; the connection is closed.
            LinkError: the other side is gone, or the connection was closed.
        """
        return self.receive_frame(FrameType.MESSAGE, max_bytes, self.timeout if timeout is None else timeout, room)

    def receive_at_once(self, max_bytes: int) -> bytes | None:
        """The next message, if it is small (`FREE_BYTES`) and there as a whole. Waits for nothing.

        Returns:
            the message; None: it is not, and `begun` says whether `receive` would get the rest of it.

        Raises:
            FrameError, LinkError: as `receive`.
        """
        with self._using():
            try:
                self._begun = self._fill(self._header, self._begun)
                if self._begun < HEADER_BYTES:
                    return None
                size = self._checked(FrameType.MESSAGE, max_bytes)
                if size > FREE_BYTES or self._payload:
                    return None
                payload = bytearray(size)
                if (got := self._fill(payload, 0)) < size:
                    self._payload = bytes(payload[:got])
                    return None
            except BaseException:
                self.close("interrupted")
                raise
            self._expect_next()
            self._received += 1
            return bytes(payload)

    @property
    def begun(self) -> bool:
        """Whether `receive_at_once` has found the beginning of a message."""
        return self._begun > 0

    @property
    def buffered(self) -> bool:
        """Whether OpenSSL holds bytes of which poll() knows nothing."""
        return self._buffered()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """While it lasts, `fileno` stays this connection's: `close` makes it readable and leaves the rest to its end.

        Raises:
            LinkError: it is closed already.
        """
        with self._using():
            yield

    # ---- the end

    def close(self, reason: str = "closed by this side") -> None:
        """Ends the connection at once and wakes every thread that waits on it. Idempotent."""
        if self._process != os.getpid():  # the lock may be held for ever, and the connection is another process's
            self._closed = self._closed or reason
            self._sock.close()
            return
        with self._ssl:
            if self._closed:
                return
            self._closed = reason
            if self._users:
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown: that one would go on in the clear.
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
            else:
                self._sock.close()

    def finish(self, timeout: float = 1.0) -> None:
        """Ends the connection so that what was sent still arrives, though the other side may be sending.

        A socket closed with unread bytes in it resets the connection, and the last answer would be lost. So this says
        that nothing more is coming, and throws away what arrives until the other side closes, for `timeout` seconds.
        """
        try:
            with self._using(), self._sending:
                socket.socket.shutdown(self._sock, socket.SHUT_WR)
                deadline = time.monotonic() + timeout
                while self._wait(select.POLLIN, deadline) and socket.socket.recv(self._sock, CHUNK_BYTES):
                    if time.monotonic() >= deadline:  # one who never stops sending would keep us here
                        break
        except (OSError, LinkError, StateError):
            pass
        finally:
            self.close()

    def detach(self) -> Detached:
        """Takes the socket out, for a `TLSLink`; the connection counts as closed from now on.

        Raises:
            LinkError: it is closed, or another thread is using it.
            StateError: it is another process's.
        """
        self._check_process()
        with self._ssl:
            if self._closed or self._users:
                raise self._error(self._closed or "in use by another thread", "↔")
            self._closed = "handed over to a lane"
            return Detached(self._sock, self._sent, self._received)

    # ---- frames

    def send_frame(self, kind: FrameType, buffers: Sequence[Buffer], timeout: float) -> None:
        """`send`, for frames of any type and with another timeout."""
        with self._using(), self._sending:
            size = payload_bytes(buffers)
            try:
                header = pack_header(size, kind, 0, self._sent)
            except FrameError as error:
                raise self._error(str(error), "→", FrameError) from None
            deadline = time.monotonic() + timeout + size / SLOWEST_BYTES_PER_SECOND
            try:
                if size < CHUNK_BYTES:
                    self._write(b"".join([header, *map(as_bytes, buffers)]), deadline)
                else:
                    self._write(header, deadline)
                    for buffer in buffers:
                        self._write(as_bytes(buffer), deadline)
                self._sent += 1
            except BaseException:
                self.close("interrupted")
                raise

    def _write(self, data: bytes | memoryview, deadline: float) -> None:
        view = memoryview(data)
        while view:
            # OpenSSL wants a write that did not fit to be repeated with the same bytes: the chunk stays until it went.
            view = view[self._attempt(self._sock.send, view[:CHUNK_BYTES], deadline, "→") :]

    def receive_frame(self, kind: FrameType, max_bytes: int, timeout: float, room: Reserve | None = None) -> bytes:
        """`receive`, for frames of any type."""
        with self._using():
            try:
                payload = self._receive(kind, max_bytes, timeout, room)
                self._received += 1
            except RefusedError:  # the frame was read to its end all the same
                self._received += 1
                raise
            except BaseException:
                if any(self._header):  # the frame has begun; no header starts with zeros alone
                    self.close("interrupted")
                raise
            finally:
                self._expect_next()
            return payload

    def _receive(self, kind: FrameType, max_bytes: int, timeout: float, room: Reserve | None) -> bytes:
        view = memoryview(self._header)
        if not self._begun:
            self._begun = self._attempt(self._sock.recv_into, view, time.monotonic() + timeout, "←", idle=True)
        self._read(view[self._begun :], time.monotonic() + self.timeout)
        size = self._checked(kind, max_bytes)
        deadline = time.monotonic() + self.timeout + size / SLOWEST_BYTES_PER_SECOND
        # Memory grows with what has come, not with what a header claims. `getvalue` does not copy.
        payload, step = io.BytesIO(), memoryview(bytearray(min(size, _STEP)))
        payload.write(self._payload)
        free = FREE_BYTES if room and size > FREE_BYTES else size
        while due := size - payload.tell():
            if room and payload.tell() + len(step) > free and free < size:
                more, asked = min(_ROOM_STEP, size - free), time.monotonic()
                try:
                    room(more)
                except RefusedError:
                    del payload
                    self._skip(step, due, deadline + time.monotonic() - asked)
                    raise
                free += more
                deadline += time.monotonic() - asked  # it was us who made it wait
            payload.write(step[: self._attempt(self._sock.recv_into, step[:due], deadline, "←")])
        return payload.getvalue()

    def _expect_next(self) -> None:
        self._header, self._begun, self._payload = bytearray(HEADER_BYTES), 0, b""

    def _checked(self, kind: FrameType, max_bytes: int) -> int:
        """The size that the header gives, which is that of the frame that is due."""
        try:
            return check_header(self._header, kind, 0, self._received, limit=max_bytes)
        except FrameError as error:
            self.close("closed after a wrong frame")
            raise self._error(str(error), "←", FrameError) from None

    def _fill(self, data: bytearray, got: int) -> int:
        """Read on into `data`, of which so much has come, what is there now; how much has come then."""
        with memoryview(data) as view:
            while got < len(view):
                try:
                    moved = self._call(self._sock.recv_into, view[got:], "←")
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    break
                got += moved
        return got

    def _skip(self, step: memoryview, due: int, deadline: float) -> None:
        """Read to the end of the frame and keep nothing: whoever sends it looks for an answer only after that."""
        while due:
            due -= self._attempt(self._sock.recv_into, step[:due], deadline, "←")

    def _read(self, view: memoryview, deadline: float) -> None:
        while view:
            view = view[self._attempt(self._sock.recv_into, view, deadline, "←") :]

    # ---- one call into OpenSSL, and the waiting around it

    def _buffered(self) -> bool:
        with self._ssl:
            return not self._closed and self._sock.pending() > 0

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        """Counts the threads inside, so that the last one out can close the file descriptor."""
        self._check_process()
        with self._ssl:
            if self._closed:
                raise self._error(self._closed, "↔")
            self._users += 1
        try:
            yield
        finally:
            with self._ssl:
                self._users -= 1
                if self._closed and not self._users:
                    self._sock.close()

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise StateError(
                self._describe("this connection belongs to the process that forked; connect anew in this one", "↔")
            )

    def _attempt(
        self, call: Callable[[memoryview], int], view: memoryview, deadline: float, arrow: str, idle: bool = False
    ) -> int:
        """Makes a call into OpenSSL until it has moved bytes; every failure but an idle timeout closes."""
        while True:
            try:
                return self._call(call, view, arrow)
            except ssl.SSLWantReadError:
                events = select.POLLIN
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            if not self._wait(events, deadline):
                what = "nothing came in time" if arrow == "←" else "it does not read what we send"
                if not idle:
                    self.close("closed after a timeout")
                raise self._error(what, arrow, LinkTimeoutError)

    def _call(self, call: Callable[[memoryview], int], view: memoryview, arrow: str) -> int:
        """One call into OpenSSL, which moves bytes. Every failure but that it would have to wait closes."""
        try:
            with self._ssl:
                moved = call(view) if not self._closed else 0
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            cause = self._closed
            self.close("closed after a failure")
            if cause:
                raise self._error(cause, arrow) from None
            raise link_error(error, self._describe("", arrow), self.peer.party) from None
        if not moved:
            cause = self._closed or "it closed the connection"
            self.close("closed by the other side")
            raise self._error(cause, arrow)
        return moved

    def _wait(self, events: int, deadline: float) -> bool:
        poller = select.poll()
        poller.register(self._sock.fileno(), events)
        return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def _error(self, cause: str, arrow: str, kind: type[LinkError] = LinkError) -> LinkError:
        return kind(self._describe(cause, arrow), self.peer.party)

    def _describe(self, cause: str, arrow: str) -> str:
        sides = f"{self.local.name} {arrow} {self.peer.name}, {self.phase}"
        return f"{sides}: {cause}" if cause else sides
