"""Connections to the three parties, and the requests on their way over them.

Theory of operation. Any thread may send; whoever waits for an answer reads. One thread at a time has the *reading*
role: it takes in what the parties say, for everybody, until its own request is settled, and then another waiting
thread takes over. So one thread that asks and waits never pays for a switch to another, and many share one session.

A request is settled once: with three answers, or with a failure. A session that lost a party takes no new request, and
those that the party has not answered fail. Those that it has answered are kept: a party that ends says goodbye when it
has answered what it ran, and the two others may still have the same answers to send. With the last of them it is over.
How many are on their way at a time is the `Window`'s to say; whoever finds no room in it waits, and reads as others do.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from keras_private.client.answer import combine
from keras_private.client.checks import Reals, held_bytes
from keras_private.client.errands import Errands
from keras_private.client.parts import Prediction, put_together
from keras_private.client.pulse import Pulse
from keras_private.client.request import Request
from keras_private.client.watch import GLANCE_S, Watch
from keras_private.client.window import Window
from keras_private.config import FOLLOWERS, LEADER, PARTY_NAMES, ClusterConfig, Limits
from keras_private.errors import (
    FrameError,
    KerasPrivateError,
    LinkError,
    LinkTimeoutError,
    PartyError,
    RefusedError,
    StateError,
)
from keras_private.net.frames import as_bytes, printable
from keras_private.party.causes import LEAVING_S, SHARED_AGAIN, gone
from keras_private.party.dial import ask, call, error_of
from keras_private.party.fields import ID_BYTES
from keras_private.party.messages import (
    BUSY,
    CONTROL_BYTES,
    NO_MODEL,
    REPLACED,
    Answer,
    Cancel,
    Describe,
    Description,
    Error,
    Hello,
    InputPort,
    Part,
    Ping,
    Query,
    Retired,
)
from keras_private.party.network import Channel, Network
from keras_private.party.wire import decode, encode
from keras_private.sharing import fixed
from keras_private.sharing.share import Package, split
from keras_private.sharing.share import Part as Half

_SEND_ORDER = (*FOLLOWERS, LEADER)  # the followers first: the leader has to hear from them


class Session:
    """Made by `open`. Thread-safe.

    Attributes:
        model: what the three parties say that they hold.
        superseded: whether there is a newer version of it; this one is answered still.
        latest: when a request was sent last.
        elsewhere: whether what is on its way here could be asked elsewhere, so that a party that says nothing is waited
            for no longer; None: it never could.
    """

    def __init__(
        self, network: Network, channels: list[Channel], model: Description, limits: Limits | None = None
    ) -> None:
        self.model = model
        self.latest = 0.0
        self._network = network
        self._channels = channels
        self._errands = [Errands(f"to {name}") for name in PARTY_NAMES]  # apart: one party may not read
        self._changed = threading.Condition()  # around the fields below; notified when a request is settled
        self._open: dict[bytes, Request] = {}
        self._there = set(range(len(channels)))  # the parties from which an answer may still come
        self._window = Window(limits or Limits())
        self._reader: object | None = None  # who has the reading role
        self._outdated = False
        self.superseded = False
        self._answer_bytes = CONTROL_BYTES  # the largest message that a party has reason to send
        self._lost: KerasPrivateError | None = None
        self._watch = Watch(self.wait, self._broken)
        self.elsewhere: Callable[[], bool] | None = None
        self._pulse = Pulse()

    @classmethod
    def open(cls, network: Network, config: ClusterConfig, name: str, seconds: float) -> Session:
        """Connect to all three parties and ask for a model: the leader what its name means now, and the followers for
        that upload.

        Args:
            name: empty: the default model.

        Raises:
            RefusedError: the parties hold no model, or not the same, or do not let this client in.
            LinkError: a party cannot be reached.
        """
        channels: list[Channel] = []
        try:
            hello = Hello.plain("client", config.cluster)
            for index in range(len(PARTY_NAMES)):
                channels.append(call(network, index, hello, seconds))  # noqa: PERF401  those that came so far are closed
            meant = ask(channels[LEADER], Describe(name, None), Description, seconds)
            asked = Describe("", meant.model)
            _check_same([meant, *(ask(channels[index], asked, Description, seconds) for index in FOLLOWERS)])
        except BaseException:
            for channel in channels:
                channel.close()
            raise
        return cls(network, channels, meant, config.limits)

    @property
    def usable(self) -> bool:
        """Whether new requests may be sent."""
        return not (self._lost or self._outdated or any(channel.closed for channel in self._channels))

    @property
    def load(self) -> int:
        """How many requests are on their way."""
        return self._window.inside

    def close(self, cause: KerasPrivateError) -> None:
        """Leave the parties; what is on its way fails with `cause`. From any thread; waits for nobody. Idempotent."""
        with self._changed:
            self._lose(cause)

    def retire(self) -> None:
        """No new request will be sent; when those on the way have their answers, it is closed."""
        with self._changed:
            self._outdated = True
            self._leave_if_done()

    def leave(self) -> None:
        """No new request will be sent; those on the way still get their answers, unless a connection is broken."""
        for index, channel in enumerate(self._channels):
            if channel.closed:
                self._part(index, PartyError(gone(PARTY_NAMES[index])[1]).again())
        with self._changed:
            self._leave_if_done()

    # Requests

    def send(
        self,
        values: Sequence[Reals],
        ports: Sequence[InputPort] | None = None,
        part: Part | None = None,
        *,
        deadline: float = math.inf,
        given_up: Callable[[], bool] = lambda: False,
    ) -> Request:
        """Share a checked batch, an array for each input, among the parties, as soon as there is room for it.

        If a connection breaks meanwhile, or it is given up before it was sent, the request has failed.

        Args:
            ports: what the values are; None: the model's inputs.
            part: of which evaluation they are; None: they are a query.
            deadline: until when to wait for room, and the parties need run it.
            given_up: whether nobody wants it any more.

        Raises:
            LinkTimeoutError: there was no room until the deadline.
        """
        model = self.model
        ports = model.inputs if ports is None else ports
        words, rows = sum(math.prod(port.shape) for port in ports), len(values[0])
        outputs = model.output_words if part is None else 0
        request = Request(os.urandom(ID_BYTES), rows)
        request.size = held_bytes(rows, words, outputs)
        try:
            if not self.wait(lambda: self._enter(request, given_up), deadline):
                raise LinkTimeoutError("this query waited for others of this client's, and its time is over")
            # A late answer to a larger query, given up meanwhile, may come too: the limit never shrinks.
            self._answer_bytes = max(self._answer_bytes, CONTROL_BYTES + 16 * rows * outputs)
            if request.settled:
                return request
            packages = split(_encoded(values, ports))
            for index in _SEND_ORDER:
                if request.settled:  # a party is gone
                    break
                request.asked.add(index)
                query = _query(request, model, part, deadline, packages[index])
                try:
                    self._channels[index].send(encode(query))
                except LinkError as error:
                    self._gone(index, error)
        except BaseException:  # Ctrl-C too
            self.take_back(request)
            raise
        if request.failure is not None:  # perhaps while it was being sent
            self.take_back(request)
        return request

    def _enter(self, request: Request, given_up: Callable[[], bool]) -> bool:
        """Whether the request's way has begun, or has ended already."""
        with self._changed:
            if request.id in self._open or request.settled:
                return True
            if self._lost or given_up():
                request.failure = self._lost or StateError("this query was taken back")
            elif not self._window.fits(request.size):
                return False
            else:
                request.number = self._window.enter(request.size)
                self._open[request.id] = request
                self.latest = time.monotonic()
            return True

    def wait(self, done: Callable[[], bool], deadline: float) -> bool:
        """Wait until `done()`, which some request's being settled may make true; False once the deadline has passed."""
        if done():
            return True
        me = object()
        try:
            with self._changed:
                seconds = min(threading.TIMEOUT_MAX, max(0.0, deadline - time.monotonic()))
                self._changed.wait_for(lambda: done() or not self._reader, seconds)
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

    def answers(
        self, request: Request, deadline: float, given_up: Callable[[], bool] = lambda: False
    ) -> Mapping[int, Answer]:
        """What the parties answer to a request, waited for until the deadline.

        Raises:
            RefusedError, PartyError: a party refused, failed or went away.
            LinkTimeoutError: no answer until the deadline.
            StateError: it was given up.
        """
        try:
            answered = self.wait(lambda: request.settled or given_up(), deadline)
            if answered and not request.settled:
                raise StateError("this query was taken back")
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

    def watch(self, request: Request, deadline: float, settled: Callable[[], None]) -> None:
        """Have `settled` called when the request is settled, or the deadline has passed, in a thread of the session's.

        Raises:
            RuntimeError: the system starts no more threads; the request was taken back.
        """
        try:
            self._watch.put(request, deadline, settled)
        except BaseException:
            self.take_back(request)
            raise

    def wake(self) -> None:
        """Have those who wait look again whether they still want to."""
        with self._changed:
            self._changed.notify_all()

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
        with self._changed:
            there = sorted(self._there)
        try:
            ready = self._network.wait([self._channels[index] for index in there], seconds)
        except LinkError as error:  # closed by this side: by `close`, or by Ctrl-C in the middle of a message
            for index in [index for index in there if self._channels[index].closed] or there:
                self._gone(index, error)
            return
        ready = [there[position] for position in ready]
        if self.elsewhere is not None:
            self._feel(ready, self.elsewhere)
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

    def _feel(self, ready: Sequence[int], elsewhere: Callable[[], bool]) -> None:
        """Leave the triple if a party of it says nothing any more, and what it owes can be asked elsewhere."""
        for index in ready:
            self._pulse.heard(index)
        if not self._pulse.due:
            return
        with self._changed:
            owing = {index for request in self._open.values() for index in request.asked - request.answers.keys()}
            owing &= self._there
        asked, silent = self._pulse.look(owing)
        if silent and not elsewhere():
            silent = []
        for index in asked:
            self._errands[index].put(partial(self._ping, index))
        for index in silent:
            self._part(index, PartyError(f"{PARTY_NAMES[index]} says nothing, though it is connected").again(LEAVING_S))

    def _ping(self, index: int) -> None:
        self._tell(index, encode(Ping()))
        self._pulse.sent(index)

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
                    request.crowded = message.code == BUSY and self._window.refused(request.number)
                    self._outdated = self._outdated or message.code in (REPLACED, NO_MODEL)
                    self._note(request)
            if request is not None:
                self.take_back(request)
        elif isinstance(message, Retired):
            self.superseded = message.model == self.model.model
        elif isinstance(message, Ping):
            pass  # it is there: `_feel` has noted it
        elif isinstance(message, Error):
            self._part(index, error_of(channel, message))
        else:
            self._gone(index, FrameError("it sent what no client expects"))

    def _note(self, request: Request) -> None:
        if request.settled:
            if request.failure is None:
                self._window.answered()
            self._forget(request)

    def _forget(self, request: Request) -> None:
        if self._open.pop(request.id, None):
            self._window.leave(request.size)
            self._watch.note(request)
            self._changed.notify_all()
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if (self._outdated or self._lost) and not self._open:
            self._lose(PartyError(SHARED_AGAIN[1]).again())

    def _gone(self, index: int, cause: LinkError) -> None:
        if isinstance(cause, FrameError):
            failure = PartyError(f"{PARTY_NAMES[index]} sent what makes no sense ({cause}); is its software the same?")
        else:
            failure = PartyError(gone(PARTY_NAMES[index])[1]).again()
        failure.__cause__ = cause
        self._part(index, failure)

    def _part(self, index: int, failure: KerasPrivateError) -> None:
        """A party answers nothing any more."""
        with self._changed:
            if index not in self._there:
                return
            self._there.discard(index)
            self._channels[index].close()
            self._lost = self._lost or failure
            unanswered = [request for request in self._open.values() if index not in request.answers]
            for request in unanswered:
                request.failure = failure
                self._forget(request)
            self._leave_if_done()
        for request in unanswered:
            self.take_back(request)

    def _broken(self, error: Exception) -> None:
        failure = PartyError(f"the connection was interrupted ({type(error).__name__})").again()
        failure.__cause__ = error
        self.close(failure)

    def _lose(self, failure: KerasPrivateError) -> None:
        """Every request on its way fails. Under the lock."""
        self._lost = self._lost or failure
        for request in self._open.values():
            request.failure = failure
            self._window.leave(request.size)
            self._watch.note(request)
        self._open.clear()
        self._there.clear()
        for channel in self._channels:
            channel.close()
        self._changed.notify_all()


def _query(request: Request, model: Description, part: Part | None, deadline: float, package: Package) -> Query:
    left = None if math.isinf(deadline) else max(0, round(1000 * (deadline - time.monotonic())))
    return Query(request.id, model.model, request.rows, part, left, _half(package.mine), _half(package.next))


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
