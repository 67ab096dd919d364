"""Requests of a session that nobody waits for: a thread of the session's own does, and says when they are settled."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from keras_private.client.request import Request

GLANCE_S = 0.1
"""How long a reader waits before it looks up: at deadlines, at what has changed."""
_IDLE_S = 1.0  # how long the thread waits for more before it ends


class Watch:
    """Thread-safe.

    Args:
        wait: reads for the session until the function given is true, or a point in time.
        broken: told of whatever else ends `wait`: no request will be answered any more.
    """

    def __init__(self, wait: Callable[[Callable[[], bool], float], bool], broken: Callable[[Exception], None]) -> None:
        self._wait = wait
        self._broken = broken
        self._changed = threading.Condition()  # around the fields below; never held during a call
        self._watched: dict[Request, tuple[float, Callable[[], None]]] = {}
        self._ready: deque[Callable[[], None]] = deque()
        self._running = False

    def put(self, request: Request, deadline: float, settled: Callable[[], None]) -> None:
        """Call `settled` when the request is settled, or the deadline has passed.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        with self._changed:
            if not self._running:
                threading.Thread(target=self._live, name="keras_private tickets", daemon=True).start()
                self._running = True
            if request.settled:
                self._ready.append(settled)
            else:
                self._watched[request] = deadline, settled
            self._changed.notify()

    def note(self, request: Request) -> None:
        """This request is settled; or nobody waits for it any more."""
        with self._changed:
            found = self._watched.pop(request, None)
            if found is not None and request.settled:
                self._ready.append(found[1])

    def _live(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._ready or self._watched, _IDLE_S):
                    self._running = False
                    return
            if not self._ready:
                try:
                    self._wait(lambda: bool(self._ready), time.monotonic() + GLANCE_S)
                except Exception as error:  # noqa: BLE001  no memory, say: this thread is the only one that they have
                    self._broken(error)
            self._look_at_the_clock()
            while self._ready:
                self._ready.popleft()()

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        with self._changed:
            late = [request for request, (deadline, _) in self._watched.items() if deadline <= now]
            self._ready.extend(self._watched.pop(request)[1] for request in late)
