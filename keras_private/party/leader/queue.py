"""The leader's queue: which party holds what, which models are being served, and what runs next.

See `queue` for how the three queues work together, and `turns` for who comes first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from keras_private.config import FOLLOWERS, PARTY_NAMES
from keras_private.errors import PartyError, RefusedError
from keras_private.party.causes import EXPIRED, INTERRUPTED, TAKEN_BACK, Cause, apart, gone, never_came
from keras_private.party.leader.turns import Turns
from keras_private.party.messages import FAILED, REFUSED, Hold
from keras_private.party.queue import Piece, Request, RequestQueue

MAX_REQUESTS = 2048  # of one run: their ids must fit into one announcement
IMPATIENT_S = 2.0  # how long a request may be held by some parties only while a queue is crowded
_LOOK_UP_S = 60.0
_REMEMBERED = 4096  # discarded ids

Discarder = Callable[[list[bytes], Cause], None]
"""Tells the followers (request ids, why) and is called without any lock held."""


@dataclass(slots=True, eq=False)
class Serving:
    """One owner's serving, from start to end, of one model in all its versions. Whoever began it holds it, and so can
    end no other.
    """

    model: bytes
    """The upload with which it began."""
    budget: int | None
    """Requests that may still be taken; None: any number."""
    standing: bool = False
    """Whether it goes on without its owner."""
    claimed: int = 0
    """Of the budget, by runs that have not ended."""
    served: int = 0
    over: bool = False
    because: str = ""
    code: str = REFUSED
    since: float = field(default_factory=time.monotonic)


class LeaderQueue(RequestQueue):
    """The leader's queue: knows which party holds what, and which models are being served.

    Args:
        discard: called with what the followers must forget.
        delay_s: how long a run waits for more requests.
    """

    def __init__(self, limit: int, timeout_s: float, discard: Discarder, delay_s: float = 0.0) -> None:
        super().__init__(limit)
        self._timeout = timeout_s
        self._discard = discard
        self._turns = Turns(delay_s)
        self._homes: dict[bytes, int] = {}  # evaluations, and the lane in which each goes on
        self._holds: dict[bytes, dict[int, tuple[Hold, float]]] = {}
        self._gone: dict[bytes, Cause] = {}  # discarded lately: a follower may hear of them only now
        self._running: dict[bytes, Serving] = {}  # under which serving each run began
        self._doomed: dict[bytes, Cause] = {}  # discarded in the middle of a run: it is their last
        self._servings: dict[bytes, Serving] = {}  # by model: versions of one have one together
        self._over = threading.Condition(self._lock)  # serving has ended
        self._held_off: Cause | None = None
        self._lanes_up = 0
        self._lane_down_since = 0.0

    # What the parties hold

    def add(self, request: Request) -> None:
        if cause := self._held_off:
            raise PartyError(cause.text).again(cause.after)
        with self._lock:  # until it is judged: a lane must not take what never may run
            super().add(request)
            verdicts = self._judge([request.id])
        self._carry_out(verdicts)

    def hold(self, index: int, *holds: Hold) -> None:
        """Follower `index` holds its packages of these requests."""
        with self._lock:  # of all of them, so that they can run together
            for hold in holds:
                self._holds.setdefault(hold.request, {})[index] = (hold, time.monotonic())
            verdicts = self._judge([hold.request for hold in holds])
        self._carry_out(verdicts)

    def hold_off(self, cause: Cause | None) -> None:
        """Begin no run and take nothing in any more, because of `cause`, and discard what does not run; None: go on."""
        with self._lock:
            self._held_off = cause
            ids = [] if cause is None else list({*self._requests, *self._holds})
        if cause is not None:
            self.discard(ids, *cause)

    def drop(self, id_: bytes, cause: Cause = TAKEN_BACK) -> None:
        """A client took a request back at any of the parties, or was refused it there."""
        # If its last rows run already, it is too late: they run to their end, and the answer goes nowhere.
        self.discard([id_], *cause)

    def forget_party(self, index: int) -> None:
        """A follower is gone and everything it held with it."""
        with self._lock:
            lost = [id_ for id_, holds in self._holds.items() if index in holds and id_ not in self._running]
            lost += [id_ for id_ in self._requests if id_ not in self._running and id_ not in lost]
            self._doomed.update((id_, gone(PARTY_NAMES[index])) for id_ in self._running)  # the rest of its rows
            removed = self._forget(lost, gone(PARTY_NAMES[index]))
        self._tell(lost, removed, gone(PARTY_NAMES[index]))

    def discard(self, ids: list[bytes], code: str, text: str, after: float | None = None) -> None:
        """None of these will run, except for the rows that do already: tell our clients, and the followers."""
        cause = Cause(code, text, after)
        with self._lock:
            self._doomed.update((id_, cause) for id_ in ids if id_ in self._running)
            ids = [id_ for id_ in ids if id_ not in self._running]
            removed = self._forget(ids, cause)
        self._tell(ids, removed, cause)

    @property
    def evaluations(self) -> set[bytes]:
        """Of which parts are here."""
        with self._lock:
            return {request.part.evaluation for request in self._requests.values() if request.part}

    def _forget(self, ids: list[bytes], cause: Cause) -> list[Request]:
        """Remove and mark, under the lock under which they were found not to run: no lane can take them between."""
        for id_ in ids:
            self._holds.pop(id_, None)
            self._homes.pop(id_, None)
            self._gone[id_] = cause
        while len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        return self._pick(ids)

    def _tell(self, ids: list[bytes], removed: list[Request], cause: Cause) -> None:
        for request in removed:
            request.refuse(request.id, *cause)
        if ids:
            self._discard(ids, cause)

    def _judge(self, ids: list[bytes]) -> list[tuple[bytes, Cause, list[Request]]]:
        """Wake the lanes if one of these can run now. Under the lock.

        Returns:
            those that never will, and the requests among them that were here, for `_carry_out`.
        """
        verdicts = []
        for id_ in ids:
            request, holds = self._requests.get(id_), self._holds.get(id_, {})
            running = id_ in self._running
            cause = self._gone.get(id_) or (None if running else self._held_off)
            if request is not None and cause is None:
                found = (_contradiction(request, index, hold) for index, (hold, _) in holds.items())
                text = next(filter(None, found), "")
                cause = Cause(FAILED, text) if text else None
                if cause is None and self._complete(id_):
                    self.changed.notify_all()
            if cause is not None and running:
                self._doomed[id_] = cause
            elif cause is not None:
                verdicts.append((id_, cause, self._forget([id_], cause)))
        return verdicts

    def _carry_out(self, verdicts: list[tuple[bytes, Cause, list[Request]]]) -> None:
        for id_, cause, removed in verdicts:
            self._tell([id_], removed, cause)

    # Models

    def discard_model(self, model: bytes, cause: Cause) -> None:
        """As `discard`, of all requests of a model that is about to go."""
        with self._lock:
            ids = [request.id for request in self._requests.values() if request.model == model]
            ids += [
                id_
                for id_, holds in self._holds.items()
                if id_ not in self._requests and any(hold.model == model for hold, _ in holds.values())
            ]
        self.discard(ids, *cause)

    def wait_idle(self, model: bytes, timeout: float) -> None:
        """Wait until nothing of a model runs, `timeout` seconds at most."""

        def idle() -> bool:
            return not any(request.model == model for request in map(self._requests.get, self._running) if request)

        with self._lock:
            self._settled.wait_for(idle, timeout)

    # Serving

    @property
    def serving(self) -> bool:
        """Whether any runs may begin."""
        return bool(self._servings)

    def serving_of(self, model: bytes) -> Serving | None:
        """The serving of a model that goes on now."""
        return self._servings.get(model)

    def start_serving(self, model: bytes, total: int | None = None, *, standing: bool = False) -> Serving:
        """Let runs of a model happen: `total` requests, or any number. The result is what ends this serving, and no
        other.

        Raises:
            RefusedError: serving goes on already.
        """
        with self._lock:
            if model in self._servings:
                raise RefusedError("the model is being served already")
            self._servings[model] = serving = Serving(model, total, standing)
            self.changed.notify_all()
            return serving

    def cover(self, old: bytes, new: bytes) -> None:
        """What serves one version of a model serves another one too."""
        with self._lock:
            if serving := self._servings.get(old):
                self._servings[new] = serving
                self.changed.notify_all()

    def uncover(self, model: bytes) -> None:
        """A version of a model is about to go. If it was the last one of its serving, that has ended."""
        with self._lock:
            serving = self._servings.get(model)
            if serving is None:
                return
            if sum(each is serving for each in self._servings.values()) > 1:
                del self._servings[model]
            else:
                self.stop_serving(serving)

    def waiting_under(self, serving: Serving) -> int:
        """Requests that this serving has before it."""
        with self._lock:
            return sum(self._servings.get(request.model) is serving for request in self._requests.values())

    def stop_serving(self, serving: Serving | None, because: str = "", code: str = REFUSED) -> bool:
        """Let no further run begin under this serving; requests that wait go on waiting.

        Args:
            because: what went wrong, if anything did.
            code: under which the owner is told.

        Returns:
            whether it was going on until now.
        """
        with self._lock:
            models = [model for model, each in self._servings.items() if each is serving]
            if serving is None or not models:
                return False
            for model in models:
                del self._servings[model]
            serving.over, serving.because, serving.code = True, because, code
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

    def lane_is(self, lane: int, *, up: bool) -> None:
        """A lane came up or went down."""
        with self._lock:
            self._lanes_up += 1 if up else -1
            self._lane_down_since = time.monotonic()
            if up:
                return
            begun = [r.id for r in self._requests.values() if r.lane == lane and r.done]
            self._homes = {id_: home for id_, home in self._homes.items() if home != lane}
        # Another party may have failed in the run that went well here, and hold nothing of them any more.
        self.discard(begun, *INTERRUPTED)

    def take(
        self,
        lane: int,
        max_rows: Callable[[Request], int],
        chosen: Callable[[list[Piece]], None],
        stop: Callable[[], bool],
    ) -> list[Piece]:
        """Wait for the next run in a lane: rows of requests that all three parties hold, or of one part of an
        evaluation.

        The requests stay in the queue, marked as running, until `finish`. Empty: `stop()` became true (notify
        `changed` then).

        Args:
            max_rows: rows that a run may have which begins with a request; 0: it cannot begin now.
            chosen: called with the run before another lane can choose one.
        """
        with self._lock:
            while not stop():
                patience, waiting = 0.0, self._ready(lane)
                if waiting and not self._held_off:
                    limits = partial(self._limits, max_rows)
                    patience = self._turns.patience(waiting, limits)
                    if not patience and (run := self._turns.choose(waiting, limits)):
                        chosen(run)
                        self._begin(lane, run)
                        return run
                self.changed.wait(patience or _LOOK_UP_S)
            return []

    def _limits(self, max_rows: Callable[[Request], int], first: Request) -> tuple[int, int]:
        """Rows and requests of a run that begins with this request."""
        serving = self._servings.get(first.model)
        if serving is None:
            return 0, 0
        allowed = MAX_REQUESTS if serving.budget is None else min(MAX_REQUESTS, serving.budget - serving.claimed)
        return (max_rows(first), allowed) if allowed > 0 else (0, 0)

    def _begin(self, lane: int, run: list[Piece]) -> None:
        serving = self._servings[run[0].request.model]
        serving.claimed += len(run)
        self._running.update((piece.request.id, serving) for piece in run)
        for request, _ in run:
            request.lane = lane
            if request.part and request.part.last:
                self._homes.pop(request.part.evaluation, None)
            elif request.part:
                self._homes[request.part.evaluation] = lane
        while len(self._homes) > _REMEMBERED:
            del self._homes[next(iter(self._homes))]

    def finish(self, ids: list[bytes], *, served: bool, seconds: float = 0.0, rows: int = 0) -> list[Request]:
        """A run has ended. Remove those of its requests that have come to their end; return those that still wait for
        their answer.

        Args:
            served: whether it went well; if not, all of them have come to their end.
            seconds, rows: what it took and how large it was, if it went well.
        """
        doomed: list[tuple[bytes, Cause]] = []
        with self._lock:
            if seconds:
                first = next((self._requests[id_] for id_ in ids if id_ in self._requests), None)
                if first is not None:
                    self._turns.ended(first.model, rows, seconds)
            over = []
            for id_ in ids:
                serving, request, fate = (
                    self._running.pop(id_, None),  # perhaps an earlier one: it does not count in this one
                    self._requests.get(id_),
                    self._doomed.pop(id_, None),
                )
                if served and request is not None and not request.over:  # another run goes on with it
                    if serving:
                        serving.claimed -= 1
                    if fate:
                        doomed.append((id_, fate))
                    continue
                self._holds.pop(id_, None)
                over.append(id_)
                if serving:
                    self._count(serving, served=served and (request is None or request.counts))
            self.changed.notify_all()
            self._settled.notify_all()
            picked = self._pick(over)
        for id_, cause in doomed:
            self.discard([id_], *cause)
        return picked

    def _count(self, serving: Serving, *, served: bool) -> None:
        serving.claimed -= 1
        if served:
            serving.served += 1
            if serving.budget is not None:
                serving.budget -= 1
                if serving.budget <= 0:
                    self.stop_serving(serving)

    def _ready(self, lane: int) -> dict[str, list[Request]]:
        """Every client's requests that can run in this lane: what began in another one goes on there."""
        waiting: dict[str, list[Request]] = {}
        now = time.monotonic()
        for request in self._requests.values():
            if request.model not in self._servings or request.id in self._running:
                continue
            if not self._complete(request.id) or request.deadline <= now:
                continue
            home = request.lane if request.part is None else self._homes.get(request.part.evaluation, request.lane)
            if home is None or home == lane:
                waiting.setdefault(request.client, []).append(request)
        return waiting

    def _complete(self, id_: bytes) -> bool:
        return len(self._holds.get(id_, ())) == len(FOLLOWERS)

    def expire(self) -> None:
        """Discard what has been unable to run for too long, and what its client waits for no longer.

        What all three hold may wait as long as its model is not being served. What only some hold takes up places at
        them for nothing: when a party's places get scarce, it has to go soon.
        """
        now = time.monotonic()
        late: dict[Cause, list[bytes]] = {}
        with self._lock:
            crowded = self._crowded()
            since = self._lane_down_since if self._lanes_up == 0 else 0.0
            for id_ in {*self._requests, *self._holds} - self._running.keys():
                request, holds = self._requests.get(id_), self._holds.get(id_, {})
                model = request.model if request else next(hold.model for hold, _ in holds.values())
                serving = self._servings.get(model)
                first = min([request.arrived] if request else [at for _, at in holds.values()])
                holders = [*([0] if request else []), *holds]
                missing = [name for index, name in enumerate(PARTY_NAMES) if index not in holders]
                if request and request.deadline <= now:
                    cause = EXPIRED
                elif missing and crowded.intersection(holders) and now - first >= IMPATIENT_S:
                    cause = never_came(missing, IMPATIENT_S, "and places are scarce")
                elif not serving or now - max(first, serving.since, since) < self._timeout:
                    continue
                elif missing:
                    cause = never_came(missing, self._timeout)
                elif self._lanes_up:
                    continue
                else:
                    cause = apart(self._timeout)
                late.setdefault(cause, []).append(id_)
            removed = {cause: self._forget(ids, cause) for cause, ids in late.items()}
        for cause, ids in late.items():
            self._tell(ids, removed[cause], cause)

    def _crowded(self) -> set[int]:
        """The parties whose places are more than half taken, as far as the leader knows."""
        held = [0] * len(PARTY_NAMES)
        for holds in self._holds.values():
            for index in holds:
                held[index] += 1
        crowded = {index for index, count in enumerate(held) if 2 * count > self.places.total}
        return crowded | {0} if self.places.crowded else crowded


def _contradiction(request: Request, index: int, hold: Hold) -> str:
    """Why a request cannot run although follower `index` holds it, or nothing."""
    name = PARTY_NAMES[index]
    if (request.client, request.rows, request.part) != (hold.client, hold.rows, hold.part):
        return f"server0 and {name} were sent different requests under one id; send the same one to all three"
    if request.digest != hold.digest:
        return (
            f"no run: the parties hold different plans, server0 {request.digest} and {name} {hold.digest}; "
            "the owner must share the model again"
        )
    if request.model != hold.model:
        return f"no run: server0 and {name} hold shares of different uploads of the plan; the owner must share it again"
    return ""
