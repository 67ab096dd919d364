"""A follower's side of control (see `leader.followers`): its connection to the leader, dialled until it is up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from keras_private.config import LEADER, PARTY_NAMES
from keras_private.errors import LinkError
from keras_private.party.dial import call
from keras_private.party.failure import cause_of
from keras_private.party.fields import Message
from keras_private.party.heartbeat import Heartbeat
from keras_private.party.network import Channel
from keras_private.party.node import Backoff, Node
from keras_private.party.wire import encode


class LeaderLine:
    """The connection to the leader, kept up by a thread of its own, in which everything here is called.

    Args:
        greeting: what the leader is told first on every new connection.
        heard: called with its messages; a LinkError that it raises ends the connection.
        lost: called when the connection is gone, before the next attempt.
    """

    def __init__(
        self,
        node: Node,
        greeting: Callable[[], Message],
        heard: Callable[[Message], None],
        lost: Callable[[], None],
    ) -> None:
        self._node = node
        self._greeting = greeting
        self._heard = heard
        self._lost = lost
        self._channel: Channel | None = None
        self._found = threading.Event()  # set while there is a channel
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
        self._found.set()  # nobody need wait for it any longer
        if channel is not None:
            channel.close("this party was stopped")

    def send(self, message: Message) -> None:
        """Send if the leader is there; if not, it starts from an empty state when it is back."""
        channel = self._channel
        if channel is not None:
            with contextlib.suppress(LinkError):
                channel.send(encode(message))

    def wait(self, timeout: float) -> Channel | None:
        """The connection; if there is none, wait for it so many seconds at most."""
        self._found.wait(timeout)
        return self._channel

    def _live(self) -> None:
        node, backoff, quiet = self._node, Backoff(self._node.closing), False
        while not node.closing.is_set():
            try:
                channel = call(node.network, LEADER, node.hello("control"), node.timeout)
            except Exception as error:  # noqa: BLE001  whatever it is, this thread must live on
                if not quiet:  # once is enough until something changes
                    node.log.warning("leader away", cause=cause_of(error))
                quiet = True
                backoff.wait()
                continue
            self._channel = channel
            self._found.set()
            backoff.reset()
            quiet = False
            cause, heartbeat = "", Heartbeat(channel, node.timeout)
            try:
                channel.send(encode(self._greeting()))
                node.log.info("peer up", peer=PARTY_NAMES[LEADER])
                while not node.closing.is_set():
                    self._heard(heartbeat.receive())
            except LinkError as error:
                cause = str(error)
            except Exception as error:  # a defect, or no memory: the next connection begins anew
                cause = cause_of(error)
                node.log.error("session failed", peer=PARTY_NAMES[LEADER], exc_info=error)
            finally:
                channel.close()
                self._found.clear()
                self._channel = None
                self._lost()
            if not node.closing.is_set():
                node.log.warning("peer down", peer=PARTY_NAMES[LEADER], cause=cause)
            backoff.wait()
