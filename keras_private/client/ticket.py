"""Queries that somebody will ask for later.

Theory of operation. What `query_model_async` sent may have nobody who waits, only an event loop that wants to be told.
So while there are tickets on their way, a thread of the client's own waits for their answers, and sends again what
failed in passing. It ends with the last ticket.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Any

from keras_private.client.errands import Errands
from keras_private.client.parts import Prediction
from keras_private.client.query import Query
from keras_private.client.session import GLANCE_S, Request, Session
from keras_private.errors import PartyError, StateError


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
        self.attempt: tuple[Session, Request] | None = None
        self.again_at = 0.0
        self._process = os.getpid()
        self._claim = claim
        self._callbacks = callbacks

    def __repr__(self) -> str:
        state = "taken back" if self.cancelled() else "answered or failed" if self.done() else "on its way"
        return f"<Ticket {state}>"

    def result(self, timeout: float | None = None) -> Prediction:
        self._use()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._use()
        return super().exception(timeout)

    def add_done_callback(self, fn: Callable[[Future[Prediction]], Any]) -> None:
        """As a `Future`'s; called in a thread of the client's own, where it may wait for other tickets."""
        self._use()
        # Called by the thread that looks after all tickets, it would wait for ever for another one of them.
        super().add_done_callback(fn if self.done() else lambda ticket: self._callbacks.put(partial(fn, ticket)))

    def on_done(self, fn: Callable[[Future[Prediction]], Any]) -> None:
        """`add_done_callback`, for the client's own use."""
        super().add_done_callback(fn)

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
        send: makes one attempt of a query. Raises as `query_model`.
    """

    def __init__(self, send: Callable[[Query], tuple[Session, Request]]) -> None:
        self._send = send
        self._changed = threading.Condition()  # around the fields below; notified when tickets come or go
        self._open: dict[Ticket, None] = {}  # on their way, in order
        self._unclaimed: dict[Ticket, None] = {}  # that nobody has asked for yet, in order
        self._thread: threading.Thread | None = None
        self._callbacks = Errands("callbacks")

    def new(self, query: Query) -> Ticket:
        return Ticket(query, self._claimed, self._callbacks)

    def add(self, ticket: Ticket) -> None:
        """Look after a ticket whose first attempt is on its way.

        Raises:
            RuntimeError: the system starts no more threads; the query was taken back.
        """
        ticket.on_done(self._ended)
        try:
            with self._changed:
                if self._thread is None:
                    thread = threading.Thread(target=self._live, name="keras_private tickets", daemon=True)
                    thread.start()
                    self._thread = thread
                self._open[ticket] = self._unclaimed[ticket] = None
                self._changed.notify()
        except BaseException:
            ticket.cancel()
            raise

    def oldest(self) -> Ticket:
        """The oldest that nobody has asked for.

        Raises:
            StateError: there is none, or one of another thread's.
        """
        with self._changed:
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
        with self._changed:
            tickets, self._open = list(self._open), {}
            self._unclaimed.clear()
            self._changed.notify()
        for ticket in tickets:
            ticket.settle(cause)

    def _claimed(self, ticket: Ticket) -> None:
        with self._changed:
            self._unclaimed.pop(ticket, None)

    def _ended(self, ticket: Future[Prediction]) -> None:
        """A ticket has its answer, or failed, or was taken back."""
        if not isinstance(ticket, Ticket):
            return
        with self._changed:
            self._open.pop(ticket, None)
            self._changed.notify()
            if ticket.cancelled():
                self._unclaimed.pop(ticket, None)
        attempt = ticket.attempt
        if ticket.cancelled() and attempt is not None:
            session, request = attempt
            session.take_back(request)

    # The thread

    def _live(self) -> None:
        while True:
            with self._changed:
                tickets = list(self._open)
                if not tickets:
                    self._thread = None
                    return
            self._send_again(tickets)
            for ticket in tickets:
                self._look_at(ticket)
            self._wait()

    def _wait(self) -> None:
        """Until something is settled or due, or for a moment."""
        with self._changed:
            sessions = {ticket.attempt[0] for ticket in self._open if ticket.attempt}
            if self._open and not sessions:
                due = min(ticket.again_at for ticket in self._open)
                self._changed.wait(max(0.0, due - time.monotonic()))
        for session in sessions:
            try:
                session.wait(self._news, time.monotonic() + GLANCE_S / len(sessions))
            except Exception as error:  # noqa: BLE001  no memory, say: this thread is the only one that tickets have
                failure = PartyError(f"the connection was interrupted ({type(error).__name__})").again()
                failure.__cause__ = error
                session.close(failure)

    def _news(self) -> bool:
        with self._changed:
            return any(ticket.attempt and ticket.attempt[1].settled for ticket in self._open)

    def _look_at(self, ticket: Ticket) -> None:
        if ticket.attempt is None or ticket.done():
            return
        session, request = ticket.attempt
        if not request.settled and time.monotonic() < ticket.query.deadline:
            return
        try:
            ticket.settle(session.result(request, ticket.query.deadline))
        except Exception as error:  # noqa: BLE001  whatever it is, somebody waits to be told
            self._failed(ticket, error)

    def _failed(self, ticket: Ticket, error: Exception) -> None:
        try:
            ticket.again_at = time.monotonic() + ticket.query.pause_after(error)
            ticket.attempt = None
        except Exception as final:  # noqa: BLE001  `error` itself
            ticket.settle(final)

    def _send_again(self, tickets: list[Ticket]) -> None:
        """Those whose pause is over. If there is no connection for one, there is none for the others."""
        now = time.monotonic()
        failure: Exception | None = None
        for ticket in tickets:
            if ticket.attempt is not None or ticket.done() or now < ticket.again_at:
                continue
            try:
                if failure is None:
                    ticket.attempt = session, request = self._send(ticket.query)
                    if ticket.cancelled():  # meanwhile
                        session.take_back(request)
            except Exception as error:  # noqa: BLE001  whatever it is, somebody waits to be told
                failure = error
            if failure is not None:
                self._failed(ticket, failure)
