"""What clients may occupy at a party, and how much of it each of them.

Theory of operation. A fixed share for each client would be too small for one who is alone, or add up to more than
there is. So the rule looks at what is left: *a client may hold as much as it leaves free*, the others' holdings
subtracted. Alone it gets half; beside one that is as greedy as itself, a third; n greedy ones get 1/(n + 1) each,
and as much stays free for whoever comes next. (The idea is known from switches that share a buffer: Choudhury and
Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998.) A client that holds nothing may take
all that is free, so that what fits at all gets in.

A client is a role, the name in a certificate: its connections count together.
"""

from __future__ import annotations

import threading
import time

from keras_private.errors import RefusedError


class Budget:
    """A number of units (bytes, or places) and who holds how many. Thread-safe.

    Args:
        total: units that may be held at once.
        unit: what is said in refusals, as in "MB of memory".
        scale: units in one of those.
    """

    def __init__(self, total: int, unit: str, scale: int = 1) -> None:
        self.total = total
        self._unit, self._scale = unit, scale
        self._held: dict[str, int] = {}
        self._used = 0
        self._peak = 0
        self._freed = threading.Condition()

    @property
    def used(self) -> int:
        return self._used

    @property
    def crowded(self) -> bool:
        """Whether more than half is taken: what only blocks a place has to go soon."""
        return 2 * self._used > self.total

    def take_peak(self) -> int:
        """The most that was held at once since the last call."""
        with self._freed:
            peak, self._peak = self._peak, self._used
            return peak

    def held(self, client: str) -> int:
        return self._held.get(client, 0)

    def take(self, client: str, amount: int, wait: float = 0.0) -> float:
        """Give a client so much; wait for it if need be, `wait` seconds at most.

        Returns:
            the seconds waited.

        Raises:
            RefusedError: it does not fit, or is more than this client's share, and stayed so. Says which.
        """
        started = time.monotonic()
        with self._freed:
            if not self._fits(client, amount) and not self._freed.wait_for(lambda: self._fits(client, amount), wait):
                raise RefusedError(self._refusal(client, amount)).again()
            self._held[client] = self.held(client) + amount
            self._used += amount
            self._peak = max(self._peak, self._used)
        return time.monotonic() - started

    def give_back(self, client: str, amount: int) -> None:
        """The client holds so much less."""
        with self._freed:
            self._used -= amount
            self._held[client] -= amount
            if not self._held[client]:
                del self._held[client]
            self._freed.notify_all()

    def _fits(self, client: str, amount: int) -> bool:
        mine, free = self.held(client), self.total - self._used - amount
        return free >= 0 and (mine == 0 or mine + amount <= free)

    def _refusal(self, client: str, amount: int) -> str:
        if self._used + amount > self.total:
            return (
                f"the queue is full ({self._show(self._used)} of {self._show(self.total)} are taken); try again later"
            )
        return (
            f"{client} has its share of the queue already ({self._show(self.held(client))} of "
            f"{self._show(self.total)}, {self._show(self._used)} taken in all); wait for the answers to what was asked"
        )

    def _show(self, amount: int) -> str:
        return f"{amount // self._scale} {self._unit}"
