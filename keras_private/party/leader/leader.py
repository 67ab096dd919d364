"""What the leader does: hears what the followers hold, has it run or discarded, and serves for the owner."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from keras_private.config import FOLLOWERS, PARTY_NAMES
from keras_private.errors import FrameError, NoModelError
from keras_private.party.causes import LOST, STOPPED, Cause, leaving
from keras_private.party.duty import Duty
from keras_private.party.fields import Message
from keras_private.party.leader.followers import Followers
from keras_private.party.leader.lane import LeaderLane
from keras_private.party.leader.names import Names
from keras_private.party.leader.queue import LeaderQueue
from keras_private.party.leader.serving import ServingSession
from keras_private.party.messages import (
    Describe,
    Drop,
    Holdings,
    Holds,
    LaneFailed,
    Leaving,
    Status,
)
from keras_private.party.models import HeldModel
from keras_private.party.network import Channel
from keras_private.party.node import Node
from keras_private.party.owner_session import OwnerSession
from keras_private.party.queue import Request


class Leader(Duty):
    """server0."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()  # around what holds the queue off
        self._leaving: set[int] = set()  # followers that are about to end
        limits = node.config.limits
        self.followers = Followers(node, self._heard, self._lost)
        self.queue: LeaderQueue = LeaderQueue(
            limits.queue, limits.timeout_s, self._discarded, limits.batch_delay_ms / 1000
        )
        self.names = Names(node, self.queue, self.followers)
        self.lanes: list[LeaderLane] = []
        for number in range(node.config.lanes):
            self.lanes.append(LeaderLane(number, node, self.queue, self.followers, self.lanes))

    def start(self) -> None:
        self.names.start()
        super().start()

    def close(self) -> None:
        self.followers.close()
        super().close()

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(PARTY_NAMES[index] for index in FOLLOWERS if self.followers.is_here(index))

    def trouble(self) -> str:
        """Why no query can be run now although the model is served, in words for its owner; empty: nothing is wrong."""
        if away := self.followers.away():
            return away
        if any(lane.up for lane in self.lanes):
            return ""
        return next(filter(None, (lane.trouble for lane in self.lanes)), "")

    # Clients' requests

    def take_in(self, request: Request) -> None:
        self.queue.add(request)
        self._check_held(request.id, request.model)

    def _check_held(self, request: bytes, model: bytes) -> None:
        """What came while its model was taken away would wait for ever."""
        held = self._node.shelf.get(model)
        if held is None or held.ended:
            self.queue.discard([request], *(self._node.shelf.gone(model) or (held and held.ended) or STOPPED))

    def drop(self, id_: bytes, cause: Cause) -> None:
        self.queue.drop(id_, cause)

    def expire(self) -> None:
        self.queue.expire()
        self.names.tidy()
        waiting = self.queue.evaluations
        for lane in self.lanes:
            if idle := lane.tallies.idle(self._node.timeout, waiting):
                self.queue.discard(idle, *LOST)

    def _discarded(self, ids: list[bytes], cause: Cause) -> None:
        """These requests, or evaluations, do not go on: here as at the followers."""
        for lane in self.lanes:
            lane.tallies.forget(ids)
        self.followers.discard(ids, cause)

    def leave(self) -> None:
        self._hold_off()

    def _hold_off(self) -> None:
        """Begin no run while a party is leaving, and go on when it has come back."""
        with self._lock:
            names = [PARTY_NAMES[index] for index in sorted(self._leaving)]
            if self._node.leaving.is_set():
                names = [self._node.name]
            self.queue.hold_off(leaving(names[0]) if names else None)

    # The models

    def models_changed(self) -> None:
        pass  # whoever changed them has seen to what follows

    def state(self, model: HeldModel) -> tuple[str, int]:
        return self.names.state(model), self.queue.waiting_for(model.id)

    def find(self, asked: Describe, may: Callable[[str], bool]) -> HeldModel:
        shelf = self._node.shelf
        if asked.model is None:
            return shelf.named(asked.name, may)
        model = shelf.get(asked.model)
        if model is None or not model.published:
            raise NoModelError("does not hold this upload of the model (any more); the owner must share it again")
        return model

    # Callers

    def owner_session(self, channel: Channel, status: Callable[[], Status]) -> OwnerSession:
        return ServingSession(self._node, channel, status, self.queue, self.followers, self.names, self.trouble)

    def control_session(self, index: int, channel: Channel) -> Callable[[], None]:
        return partial(self.followers.attend, index, channel)

    # The followers

    def _heard(self, index: int, message: Message) -> None:
        if isinstance(message, Holds):
            self.queue.hold(index, *message.held)
            for hold in message.held:
                self._check_held(hold.request, hold.model)
        elif isinstance(message, Drop):
            self.drop(message.request, Cause(message.code, message.text, message.after))
        elif isinstance(message, Holdings):
            self.names.reconcile(index, message)
        elif isinstance(message, Leaving):
            self._leaving.add(index)
            self._hold_off()
        elif isinstance(message, LaneFailed) and message.lane < len(self.lanes):
            self.lanes[message.lane].failed(index, message)
        else:
            raise FrameError(
                f"{self._node.name} ← {PARTY_NAMES[index]}, control: a {message.kind} message is not due here",
                PARTY_NAMES[index],
            )

    def _lost(self, index: int) -> None:
        for lane in self.lanes:
            lane.interrupt()
        self.queue.forget_party(index)
        self._leaving.discard(index)
        self._hold_off()
