"""How participants reach the parties.

Everything above this file sees one thing, a `Network`: somebody's view of the cluster, with their identity.
`TLSNetwork` is the real one. `memory.MemoryNetwork` is for clusters whose workers have no hosts, three parties as
threads of one process: its connections carry the same messages to the same handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.errors import LinkError
from keras_private.net.certificates import local_credentials
from keras_private.net.connection import Connection, Reserve, wait_readable
from keras_private.net.frames import Buffer
from keras_private.net.handshake import Address, Listener, connect
from keras_private.net.identity import Identity
from keras_private.net.link import Link
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles
from keras_private.net.tls_link import TLSLink

Admit = Callable[[Role], str | None]


class Channel(Protocol):
    """What `net.connection.Connection` offers, and its twin in memory."""

    local: Role
    peer: Role
    phase: str
    timeout: float

    @property
    def closed(self) -> bool: ...
    def send(self, *buffers: Buffer) -> None: ...
    def receive(self, timeout: float | None = None, max_bytes: int = ..., room: Reserve | None = None) -> bytes: ...
    def close(self, reason: str = ...) -> None: ...
    def finish(self, timeout: float = ...) -> None: ...
    def fileno(self) -> int: ...


class Caller(Protocol):
    """Somebody who was accepted and not yet looked at (`net.handshake.Pending`)."""

    @property
    def address(self) -> Address: ...
    def fileno(self) -> int: ...
    def look(self) -> bool: ...
    def handshake(self, timeout: float = ..., admit: Admit | None = None) -> Channel: ...
    def close(self, reason: str = ...) -> None: ...


class Door(Protocol):
    """Where a party is called (`net.handshake.Listener`)."""

    @property
    def address(self) -> Address: ...
    def accept(self, timeout: float = ...) -> Caller: ...
    def close(self) -> None: ...


class Network(Protocol):
    """One participant's view of the cluster."""

    def listen(self, index: int) -> Door:
        """Open party `index`'s door; only that party may."""

    def connect(self, index: int, timeout: float) -> Channel:
        """A connection to party `index`, which has proved to be it.

        Raises:
            LinkError: it is not there, or refuses us; names both sides.
        """

    def wait(self, channels: Sequence[Channel], seconds: float) -> list[int]:
        """Which of these connections of this network have something to receive, or ended; none after `seconds`.

        Raises:
            LinkError: one was closed by this side.
        """

    def link(self, index: int, lane: int, epoch: bytes, neighbours: tuple[Channel, Channel], timeout: float) -> Link:
        """Party `index`'s end of a lane, from its established connections to (next, prev)."""


class TLSNetwork:
    """Mutual TLS between processes; `files` are this participant's credentials; a party has an `Identity`."""

    def __init__(self, config: ClusterConfig, files: TLSFiles | Identity) -> None:
        self._config = config
        self._files = files

    def listen(self, index: int) -> Listener:
        return Listener(self._config.party(index).listen_address, self._files)

    def connect(self, index: int, timeout: float) -> Connection:
        address, there = self._config.party(index).address, Role("party", PARTY_NAMES[index])
        return connect(address, self._files, expect=there, timeout=timeout)

    def wait(self, channels: Sequence[Channel], seconds: float) -> list[int]:
        connections = [channel for channel in channels if isinstance(channel, Connection)]
        ready = wait_readable(connections, seconds)
        return [index for index, channel in enumerate(channels) if channel in ready]

    def link(
        self,
        index: int,
        lane: int,
        epoch: bytes,  # noqa: ARG002  the acceptor has compared it
        neighbours: tuple[Channel, Channel],
        timeout: float,
    ) -> Link:
        following, previous = neighbours
        if not (isinstance(following, Connection) and isinstance(previous, Connection)):
            raise LinkError(f"lane {lane}: a TLS link needs TLS connections")
        serials: tuple[int, ...] = ()
        if isinstance(self._files, Identity):
            serials = self._files.serials_of(following) + self._files.serials_of(previous)
        link = TLSLink(index, next=following, prev=previous, lane=lane, timeout=timeout)
        if isinstance(self._files, Identity):
            self._files.hold(link, *serials)
        return link


def credentials(config: ClusterConfig, role: Role) -> TLSFiles:
    """The files of one participant: those that cluster.yaml names, or this user's own for a cluster on this machine.

    Raises:
        ConfigError: neither is possible.
    """
    if config.tls is not None:
        files = config.tls.for_name(role.name)
        return TLSFiles(files.ca, files.cert, files.key, files.crl, files.key_password_command)
    return local_credentials(role, [party.address[0] for party in config.parties.values()])
