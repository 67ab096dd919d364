"""What a follower does: takes requests in for the leader to choose from, and runs and forgets what the leader says."""

from __future__ import annotations

import threading
from collections.abc import Callable

from keras_private.config import LEADER, PARTY_NAMES
from keras_private.errors import FrameError, LinkError, NoModelError, PartyError, RefusedError
from keras_private.party.causes import Cause, gone
from keras_private.party.duty import Duty
from keras_private.party.fields import Message
from keras_private.party.follower.lane import FollowerLane
from keras_private.party.follower.line import LeaderLine
from keras_private.party.messages import (
    MOST_HOLDS,
    Describe,
    Discard,
    Drop,
    Forget,
    Hold,
    Holding,
    Holdings,
    Holds,
    LaneFailed,
    Leaving,
    OpenLane,
    Status,
)
from keras_private.party.models import HeldModel
from keras_private.party.network import Channel
from keras_private.party.node import Node
from keras_private.party.owner_session import OwnerSession
from keras_private.party.queue import Request, RequestQueue
from keras_private.party.wire import encode


class Follower(Duty):
    """server1 or server2."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.queue = RequestQueue(node.config.limits.queue)
        self._telling = threading.Lock()  # around what the leader has not been told of yet
        self._untold: list[tuple[Channel, Hold]] = []
        self.line = LeaderLine(node, self._holding, self._heard, self._lost)
        self.lanes: list[FollowerLane] = [
            FollowerLane(number, node, self.queue, self.line) for number in range(node.config.lanes)
        ]

    def start(self) -> None:
        super().start()
        self.line.start()

    def close(self) -> None:
        self.line.close()
        super().close()

    def join(self, timeout: float) -> None:
        super().join(timeout)
        self.line.join(timeout)

    @property
    def peers(self) -> tuple[str, ...]:
        return (PARTY_NAMES[LEADER],) if self.line.up else ()

    # Clients' requests

    @property
    def ready(self) -> bool:
        return self.line.up

    def take_in(self, request: Request) -> None:
        # The order matters: if the connection breaks at any moment from here on, either the queue is emptied after
        # the request went in, or `taken_in` cannot send. A new connection never gets to hear of the request.
        leader = self.line.wait(self._node.timeout)  # right after a start the parties are still looking for each other
        if leader is None:
            raise PartyError(gone(PARTY_NAMES[LEADER])[1]).again()
        self.queue.add(request)
        with self._telling:
            self._untold.append((leader, _hold(request)))

    def taken_in(self) -> None:
        if not self._untold:
            return
        with self._telling:
            untold, self._untold = self._untold, []
        for leader in {leader for leader, _ in untold}:
            held = [hold for to, hold in untold if to is leader]
            for start in range(0, len(held), MOST_HOLDS):
                some = tuple(held[start : start + MOST_HOLDS])
                try:
                    leader.send(encode(Holds(some)))
                except LinkError:
                    self.queue.refuse([hold.request for hold in some], *gone(PARTY_NAMES[LEADER]))

    def drop(self, id_: bytes, cause: Cause) -> None:
        self.taken_in()  # before it is taken back
        self.line.send(Drop(id_, *cause))  # the leader decides what becomes of it

    def leave(self) -> None:
        self.taken_in()
        self.line.send(Leaving())

    # The models

    def models_changed(self) -> None:
        self.line.send(self._holding())

    def _holding(self) -> Holdings:
        changes, models = self._node.shelf.snapshot()
        return Holdings(
            changes, tuple(Holding(each.id, each.name, each.version, each.owner, each.digest) for each in models)
        )

    def state(self, model: HeldModel) -> tuple[str, int]:
        return "held", self.queue.waiting_for(model.id)

    def find(self, asked: Describe, may: Callable[[str], bool]) -> HeldModel:  # noqa: ARG002
        model = self._node.shelf.get(asked.model) if asked.model else None
        if model is None:
            raise NoModelError(
                "does not hold this upload of the model (any more); the owner must share it again"
                if asked.model
                else f"does not know what names mean; ask the leader, {PARTY_NAMES[LEADER]}"
            )
        return model

    # Callers

    def owner_session(self, channel: Channel, status: Callable[[], Status]) -> OwnerSession:
        return OwnerSession(self._node, channel, status)

    def control_session(self, index: int, channel: Channel) -> Callable[[], None]:  # noqa: ARG002
        raise RefusedError(f"control connections go to the leader, {PARTY_NAMES[LEADER]}")

    # The leader

    def _heard(self, message: Message) -> None:
        if isinstance(message, OpenLane) and message.lane < len(self.lanes):
            self.lanes[message.lane].open(message.epoch)
        elif isinstance(message, Forget):
            for id_ in message.models:
                self._forget(id_, Cause(message.code, message.text))
        elif isinstance(message, OpenLane):
            cause = f"{self._node.name} runs {len(self.lanes)} lanes and no more (limits.lanes)"
            self.line.send(LaneFailed(message.lane, message.epoch, self._node.index, cause))
        elif isinstance(message, Discard):
            self.queue.refuse(message.requests, message.code, message.text, message.after)
            for lane in self.lanes:
                lane.tallies.forget(message.requests)
        else:
            raise FrameError(
                f"{self._node.name} ← {PARTY_NAMES[LEADER]}, control: a {message.kind} message is not due here",
                PARTY_NAMES[LEADER],
            )

    def _forget(self, id_: bytes, cause: Cause) -> None:
        model = self._node.shelf.get(id_)
        if self._node.shelf.remove(id_, cause) and model:
            self._node.log.info(
                "model forgotten", owner=model.owner, model=model.name, version=model.version, cause=cause.text
            )

    def _lost(self) -> None:
        for lane in self.lanes:
            lane.open(None)
        self.queue.refuse_all(*gone(PARTY_NAMES[LEADER]))


def _hold(request: Request) -> Hold:
    return Hold(request.id, request.client, request.model, request.digest, request.rows, request.part)
