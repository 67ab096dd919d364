"""What runs occupy at a party: half of `limits.memory_mb`, among all lanes.

Theory of operation. How many rows a run may have follows from what is left of it when the leader chooses them: one lane
alone gets all there is, and with large models fewer lanes run side by side. What the leader has chosen fits at the
followers too (their limits are the same), as soon as they have ended what has ended at the leader; so they wait for it.
"""

from __future__ import annotations

import threading

from keras_private.errors import PartyError


class RunMemory:
    """Bytes that runs may take at once, by estimate (`plan.memory`). Thread-safe."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._used = 0
        self._peak = 0
        self._freed = threading.Condition()

    @property
    def used(self) -> int:
        """Bytes that runs take."""
        return self._used

    @property
    def free(self) -> int:
        """Bytes that no run takes; to one that is alone, all there are."""
        return self.total - self._used

    def take(self, nbytes: int, wait: float = 0.0) -> None:
        """Take so much for a run. One that is alone gets what it wants: its rows were held against the limits before.

        Raises:
            PartyError: it does not fit beside the other lanes' runs, `wait` seconds long.
        """
        with self._freed:
            if not self._freed.wait_for(lambda: not self._used or self._used + nbytes <= self.total, wait):
                raise PartyError(
                    f"no memory for a run of {nbytes >> 20} MB beside {self._used >> 20} MB of other lanes' runs "
                    f"(limits.memory_mb); it and limits.lanes must be the same in all three parties' files"
                )
            self._used += nbytes
            self._peak = max(self._peak, self._used)

    def give_back(self, nbytes: int) -> None:
        """A run has ended that took so much."""
        with self._freed:
            self._used -= nbytes
            self._freed.notify_all()

    def take_peak(self) -> int:
        """The most that was taken at once since the last call."""
        with self._freed:
            peak, self._peak = self._peak, self._used
            return peak
