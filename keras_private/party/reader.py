"""One thread that reads what many clients send, as long as it is small and there at once.

Theory of operation. A thread for each client is woken for each query, and all of them compete for the interpreter: with
a hundred clients a party would spend more time on switching than on queries. So clients' connections are *watched*
together. When something has come on one, this thread reads and handles it, and goes on to the next; what is done once
for all that was ready (telling the leader what is held, say) is done at the end of such a *sweep*.

Nothing here may wait. What would (a large message, half of one, a client that has to wait for room or for the leader)
is the business of the connection's own thread, which sleeps meanwhile: `handle` says so by giving False, and the
connection is no longer watched until it is brought again.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple

from keras_private.errors import LinkError
from keras_private.logs import Log
from keras_private.net.connection import Connection

Handle = Callable[[], bool]
"""Reads and handles what has come on a connection; whether to go on watching it. It must not wait or raise."""


class _Watched(NamedTuple):
    handle: Handle
    number: int
    hold: contextlib.ExitStack  # keeps the file descriptor this connection's


class Reader:
    """The thread starts with the first connection and ends with `close`.

    Args:
        name: of the party.
        ready: whether a query can be taken in now without waiting for another party.
        swept: called at the end of each sweep, and by whoever handles a message by themselves.
    """

    def __init__(self, name: str, log: Log, ready: Callable[[], bool], swept: Callable[[], None]) -> None:
        self.ready = ready
        self.swept = swept
        self._name = name
        self._log = log
        self._lock = threading.Lock()  # around the fields below
        self._new: list[tuple[Connection, Handle]] = []
        self._thread: threading.Thread | None = None
        self._closing = False
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)

    def watch(self, channel: Connection, handle: Handle) -> None:
        """Call `handle`, now and whenever something has come on this connection, or it has ended; in the
        reader's thread.

        Raises:
            LinkError: the party stops.
            RuntimeError: the system starts no more threads.
        """
        with self._lock:
            if self._closing:
                raise LinkError(f"{self._name}: this party was stopped")
            if self._thread is None:
                thread = threading.Thread(target=self._live, name=f"{self._name} reader", daemon=True)
                thread.start()
                self._thread = thread
            self._new.append((channel, handle))
        self._nudge()

    def close(self) -> None:
        """After the connections were closed: end the thread. Idempotent."""
        with self._lock:
            self._closing = True
            if self._thread is None:
                self._wake.close()
                self._woken.close()
        self._nudge()

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake anyway; closed: it has ended
            self._wake.send(b"\0")

    def _live(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._closing:
                for key, _ in selector.select():
                    if key.data is None:
                        with contextlib.suppress(OSError):
                            self._woken.recv(4096)
                    else:
                        self._handle(selector, key.data)
                self._take_in(selector)
                try:
                    self.swept()
                except Exception as error:  # noqa: BLE001  a defect, or no memory, must not end it
                    self._log.error("session failed", peer=self._name, exc_info=error)
            self._take_in(selector)
            for key in list(selector.get_map().values()):
                if key.data is not None:
                    self._let_go(selector, key.data)
                    key.data.handle()  # it learns that its connection was closed
        self._wake.close()
        self._woken.close()

    def _take_in(self, selector: selectors.BaseSelector) -> None:
        """Those that are new. Something may be there already of which the system knows nothing any more."""
        with self._lock:
            new, self._new = self._new, []
        for channel, handle in new:
            hold = contextlib.ExitStack()
            try:
                hold.enter_context(channel.in_use())
                watched = _Watched(handle, channel.fileno(), hold)
                selector.register(watched.number, selectors.EVENT_READ, watched)
            except (LinkError, OSError, ValueError, KeyError):  # it was closed, or the system watches no more
                hold.close()
                channel.close("it cannot be watched")
                handle()
            else:
                self._handle(selector, watched)

    def _handle(self, selector: selectors.BaseSelector, watched: _Watched) -> None:
        if not watched.handle():
            self._let_go(selector, watched)

    def _let_go(self, selector: selectors.BaseSelector, watched: _Watched) -> None:
        selector.unregister(watched.number)
        watched.hold.close()
