"""Who comes in at a party: strangers shake hands in a small room of their own, then each role has its own places.

Theory of operation. One thread accepts; each caller waits in the `Lobby` until it has said something that makes sense,
and gets a thread of its own then. Before the handshake nobody knows who it is, so nobody may be kept out for good: at
most `MAX_HANDSHAKES` are in the lobby or shake hands at once, and when one more calls, the place of another is taken:
of those that called from addresses from which no party and no owner has come yet, of the address with the most of them,
the oldest (of IPv6 the first 64 bits are an address: who has one has them all). A handshake takes milliseconds, so the
honest are through long before it is their turn, however many say nothing.

After the handshake the role is known, and a connection counts against its kind only (`MAX_OF_KIND`) and, for clients
and owners, against its name (`MAX_OF_ONE`) unless that is the default one. So no crowd of strangers or clients keeps
a party or an owner out; and those who share the default name leave places to clients with names of their own.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from keras_private.config import PARTY_NAMES
from keras_private.errors import KerasPrivateError, LinkTimeoutError, StateError
from keras_private.net.handshake import Address
from keras_private.net.roles import Role
from keras_private.party.failure import cause_of
from keras_private.party.lobby import Lobby
from keras_private.party.network import Caller, Channel, Door
from keras_private.party.node import STOP_S, Node

MAX_HANDSHAKES: Final = 128
MAX_OF_KIND: Final = {"party": 32, "owner": 128, "client": 512}
"""Connections at once. Together with handshakes and lanes these stay below 1024 open files."""
MAX_OF_ONE: Final = 64  # connections of one client or owner
UNNAMED: Final = Role("client", "client")
"""Clients that were given no name. They may be many, so `MAX_UNNAMED` is for all of them."""
MAX_UNNAMED: Final = 384
HANDSHAKE_S: Final = 10.0
_MAX_FAMILIAR = 64


def _whose(caller: Caller) -> str:
    """The address that a caller's place is counted for."""
    host = caller.address[0].partition("%")[0]
    if ":" not in host:
        return host
    return str(ipaddress.ip_network((host, 64), strict=False))


class Entrance:
    """The door of one party, and who is in.

    Args:
        attend: looks after an established connection, in that connection's own thread, and returns when it is over.
    """

    def __init__(self, node: Node, attend: Callable[[Channel], None]) -> None:
        self._node = node
        self._attend = attend
        self._door: Door | None = None
        self._accepting: threading.Thread | None = None
        self._lock = threading.Lock()  # around the fields below
        self._lobby = Lobby(node.name, self._start, self._turned_away)
        self._shaking: dict[Caller, str] = {}  # in order of arrival
        self._familiar: dict[str, None] = {}  # addresses from which a party or an owner has come, the latest ones
        self._places: Counter[Role] = Counter()
        self._channels: set[Channel] = set()

    def open(self) -> None:
        """Begin to listen.

        Raises:
            LinkError: the address is taken.
            ConfigError: the certificate files are not usable.
        """
        self._door = self._node.network.listen(self._node.index)
        self._accepting = threading.Thread(
            target=self._accept, args=(self._door,), name=f"{self._node.name} accept", daemon=True
        )
        self._lobby.open()
        self._accepting.start()

    @property
    def address(self) -> Address:
        """Where it listens; after `open`."""
        if self._door is None:
            raise StateError(f"{self._node.name} does not listen yet")
        return self._door.address

    @property
    def ended(self) -> bool:
        """Whether nobody listens to callers any more, as it should be only when the server stops."""
        return self._accepting is not None and not self._accepting.is_alive()

    @property
    def handshakes(self) -> int:
        """How many shake hands."""
        return len(self._shaking)

    @property
    def connections(self) -> dict[str, int]:
        """How many are in, by the kind of their role."""
        with self._lock:
            places = self._places.copy()
        return {kind: sum(count for role, count in places.items() if role.kind == kind) for kind in MAX_OF_KIND}

    def shut(self) -> None:
        """After `node.closing` was set: nobody else comes in."""
        if self._door:
            self._door.close()
        self._lobby.close()

    def close(self) -> None:
        """After `shut`: end every connection."""
        with self._lock:
            channels, callers = list(self._channels), list(self._shaking)
        for channel in channels:
            channel.close("this party was stopped")
        for caller in callers:
            caller.close("this party was stopped")

    def join(self) -> None:
        """Wait a moment for the end of listening."""
        if self._accepting:
            self._accepting.join(STOP_S)

    # Strangers

    def _accept(self, door: Door) -> None:
        closing, log = self._node.closing, self._node.log
        while not closing.is_set():
            try:
                caller = door.accept(60.0)
            except LinkTimeoutError:
                continue
            except Exception as error:  # noqa: BLE001  whatever it is, this thread must live on
                if not closing.is_set():
                    log.error("cannot accept", cause=cause_of(error))
                    closing.wait(0.5)
                continue
            self._make_room(caller)
            if caller.fileno() < 0:  # in memory: it is who it says
                self._start(caller)
            else:
                self._lobby.add(caller, HANDSHAKE_S)

    def _start(self, caller: Caller) -> None:
        """A caller has begun to shake hands."""
        try:
            threading.Thread(target=self._meet, args=(caller,), name=f"{self._node.name} caller", daemon=True).start()
        except (RuntimeError, MemoryError) as error:  # the system is out of threads: for a while, we hope
            self._leave_room(caller)
            caller.close()
            self._node.log.error("cannot accept", cause=str(error))

    def _turned_away(self, caller: Caller, error: KerasPrivateError) -> None:
        self._leave_room(caller)
        if not self._node.closing.is_set():
            self._node.metrics.handshake_refused()
            self._node.log.warning("refused", cause=str(error))

    def _make_room(self, caller: Caller) -> None:
        """Take a caller into the room for handshakes, in another one's place if need be."""
        displaced: Caller | None = None
        with self._lock:
            if len(self._shaking) >= MAX_HANDSHAKES:
                crowd = Counter(self._shaking.values())
                displaced, _ = max(  # the first, and so the oldest, of the largest
                    self._shaking.items(), key=lambda each: (each[1] not in self._familiar, crowd[each[1]])
                )
                del self._shaking[displaced]
            self._shaking[caller] = _whose(caller)
        if displaced:
            displaced.close(f"{MAX_HANDSHAKES} others were shaking hands and it had been at it for longest")

    def _leave_room(self, caller: Caller) -> None:
        with self._lock:
            self._shaking.pop(caller, None)

    def _meet(self, caller: Caller) -> None:
        taken: list[Role] = []

        def admit(role: Role) -> str | None:
            if (refusal := self._take_place(role)) is None:
                taken.append(role)
                self._leave_room(caller)
                self._remember(role, _whose(caller))
            return refusal

        try:
            self._let_in(caller.handshake(HANDSHAKE_S, admit))
        except KerasPrivateError as error:
            if not self._node.closing.is_set():
                self._node.metrics.handshake_refused()
                self._node.log.warning("refused", cause=str(error))
        except Exception as error:  # a defect must not take the server down
            self._node.log.error("session failed", exc_info=error)
        finally:
            self._leave_room(caller)
            with self._lock:
                self._places.subtract(taken)
                self._places += Counter()  # forgets who has none

    # Participants

    def _take_place(self, role: Role) -> str | None:
        """Count a connection of somebody with a good certificate, or say why they are not welcome all the same."""
        name = self._node.name
        if self._node.closing.is_set():
            return f"{name} is stopping"
        if role.kind == "party" and role.name not in PARTY_NAMES[self._node.index + 1 :]:
            return f"{role} does not call {name}: parties are called by those with higher numbers"
        with self._lock:
            own = self._places[role]
            if role.kind != "party" and role != UNNAMED and own >= MAX_OF_ONE:
                return f"{role} has {own} connections to {name} already; close some"
            kin = sum(count for each, count in self._places.items() if each.kind == role.kind)
            if kin >= MAX_OF_KIND[role.kind]:
                return f"{name} has {kin} connections of kind {role.kind} already; try again later"
            if role == UNNAMED and own >= MAX_UNNAMED:
                return (
                    f"{name} has {own} connections of clients without a name already, and some places are for those "
                    'who have one, as in TFEWorker(name="bob"); try again later'
                )
            self._places[role] += 1
        return None

    def _remember(self, role: Role, address: str) -> None:
        if role.kind != "client":
            with self._lock:
                self._familiar.pop(address, None)
                self._familiar[address] = None
                if len(self._familiar) > _MAX_FAMILIAR:
                    del self._familiar[next(iter(self._familiar))]

    def _let_in(self, channel: Channel) -> None:
        channel.timeout = self._node.timeout
        with self._lock:
            self._channels.add(channel)
        if self._node.closing.is_set():  # close() may have taken its copy before
            channel.close("this party was stopped")
        try:
            self._attend(channel)
        finally:
            with self._lock:
                self._channels.discard(channel)
