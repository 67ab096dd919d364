"""`Client`: connects to a model, queries it, and asks again where that may help.

Theory of operation. A client has one session with each triple of parties, shared by all its threads, and replaces it
when it is lost (`Routes`). A query that somebody waits for is sent, read and, where that may help, sent again by
that thread; those of `query_model_async` are looked after by `Tickets`.

The lock is never held while anything is waited for, so `close` from another thread returns at once.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

from keras_private import tracing
from keras_private.client.batches import Batch, divided
from keras_private.client.checks import check_data, check_size, count_of, seconds_of
from keras_private.client.evaluation import Score, evaluate
from keras_private.client.parts import Prediction
from keras_private.client.query import Query
from keras_private.client.request import Request
from keras_private.client.routes import Routes
from keras_private.client.session import Session
from keras_private.client.shapes import shapes_of
from keras_private.client.target import Cluster, Target, closed
from keras_private.client.ticket import Ticket, Tickets
from keras_private.errors import (
    ConfigError,
    InputError,
    KerasPrivateError,
    StateError,
)
from keras_private.net.roles import Role
from keras_private.party.fields import MODEL_NAME
from keras_private.party.messages import EvaluationPort, InputPort, OutputPort
from keras_private.progress import rows_bar

T = TypeVar("T")

QUERY_TIMEOUT_S = 600.0
"""How long a query waits for its answer unless told otherwise. It may be asked before the model is served."""
RETRIES = 2
"""How often a query is asked again, unless told otherwise, where that may help."""


def _never() -> bool:
    return False


class Client:
    """A client that queries a served model. Thread-safe: several threads may query at once, each gets its own answers.

    Args:
        name: who this client is. It chooses the certificate: the files that `{name}` in cluster.yaml's `tls` stands
            for; without `tls`, this user's own development certificate of that name. A party lets one name
            hold 64 connections and a share of its queue. Of those that leave it at "client" connections count one by
            one, but they have one share of the queue together.
        timeout: seconds that a query may wait for its answer.

    Raises:
        ConfigError: the name is not one.
        InputError: the timeout is not one.
    """

    def __init__(self, name: str = "client", timeout: float = QUERY_TIMEOUT_S) -> None:
        self._role = Role("client", name)
        self._timeout = seconds_of(timeout)
        tracing.start_client()
        self._targets: tuple[Target, ...] = ()
        self._start_anew()

    def _start_anew(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()  # around targets and routes; never held while something is waited for
        self._routes = Routes(self._role, self._targets) if self._targets else None
        self._tickets = Tickets(self._send, self._divide, self._pause_after)

    def _here(self) -> None:
        """In the child of a fork all begins anew: a lock may be held for ever there, the connections are another's.

        They are left alone, neither used nor closed; the child's next query connects by itself.
        """
        if self._process != os.getpid():
            self._start_anew()

    # The connection

    def connect_to_model(
        self,
        input_shape: Any = None,
        output_shape: Any = None,
        cluster: Cluster | None = None,
        *,
        model: str = "",
        owner: str | None = None,
        digest: str | None = None,
    ) -> Self:
        """Connect to a model that the cluster's parties hold, and make sure that it is the one meant.

        If a party or a connection is lost later, or the owner shares the same model again, the next query connects by
        itself, to the same plan of the same owner only.

        `connect_to_model(cluster)` takes the model's shapes as they are.

        Args:
            input_shape, output_shape: of the model, with a batch axis first, whatever its size. Of several inputs or
                outputs a list of shapes, or a dict by name. None: whatever the model has.
            cluster: a `TFECluster`; it need not have been started from here.
            model: what its owner calls it. Empty: the default, which is the model that was shared without a name, or
                the only one that there is.
            owner: whose model it must be: the name in the owner's certificate; None takes anybody's.
            digest: which plan it must be: the SHA-256 in hex that `share` prints; None takes any. Weights are not part
                of it: who may change them is decided by `owner`.

        Raises:
            ConfigError: `cluster` is none, or there are no usable certificates.
            InputError: the shapes are not shapes, or not the model's; model, owner or digest is not one. Names both.
            RefusedError: the model is another owner's or another plan; the parties do not hold it, or hold several and
                none was named, or do not let this client in.
            LinkError: a party cannot be reached.
        """
        if cluster is None and output_shape is None and hasattr(input_shape, "network"):
            input_shape, cluster = None, input_shape
        if cluster is None or not hasattr(cluster, "network"):
            if any(hasattr(shape, "network") for shape in (input_shape, output_shape)):
                raise ConfigError("connect_to_model() takes the cluster alone, or behind both shapes")
            raise ConfigError(
                f"connect_to_model() takes a TFECluster, not {type(cluster).__name__}; "
                "TFECluster.from_yaml makes one from a file"
            )
        shapes = (shapes_of(input_shape, "input_shape"), shapes_of(output_shape, "output_shape"))
        if model != "" and not (isinstance(model, str) and re.match(MODEL_NAME, model)):
            raise InputError(f"model is what its owner calls it, a name as in share(name=…), not {model!r}")
        if owner is not None and not isinstance(owner, str):
            raise InputError(f"owner is the name in the owner's certificate, text, not {owner!r}")
        if digest is not None and not (isinstance(digest, str) and _is_digest(digest)):
            raise InputError(f"digest is 64 hexadecimal digits, as share() prints them, not {digest!r}")
        self.close()
        target = Target(cluster, *shapes, owner, digest and digest.lower(), model)
        replicas = getattr(cluster, "replicas", (cluster,))
        routes = Routes(self._role, [replace(target, cluster=replica) for replica in replicas])
        try:
            routes.connect(time.monotonic() + cluster.config.limits.timeout_s)
        except BaseException:
            routes.close()
            raise
        with self._lock:
            previous, self._routes, self._targets = self._routes, routes, routes.targets
        if previous is not None:  # another thread was as quick
            previous.close()
        return self

    @property
    def _target(self) -> Target | None:
        return self._routes.target if self._routes else None

    @property
    def _session(self) -> Session | None:
        return self._routes.session if self._routes else None

    @property
    def connected(self) -> bool:
        """Whether this client has connections to the three parties at the moment; a query makes new ones if not."""
        session = self._session
        return session is not None and session.usable

    @property
    def owner(self) -> str | None:
        """The name of the owner whose model this client is connected to."""
        return self._target.owner if self._target else None

    @property
    def digest(self) -> str | None:
        """The SHA-256, in hex, of the plan that this client is connected to."""
        return self._target.digest if self._target else None

    @property
    def model(self) -> tuple[str, int] | None:
        """The name and version of the model that this client is connected to."""
        session = self._session
        return (session.model.name, session.model.version) if session else None

    @property
    def inputs(self) -> tuple[InputPort, ...] | None:
        """What the model takes: of each input, in order, its name, shape without the batch, kind and range."""
        session = self._session
        return session.model.inputs if session else None

    @property
    def outputs(self) -> tuple[OutputPort, ...] | None:
        """What the model gives: of each output, in order, name, shape without the batch, kind and what is revealed."""
        session = self._session
        return session.model.results if session else None

    @property
    def evaluations(self) -> dict[str, EvaluationPort] | None:
        """What the model's owner allows `evaluate_model` to ask for, by metric: who is told, and the fewest rows."""
        session = self._session
        return {port.metric: port for port in session.model.evaluations} if session else None

    def close(self) -> None:
        """Leave the parties; queries on their way end with a StateError. To query again, connect again.

        From any thread, and waits for nobody. Idempotent.
        """
        self._here()
        self._tickets.close(closed())  # before any of them finds no target
        with self._lock:
            routes, self._routes, self._targets = self._routes, None, ()
        if routes is not None:
            routes.close()
        self._tickets.close(closed())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client(<{'connected' if self.connected else 'not connected'}>)"

    def _connected(self, deadline: float) -> tuple[Target, Session]:
        """A way for a query. Raises as `Routes.take`."""
        routes = self._routes
        if routes is None:
            raise StateError("this client is not connected; call connect_to_model first")
        return routes.take(deadline)

    def _pause_after(self, query: Query, session: Session | None, error: Exception) -> float:
        """Seconds to wait before the next attempt of a query that failed in a session. Raises `error` if there shall be
        none."""
        pause = query.pause_after(error)
        routes = self._routes
        moves = routes is not None and isinstance(error, KerasPrivateError) and routes.failed(session, error)
        return 0.0 if moves else pause

    # Queries

    def query_model(
        self, data: Any, timeout: float | None = None, *, retries: float = RETRIES, verbose: int = 1
    ) -> Prediction:
        """The model's prediction for an array of any length, in private.

        What is more than the parties take at once goes to them in batches, some of which are on their way at a time.
        Ctrl-C takes them back.

        Args:
            data: what `model.predict` takes: numbers of shape (batch, *input shape), any dtype and memory order, 1 row
                or more; of several inputs a list of such arrays, or a dict by name.
            timeout: seconds to wait for the answer, the whole of it; None: this client's own.
            retries: how often to ask again, each batch, with new shares, if a party or connection is lost, a queue is
                full, or the owner shares the same model again. Never after wrong input, a refusal for good, or a
                time-out.
            verbose: 1: a progress bar, if there are several batches, they take seconds, and standard error is a
                terminal; 0: none.

        Returns:
            what `model.predict` gives: shape (batch, *output shape), or a list, tuple or dict of such arrays. Real
            numbers are float32, whole ones int64, bits bool.

        Raises:
            InputError: wrong parts, shape, dtype, range or size, or not finite; nothing was sent.
            RefusedError: a party refused: queue full, no model.
            PartyError: a party failed or went away; names it.
            RangeError: rows have no answer, because a value is out of range: of their inputs, which the parties refuse,
                or inside the model, where the answer may be wrong. Names all of them.
            IntegrityError: the parties' shares of the answer disagree.
            LinkError: a party cannot be reached, or there was no answer in time.
            StateError: not connected, or closed meanwhile.
        """
        self._here()
        with tracing.asking():
            return self._answer(self._query(data, timeout, retries), verbose)

    def _answer(self, query: Query, verbose: int) -> Prediction:
        batches = self._patiently(query, self._divide)
        if len(batches) > 1:
            return self._query_many(query, batches, verbose)
        while True:
            session: Session | None = None
            request: Request | None = None
            try:
                session, request = self._send(query)
                return session.result(request, query.deadline)
            except KerasPrivateError as error:
                if request is None or not request.crowded:  # else: as soon as there is room
                    self._pause(self._pause_after(query, session, error))

    def _query_many(self, query: Query, batches: list[Batch], verbose: int) -> Prediction:
        ticket = self._tickets.new(query)
        with rows_bar(sum(batch.rows for batch in batches), quiet=not verbose) as bar:
            ticket.on_rows = bar
            try:
                self._tickets.start(ticket, batches)
                return ticket.result()
            except BaseException:  # Ctrl-C too
                ticket.cancel()
                raise

    def evaluate_model(
        self,
        x: Any,
        y: Any,
        metric: str = "accuracy",
        batch: float | None = None,
        timeout: float | None = None,
        *,
        recipient: str = "client",
        retries: float = RETRIES,
    ) -> Score:
        """How good the model is on this client's data, in private: the parties see neither inputs nor targets, nor how
        a single row does. One number is told, to whom the owner chose by `share(evaluation=…)`.

        Who owns the model and is told the number too can learn of the data what they like, up to 62 bits at a time: by
        a model that is made for it (docs/security.md). So nothing is sent unless `recipient` agrees to it.

        Args:
            x: what `query_model` takes, but with any number of rows, from `evaluations[…].fewest` on.
            y: the targets, a row for each of x. "accuracy", "top5": class numbers, or for each row one-hot numbers or
                probabilities, of which the largest counts. "binary_accuracy": 0 or 1 for each output. Else real numbers
                in the output's shape.
            metric: one of those that the owner allows, `evaluations`.
            batch: rows to share at a time; None: as many as the parties take.
            timeout: seconds to wait for the result; None: this client's own.
            recipient: who may be told: "client", this client; "owner", the model's owner alone.
            retries: as for `query_model`; an evaluation whose parties were interrupted begins again.

        Returns:
            The number of rows, and, if the client is told, the total and the value.

        Raises:
            InputError: the owner does not allow this evaluation, or it is told to another recipient; too few rows; or
                as for `query_model`.
            As for `query_model` otherwise.
        """
        return self.evaluate_until(_never, x, y, metric, batch, timeout, recipient=recipient, retries=retries)

    def evaluate_until(
        self,
        given_up: Callable[[], bool],
        x: Any,
        y: Any,
        metric: str = "accuracy",
        batch: float | None = None,
        timeout: float | None = None,
        *,
        recipient: str = "client",
        retries: float = RETRIES,
    ) -> Score:
        """`evaluate_model`, unless `given_up()`: that is asked again after each `wake`.

        Raises:
            StateError: it was given up.
        """
        self._here()
        query = self._query((x, y), timeout, retries)
        count = None if batch is None else count_of(batch, "batch")
        while True:
            session: Session | None = None
            try:
                target, session = self._connected(query.deadline)
                limit = target.cluster.config.limits.request_bytes
                return evaluate(session, query, metric, recipient, count, limit, self._pause, given_up)
            except KerasPrivateError as error:
                self._pause(self._pause_after(query, session, error))

    def wake(self) -> None:
        """Have those who wait for an answer look again whether they still want it."""
        if (routes := self._routes) is not None:
            routes.wake()

    def query_model_async(self, data: Any, timeout: float | None = None, *, retries: float = RETRIES) -> Ticket:
        """Send a query and return a ticket for its answer, a `concurrent.futures.Future`. Raises as `query_model`.

        `ticket.result()` or `query_model_join(ticket)` waits for the answer; `concurrent.futures.as_completed(tickets)`
        gives those of many as they come; in an event loop `await asyncio.wrap_future(ticket)` does, or an
        `AsyncClient`; `ticket.cancel()` takes the query back.

        When as many are on their way as the parties let this client have, this waits until there is room. The data must
        stay as it is until the answer is there: it is read again where a query is asked again.
        """
        self._here()
        ticket = self._tickets.new(self._query(data, timeout, retries))
        tracing.asked(ticket.on_done)
        batches = self._patiently(ticket.query, self._divide)
        batches[0].attempt = self._patiently(batches[0].query, self._send)
        self._tickets.add(ticket, batches)
        return ticket

    def start_query(self, data: Any, timeout: float | None = None, *, retries: float = RETRIES) -> Ticket:
        """As `query_model_async`, but waits for nothing, not even for a connection, and leaves the work to a thread of
        the client's: what an event loop may call. What goes wrong is the ticket's `exception()`.
        """
        self._here()
        ticket = self._tickets.new(self._query(data, timeout, retries))
        tracing.asked(ticket.on_done)
        self._tickets.start(ticket)
        return ticket

    def query_model_join(self, ticket: Future[Prediction] | None = None) -> Prediction:
        """The answer to a query of `query_model_async`. Raises as `query_model`.

        Args:
            ticket: what `query_model_async` returned; None: the oldest query that nobody has asked for yet. That is
                refused if another thread has sent one: its answer is not this thread's.

        Raises:
            StateError: no query is on its way, or those of several threads are; or this one was taken back.
        """
        self._here()
        if ticket is None:
            ticket = self._tickets.oldest()
        elif not isinstance(ticket, Future):
            raise InputError(f"query_model_join() takes what query_model_async() returned, not {type(ticket).__name__}")
        try:
            return ticket.result()
        except CancelledError:
            raise StateError("this query was taken back") from None

    def _query(self, data: Any, timeout: float | None, retries: float) -> Query:
        seconds = self._timeout if timeout is None else seconds_of(timeout)
        return Query(data, time.monotonic() + seconds, count_of(retries, "retries"))

    def _patiently(self, query: Query, do: Callable[[Query], T]) -> T:
        """`do(query)`, again and again where that may help."""
        while True:
            try:
                return do(query)
            except KerasPrivateError as error:
                self._pause(query.pause_after(error))

    def _divide(self, query: Query) -> list[Batch]:
        target, session = self._connected(query.deadline)
        routes = self._routes
        model = session.model if routes is None else routes.fewest_rows(session.model)
        return divided(query, model, target.cluster.config.limits)

    def _send(self, query: Query, given_up: Callable[[], bool] = _never) -> tuple[Session, Request]:
        target, session = self._connected(query.deadline)
        model, limits = session.model, target.cluster.config.limits
        values = check_data(query.data, model)
        check_size(len(values[0]), model, limits.request_mb, limits.request_bytes)
        return session, session.send(values, deadline=query.deadline, given_up=given_up)

    def _pause(self, seconds: float) -> None:
        target = self._target
        if target is None or target.closed.wait(seconds):
            raise closed()


def _is_digest(text: str) -> bool:
    return len(text) == 64 and not set(text.lower()) - set("0123456789abcdef")
