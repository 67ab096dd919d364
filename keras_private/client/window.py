"""How many queries a client has on their way at a time.

Theory of operation. A party gives a client as many places and as much memory as it leaves free to others
(`party.budget`), so how much that is depends on who else is there, and nobody tells. The client finds out as senders on
a network do (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance", 1989; Van
Jacobson, "Congestion Avoidance and Control", 1988): with each answer the window grows, by one until the first refusal,
then by one for all that are on their way together; a refusal for want of room halves it. What does not fit into it
waits in the client. Refusals of what was sent before the window shrank say nothing new, and change nothing.

Bytes are bounded beforehand: a message that finds no room costs more than its refusal.
"""

from __future__ import annotations

from keras_private.config import Limits

_FIRST_PART = 8
"""The window begins at the queue's places divided by this."""
_MEMORY_PART = 8
"""Of a party's memory this part may be taken by one client's queries, unless it is a single one. It is half of what a
client gets who is alone."""


class Window:
    """Not thread-safe. `enter` and `leave` count what is on its way."""

    def __init__(self, limits: Limits) -> None:
        self._most = max(1, limits.queue // 2)  # more are never let in
        self._size = float(max(1, limits.queue // _FIRST_PART))
        self._bytes = memory_of_one(limits)
        self._probing = True  # nothing was refused so far
        self._entered = 0  # how many have entered, ever
        self._shrunk = 0  # how many of these when the window shrank last
        self._alone = 0  # which one, the latest, found no other inside
        self._inside = 0
        self._held = 0

    @property
    def inside(self) -> int:
        """How many are on their way."""
        return self._inside

    @property
    def size(self) -> int:
        """How many may be."""
        return int(self._size)

    def fits(self, nbytes: int) -> bool:
        """Whether one more, which takes so much of a party's memory, may be sent. If there is none, it always may."""
        return not self._inside or (self._inside < self.size and self._held + nbytes <= self._bytes)

    def enter(self, nbytes: int) -> int:
        """One more is on its way; its number."""
        self._inside += 1
        self._held += nbytes
        self._entered += 1
        if self._inside == 1:
            self._alone = self._entered
        return self._entered

    def leave(self, nbytes: int) -> None:
        """One has come to its end."""
        self._inside -= 1
        self._held -= nbytes

    def answered(self) -> None:
        """A query was answered: there is room for more."""
        self._size = min(self._most, self._size + (1.0 if self._probing else 1.0 / self._size))

    def refused(self, number: int) -> bool:
        """The query of this number, which is still inside, found no room at a party.

        Returns:
            whether that is this client's own doing, because others of its were on their way: now, or when it was sent.
            (These may have been refused meanwhile, and the party that had taken them in not have heard of it yet.)
        """
        others = self._inside - 1
        if number > self._shrunk:
            self._size = max(1.0, min(self._size, self._inside) / 2)
            self._shrunk, self._probing = self._entered, False
        return others > 0 or number != self._alone


def memory_of_one(limits: Limits) -> int:
    """Bytes of a party's memory that one client's queries may take together."""
    return limits.memory_bytes // _MEMORY_PART
