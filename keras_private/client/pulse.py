"""Whether the parties of a triple still say something, where another triple could be asked instead.

Theory of operation. A party that is stopped, or whose host hangs, keeps its connections, and its clients wait for
nothing. So a party that owes an answer and has said nothing for a while is sent a `Ping`, which it gives back at once,
whatever else it does. If it says nothing then either, its triple is given up. What a party says counts from its first
byte on, and the ping's time from when it is on its way: neither a large answer nor a large query before it makes a
party silent. With a single triple nobody is asked: there, waiting is all that can be done.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection

from keras_private.config import PARTY_NAMES

QUIET_S = 1.0
"""A party that owes something and has said nothing for so long is asked whether it is there."""
SILENT_S = 5.0
"""So long it may take to say so."""
_LOOK_S = 0.1


class Pulse:
    """Of the parties of one session. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard = [0.0] * len(PARTY_NAMES)  # when it said something last, or owed nothing
        self._asked: list[float | None] = [None] * len(PARTY_NAMES)  # since when it has been; infinite: not yet sent
        self._look_at = 0.0

    def heard(self, index: int) -> None:
        """This party says something."""
        with self._lock:
            self._heard[index], self._asked[index] = time.monotonic(), None

    @property
    def due(self) -> bool:
        """Whether it is time for another look; once each time."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_S
        return True

    def look(self, owing: Collection[int]) -> tuple[list[int], list[int]]:
        """Whom to ask now, of those who owe an answer; and who of them is silent."""
        now, ask, silent = time.monotonic(), [], []
        with self._lock:
            for index in range(len(PARTY_NAMES)):
                asked = self._asked[index]
                if index not in owing:
                    self._heard[index], self._asked[index] = now, None
                elif asked is None and now - self._heard[index] > QUIET_S:
                    ask.append(index)
                    self._asked[index] = math.inf
                elif asked is not None and now - asked > SILENT_S:
                    silent.append(index)
        return ask, silent

    def sent(self, index: int) -> None:
        """The ping is on its way."""
        with self._lock:
            if self._asked[index] is not None:  # else it has said something meanwhile
                self._asked[index] = time.monotonic()
