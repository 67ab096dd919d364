"""A standing connection: silence means that it is broken, so both sides show signs of life, however busy they are.

Each side sends a `Ping` every quarter of the timeout. That must not depend on what it receives: a side that hears the
other all the time would otherwise never speak, and be given up for dead.
"""

from __future__ import annotations

import time

from keras_private.errors import LinkTimeoutError
from keras_private.party.fields import Message
from keras_private.party.messages import (
    CONTROL_BYTES,
    Ping,
)
from keras_private.party.network import Channel
from keras_private.party.wire import decode, encode


class Heartbeat:
    """Receives on a standing connection, and pings meanwhile. For the connection's own thread.

    Args:
        timeout: seconds of silence after which the connection counts as broken.
    """

    def __init__(self, channel: Channel, timeout: float) -> None:
        self._channel = channel
        self._timeout = timeout
        self._ping_at = time.monotonic() + timeout / 4

    def receive(self) -> Message:
        """The next message that is more than a sign of life.

        Raises:
            LinkError: the connection broke, was silent for too long, or carried something other than messages.
        """
        heard = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= self._ping_at:
                self._channel.send(encode(Ping()))
                self._ping_at = now + self._timeout / 4
            try:
                message = decode(self._channel.receive(self._ping_at - now, CONTROL_BYTES))
            except LinkTimeoutError:
                if self._channel.closed or time.monotonic() - heard > self._timeout:
                    raise
                continue
            if not isinstance(message, Ping):
                return message
            heard = time.monotonic()
