"""Tallies: what a party has added up of the evaluations that go on, and what came of those that an owner is told of.

Theory of operation. A large set comes in parts, each of which is a request with scores for answers (`plan.scoring`). A
party adds its shares of the scores to its *tally* of the evaluation, and tells nobody; with the last part the tally is
the total's share, and leaves for the client, or waits for the owner. Sums of fresh sharings are fresh, so that the
total's summands tell no more than their sum.

The three tallies of an evaluation have to stay alike. So they belong to a lane, like its masks: only what is announced
in the lane adds to them, all begin empty with it, and end with it. A part that does not begin where the tally ends is
refused: so none counts twice, and none is left out. The leader looks at its own tally before it announces a part
(`obstacle`), and every party at its own when the part has run (`add`). What the leader lets go (the client is gone, or
has said nothing for long) it lets go for good, and tells the followers, at any moment of a run: a party that has
forgotten an evaluation meanwhile runs the part as the others do, adds nothing up, and refuses. So clients who give up
at a bad moment, or use an id twice, stop no lane, and a total is of all rows or is not told.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from keras_private.party.causes import LOST, Cause
from keras_private.party.messages import REFUSED, Part
from keras_private.sharing.share import Share

OPEN = 16
"""Evaluations that go on of one client."""
KEPT = 1024
"""Results that a party keeps for the owner of a model; then the oldest go."""
_REMEMBERED = 4096  # evaluations that were forgotten


@dataclass(slots=True, eq=False)
class Tally:
    """One evaluation that goes on: this party's share of the sum of the scores of the rows that came so far, and of the
    sums of what stands behind the scores of a row."""

    model: bytes
    client: str
    metric: str
    rows: int = 0
    share: Share | None = field(default=None, repr=False)
    touched: float = field(default_factory=time.monotonic)

    def add(self, scores: Share, counts: int) -> None:
        """Take in what further rows have, (rows, words): so many scores each, and what stands behind them."""
        self.rows += scores.shape[0]
        mine, following = _sum(scores.mine, counts), _sum(scores.next, counts)
        if self.share is not None:
            mine, following = self.share.mine + mine, self.share.next + following
        self.share = Share(mine, following)
        self.touched = time.monotonic()


def _sum(words: NDArray[np.uint64], counts: int) -> NDArray[np.uint64]:
    """Of all scores, and of each column behind them."""
    columns: NDArray[np.uint64] = np.add.reduce(words, axis=0, dtype=np.uint64)
    return np.concatenate([np.sum(columns[:counts], dtype=np.uint64, keepdims=True), columns[counts:]])


def crowded(count: int, client: str) -> Cause | None:
    """Why no further evaluation of this client, of which so many go on, may begin, or nothing."""
    if count < OPEN:
        return None
    return Cause(REFUSED, f"{client} has {count} evaluations that go on, and may have {OPEN}; end or cancel one")


class Tallies:
    """Those of one lane. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[bytes, Tally] = {}
        self._forgotten: dict[bytes, None] = {}  # lately, in order

    def __len__(self) -> int:
        return len(self._open)

    def clear(self) -> None:
        with self._lock:
            self._open.clear()

    def forget(self, ids: Iterable[bytes]) -> None:
        """These evaluations do not go on, not even with a part that runs just now."""
        with self._lock:
            for id_ in ids:
                self._open.pop(id_, None)
                self._forgotten[id_] = None
            while len(self._forgotten) > _REMEMBERED:
                del self._forgotten[next(iter(self._forgotten))]

    def obstacle(self, part: Part, model: bytes, client: str) -> Cause | None:
        """Why a part cannot be added, or nothing."""
        with self._lock:
            return self._obstacle(part, model, client)

    def _obstacle(self, part: Part, model: bytes, client: str) -> Cause | None:
        tally = self._open.get(part.evaluation)
        if part.evaluation in self._forgotten:
            return LOST
        if tally is None:
            return LOST if part.start else None
        if (tally.client, tally.metric) != (client, part.metric):
            return Cause(REFUSED, "this evaluation's id is in use, for something else; use a new random one")
        if tally.model != model:
            return LOST
        if tally.rows != part.start:
            return Cause(REFUSED, f"the evaluation has come to row {tally.rows}, and this part begins at {part.start}")
        return None

    def count(self, model: bytes, client: str) -> int:
        """Evaluations of this model that go on for this client."""
        with self._lock:
            return sum((tally.client, tally.model) == (client, model) for tally in self._open.values())

    def add(self, part: Part, model: bytes, client: str, scores: Share, counts: int) -> Tally | Cause:
        """Add what a part that has run made, as `Tally.add`. The tally; of the last part, that of all rows. Or why
        nothing was added: what came between, since it was announced."""
        with self._lock:
            if cause := self._obstacle(part, model, client):
                return cause
            tally = self._open.get(part.evaluation) or Tally(model, client, part.metric)
            tally.add(scores, counts)
            if part.last:
                self._open.pop(part.evaluation, None)
            else:
                self._open[part.evaluation] = tally
            return tally

    def idle(self, seconds: float, waiting: Collection[bytes]) -> list[bytes]:
        """Evaluations that have not gone on for so long, though no part of them waits."""
        before = time.monotonic() - seconds
        with self._lock:
            return [id_ for id_, tally in self._open.items() if tally.touched < before and id_ not in waiting]


@dataclass(frozen=True, slots=True)
class Result:
    """An evaluation that has ended, for the owner: this party's share of the total, and of those of notices."""

    evaluation: bytes
    client: str
    metric: str
    rows: int
    share: Share = field(repr=False)


class Results:
    """The latest results of a model. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Result] = deque(maxlen=KEPT)

    def __repr__(self) -> str:
        return f"<{len(self._kept)} results>"

    def add(self, result: Result) -> None:
        with self._lock:
            self._kept.append(result)

    def all(self) -> list[Result]:
        with self._lock:
            return list(self._kept)
