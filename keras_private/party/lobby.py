"""Where callers wait until they have said enough to shake hands.

Theory of operation. A handshake keeps a thread and the processor busy, and a stranger who calls and says nothing, or
half of a greeting, would have one for nothing. So one thread looks after all callers whose first TLS record has not
come whole: it sleeps until the system has received one (`Caller.look`), and passes that caller on. Who speaks something
else, hangs up or takes too long never costs more than an entry in its list.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from keras_private.errors import LinkError
from keras_private.party.network import Caller

_READY: Final = select.POLLIN | select.POLLHUP | select.POLLERR | select.POLLNVAL


class Lobby:
    """`add` is for any thread. A caller that was closed is noticed when the next one comes.

    Args:
        ready: called, in the lobby's thread, with each caller that has said enough.
        gone: called with each that will not, and why; it is closed already.
    """

    def __init__(self, name: str, ready: Callable[[Caller], None], gone: Callable[[Caller, LinkError], None]) -> None:
        self._ready = ready
        self._gone = gone
        self._coming: deque[tuple[Caller, float]] = deque()
        self._waiting: dict[int, tuple[Caller, float]] = {}  # by file number: until when
        self._poller = select.poll()
        self._bell, self._button = socket.socketpair()
        for end in (self._bell, self._button):
            end.setblocking(False)
        self._poller.register(self._bell, select.POLLIN)
        self._closing = False
        self._thread = threading.Thread(target=self._live, name=f"{name} lobby", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def add(self, caller: Caller, seconds: float) -> None:
        """Look after a caller, for so long at most."""
        self._coming.append((caller, time.monotonic() + seconds))
        self._ring()

    def close(self) -> None:
        """End the thread. Those that wait are whoever's who added them."""
        self._closing = True
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # it rings already, or the thread has ended
            self._button.send(b"!")

    def _live(self) -> None:
        while not self._closing:
            for number, _ in self._poller.poll(self._pause()):
                if number == self._bell.fileno():
                    self._bell.recv(1 << 16)
                else:
                    self._look(number)
            while self._coming:
                caller, until = self._coming.popleft()
                if (number := caller.fileno()) in self._waiting:  # somebody who was closed meanwhile had it
                    self._look(number)
                self._waiting[number] = caller, until
                if number < 0:  # closed already
                    self._look(number)
                    continue
                self._poller.register(number, _READY)
                self._look(number)  # most have said it all by now
            self._sweep()
        self._bell.close()
        self._button.close()

    def _sweep(self) -> None:
        """Those that somebody has closed, and those that take too long."""
        now = time.monotonic()
        for number, (caller, until) in list(self._waiting.items()):
            if until <= now:
                self._forget(number)
                caller.close("it took too long")
                self._gone(caller, LinkError(f"{caller.address[0]}: it took too long to begin a handshake"))
            elif caller.fileno() < 0:
                self._look(number)

    def _pause(self) -> float | None:
        """Milliseconds until somebody has waited for too long; None: nobody waits."""
        if not self._waiting:
            return None
        return max(0.0, 1000 * (min(until for _, until in self._waiting.values()) - time.monotonic())) + 1

    def _look(self, number: int) -> None:
        caller, _ = self._waiting[number]
        try:
            if not caller.look():
                return
        except LinkError as error:
            self._forget(number)
            self._gone(caller, error)
            return
        self._forget(number)
        self._ready(caller)

    def _forget(self, number: int) -> tuple[Caller, float]:
        with contextlib.suppress(KeyError, ValueError):  # of one that never was
            self._poller.unregister(number)
        return self._waiting.pop(number)
