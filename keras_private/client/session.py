"""Connections to the three parties, and the requests on their way over them.

Theory of operation. Any thread may send; whoever waits for an answer reads. One thread at a time has the *reading*
role: it takes in what the parties say, for everybody, until its own request is settled, and then another waiting
thread takes over. So one thread that asks and waits never pays for a switch to another, and many share one session.

A request is settled once: with three answers, or with a failure. What one connection breaks with, all requests of the
session fail with; a session that lost a connection is never used again.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from keras_private.client.answer import combine
from keras_private.client.checks import Reals
from keras_private.client.errands import Errands
from keras_private.client.parts import Prediction, put_together
from keras_private.config import FOLLOWERS, LEADER, PARTY_NAMES, ClusterConfig
from keras_private.errors import FrameError, KerasPrivateError, LinkError, LinkTimeoutError, PartyError, RefusedError
from keras_private.net.frames import as_bytes, printable
from keras_private.party.causes import SHARED_AGAIN, gone
from keras_private.party.dial import ask, call, error_of
from keras_private.party.fields import ID_BYTES
from keras_private.party.messages import (
    CONTROL_BYTES,
    REPLACED,
    Answer,
    Cancel,
    Describe,
    Description,
    Error,
    Hello,
    InputPort,
    Part,
    Query,
)
from keras_private.party.network import Channel, Network
from keras_private.party.wire import decode, encode
from keras_private.sharing import fixed
from keras_private.sharing.share import Package, split
from keras_private.sharing.share import Part as Half

GLANCE_S = 0.1
"""How long a reader waits before it looks up: at deadlines, at what has changed."""
_SEND_ORDER = (*FOLLOWERS, LEADER)  # the followers first: the leader has to hear from them


@dataclass(slots=True, eq=False)
class Request:
    """A batch that was sent under an id of its own."""

    id: bytes
    rows: int
    asked: set[int] = field(default_factory=set)
    answers: dict[int, Answer] = field(default_factory=dict)
    failure: KerasPrivateError | None = None

    @property
    def settled(self) -> bool:
        return self.failure is not None or len(self.answers) == len(PARTY_NAMES)


class Session:
    """Made by `open`. Thread-safe.

    Attributes:
        model: what the three parties say that they hold.
    """

    def __init__(self, network: Network, channels: list[Channel], model: Description) -> None:
        self.model = model
        self._network = network
        self._channels = channels
        self._errands = [Errands(f"to {name}") for name in PARTY_NAMES]  # apart: one party may not read
        self._changed = threading.Condition()  # around the fields below; notified when a request is settled
        self._open: dict[bytes, Request] = {}
        self._reader: object | None = None  # who has the reading role
        self._outdated = False
        self._answer_bytes = CONTROL_BYTES  # the largest message that a party has reason to send
        self._lost: KerasPrivateError | None = None

    @classmethod
    def open(cls, network: Network, config: ClusterConfig, seconds: float) -> Session:
        """Connect to all three parties and ask what they hold.

        Raises:
            RefusedError: the parties hold no model, or not the same, or do not let this client in.
            LinkError: a party cannot be reached.
        """
        channels: list[Channel] = []
        try:
            hello = Hello.plain("client", config.cluster)
            for index in range(len(PARTY_NAMES)):
                channels.append(call(network, index, hello, seconds))  # noqa: PERF401  those that came so far are closed
            models = [ask(channel, Describe(), Description, seconds) for channel in channels]
            _check_same(models)
        except BaseException:
            for channel in channels:
                channel.close()
            raise
        return cls(network, channels, models[0])

    @property
    def usable(self) -> bool:
        """Whether new requests may be sent."""
        return not (self._lost or self._outdated or any(channel.closed for channel in self._channels))

    def close(self, cause: KerasPrivateError) -> None:
        """Leave the parties; what is on its way fails with `cause`. From any thread; waits for nobody. Idempotent."""
        with self._changed:
            self._lose(cause)

    def leave(self) -> None:
        """No new request will be sent; those on the way still get their answers, unless a connection is broken."""
        with self._changed:
            if any(channel.closed for channel in self._channels):
                self._lose(PartyError("the connection was interrupted").again())
            self._leave_if_done()

    # Requests

    def send(
        self, values: Sequence[Reals], ports: Sequence[InputPort] | None = None, part: Part | None = None
    ) -> Request:
        """Share a checked batch, an array for each input, among the parties.

        If a connection breaks meanwhile, the request has failed.

        Args:
            ports: what the values are; None: the model's inputs.
            part: of which evaluation they are; None: they are a query.
        """
        model = self.model
        words = _encoded(values, model.inputs if ports is None else ports)
        packages = split(words)
        request = Request(os.urandom(ID_BYTES), len(words))
        size = CONTROL_BYTES + (16 * len(words) * model.output_words if part is None else 0)
        with self._changed:
            # A late answer to a larger query, given up meanwhile, may come too: the limit never shrinks.
            self._answer_bytes = max(self._answer_bytes, size)
            request.failure = self._lost
            self._open[request.id] = request
        try:
            for index in _SEND_ORDER:
                request.asked.add(index)
                query = _query(request, model, part, packages[index])
                try:
                    self._channels[index].send(encode(query))
                except LinkError as error:
                    self._gone(index, error)
                    break
        except BaseException:  # Ctrl-C too
            self.take_back(request)
            raise
        return request

    def wait(self, done: Callable[[], bool], deadline: float) -> bool:
        """Wait until `done()`, which some request's being settled may make true; False once the deadline has passed."""
        if done():
            return True
        me = object()
        try:
            with self._changed:
                self._changed.wait_for(lambda: done() or not self._reader, max(0.0, deadline - time.monotonic()))
                if not self._reader:
                    self._reader = me
            while self._reader is me and not done() and (remaining := deadline - time.monotonic()) > 0:
                self._read(min(GLANCE_S, remaining))
        finally:
            with self._changed:
                if self._reader is me:
                    self._reader = None
                    self._changed.notify_all()
        return done()

    def result(self, request: Request, deadline: float) -> Prediction:
        """The answer, as the model gives it, to a request, waited for until the deadline. Raises as `answers`.

        Raises:
            IntegrityError: the parties' shares disagree.
        """
        return put_together(combine(self.answers(request, deadline), request.rows, self.model), self.model)

    def answers(self, request: Request, deadline: float) -> Mapping[int, Answer]:
        """What the parties answer to a request, waited for until the deadline.

        Raises:
            RefusedError, PartyError: a party refused, failed or went away.
            LinkTimeoutError: no answer until the deadline.
        """
        try:
            answered = self.wait(lambda: request.settled, deadline)
        except BaseException:  # Ctrl-C too
            self.take_back(request)
            raise
        if not answered:
            self.take_back(request)
            due = ", ".join(name for index, name in enumerate(PARTY_NAMES) if index not in request.answers)
            raise LinkTimeoutError(f"no answer came in time from {due}; is the model being served?")
        if request.failure is not None:
            raise copy.copy(request.failure) from request.failure.__cause__  # others may have failed with it too
        return request.answers

    def give_up(self, evaluation: bytes) -> None:
        """Let the parties forget an evaluation. Waits for nobody."""
        for index, errands in enumerate(self._errands):
            errands.put(partial(self._tell, index, encode(Cancel(evaluation))))

    def take_back(self, request: Request) -> None:
        """Nobody waits for this answer any more: let the parties forget the request. Waits for nobody."""
        with self._changed:
            self._forget(request)
        for index in request.asked - request.answers.keys():
            self._errands[index].put(partial(self._tell, index, encode(Cancel(request.id))))

    def _tell(self, index: int, message: bytes) -> None:
        with contextlib.suppress(LinkError):  # whoever reads from there notices too
            self._channels[index].send(message)

    # Reading

    def _read(self, seconds: float) -> None:
        """Take in what the parties say within so many seconds. By whoever has the reading role."""
        try:
            ready = self._network.wait(self._channels, seconds)
        except LinkError as error:  # closed by this side: by `close`, or by Ctrl-C in the middle of a message
            closed = [index for index, channel in enumerate(self._channels) if channel.closed]
            self._gone(closed[0] if closed else 0, error)
            return
        for index in ready:
            channel = self._channels[index]
            try:
                self._take_in(index, decode(channel.receive(0.0, self._answer_bytes)))
            except LinkTimeoutError as error:
                if channel.closed:
                    self._gone(index, error)
                    return
            except LinkError as error:
                self._gone(index, error)
                return
            except BaseException:  # Ctrl-C, say: what was read may have been an answer to another thread
                channel.close("interrupted")
                raise

    def _take_in(self, index: int, message: object) -> None:
        channel = self._channels[index]
        if isinstance(message, Answer):
            with self._changed:
                request = self._open.get(message.request)
                if request is not None:
                    request.answers[index] = message
                    self._note(request)
        elif isinstance(message, Error) and message.request is not None:
            with self._changed:
                request = self._open.get(message.request)
                if request is not None:
                    request.failure = error_of(channel, message)
                    self._outdated = self._outdated or message.code == REPLACED
                    self._note(request)
            if request is not None:
                self.take_back(request)
        elif isinstance(message, Error):
            with self._changed:
                self._lose(error_of(channel, message))
        else:
            self._gone(index, FrameError("it sent what no client expects"))

    def _note(self, request: Request) -> None:
        if request.settled:
            self._forget(request)
            self._changed.notify_all()

    def _forget(self, request: Request) -> None:
        self._open.pop(request.id, None)
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._outdated and not self._open:
            self._lose(PartyError(SHARED_AGAIN[1]).again())

    def _gone(self, index: int, cause: LinkError) -> None:
        if isinstance(cause, FrameError):
            failure = PartyError(f"{PARTY_NAMES[index]} sent what makes no sense ({cause}); is its software the same?")
        else:
            failure = PartyError(gone(PARTY_NAMES[index])[1]).again()
        failure.__cause__ = cause
        with self._changed:
            self._lose(failure)

    def _lose(self, failure: KerasPrivateError) -> None:
        """Every request on its way fails. Under the lock."""
        self._lost = self._lost or failure
        for request in self._open.values():
            request.failure = request.failure or self._lost
        self._open.clear()
        for channel in self._channels:
            channel.close()
        self._changed.notify_all()


def _query(request: Request, model: Description, part: Part | None, package: Package) -> Query:
    return Query(request.id, model.model, request.rows, part, _half(package.mine), _half(package.next))


def _half(half: Half) -> bytes | memoryview:
    return as_bytes(half.astype("<u8", copy=False)) if isinstance(half, np.ndarray) else bytes(half)


def _encoded(values: Sequence[Reals], ports: Sequence[InputPort]) -> NDArray[np.uint64]:
    """What is shared: of each row all inputs, flattened, one behind the other."""
    rows = [
        fixed.encode(part, port.frac).reshape(len(part), math.prod(port.shape))
        for part, port in zip(values, ports, strict=True)
    ]
    return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)


def _check_same(models: list[Description]) -> None:
    first = models[0]
    for name, other in zip(PARTY_NAMES[1:], models[1:], strict=True):
        if other.digest != first.digest:
            raise RefusedError(
                f"the parties hold different plans, server0 {printable(first.digest.encode())} and {name} "
                f"{printable(other.digest.encode())}; "
                "the owner must share the model again"
            ).again()  # it may be on its way
        if other.max_batch != first.max_batch:
            raise RefusedError(
                f"server0 takes {first.max_batch} rows at once and {name} {other.max_batch}; their operators must "
                "write the same limits.max_batch into cluster.yaml and start their parties again"
            )
        if other != first:
            raise RefusedError(
                f"server0 and {name} hold different uploads of the plan, or know its owner by different names; the "
                "owner must share the model again"
            ).again()  # it may be on its way
