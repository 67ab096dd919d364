"""Queries that somebody will ask for later.

Theory of operation. What `query_model_async` sent may have nobody who waits, only an event loop that wants to be told.
A ticket is one question, in one or more batches. Its batches are sent by a thread that does nothing else: it waits for
room in the window and for a connection, and sends again what failed in passing, once its pause is over. Their answers
are taken in by the thread of their session (`Watch`). So neither waits for the other, and both end with the work.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Any

from keras_private.client.batches import AT_ONCE, Batch, joined
from keras_private.client.errands import Errands
from keras_private.client.parts import Prediction
from keras_private.client.query import Query
from keras_private.client.request import Request
from keras_private.client.session import Session
from keras_private.errors import LinkTimeoutError, RangeError, StateError

_LATE_S = 0.5  # after a query's deadline; who looks after it has had the time to say what was missing

Send = Callable[[Query, Callable[[], bool]], tuple[Session, Request]]
"""Makes one attempt of a query, unless the function says that nobody wants it any more. Raises as `query_model`."""


class _ThisThread(threading.local):
    """What tells a thread from every other one, ended ones too: the system gives their idents out again."""

    def __init__(self) -> None:
        self.token = object()


_this_thread = _ThisThread()


class Ticket(Future[Prediction]):
    """What `query_model_async` returns: a `concurrent.futures.Future` of the answer.

    `result(timeout)` waits for the answer and raises what `query_model` would raise; `cancel()` takes the query back,
    as long as there is no answer; `await asyncio.wrap_future(ticket)` waits without a thread.

    A ticket that is used in any of these ways is its holder's: `query_model_join()` without a ticket leaves it alone.
    """

    def __init__(self, query: Query, claim: Callable[[Ticket], None], callbacks: Errands) -> None:
        super().__init__()
        self.query = query
        self.thread = _this_thread.token
        self.batches: Sequence[Batch] = ()
        self.unsent: deque[Batch] = deque()
        self.on_rows: Callable[[int], None] | None = None
        self._process = os.getpid()
        self._claim = claim
        self._callbacks = callbacks

    def __repr__(self) -> str:
        state = "taken back" if self.cancelled() else "answered or failed" if self.done() else "on its way"
        return f"<Ticket {state}>"

    def result(self, timeout: float | None = None) -> Prediction:
        self._use()
        if timeout is not None and timeout < self.left:
            return super().result(timeout)
        try:
            return super().result(self.left)
        except TimeoutError:
            self.expire()
            return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._use()
        if timeout is not None and timeout < self.left:
            return super().exception(timeout)
        try:
            return super().exception(self.left)
        except TimeoutError:
            self.expire()
            return super().exception(0)

    def add_done_callback(self, fn: Callable[[Future[Prediction]], Any]) -> None:
        """As a `Future`'s; called in a thread of the client's own, where it may wait for other tickets."""
        self._use()
        # Called by the thread that looks after all tickets, it would wait for ever for another one of them.
        super().add_done_callback(fn if self.done() else lambda ticket: self._callbacks.put(partial(fn, ticket)))

    def on_done(self, fn: Callable[[Future[Prediction]], Any]) -> None:
        """`add_done_callback`, for the client's own use."""
        super().add_done_callback(fn)

    @property
    def answered(self) -> int:
        """How many of its batches were."""
        return sum(batch.outcome is not None for batch in self.batches)

    @property
    def left(self) -> float:
        """Seconds after which nobody need wait for it any more."""
        return min(threading.TIMEOUT_MAX, max(0.0, self.query.deadline - time.monotonic()) + _LATE_S)

    def expire(self) -> None:
        """Its time is over, whatever the thread is doing that should send it: connecting, for an earlier one, say."""
        self.settle(LinkTimeoutError("no answer came in time; the parties could not even be asked. Are they there?"))

    def settle(self, outcome: Prediction | Exception) -> None:
        """The answer, or why there is none; nothing if it was taken back in this moment."""
        try:
            if isinstance(outcome, Exception):
                self.set_exception(outcome)
            else:
                self.set_result(outcome)
        except InvalidStateError:
            pass

    def _use(self) -> None:
        if self._process != os.getpid():
            raise StateError("this query was sent by the process that forked; ask for its answer there")
        self._claim(self)


class Tickets:
    """A client's tickets. Thread-safe.

    Args:
        send: see `Send`.
        divide: the batches of a query. Raises as `query_model`.
        pause_after: the seconds before an attempt is made again that failed in a session. Raises the error if none is.
    """

    def __init__(
        self,
        send: Send,
        divide: Callable[[Query], list[Batch]],
        pause_after: Callable[[Query, Session | None, Exception], float],
    ) -> None:
        self._send = send
        self._divide = divide
        self._pause_after = pause_after
        self._lock = threading.Lock()  # around the fields below
        self._open: dict[Ticket, None] = {}  # on their way, in order
        self._unclaimed: dict[Ticket, None] = {}  # that nobody has asked for yet, in order
        self._sender = Errands("queries")
        self._callbacks = Errands("callbacks")

    def new(self, query: Query) -> Ticket:
        return Ticket(query, self._claimed, self._callbacks)

    def start(self, ticket: Ticket, batches: Sequence[Batch] = ()) -> None:
        """Send a ticket's query as soon as may be. Waits for nothing; what goes wrong is the ticket's outcome.

        Args:
            batches: its own; none: they are made in the thread that sends.
        """
        self._keep(ticket)
        if batches:
            self._launch(ticket, batches)
        else:
            self._sender.put(partial(self._begin, ticket))

    def add(self, ticket: Ticket, batches: Sequence[Batch]) -> None:
        """Look after a ticket whose first batch is on its way.

        Raises:
            RuntimeError: the system starts no more threads; the query was taken back.
        """
        ticket.batches, ticket.unsent = batches, deque(batches[1:])
        self._keep(ticket)
        try:
            self._watch(ticket, batches[0])
        except BaseException:
            ticket.cancel()
            raise
        for _ in range(AT_ONCE - 1):
            self._send_next(ticket)

    def oldest(self) -> Ticket:
        """The oldest that nobody has asked for.

        Raises:
            StateError: there is none, or one of another thread's.
        """
        with self._lock:
            tickets = list(self._unclaimed)
        if not tickets:
            raise StateError("no query is on its way; call query_model_async first")
        if any(ticket.thread is not _this_thread.token for ticket in tickets):
            raise StateError(
                "another thread's queries are on their way too, so the oldest may not be this thread's: keep what "
                "query_model_async returns and call query_model_join(ticket)"
            )
        return tickets[0]

    def close(self, cause: Exception) -> None:
        """All that are on their way end with `cause`."""
        with self._lock:
            tickets, self._open = list(self._open), {}
            self._unclaimed.clear()
        for ticket in tickets:
            ticket.settle(cause)

    def _claimed(self, ticket: Ticket) -> None:
        with self._lock:
            self._unclaimed.pop(ticket, None)

    def _keep(self, ticket: Ticket) -> None:
        ticket.on_done(self._ended)
        with self._lock:
            self._open[ticket] = self._unclaimed[ticket] = None

    def _ended(self, ticket: Future[Prediction]) -> None:
        """A ticket has its answer, or failed, or was taken back."""
        if not isinstance(ticket, Ticket):
            return
        with self._lock:
            self._open.pop(ticket, None)
            if ticket.cancelled():
                self._unclaimed.pop(ticket, None)
        for batch in ticket.batches:
            if batch.outcome is None:
                take_back(batch)

    # In the thread that sends

    def _begin(self, ticket: Ticket) -> None:
        if ticket.done():
            return
        try:
            batches = self._divide(ticket.query)
        except Exception as error:  # noqa: BLE001  whatever it is, somebody waits to be told
            self._failed(ticket, ticket.query, None, error, partial(self._begin, ticket))
        else:
            self._launch(ticket, batches)

    def _launch(self, ticket: Ticket, batches: Sequence[Batch]) -> None:
        ticket.batches, ticket.unsent = batches, deque(batches)
        for _ in range(AT_ONCE):
            self._send_next(ticket)

    def _send_batch(self, ticket: Ticket, batch: Batch) -> None:
        if ticket.done():
            return
        try:
            batch.attempt = self._send(batch.query, ticket.done)
            self._watch(ticket, batch)
        except Exception as error:  # noqa: BLE001  whatever it is, somebody waits to be told
            self._failed(ticket, batch.query, None, error, partial(self._send_batch, ticket, batch))

    def _failed(
        self, ticket: Ticket, query: Query, session: Session | None, error: Exception, again: Callable[[], None]
    ) -> None:
        try:
            self._sender.put(again, self._pause_after(query, session, error))
        except Exception as final:  # noqa: BLE001  `error` itself
            ticket.settle(final)

    # In the thread of a session

    def _watch(self, ticket: Ticket, batch: Batch) -> None:
        if batch.attempt is None:
            return
        session, request = batch.attempt
        session.watch(request, batch.query.deadline, partial(self._settled, ticket, batch))
        if ticket.done():  # meanwhile
            session.take_back(request)

    def _settled(self, ticket: Ticket, batch: Batch) -> None:
        if ticket.done() or batch.attempt is None:
            return
        session, request = batch.attempt
        try:
            batch.outcome = session.result(request, batch.query.deadline)
        except RangeError as error:
            batch.outcome = error
        except Exception as error:  # noqa: BLE001  whatever it is, somebody waits to be told
            batch.attempt = None
            again = partial(self._send_batch, ticket, batch)
            if request.crowded:
                self._sender.put(again)
            else:
                self._failed(ticket, batch.query, session, error, again)
            return
        self._send_next(ticket)
        if ticket.on_rows is not None:
            ticket.on_rows(batch.rows)
        if ticket.answered == len(ticket.batches):
            try:
                ticket.settle(joined(ticket.batches))
            except Exception as error:  # noqa: BLE001  rows without an answer, no memory
                ticket.settle(error)

    def _send_next(self, ticket: Ticket) -> None:
        with self._lock:
            batch = ticket.unsent.popleft() if ticket.unsent and not ticket.done() else None
        if batch is not None:
            self._sender.put(partial(self._send_batch, ticket, batch))


def take_back(batch: Batch) -> None:
    """Let the parties forget a batch, if it is on its way."""
    if (attempt := batch.attempt) is not None:
        session, request = attempt
        session.take_back(request)
