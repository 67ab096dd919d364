"""Whose rows come next: clients take turns, and what counts is rows.

Theory of operation. Deficit round robin (Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round-Robin",
IEEE/ACM Transactions on Networking, 1996) with rows in the place of bytes. Clients that wait stand in a line. A run
visits them in its order: each is allowed some more rows (its *deficit* grows), and as many of its requests join the
run, in order of arrival, as it is allowed rows for. Whoever was served goes to the end of the line; who stops waiting
leaves it, and its deficit is forgotten. So a client that sends a hundred rows at a time and one that sends single ones
get equally many rows while both wait, and a run is never empty while something can run.

How long a run may get. One client alone gets runs as large as there is room for: nobody else has to wait for their
end. Where clients compete, a single row must not wait for a hundred rows of somebody else's. A request that is larger
than `Pace.rows` then runs in pieces of so many rows, each in a run of its own, and others' runs come between them. The
leader measures what runs take: seconds = fixed + rows · each, fitted to the latest ones. A piece takes up to four times
what a single row takes. Who finds one half done has waited for two such times when their own row begins, which is the
third: so it takes three times as long as it would take alone, and a quarter of the time at most is lost to fixed costs.

A run is of one model: that of the first in line. Others of that model join it.

When a run begins: at once, if a lane is free. While lanes are busy the queue gathers. An operator may have runs wait
for more requests (`limits.batch_delay_ms`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from keras_private.party.queue import Piece, Request

COMPANY_S = 2.0  # a client that waited so lately will probably be back
FIRST_ROWS = 8  # as long as nothing has been measured
_TIMES = 4  # what a single row takes: the longest that a piece may take
_FORGET = 0.97  # what a run's weight becomes with every later one
_MODELS = 64  # of which it is remembered what their runs take

Limits = Callable[[Request], tuple[int, int]]
"""Rows and requests that a run may have which begins with this request; 0 of either: it cannot run now."""


class Pace:
    """What runs of a model take, by their rows: least squares over the latest ones."""

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
        return _TIMES + int(min((_TIMES - 1) * fixed / each, 1e6))


class Turns:
    """Chooses the requests of each run. Not thread-safe.

    Args:
        delay_s: how long a run waits for more requests.
    """

    def __init__(self, delay_s: float = 0.0) -> None:
        self._delay = delay_s
        self._paces: dict[bytes, Pace] = {}
        self._line: dict[str, int] = {}  # clients in the order of their turns, and their deficits in rows
        self._interrupted: set[str] = set()  # in the middle of their turns
        self._served: dict[str, float] = {}  # when a run with this client's rows was chosen last

    def ended(self, model: bytes, rows: int, seconds: float) -> None:
        """A run has ended well."""
        self.pace(model).note(rows, seconds)

    def pace(self, model: bytes) -> Pace:
        """Of this model."""
        pace = self._paces[model] = self._paces.pop(model) if model in self._paces else Pace()  # the latest are last
        while len(self._paces) > _MODELS:
            del self._paces[next(iter(self._paces))]
        return pace

    def patience(self, waiting: Mapping[str, Sequence[Request]], limits: Limits) -> float:
        """Seconds that a run for these clients has to wait for more requests; 0: begin.

        Ask again when something has come or the time is over.
        """
        if not self._delay:
            return 0.0
        requests = [request for own in waiting.values() for request in own]
        first = min(requests, key=lambda request: request.arrived)
        if sum(request.rows - request.done for request in requests) >= limits(first)[0]:
            return 0.0
        return max(0.0, first.arrived + self._delay - time.monotonic())

    def choose(self, waiting: Mapping[str, Sequence[Request]], limits: Limits) -> list[Piece]:
        """The next run: of queries, or of one part of an evaluation. Empty: nothing of this can run now.

        Args:
            waiting: every client's requests that can run, in order of arrival.
        """
        now = time.monotonic()
        self._served = {client: at for client, at in self._served.items() if client in waiting or now - at < COMPANY_S}
        self._line = {client: deficit for client, deficit in self._line.items() if client in waiting}
        self._interrupted &= waiting.keys()
        self._line |= {client: 0 for client in waiting if client not in self._line}
        company = len(waiting.keys() | self._served.keys()) > 1
        pieces = self._round(waiting, limits) if company else _alone(waiting, limits)
        self._served |= dict.fromkeys((piece.request.client for piece in pieces), now)
        return pieces

    def _round(self, waiting: Mapping[str, Sequence[Request]], limits: Limits) -> list[Piece]:
        """A run where clients compete: whole requests of several, or one that has to run alone, or a piece of it.

        A round ends with the run and goes on in the next one: who was visited goes to the end of the line. Only who was
        allowed more than found room in this run keeps the place.
        """
        queues = {client: deque(requests) for client, requests in waiting.items()}
        visits, pieces, model = deque(self._line), list[Piece](), b""
        rows = most = piece = share = 0
        while visits:
            client = visits.popleft()
            queue = queues[client]
            if not pieces:
                model, (rows, most) = queue[0].model, limits(queue[0])
                if rows <= 0 or most <= 0:
                    continue
                rivals = sum(own[0].model == model for own in waiting.values())
                piece = min(rows, self.pace(model).rows)
                rows = min(rows, max(piece, rivals))
                share = max(1, rows // rivals)
            if queue[0].model != model:  # the next run may be its
                continue
            if client in self._interrupted:
                self._interrupted.remove(client)
            else:
                self._line[client] = min(piece, self._line[client] + share)  # more is of no use, so none is kept
            full = False
            while queue and queue[0].model == model:
                left = queue[0].rows - queue[0].done
                alone, wanted = queue[0].part is not None or left > piece, min(left, piece)
                if wanted > self._line[client]:
                    break
                full = bool(pieces) and (alone or wanted > rows or len(pieces) == most)
                if full:
                    break
                pieces.append(Piece(queue.popleft(), wanted))
                self._line[client] -= wanted
                rows = 0 if alone else rows - wanted
            if full:
                self._interrupted.add(client)
            else:
                self._line[client] = self._line.pop(client)  # to the end
                if queue:
                    visits.append(client)
            if pieces and (not rows or len(pieces) == most):
                break
        return pieces


def _alone(waiting: Mapping[str, Sequence[Request]], limits: Limits) -> list[Piece]:
    """A run where nobody competes: as large as it can be."""
    (requests,) = waiting.values()
    rows, most = limits(requests[0])
    if rows <= 0 or most <= 0:
        return []
    if requests[0].part is not None:
        return [Piece(requests[0], min(requests[0].rows - requests[0].done, rows))]
    return _whole(_joining(requests, requests[0]), rows, most)


def _joining(requests: Sequence[Request], first: Request) -> list[Request]:
    """Those at the head of a client's that may be in one run with this request: queries of its model."""
    found: list[Request] = []
    for request in requests:
        if request.part is not None or request.model != first.model:
            break
        found.append(request)
    return found


def _whole(requests: Sequence[Request], rows: int, most: int) -> list[Piece]:
    """The next rows of one client. Only the first of its requests is ever cut, if it is too large as it is."""
    pieces: list[Piece] = []
    for request in requests[:most]:
        left = request.rows - request.done
        if not rows or (left > rows and pieces):
            break
        pieces.append(Piece(request, min(left, rows)))
        rows -= pieces[-1].rows
    return pieces
