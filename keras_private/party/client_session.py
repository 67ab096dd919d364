"""A client's connection to a party: describe, query, cancel."""

from __future__ import annotations

import math
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from keras_private.errors import FrameError, KerasPrivateError, LinkError, LinkTimeoutError, NoModelError, RefusedError
from keras_private.net.connection import Connection
from keras_private.net.frames import as_bytes
from keras_private.party import causes
from keras_private.party.access import Grant
from keras_private.party.causes import Cause
from keras_private.party.description import describe
from keras_private.party.dial import message_of, refusal_of
from keras_private.party.fields import DEFAULT_NAME, Message
from keras_private.party.messages import (
    REFUSED,
    Answer,
    Cancel,
    Describe,
    Error,
    Part,
    Ping,
    Query,
    Retired,
)
from keras_private.party.models import HeldModel
from keras_private.party.network import Channel
from keras_private.party.node import IDLE_S, Node
from keras_private.party.queue import ID_IN_USE, Request
from keras_private.party.reader import Reader
from keras_private.party.tally import OPEN
from keras_private.party.wire import decode, encode
from keras_private.sharing.share import Package, Share

_AT_ONCE = 1 << 14  # an answer up to this size fits into a socket that says it has room
_OUTBOX_BYTES = 1 << 18  # of everything but answers that a client has not read yet; beyond that it is cut off
_QUICK_WORDS = 1 << 16  # a query that becomes more does not keep other clients from being read
TURN_MESSAGES = 64
"""So many of a client's messages are handled before those of others: one may send more, faster than they are read."""
ROOM_S = 10.0
"""How long a message may wait for room, at most."""


@dataclass(slots=True)
class _Open:
    """A request that has not ended. `held`: what it holds of the memory."""

    held: int
    grant: Grant | None = None
    request: Request | None = None


class _LaterError(Exception):
    """What was to be done at once would have to wait."""


class ClientSession:
    """Runs in the connection's own thread and, while nothing has to wait, in the reader's; answers come from a lane's.

    Args:
        find: says which model a client means; see `Duty.find`.
        admit: puts a request into the queue (and tells the leader).
        drop: a request is not to run, and why: the client does not want it any more, or has been refused it here.
        reader: reads what is small for all clients of this party; None: this connection's own thread reads everything.
    """

    def __init__(
        self,
        node: Node,
        channel: Channel,
        find: Callable[[Describe, Callable[[str], bool]], HeldModel],
        admit: Callable[[Request], None],
        drop: Callable[[bytes, Cause], None],
        reader: Reader | None = None,
    ) -> None:
        self._node = node
        self._channel = channel
        self._find = find
        self._admit = admit
        self._drop = drop
        self._reader = reader
        self._hurried = False  # what waits is another thread's business
        self._handed: Message | BaseException | None = None  # by the reader, for this connection's own thread
        self._turn = threading.Semaphore(0)  # that thread's
        self._client = str(channel.peer)
        self._receiving = 0  # bytes of our share of the memory that the message takes that is being received or read
        self._patience = 0.0  # seconds that it may still wait for room
        self._lock = threading.Lock()  # around the fields below; never held while sending
        self._open: dict[bytes, _Open] = {}
        self._evaluations: dict[bytes, None] = {}  # that have begun and, as far as is known here, go on; in order
        self._outbox: deque[tuple[bytes, int]] = deque()  # messages, and what each of them holds of it
        self._waiting = 0  # bytes in the outbox that hold none
        self._writing = False  # somebody sends; nobody else may, or they would wait for the connection
        self._gone = False

    @property
    def busy(self) -> bool:
        """Whether its client waits for something that is computed, or that is on its way to it."""
        with self._lock:
            return bool(self._open or self._outbox or self._writing)

    def take_leave(self, cause: causes.Cause) -> None:
        """Tell the client that this party is about to hang up."""
        self._deliver(Error(cause.code, cause.text, None, cause.after))

    def run(self) -> None:
        """Serve the client until it goes away.

        Raises:
            FrameError: it sent something that no client sends.
            LinkError: the connection broke.
        """
        try:
            while True:
                message = self._await_turn()
                try:
                    self._next(message)
                finally:
                    del message
                    if self._reader:
                        self._reader.swept()
        finally:
            self._forget()
            self._node.shelf.leave(self)
            for id_ in [*self._open, *self._evaluations]:
                self._drop(id_, causes.TAKEN_BACK)

    def _await_turn(self) -> Message | None:
        """Let the reader read and handle what it can; what it hands over, or None: there is something to receive."""
        if self._reader is None or not isinstance(self._channel, Connection):
            return None
        self._reader.watch(self._channel, partial(self._read, self._channel))
        self._turn.acquire()
        handed, self._handed = self._handed, None
        if isinstance(handed, BaseException):
            raise handed
        return handed

    def _read(self, channel: Connection) -> bool:
        """Handle what has come, in the reader's thread; False: the connection's own thread must go on."""
        self._hurried = True
        message: Message | None = None
        try:
            for _ in range(TURN_MESSAGES):
                data = channel.receive_at_once(self._node.config.limits.request_bytes)
                if data is None and not channel.begun:
                    return True
                if data is None:
                    break
                message = decode(data)
                self._handle(message)
                message = None
                if not channel.buffered:
                    return True
        except _LaterError:
            self._handed = message
        except BaseException as error:  # noqa: BLE001  whatever it is, the reader must live on
            self._handed = error
        self._hurried = False
        self._turn.release()
        return False

    def _next(self, message: Message | None) -> None:
        """Handle a message; without one, wait for the next."""
        limits = self._node.config.limits
        self._patience = min(ROOM_S, limits.timeout_s / 2)
        try:
            if message is None:
                data = self._channel.receive(IDLE_S, limits.request_bytes, self._make_room)
                message = decode(data)
                del data
                self._give_back(self._receiving // 2)
            self._handle(message)
            del message
        except LinkTimeoutError:
            if self._channel.closed:
                raise
        except RefusedError as error:
            self._node.metrics.refused(REFUSED)
            self._node.log.warning("refused", peer=self._client, request="message", cause=str(error))
            self._deliver(Error(REFUSED, str(error), None, None))
        finally:
            self._give_back(self._receiving)

    def _make_room(self, nbytes: int) -> None:
        """Room for more of a message, and for what will be decoded from it; waits for it for a while."""
        self._patience -= self._node.memory.take(self._client, 2 * nbytes, max(0.0, self._patience))
        self._receiving += 2 * nbytes

    def _give_back(self, nbytes: int) -> None:
        if nbytes:
            self._receiving -= nbytes
            self._node.memory.give_back(self._client, nbytes)

    def _handle(self, message: Message) -> None:
        if isinstance(message, Query):
            if message.request in self._open:  # the first one stays as it is
                self._deliver(Error(REFUSED, ID_IN_USE, message.request, None))
                return
            try:
                self._query(message)
            except _LaterError:
                raise
            except KerasPrivateError as error:
                self._turn_away(message.request, error)
            except BaseException:
                self._left(self._settle(message.request))
                raise
        elif isinstance(message, Cancel):
            if message.request in self._open or message.request in self._evaluations:
                self._evaluations.pop(message.request, None)
                self._drop(message.request, causes.TAKEN_BACK)
        elif isinstance(message, Describe):
            try:
                answer: Message = describe(self._meant(message))
            except RefusedError as error:
                answer = message_of(error)
            self._deliver(answer)
        elif isinstance(message, Ping):
            self._deliver(message)
        else:
            raise FrameError(f"a client may not send a {message.kind} message")

    def _meant(self, asked: Describe) -> HeldModel:
        """The model that the client means, which stays from now on for as long as this connection does.

        Raises:
            RefusedError: it may not know of it, or there is none.
        """
        if asked.name:  # first: who may not know of a model is not told whether there is one
            self._node.access.check_client(self._client, asked.name)
        while True:
            try:
                model = self._find(asked, self._may)
            except NoModelError:
                if not (asked.name or asked.model):
                    self._node.access.check_client(self._client, DEFAULT_NAME)
                raise
            self._node.access.check_client(self._client, model.name)
            self._node.shelf.use(model, self, self._retired)
            if asked.model or not self._node.shelf.retired(model):  # just now
                return model

    def _may(self, name: str) -> bool:
        try:
            self._node.access.check_client(self._client, name)
        except RefusedError:
            return False
        return True

    def _retired(self, model: HeldModel) -> None:
        self._deliver(Retired(model.id))

    def _query(self, query: Query) -> None:
        received = time.monotonic()
        if self._node.leaving.is_set():
            self.refuse(query.request, *causes.leaving(self._node.name))
            return
        shelf = self._node.shelf
        model = shelf.get(query.model)
        if model is None or model.ended:
            replaced = causes.SHARED_AGAIN in (shelf.gone(query.model), model and model.ended)
            self.refuse(query.request, *(causes.SHARED_AGAIN if replaced else causes.NOT_HELD))
            return
        running = model.what_runs(query.part)
        most = running.room.query_rows
        if not 1 <= query.rows <= most:
            reason = " (limits.memory_mb)" if most < self._node.config.limits.max_batch else ""
            raise RefusedError(f"a batch has from 1 to {most} rows{reason}, not {query.rows}")
        plan = running.plan
        words = query.rows * (plan.input_words + plan.output_words)
        if self._hurried and self._reader and (words > _QUICK_WORDS or not self._reader.ready()):
            raise _LaterError
        if query.part:
            self._evaluation(query.part, query.rows, model)
        self._node.memory.take(self._client, 16 * words)  # before seeds become shares
        with self._lock:
            self._open[query.request] = opened = _Open(16 * words)
        opened.grant = self._node.access.take(self._client, model.name, query.rows)
        share = Package(query.mine, query.next).expand((query.rows, plan.input_words))
        request = Request(
            query.request,
            self._client,
            model.id,
            model.digest,
            query.rows,
            share,
            self.answer,
            self.refuse,
            part=query.part,
            received=received,
            deadline=math.inf if query.patience is None else time.monotonic() + query.patience / 1000,
        )
        opened.request = request
        self._admit(request)
        self._node.metrics.received(part=query.part is not None)

    def _evaluation(self, part: Part, rows: int, model: HeldModel) -> None:
        """Whether a part may be one of an evaluation that the owner allows; where in it it stands, the lane looks at.

        Raises:
            RefusedError: it may not.
        """
        scorer, end = model.scorers[part.metric], part.start + rows
        if end > scorer.scoring.most:
            raise RefusedError(f"an evaluation has up to {scorer.scoring.most} rows, not {end}")
        if part.last and end < scorer.allowed.fewest:
            raise RefusedError(f"an evaluation of this model has at least {scorer.allowed.fewest} rows, not {end}")
        if part.last:  # it ends with the request
            self._evaluations.pop(part.evaluation, None)
            return
        self._evaluations[part.evaluation] = None
        while len(self._evaluations) > 2 * OPEN:  # refused, or over: a client that goes on with one names it again
            self._evaluations.pop(next(iter(self._evaluations)))

    # Called once for each request, by whichever thread settles it

    def answer(self, id_: bytes, output: Share) -> None:
        """Send this party's share of a request's output."""
        held = self._settle(id_)
        try:
            data = encode(Answer(id_, as_bytes(output.mine), as_bytes(output.next)))
        except BaseException:
            self._left(held)
            raise
        keep = min(held, len(data))  # until it has left
        if held > keep:
            self._node.memory.give_back(self._client, held - keep)
        self._put(data, keep)

    def refuse(self, id_: bytes, code: str, text: str, after: float | None = None) -> None:
        """Tell the client that there will be no output."""
        self._node.metrics.refused(code)
        if held := self._settle(id_):
            self._node.memory.give_back(self._client, held)
        self._deliver(Error(code, text, id_, after))

    def _turn_away(self, id_: bytes, error: KerasPrivateError) -> None:
        """The request that came just now is not taken in here, and so shall not wait at the other parties either."""
        cause = refusal_of(error)
        self.refuse(id_, *cause)
        if cause.text != ID_IN_USE:  # that one goes on
            self._drop(id_, cause._replace(text=f"{self._node.name} refuses it: {cause.text}"))  # whoever says so first

    def _settle(self, id_: bytes) -> int:
        """What the request holds of the memory; it is the caller's to give back. Of its rows those count that ran."""
        with self._lock:
            ended = self._open.pop(id_, None)
        if ended is None:
            return 0
        if ended.grant:
            ended.grant.settle(ended.request.done if ended.request else 0)
        return ended.held

    def _deliver(self, message: Message) -> None:
        self._put(encode(message), 0)

    def _put(self, data: bytes, held: int) -> None:
        """Never waits: lanes and the leader's control call it, and a client need not read."""
        with self._lock:
            gone, at_once = self._gone, not self._writing and len(data) <= _AT_ONCE and _has_room(self._channel)
            if not gone and not at_once:
                self._outbox.append((data, held))
                self._waiting += 0 if held else len(data)
            full, start = self._waiting > _OUTBOX_BYTES, not self._writing
            self._writing = self._writing or not gone
        if gone:
            self._left(held)
        elif full:
            self._give_up()
            if at_once:
                self._left(held)
        else:
            if at_once:
                self._send(data, held)
                with self._lock:
                    start = self._writing = bool(self._outbox)
            if start:
                self._start_writer()

    def _start_writer(self) -> None:
        try:
            threading.Thread(target=self._write, name=f"{self._node.name} answers", daemon=True).start()
        except (RuntimeError, MemoryError):
            self._give_up()

    def _write(self) -> None:
        while True:
            with self._lock:
                if not self._outbox:
                    self._writing = False
                    return
                data, held = self._outbox.popleft()
            self._send(data, held)
            with self._lock:
                self._waiting = max(0, self._waiting - (0 if held else len(data)))

    def _send(self, data: bytes, held: int) -> None:
        try:
            self._channel.send(data)
        except LinkError:
            self._give_up()
        except Exception as error:  # no memory, say: nobody else would send what waits
            self._node.log.error("session failed", peer=self._client, exc_info=error)
            self._give_up()
        finally:
            self._left(held)

    def _left(self, held: int) -> None:
        if held:
            self._node.memory.give_back(self._client, held)

    def _give_up(self) -> None:
        self._forget()
        self._channel.close("the client does not take its answers")

    def _forget(self) -> None:
        with self._lock:
            self._gone = True
            held = sum(held for _, held in self._outbox)
            self._outbox.clear()
            self._waiting = 0
        self._left(held)


def _has_room(channel: Channel) -> bool:
    number = channel.fileno()
    if number < 0:  # in memory, or closed
        return True
    poller = select.poll()
    poller.register(number, select.POLLOUT)
    return bool(poller.poll(0))
