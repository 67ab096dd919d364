"""A follower's side of control (see `leader.followers`): its connection to the leader, dialled until it is up."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from keras_private.config import PARTY_NAMES
from keras_private.errors import FrameError, KerasPrivateError, LinkError, PartyError
from keras_private.party.causes import gone
from keras_private.party.dial import call
from keras_private.party.heartbeat import Heartbeat
from keras_private.party.messages import Discard, Drop, Hold, Message, Model, OpenLane
from keras_private.party.network import Channel
from keras_private.party.node import Backoff, Node
from keras_private.party.queue import Request
from keras_private.party.wire import encode

if TYPE_CHECKING:
    from keras_private.party.follower.lane import FollowerLane


class LeaderLine:
    """A follower's side: the connection to the leader, kept up by a thread of its own."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._channel: Channel | None = None
        self._found = threading.Event()  # set while there is a channel
        self.lanes: list[FollowerLane] = []
        self._thread = threading.Thread(target=self._live, name=f"{node.name} control", daemon=True)

    @property
    def up(self) -> bool:
        return self._channel is not None

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def close(self) -> None:
        channel = self._channel
        self._found.set()  # whoever waits for it need not any more
        if channel is not None:
            channel.close("this party was stopped")

    def send(self, message: Message) -> None:
        """Send if the leader is there; if not, it starts from an empty state when it is back."""
        channel = self._channel
        if channel is not None:
            with contextlib.suppress(LinkError):
                channel.send(encode(message))

    def hold(self, request: Request) -> None:
        """Take a client's request in and tell the leader.

        Raises:
            RefusedError: the queue is full.
            PartyError: the leader is not there.
        """
        # The order matters: if the connection breaks at any moment from here on, either the queue is emptied after
        # the request went in, or the send fails. A new connection never gets to hear of the request.
        self._found.wait(self._node.timeout)  # right after a start the parties are still looking for each other
        channel = self._channel
        if channel is None:
            raise PartyError(gone(PARTY_NAMES[0])[1]).again()
        self._node.queue.add(request)
        try:
            channel.send(encode(Hold(request.id, request.client, request.model, request.digest, request.rows)))
        except LinkError:
            self._node.queue.refuse([request.id], *gone(PARTY_NAMES[0]))

    def drop(self, id_: bytes) -> None:
        """A client does not want its request any more: the leader decides what becomes of it."""
        self.send(Drop(id_))

    def report_model(self) -> None:
        """Tell the leader what this party holds now."""
        self.send(self._model())

    def _model(self) -> Model:
        model = self._node.shelf.model
        return Model(model.id, model.digest) if model else Model(None, "")

    def _live(self) -> None:
        node, backoff, quiet = self._node, Backoff(self._node.closing), False
        while not node.closing.is_set():
            try:
                channel = call(node.network, 0, node.hello("control"), node.timeout)
            except KerasPrivateError as error:
                if not quiet:  # once is enough until something changes
                    node.log.warning("leader away", cause=str(error))
                quiet = True
                backoff.wait()
                continue
            self._channel = channel
            self._found.set()
            backoff.reset()
            quiet = False
            cause, heartbeat = "", Heartbeat(channel, node.timeout)
            try:
                channel.send(encode(self._model()))
                node.log.info("peer up", peer="server0")
                while not node.closing.is_set():
                    self._handle(heartbeat.receive())
            except LinkError as error:
                cause = str(error)
            finally:
                channel.close()
                self._found.clear()
                self._channel = None
                for lane in self.lanes:
                    lane.open(None)
                node.queue.refuse_all(*gone(PARTY_NAMES[0]))
            if not node.closing.is_set():
                node.log.warning("peer down", peer="server0", cause=cause)
            backoff.wait()

    def _handle(self, message: Message) -> None:
        if isinstance(message, OpenLane) and message.lane < len(self.lanes):
            self.lanes[message.lane].open(message.epoch)
        elif isinstance(message, Discard):
            self._node.queue.refuse(message.requests, message.code, message.text)
        else:
            raise FrameError(f"{self._node.name} ← server0, control: a {message.kind} message is not due here")
