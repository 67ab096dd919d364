"""A client's connection to a party: describe, query, cancel."""

from __future__ import annotations

import math
import select
import threading
from collections import deque
from collections.abc import Callable

from keras_private.errors import FrameError, InputError, KerasPrivateError, LinkError, LinkTimeoutError, RefusedError
from keras_private.net.frames import as_bytes
from keras_private.party.messages import (
    FAILED,
    REFUSED,
    Answer,
    Cancel,
    Describe,
    Description,
    Error,
    Message,
    Query,
    decode,
    encode,
)
from keras_private.party.models import HeldModel
from keras_private.party.network import Channel
from keras_private.party.node import Node
from keras_private.party.queue import ID_IN_USE, Request
from keras_private.sharing.share import Package, Share

IDLE_S = 60.0
_AT_ONCE = 1 << 14  # an answer up to this size fits into a socket that says it has room
_OUTBOX_BYTES = 1 << 26  # answers that a client has not read yet; beyond that it is cut off


class ClientSession:
    """Runs in the connection's own thread; answers come from a lane's.

    Args:
        admit: puts a request into the queue (and tells the leader).
        drop: the client does not want a request any more.
    """

    def __init__(
        self, node: Node, channel: Channel, admit: Callable[[Request], None], drop: Callable[[bytes], None]
    ) -> None:
        self._node = node
        self._channel = channel
        self._admit = admit
        self._drop = drop
        self._open: set[bytes] = set()
        self._lock = threading.Lock()  # around the four fields below; never held while sending
        self._outbox: deque[bytes] = deque()
        self._waiting = 0  # bytes in the outbox, and of what its thread is sending
        self._writing = False  # somebody sends; nobody else may, or they would wait for the connection
        self._gone = False

    def run(self) -> None:
        """Serve the client until it goes away.

        Raises:
            FrameError: it sent something that no client sends.
            LinkError: the connection broke.
        """
        try:
            while True:
                try:
                    data = self._channel.receive(IDLE_S, self._node.config.limits.request_bytes)
                except LinkTimeoutError:
                    if self._channel.closed:
                        raise
                    continue
                self._handle(decode(data))
        finally:
            self._forget()
            for id_ in list(self._open):
                self._drop(id_)

    def _handle(self, message: Message) -> None:
        if isinstance(message, Query):
            if message.request in self._open:  # the first one stays as it is
                self._deliver(Error(REFUSED, ID_IN_USE, message.request))
                return
            try:
                self._query(message)
            except (RefusedError, InputError) as error:
                self.refuse(message.request, REFUSED, str(error))
            except KerasPrivateError as error:
                self.refuse(message.request, FAILED, str(error))
        elif isinstance(message, Cancel):
            if message.request in self._open:
                self._drop(message.request)
        elif isinstance(message, Describe):
            try:
                answer: Message = self._describe(self._model())
            except RefusedError as error:
                answer = Error(REFUSED, str(error))
            self._deliver(answer)
        else:
            raise FrameError(f"a client may not send a {message.kind} message")

    def _model(self) -> HeldModel:
        model = self._node.shelf.model
        if model is None:
            raise RefusedError("holds no model; the owner must share it (again)")
        return model

    def _describe(self, model: HeldModel) -> Description:
        plan = model.plan
        return Description(
            model.id,
            model.digest,
            plan.input_shape,
            plan.output_shape,
            plan.input_range,
            plan.input_frac,
            plan.precision,
            self._node.config.limits.max_batch,
        )

    def _query(self, query: Query) -> None:
        model, most = self._model(), self._node.config.limits.max_batch
        if query.model != model.id:
            raise RefusedError("the model was replaced since this client connected; connect to it again")
        if not 1 <= query.rows <= most:
            raise RefusedError(f"a batch has from 1 to {most} rows, not {query.rows}")
        self._node.queue.check_room(16 * query.rows * math.prod(model.plan.input_shape))  # before seeds become shares
        share = Package(query.mine, query.next).expand((query.rows, *model.plan.input_shape))
        client = str(self._channel.peer)
        request = Request(query.request, client, model.id, model.digest, query.rows, share, self.answer, self.refuse)
        self._open.add(query.request)
        self._admit(request)

    # Called once a request, from whichever thread settles it

    def answer(self, id_: bytes, output: Share) -> None:
        """Send this party's share of a request's output."""
        self._open.discard(id_)
        self._deliver(Answer(id_, as_bytes(output.mine), as_bytes(output.next)))

    def refuse(self, id_: bytes, code: str, text: str) -> None:
        """Tell the client that there will be no output."""
        self._open.discard(id_)
        self._deliver(Error(code, text, id_))

    def _deliver(self, message: Message) -> None:
        """Never waits: lanes and the leader's control call it, and a client need not read."""
        data = encode(message)
        with self._lock:
            if self._gone:
                return
            at_once = not self._writing and len(data) <= _AT_ONCE and _has_room(self._channel)
            if not at_once:
                self._outbox.append(data)
                self._waiting += len(data)
            full, start = self._waiting > _OUTBOX_BYTES, not self._writing
            self._writing = True
        if full:
            self._give_up()
        elif at_once:
            self._send(data)
            with self._lock:
                start = self._writing = bool(self._outbox)
        if start and not full:
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
                data = self._outbox.popleft()
            self._send(data)
            with self._lock:
                self._waiting = max(0, self._waiting - len(data))

    def _send(self, data: bytes) -> None:
        try:
            self._channel.send(data)
        except LinkError:
            self._give_up()

    def _give_up(self) -> None:
        self._forget()
        self._channel.close("the client does not take its answers")

    def _forget(self) -> None:
        with self._lock:
            self._gone = True
            self._outbox.clear()
            self._waiting = 0


def _has_room(channel: Channel) -> bool:
    number = channel.fileno()
    if number < 0:  # in memory, or closed
        return True
    poller = select.poll()
    poller.register(number, select.POLLOUT)
    return bool(poller.poll(0))
