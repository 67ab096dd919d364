"""Requests that wait for their run, in order of arrival.

Theory of operation. A client sends its request to all three parties, in three packages, so a request may be known to
one party and not yet (or never) to another. Running it needs all three. Therefore the leader, server0, decides:

- A follower tells the leader which requests it holds (`Hold`) and keeps each until the leader discards it or announces
  a run with it. When the follower's client goes away it only says so (`Drop`), so what the leader announces is there.
- The leader takes only requests that all three hold, of the same client, size, model and plan. It discards, by name,
  what can never run: contradictory, dropped, or not held by all for too long while the model is being served.

A request is answered exactly once by each party: whoever removes it from the queue answers it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from keras_private.config import PARTY_NAMES
from keras_private.errors import RefusedError
from keras_private.party.messages import FAILED, REFUSED, Hold
from keras_private.sharing.share import Share

FOLLOWERS = (1, 2)
ID_IN_USE = "this request id is in use already; use a new random one"
MAX_REQUESTS = 2048  # of one run: their ids must fit into one announcement
_LOOK_UP_S = 60.0
_REMEMBERED = 4096  # discarded ids

Discarder = Callable[[list[bytes], str, str], None]
"""Tells the followers (request ids, code, text) and is called without any lock held."""


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
    refuse: Callable[[bytes, str, str], None]
    """Tells the client (id, code, text) that there will be no output."""
    arrived: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        """Bytes it occupies."""
        return 2 * self.share.mine.nbytes


@dataclass(slots=True, eq=False)
class Serving:
    """One owner's serving, from start to end. Whoever began it holds it, and so can end no other."""

    budget: int | None
    """Requests that may still be taken; None: any number."""
    claimed: int = 0
    """Of the budget, by runs that have not ended."""
    served: int = 0
    over: bool = False
    because: str = ""
    code: str = REFUSED
    since: float = field(default_factory=time.monotonic)


class RequestQueue:
    """What one party holds. Thread-safe.

    Args:
        limit: requests that may wait.
        max_bytes: bytes of shares that may wait, without exception. At least twice `request_mb`: two of the three
            packages spell out one summand, in one message; both summands together take twice that.
    """

    def __init__(self, limit: int, max_bytes: int) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        self._bytes = 0
        self._requests: dict[bytes, Request] = {}
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)  # something may run now
        self._settled = threading.Condition(self._lock)  # requests have left

    def add(self, request: Request) -> None:
        """Take a client's request in.

        Raises:
            RefusedError: the queue is full, or the id is in use.
        """
        with self._lock:
            if request.id in self._requests:
                raise RefusedError(ID_IN_USE)
            if len(self._requests) >= self._limit:
                raise RefusedError(f"the queue is full ({self._limit} requests wait already); try again later")
            self.check_room(request.size)
            self._requests[request.id] = request
            self._bytes += request.size

    def check_room(self, nbytes: int) -> None:
        """Whether a request of this size would fit now: ask before its seeds are expanded.

        Raises:
            RefusedError: it would not, or never will.
        """
        if nbytes > self._max_bytes:
            raise RefusedError("the request is larger than the queue's whole memory; send fewer rows at once")
        with self._lock:
            if self._bytes + nbytes > self._max_bytes:
                raise RefusedError("the queue is full (no memory for another request of this size); try again later")

    def pick(self, ids: Iterable[bytes]) -> list[Request]:
        """Remove and return these requests; those that are not here are left out."""
        with self._lock:
            return self._pick(ids)

    def peek(self, ids: Iterable[bytes]) -> list[Request]:
        """Like `pick`, but leaves them in the queue."""
        with self._lock:
            return [self._requests[id_] for id_ in ids if id_ in self._requests]

    def refuse(self, ids: Iterable[bytes], code: str, text: str) -> None:
        """Remove these requests and tell their clients why."""
        for request in self.pick(ids):
            request.refuse(request.id, code, text)

    def refuse_all(self, code: str, text: str) -> None:
        """Remove every request and tell the clients why."""
        with self._lock:
            ids = list(self._requests)
        self.refuse(ids, code, text)

    def wait_gone(self, ids: Iterable[bytes], timeout: float) -> None:
        """Wait until none of these is here, `timeout` seconds at most."""
        with self._lock:
            self._settled.wait_for(lambda: not any(id_ in self._requests for id_ in ids), timeout)

    def ids_of_other_models(self, model: bytes) -> list[bytes]:
        """The requests that were made for a model other than this one."""
        with self._lock:
            return [request.id for request in self._requests.values() if request.model != model]

    @property
    def waiting(self) -> int:
        with self._lock:
            return len(self._requests)

    def _pick(self, ids: Iterable[bytes]) -> list[Request]:
        picked = []
        for id_ in ids:
            request = self._requests.pop(id_, None)
            if request is not None:
                self._bytes -= request.size
                picked.append(request)
        if picked:
            self._settled.notify_all()
        return picked


class LeaderQueue(RequestQueue):
    """The leader's queue: knows which party holds what, and whether the model is being served.

    Args:
        discard: called with what the followers must forget.
    """

    def __init__(self, limit: int, max_bytes: int, timeout_s: float, discard: Discarder) -> None:
        super().__init__(limit, max_bytes)
        self._timeout = timeout_s
        self._discard = discard
        self._holds: dict[bytes, dict[int, tuple[Hold, float]]] = {}
        self._gone: dict[bytes, tuple[str, str]] = {}  # discarded lately: a follower may hear of them only now
        self._running: dict[bytes, Serving] = {}  # under which serving each run began
        self._serving: Serving | None = None
        self._over = threading.Condition(self._lock)  # serving has ended
        self._lanes_up = 0
        self._lane_down_since = 0.0

    # What the parties hold

    def add(self, request: Request) -> None:
        super().add(request)
        self._judge(request.id)

    def hold(self, index: int, hold: Hold) -> None:
        """Follower `index` holds its package of a request."""
        with self._lock:
            self._holds.setdefault(hold.request, {})[index] = (hold, time.monotonic())
        self._judge(hold.request)

    def drop(self, id_: bytes) -> None:
        """A client took a request back, at any of the parties."""
        # If it runs already, it is too late: it runs to its end, and the answer goes nowhere.
        self.discard([id_], REFUSED, "the client took the request back")

    def forget_party(self, index: int, text: str) -> None:
        """A follower is gone and everything it held with it."""
        with self._lock:
            lost = [id_ for id_, holds in self._holds.items() if index in holds and id_ not in self._running]
            lost += [id_ for id_ in self._requests if id_ not in self._running and id_ not in lost]
            removed = self._forget(lost, FAILED, text)
        self._tell(lost, removed, FAILED, text)

    def ids_of_other_models(self, model: bytes) -> list[bytes]:
        with self._lock:
            return [id_ for id_ in super().ids_of_other_models(model) if id_ not in self._running]

    def discard(self, ids: list[bytes], code: str, text: str) -> None:
        """None of these will run, except those that do already: tell our clients, and the followers."""
        with self._lock:
            ids = [id_ for id_ in ids if id_ not in self._running]
            removed = self._forget(ids, code, text)
        self._tell(ids, removed, code, text)

    def _forget(self, ids: list[bytes], code: str, text: str) -> list[Request]:
        """Remove and mark, under the lock under which they were found not to run: no lane can take them between."""
        for id_ in ids:
            self._holds.pop(id_, None)
            self._gone[id_] = (code, text)
        while len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        return self._pick(ids)

    def _tell(self, ids: list[bytes], removed: list[Request], code: str, text: str) -> None:
        for request in removed:
            request.refuse(request.id, code, text)
        if ids:
            self._discard(ids, code, text)

    def _judge(self, id_: bytes) -> None:
        """Wake the lanes if a request can run now; discard it if it never will."""
        with self._lock:
            request, holds = self._requests.get(id_), self._holds.get(id_, {})
            code, text = self._gone.get(id_, (FAILED, ""))
            if request is not None and not text:
                found = (_contradiction(request, index, hold) for index, (hold, _) in holds.items())
                text = next(filter(None, found), "")
                if not text and self._complete(id_):
                    self.changed.notify_all()
        if text:
            self.discard([id_], code, text)

    # Serving

    @property
    def current(self) -> Serving | None:
        """The serving that goes on now."""
        return self._serving

    @property
    def serving(self) -> bool:
        """Whether runs may begin."""
        return self._serving is not None

    def start_serving(self, total: int | None) -> Serving:
        """Let runs happen: `total` requests, or any number. The result is what ends this serving, and no other.

        Raises:
            RefusedError: serving goes on already.
        """
        with self._lock:
            if self._serving is not None:
                raise RefusedError("the model is being served already")
            self._serving = Serving(total)
            self.changed.notify_all()
            return self._serving

    def stop_serving(self, serving: Serving | None, because: str = "", code: str = REFUSED) -> bool:
        """Let no further run begin under this serving; requests that wait go on waiting.

        Args:
            because: what went wrong, if anything did.
            code: under which the owner is told.

        Returns:
            whether it was going on until now.
        """
        with self._lock:
            if serving is None or self._serving is not serving:
                return False
            self._serving, serving.over, serving.because, serving.code = None, True, because, code
            self._settled.notify_all()
            self._over.notify_all()
            return True

    def wait_progress(
        self, serving: Serving, served: int, timeout: float, gather: float = 0.0
    ) -> tuple[int, bool, str]:
        """Wait until more than `served` requests were served, or this serving has ended.

        Args:
            gather: seconds to wait on for more of them, so that who follows is not told of every single one.

        Returns:
            how many were served, whether serving has ended, and what went wrong if something did.
        """
        with self._lock:
            self._settled.wait_for(lambda: serving.served > served or serving.over, timeout)
            self._over.wait_for(lambda: serving.over, gather)
            return serving.served, serving.over, serving.because

    def lane_is(self, up: bool) -> None:
        """A lane came up or went down."""
        with self._lock:
            self._lanes_up += 1 if up else -1
            self._lane_down_since = time.monotonic()

    def take(self, max_rows: int, stop: Callable[[], bool]) -> list[Request]:
        """Wait for the next batch: requests in order of arrival that all three parties hold, `max_rows` rows at most.

        They stay in the queue, marked as running, until `finish`. Empty: `stop()` became true (notify `changed` then).
        """
        with self._lock:
            while not stop():
                serving = self._serving
                if serving and (batch := self._next_batch(serving, max_rows)):
                    self._running.update((request.id, serving) for request in batch)
                    serving.claimed += len(batch)
                    return batch
                self.changed.wait(_LOOK_UP_S)
            return []

    def finish(self, ids: list[bytes], *, served: bool) -> list[Request]:
        """A run has ended: remove its requests from the queue and return those that still wait for their answer."""
        with self._lock:
            for id_ in ids:
                self._holds.pop(id_, None)
                if serving := self._running.pop(id_, None):  # perhaps an earlier one: it does not count in this one
                    self._count(serving, served=served)
            if not served:
                self.changed.notify_all()  # others may run in their place
            self._settled.notify_all()
            return self._pick(ids)

    def _count(self, serving: Serving, *, served: bool) -> None:
        serving.claimed -= 1
        if served:
            serving.served += 1
            if serving.budget is not None:
                serving.budget -= 1
                if serving.budget <= 0:
                    self.stop_serving(serving)

    def _next_batch(self, serving: Serving, max_rows: int) -> list[Request]:
        allowed = len(self._requests) if serving.budget is None else serving.budget - serving.claimed
        if allowed <= 0:
            return []
        batch: list[Request] = []
        rows = 0
        for request in self._requests.values():
            if request.id in self._running or not self._complete(request.id):
                continue
            if batch and (rows + request.rows > max_rows or request.model != batch[0].model):
                break
            batch.append(request)
            rows += request.rows
            if len(batch) == min(allowed, MAX_REQUESTS):
                break
        return batch

    def _complete(self, id_: bytes) -> bool:
        return len(self._holds.get(id_, ())) == len(FOLLOWERS)

    def expire(self) -> None:
        """Discard what has been unable to run for too long while the model is being served."""
        now = time.monotonic()
        late: dict[str, list[bytes]] = {}
        with self._lock:
            if self._serving is None:
                return
            since = max(self._serving.since, self._lane_down_since if self._lanes_up == 0 else 0.0)
            for id_ in {*self._requests, *self._holds} - self._running.keys():
                request, holds = self._requests.get(id_), self._holds.get(id_, {})
                first = min([request.arrived] if request else [at for _, at in holds.values()])
                if (request and self._complete(id_) and self._lanes_up) or now - max(first, since) < self._timeout:
                    continue
                missing = [PARTY_NAMES[0]] if request is None else []
                missing += [PARTY_NAMES[index] for index in FOLLOWERS if index not in holds]
                text = (
                    f"{' and '.join(missing)} did not receive the request within {self._timeout:g} s"
                    if missing
                    else f"the three parties were not connected with each other for {self._timeout:g} s"
                )
                late.setdefault(text, []).append(id_)
            removed = {text: self._forget(ids, FAILED, text) for text, ids in late.items()}
        for text, ids in late.items():
            self._tell(ids, removed[text], FAILED, text)


def _contradiction(request: Request, index: int, hold: Hold) -> str:
    """Why a request cannot run although follower `index` holds it, or nothing."""
    name = PARTY_NAMES[index]
    if (request.client, request.rows) != (hold.client, hold.rows):
        return f"server0 and {name} were sent different requests under one id; send the same one to all three"
    if request.digest != hold.digest:
        return (
            f"no run: the parties hold different plans, server0 {request.digest} and {name} {hold.digest}; "
            "the owner must share the model again"
        )
    if request.model != hold.model:
        return f"no run: server0 and {name} hold shares of different uploads of the plan; the owner must share it again"
    return ""
