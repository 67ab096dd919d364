"""A network within one process, for clusters whose workers have no hosts: three parties as threads.

Connections are queues of messages, lanes are `net.memory` links. The messages and their handlers are the real ones.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from keras_private.config import PARTY_NAMES
from keras_private.errors import FrameError, LinkError, LinkTimeoutError
from keras_private.net.connection import FREE_BYTES, Reserve
from keras_private.net.frames import MAX_MESSAGE_BYTES, Buffer, as_bytes
from keras_private.net.link import Link
from keras_private.net.memory import memory_links
from keras_private.net.roles import Role
from keras_private.party.network import Admit, Channel


class MemoryNetwork:
    """Three parties in one process. `role` is whose view this is; `as_role` gives another participant's."""

    def __init__(self, role: Role, hub: _Hub | None = None) -> None:
        self._role = role
        self._hub = hub or _Hub()
        self._changed = threading.Condition()  # of every connection made from here, so that `wait` can wait for several

    def as_role(self, role: Role) -> MemoryNetwork:
        """The same cluster as somebody else sees it."""
        return MemoryNetwork(role, self._hub)

    def listen(self, index: int) -> MemoryDoor:
        door = self._hub.doors[index] = MemoryDoor()
        return door

    def connect(self, index: int, timeout: float) -> MemoryChannel:
        there = Role("party", PARTY_NAMES[index])
        door = self._hub.doors.get(index)
        if door is None or door.closed:
            raise LinkError(f"{self._role.name} → {there.name}: it is not running; start the cluster", there.name)
        ours, theirs = _pair(self._role, there, timeout, self._changed)
        answer = door.call(MemoryCaller(theirs))
        if not answer.wait(timeout):
            ours.close()
            raise LinkTimeoutError(f"{self._role.name} → {there.name}: it took too long", there.name)
        if answer.refusal:
            raise LinkError(f"{self._role.name} → {there.name}: it refused us: {answer.refusal}", there.name)
        return ours

    def wait(self, channels: Sequence[Channel], seconds: float) -> list[int]:
        def ready() -> list[int]:
            return [index for index, channel in enumerate(channels) if getattr(channel, "ready", True)]

        with self._changed:
            return self._changed.wait_for(ready, seconds)

    def link(
        self,
        index: int,
        lane: int,
        epoch: bytes,
        neighbours: tuple[Channel, Channel],  # noqa: ARG002  the link does not go over them
        timeout: float,
    ) -> Link:
        return self._hub.link(index, lane, epoch, timeout)


class _Hub:
    """What the three views of an in-process cluster share."""

    def __init__(self) -> None:
        self.doors: dict[int, MemoryDoor] = {}
        self._lock = threading.Lock()
        self._links: dict[int, tuple[bytes, tuple[Link, Link, Link]]] = {}

    def link(self, index: int, lane: int, epoch: bytes, timeout: float) -> Link:
        with self._lock:
            if lane not in self._links or self._links[lane][0] != epoch:
                self._links[lane] = (epoch, memory_links(timeout))
            return self._links[lane][1][index]


class MemoryCaller(threading.Event):
    """Both sides of a call: set once the party has said yes or no."""

    def __init__(self, channel: MemoryChannel) -> None:
        super().__init__()
        self._channel = channel
        self.address = ("this process", 0)
        self.refusal = ""

    def fileno(self) -> int:
        return -1

    def look(self) -> bool:
        return True

    def handshake(self, timeout: float = 0.0, admit: Admit | None = None) -> MemoryChannel:  # noqa: ARG002
        self.refusal = (admit(self._channel.peer) if admit else None) or ""
        self.set()
        if self.refusal:
            self._channel.close()
            raise LinkError(f"{self._channel.local.name} refused {self._channel.peer}: {self.refusal}")
        return self._channel

    def close(self, reason: str = "hung up") -> None:
        self.refusal = reason
        self._channel.close()
        self.set()


class MemoryDoor:
    """A queue of callers."""

    def __init__(self) -> None:
        self.address = ("this process", 0)
        self._callers: deque[MemoryCaller] = deque()
        self._changed = threading.Condition()
        self.closed = False

    def call(self, caller: MemoryCaller) -> MemoryCaller:
        with self._changed:
            if self.closed:
                caller.close()
            else:
                self._callers.append(caller)
                self._changed.notify()
        return caller

    def accept(self, timeout: float = 1.0) -> MemoryCaller:
        with self._changed:
            self._changed.wait_for(lambda: self._callers or self.closed, timeout)
            if self._callers:
                return self._callers.popleft()
            if self.closed:
                raise LinkError("this party's door is closed")
            raise LinkTimeoutError("nobody called")

    def close(self) -> None:
        with self._changed:
            self.closed = True
            while self._callers:
                self._callers.popleft().close()
            self._changed.notify_all()


class _Wire:
    """Two queues of messages, one for each direction, and who hung up."""

    def __init__(self, changed: threading.Condition) -> None:
        self.changed = changed
        self.messages: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self.closed = ["", ""]


class MemoryChannel:
    """One end of a connection within a process; the twin of `net.connection.Connection`."""

    def __init__(self, wire: _Wire, side: int, local: Role, peer: Role, timeout: float) -> None:
        self.local, self.peer, self.timeout = local, peer, timeout
        self.phase = "connected"
        self._wire, self._side = wire, side

    def __repr__(self) -> str:
        return f"<MemoryChannel {self.local.name} ↔ {self.peer.name}{', closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        return bool(self._wire.closed[self._side])

    @property
    def ready(self) -> bool:
        """Whether `receive` would return or raise at once."""
        return bool(self._wire.messages[self._side]) or any(self._wire.closed)

    def fileno(self) -> int:
        return -1

    def send(self, *buffers: Buffer) -> None:
        message = b"".join(map(as_bytes, buffers))
        with self._wire.changed:
            self._check("→")
            self._wire.messages[1 - self._side].append(message)
            self._wire.changed.notify_all()

    def receive(
        self, timeout: float | None = None, max_bytes: int = MAX_MESSAGE_BYTES, room: Reserve | None = None
    ) -> bytes:
        inbox, seconds = self._wire.messages[self._side], self.timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        with self._wire.changed:
            while not inbox:
                self._check("←")
                if not self._wire.changed.wait(max(0.0, deadline - time.monotonic())) and not inbox:
                    self._check("←")
                    raise self._error("nothing came in time", "←", LinkTimeoutError)
            message = inbox.popleft()
        if len(message) > max_bytes:
            self.close("closed after a wrong frame")
            raise self._error(f"a payload of {len(message)} bytes is over the limit of {max_bytes}", "←", FrameError)
        if room and len(message) > FREE_BYTES:
            room(len(message))
        return message

    def close(self, reason: str = "closed by this side") -> None:
        with self._wire.changed:
            self._wire.closed[self._side] = self._wire.closed[self._side] or reason
            self._wire.changed.notify_all()

    def finish(self, timeout: float = 1.0) -> None:  # noqa: ARG002  everything sent is there already
        self.close()

    def _check(self, arrow: str) -> None:
        ours, theirs = self._wire.closed[self._side], self._wire.closed[1 - self._side]
        if ours or theirs:
            raise self._error(ours or "it closed the connection", arrow)

    def _error(self, cause: str, arrow: str, kind: type[LinkError] = LinkError) -> LinkError:
        return kind(f"{self.local.name} {arrow} {self.peer.name}, {self.phase}: {cause}", self.peer.party)


def _pair(
    caller: Role, called: Role, timeout: float, changed: threading.Condition
) -> tuple[MemoryChannel, MemoryChannel]:
    wire = _Wire(changed)
    return MemoryChannel(wire, 0, caller, called, timeout), MemoryChannel(wire, 1, called, caller, timeout)
