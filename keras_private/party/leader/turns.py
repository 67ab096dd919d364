"""Whose rows come next: a run is shared fairly among the clients that wait.

Theory of operation. Rows are what a run costs, so rows are shared, not requests: every client that waits gets as many
as every other, and what one does not need goes to the others (max-min fairness). A request that is larger than its
client's part is run in pieces. Within a client, requests keep their order.

How long a run may get. One client alone gets runs as large as there is room for: nobody else has to wait for their end.
Where clients compete, a single image must not wait for a hundred rows of somebody else's. Yet runs that are too
small waste the fixed cost of a run, which is small between processes of one machine and large between continents. So
the leader measures it (`Pace`): seconds = fixed + rows · each, fitted to the latest runs. In company a run gets the
rows that make its fixed cost an eighth of it, and at least one for every client that waits.

When a run begins. Clients that ask one query after the other are all back a moment after their answers. Who began at
once with the first of them would run many small runs, each at the full fixed cost. So where others took part in the
latest runs, the next one waits for them, no longer than the latest run took, nor than `COMPANY_S`; if one does not come
in that time, the next runs wait for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from keras_private.party.messages import Part
from keras_private.party.queue import Piece, Request

COMPANY_S = 2.0  # a client that waited so lately will probably be back
LEAST_ROWS = 8
FIRST_ROWS = 32  # as long as nothing has been measured
_FIXED_PART = 8
_LATEST = 2  # who took part in so many runs is expected back
_IMPATIENT = 16  # runs that wait for nobody after somebody did not come
_FORGET = 0.97  # what a run's weight becomes with every later one


class Pace:
    """What runs take, by their rows: least squares over the latest ones."""

    def __init__(self) -> None:
        self._weight = self._rows = self._seconds = self._squares = self._products = 0.0

    def note(self, rows: int, seconds: float) -> None:
        """A run has taken so long."""
        for name, value in (("weight", 1.0), ("rows", rows), ("seconds", seconds), ("squares", rows * rows)):
            setattr(self, f"_{name}", _FORGET * getattr(self, f"_{name}") + value)
        self._products = _FORGET * self._products + rows * seconds

    @property
    def rows(self) -> int:
        """Rows of a run that others wait for."""
        spread = self._weight * self._squares - self._rows**2
        if spread <= 1e-6 * max(1.0, self._rows**2):  # all runs were alike
            return FIRST_ROWS
        each = (self._weight * self._products - self._rows * self._seconds) / spread
        fixed = (self._seconds - each * self._rows) / self._weight
        if each <= 0 or fixed <= 0:
            return FIRST_ROWS
        return max(LEAST_ROWS, int(min((_FIXED_PART - 1) * fixed / each, 1e6)))


class Turns:
    """Chooses the requests of each run. Not thread-safe."""

    def __init__(self) -> None:
        self.pace = Pace()
        self._runs = 0
        self._ended: tuple[float, float] | None = None  # when the latest run did, and how long others may be waited for
        self._impatient_until = 0
        self._served: dict[str, tuple[int, float]] = {}  # the last run with this client's rows, and when it was chosen

    def ended(self, rows: int, seconds: float) -> None:
        """A run has ended well."""
        self.pace.note(rows, seconds)
        self._ended = time.monotonic(), seconds

    def patience(self, waiting: Collection[str]) -> float:
        """Seconds that a run for these clients had better wait for others; 0: begin.

        Ask again when somebody has come or the time is over.
        """
        if self._ended is None or self._runs < self._impatient_until:
            return 0.0
        expected = [
            client for client, (run, _) in self._served.items() if run > self._runs - _LATEST and client not in waiting
        ]
        if not expected:
            return 0.0
        at, seconds = self._ended
        left = at + min(seconds, COMPANY_S) - time.monotonic()
        if left > 0:
            return left
        self._impatient_until = self._runs + _IMPATIENT
        return 0.0

    def choose(
        self, waiting: Mapping[str, Sequence[Request]], room: Callable[[Part | None], int], most: int
    ) -> list[Piece]:
        """The next run: of queries, or of one part of an evaluation.

        Args:
            waiting: every client's requests that can run, in order of arrival.
            room: rows that a run may have, of such a part or of queries.
            most: requests that it may have.
        """
        now = time.monotonic()
        self._served = {
            client: (run, at) for client, (run, at) in self._served.items() if client in waiting or now - at < COMPANY_S
        }
        company = len(waiting.keys() | self._served.keys()) > 1
        # Who was served longest ago comes first; among those never served, who came first (the order of `waiting`).
        clients = sorted(waiting, key=lambda client: self._served.get(client, (-1, 0.0))[0])
        first = waiting[clients[0]][0]
        if first.part:  # nobody else's rows, and no other's of this client
            waiting = {clients[0]: [first]}
        elif any(request.part for requests in waiting.values() for request in requests):
            waiting = {client: [r for r in requests if not r.part] for client, requests in waiting.items()}
        clients = [client for client in clients if waiting.get(client)]
        rows = room(first.part)
        if company:
            rows = min(rows, max(self.pace.rows, len(waiting)))
        parts = share_out([sum(r.rows - r.done for r in waiting[client]) for client in clients], rows)
        queues = [_pieces(waiting[c], part, cut=company) for c, part in zip(clients, parts, strict=True)]
        pieces: list[Piece] = []
        while len(pieces) < most and any(queues):  # by turns, so that `most` is shared too
            pieces += [queue.pop(0) for queue in queues if queue][: most - len(pieces)]
        self._runs += 1
        for piece in pieces:
            self._served[piece.request.client] = (self._runs, now)
        return pieces


def share_out(wanted: Sequence[int], room: int) -> list[int]:
    """Max-min fair: everybody gets the same, but nobody more than wanted. A rest goes to the first in line."""
    given = [0] * len(wanted)
    while room and (open_ := [i for i, want in enumerate(wanted) if want > given[i]]):
        each = max(1, room // len(open_))
        for i in open_[:room]:
            more = min(each, wanted[i] - given[i], room)
            given[i] += more
            room -= more
    return given


def _pieces(requests: Sequence[Request], rows: int, *, cut: bool) -> list[Piece]:
    """The next `rows` rows of these requests. Without `cut` only the first is ever cut, if it is too large as it is."""
    pieces: list[Piece] = []
    for request in requests:
        left = request.rows - request.done
        if not rows or (left > rows and pieces and not cut):
            break
        pieces.append(Piece(request, min(left, rows)))
        rows -= pieces[-1].rows
    return pieces
