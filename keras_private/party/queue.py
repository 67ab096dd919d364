"""Requests that wait for their run at one party.

Theory of operation. A client sends its request to all three parties, in three packages, so a request may be known to
one party and not yet (or never) to another. Running it needs all three. Therefore the leader, server0, decides
(`leader.queue`):

- A follower tells the leader which requests it holds (`Holds`) and keeps each until the leader discards it or announces
  a run with it. When the follower's client goes away it only says so (`Drop`), so what the leader announces is there.
- The leader takes only requests that all three hold, of the same client, size, model and plan. It discards, by name,
  what can never run: contradictory, dropped, or not held by all for too long.

A request is answered exactly once by each party: whoever removes it from the queue answers it. It may take several
runs, each with some of its rows (`Piece`); all parties run the same rows, in order, so that each knows what is left.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from keras_private.errors import RefusedError
from keras_private.party.budget import Budget
from keras_private.party.causes import Cause, Refuse
from keras_private.party.messages import Part
from keras_private.sharing.share import Share

ID_IN_USE = "this request id is in use already; use a new random one"


@dataclass(slots=True, eq=False)
class Request:
    """One client's batch, this party's share of it."""

    id: bytes
    client: str
    model: bytes
    digest: str
    rows: int
    share: Share
    answer: Callable[[bytes, Share], None]
    """Sends the request's id and this party's share of its output to the client."""
    refuse: Refuse
    arrived: float = field(default_factory=time.monotonic)
    received: float = 0.0
    """When its message had come."""
    began: float = 0.0
    """When its first run did."""
    part: Part | None = None
    """Of which evaluation it is one; None: it is a query."""
    deadline: float = math.inf
    """When its client stops waiting for the answer, by `time.monotonic`. The leader alone looks at it."""
    lane: int | None = None
    """In which some of its rows have run, or run now: the others follow there. The leader's."""
    done: int = 0
    """Rows that have run; used by the lane that runs it."""
    honest: bool = True
    """Whether the client gave both holders of a summand the same numbers, in all rows that have run."""
    refused: Cause | None = None
    """Why it is not answered although it has run."""
    outputs: list[Share] = field(default_factory=list)
    runs: tuple[Any, ...] = ()
    """Their spans, where somebody wants them."""

    @property
    def over(self) -> bool:
        """Whether nothing of it is left to run."""
        return self.done == self.rows or not self.honest

    @property
    def counts(self) -> bool:
        """Whether its end is that of a query, or of an evaluation, that was answered."""
        return self.honest and not self.refused and (self.part is None or self.part.last)

    def collect(self, output: Share, honest: bool) -> None:
        """Take in the output of the next rows."""
        self.done += output.shape[0]
        self.honest = honest
        self.outputs.append(output)

    @property
    def output(self) -> Share:
        """This party's share of the whole output, when `over`."""
        if len(self.outputs) == 1:
            return self.outputs[0]
        return Share(
            np.concatenate([part.mine for part in self.outputs]), np.concatenate([part.next for part in self.outputs])
        )


class Piece(NamedTuple):
    """The next so many rows of a request: what a run takes of it."""

    request: Request
    rows: int

    @property
    def share(self) -> Share:
        whole, start = self.request.share, self.request.done
        if self.rows == self.request.rows:
            return whole
        return Share(whole.mine[start : start + self.rows], whole.next[start : start + self.rows])


class RequestQueue:
    """What one party holds. Thread-safe.

    Args:
        limit: requests that may wait. A client may fill a share of these places (`budget`); their memory is counted
            where they come in (`client_session`).
    """

    def __init__(self, limit: int) -> None:
        self.places = Budget(limit, "requests")
        self._requests: dict[bytes, Request] = {}
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)  # something may run now
        self._settled = threading.Condition(self._lock)  # requests have left

    def add(self, request: Request) -> None:
        """Take a client's request in.

        Raises:
            RefusedError: the queue is full, this client has its share of it, or the id is in use.
        """
        with self._lock:
            if request.id in self._requests:
                raise RefusedError(ID_IN_USE)
            self.places.take(request.client, 1)
            self._requests[request.id] = request

    def pick(self, ids: Iterable[bytes]) -> list[Request]:
        """Remove and return these requests; those that are not here are left out."""
        with self._lock:
            return self._pick(ids)

    def peek(self, ids: Iterable[bytes]) -> list[Request]:
        """Like `pick`, but leaves them in the queue."""
        with self._lock:
            return [self._requests[id_] for id_ in ids if id_ in self._requests]

    def refuse(self, ids: Iterable[bytes], code: str, text: str, after: float | None = None) -> None:
        """Remove these requests and tell their clients why."""
        for request in self.pick(ids):
            request.refuse(request.id, code, text, after)

    def refuse_all(self, code: str, text: str, after: float | None = None) -> None:
        """Remove every request and tell the clients why."""
        with self._lock:
            ids = list(self._requests)
        self.refuse(ids, code, text, after)

    def wait_gone(self, ids: Iterable[bytes], timeout: float) -> None:
        """Wait until none of these is here, `timeout` seconds at most."""
        with self._lock:
            self._settled.wait_for(lambda: not any(id_ in self._requests for id_ in ids), timeout)

    def waiting_for(self, model: bytes) -> int:
        """Requests of a model that are here."""
        with self._lock:
            return sum(request.model == model for request in self._requests.values())

    @property
    def oldest_s(self) -> float:
        """Seconds since the oldest request here arrived; 0: there is none."""
        with self._lock:
            first = next(iter(self._requests.values()), None)
            return time.monotonic() - first.arrived if first else 0.0

    @property
    def waiting(self) -> int:
        with self._lock:
            return len(self._requests)

    def _pick(self, ids: Iterable[bytes]) -> list[Request]:
        picked = []
        for id_ in ids:
            request = self._requests.pop(id_, None)
            if request is not None:
                self.places.give_back(request.client, 1)
                picked.append(request)
        if picked:
            self._settled.notify_all()
        return picked
