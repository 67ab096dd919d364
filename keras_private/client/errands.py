"""What a client does without anybody's waiting for it: tell a party something, call what waits for a ticket's end."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

_IDLE_S = 1.0  # how long the thread waits for more before it ends
_log = logging.getLogger("keras_private")


class Errands:
    """Calls, one after the other, in a thread that lives while there are any, and a moment longer. Thread-safe.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()  # around the fields below; never held during a call
        self._calls: list[tuple[float, int, Callable[[], object]]] = []  # a heap: when due, in the order of `put`
        self._count = itertools.count()
        self._calling = False

    def put(self, call: Callable[[], object], after: float = 0.0) -> None:
        """Call this soon, or so many seconds later. Returns at once."""
        due = time.monotonic() + after if after > 0 else 0.0
        with self._changed:
            heapq.heappush(self._calls, (due, next(self._count), call))
            if self._calling:
                self._changed.notify()
                return
            self._calling = True
        try:
            threading.Thread(target=self._live, name=f"keras_private {self._name}", daemon=True).start()
        except (RuntimeError, MemoryError):  # the system starts no more threads: better late than never
            self._live(0.0)

    def _live(self, idle_s: float = _IDLE_S) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._calls, idle_s):
                    self._calling = False
                    return
                while (wait := self._calls[0][0] - time.monotonic()) > 0:
                    self._changed.wait(wait)
                _, _, call = heapq.heappop(self._calls)
            try:
                call()
            except Exception:  # noqa: BLE001  the next one is somebody else's
                _log.exception("a call in the thread of %s failed", self._name)
            del call  # what it holds on to is not kept until the next one
