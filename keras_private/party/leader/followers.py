"""The leader's side of control: both followers' connections, and what they said they hold.

Theory of operation. Each follower keeps one standing connection to the leader, beside the lanes. The followers dial,
and dial again when it breaks. Over it the leader learns what they hold, and they learn what to forget and when to build
a lane. A connection that is silent for too long counts as broken (`heartbeat`). When it breaks, whatever the follower
held is gone for the leader, and the follower refuses everything that waits at it: so after a reconnect both start from
the same, empty, state.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from keras_private.config import FOLLOWERS, PARTY_NAMES
from keras_private.errors import LinkError, NoModelError, RefusedError
from keras_private.party.causes import Cause
from keras_private.party.fields import Message
from keras_private.party.heartbeat import Heartbeat
from keras_private.party.messages import (
    Discard,
    Forget,
    Holding,
    Holdings,
)
from keras_private.party.models import HeldModel
from keras_private.party.network import Channel
from keras_private.party.node import Node
from keras_private.party.wire import encode

_IDS_A_MESSAGE = 4096


class Followers:
    """Both followers' connections.

    Args:
        heard: called with a follower's number and message, in its connection's own thread; a LinkError that it raises
            ends the connection.
        lost: called with the number of a follower that is gone, unless this party is stopping.
    """

    def __init__(self, node: Node, heard: Callable[[int, Message], None], lost: Callable[[int], None]) -> None:
        self._node = node
        self._heard = heard
        self._on_lost = lost
        self._changed = threading.Condition()
        self._channels: dict[int, Channel] = {}
        self._holdings: dict[int, Holdings] = {}
        self._away = dict.fromkeys(FOLLOWERS, "it has not connected to server0 yet; its log says why")

    # What the lanes ask

    @property
    def complete(self) -> bool:
        """Whether both followers are connected and have said what they hold."""
        return len(self._holdings) == len(FOLLOWERS)

    def is_here(self, index: int) -> bool:
        return index in self._channels

    def wait_complete(self) -> bool:
        """Wait until `complete`; False when the server stops."""
        with self._changed:
            while not self._node.closing.is_set():
                if self.complete:
                    return True
                self._changed.wait(60.0)
        return False

    def send(self, index: int, message: Message) -> None:
        """Send if the follower is there; if it is not, it will learn from its own side."""
        channel = self._channels.get(index)
        if channel is not None:
            with contextlib.suppress(LinkError):
                channel.send(encode(message))

    def discard(self, ids: list[bytes], cause: Cause) -> None:
        """Let both followers forget these requests, and tell their clients."""
        for start in range(0, len(ids), _IDS_A_MESSAGE):
            for index in FOLLOWERS:
                self.send(index, Discard(tuple(ids[start : start + _IDS_A_MESSAGE]), *cause))

    def forget(self, ids: list[bytes], cause: Cause, index: int | None = None) -> None:
        """Let both followers, or this one, forget these uploads."""
        for start in range(0, len(ids), _IDS_A_MESSAGE):
            for each in FOLLOWERS if index is None else (index,):
                self.send(each, Forget(tuple(ids[start : start + _IDS_A_MESSAGE]), cause.code, cause.text))

    # What a serving owner asks

    def obstacle(self, model: HeldModel) -> RefusedError | None:
        """Why a model can no longer be served, whether or not all parties are there; None: it can."""
        if model.ended:
            return NoModelError("server0 holds the model no longer")
        with self._changed:
            holdings = dict(self._holdings)
        for index, report in sorted(holdings.items()):
            theirs = next((each for each in report.models if each.model == model.id), None)
            if theirs is None:
                name = PARTY_NAMES[index]
                why = "was restarted, or lost it" if report.models else "was restarted"
                return NoModelError(f"{name} holds no model '{model.name}' version {model.version} (it {why})")
            if theirs != _holding(model):
                return RefusedError(
                    f"server0 and {PARTY_NAMES[index]} hold different things as one upload, plan {model.digest} of "
                    f"{model.owner} and plan {theirs.digest} of {theirs.owner}; share the model again"
                )
        return None

    def away(self) -> str:
        """Who is not connected and why, in words for the owner; empty: nobody."""
        with self._changed:
            away = dict(self._away)
        return "; ".join(f"{PARTY_NAMES[index]} is away ({cause})" for index, cause in sorted(away.items()))

    def wait_agreed(self, model: HeldModel, timeout: float) -> RefusedError | None:
        """Give the followers' reports time to arrive; what `obstacle` says in the end."""
        with self._changed:
            self._changed.wait_for(lambda: self.complete and not self.obstacle(model), timeout)
        return self.obstacle(model)

    # The connections

    def attend(self, index: int, channel: Channel) -> None:
        """Listen to a follower until its connection ends. In the connection's own thread."""
        with self._changed:
            old = self._channels.get(index)
        if old is not None:
            old.close("replaced by a newer connection")
            self._lost(index, old, "it connected again")
        with self._changed:
            self._channels[index] = channel
            self._away.pop(index, None)
            self._changed.notify_all()
        self._node.log.info("peer up", peer=PARTY_NAMES[index])
        cause, heartbeat = "closed", Heartbeat(channel, self._node.timeout)
        try:
            while True:
                message = heartbeat.receive()
                if isinstance(message, Holdings):
                    with self._changed:
                        latest = self._holdings.get(index)
                        if latest is None or latest.changes <= message.changes:
                            self._holdings[index] = message
                        self._changed.notify_all()
                self._heard(index, message)
        except LinkError as error:
            cause = str(error)
        finally:
            channel.close()
            self._lost(index, channel, cause)

    def close(self) -> None:
        with self._changed:
            channels = list(self._channels.values())
            self._changed.notify_all()
        for channel in channels:
            channel.close("this party was stopped")

    def _lost(self, index: int, channel: Channel, cause: str) -> None:
        with self._changed:
            if self._channels.get(index) is not channel:
                return
            del self._channels[index]
            self._holdings.pop(index, None)
            self._away[index] = cause
            self._changed.notify_all()
        if self._node.closing.is_set():  # we hung up: clients must not hear that a follower is gone
            return
        self._node.log.warning("peer down", peer=PARTY_NAMES[index], cause=cause)
        self._on_lost(index)


def _holding(model: HeldModel) -> Holding:
    return Holding(model.id, model.name, model.version, model.owner, model.digest)
