"""Connections within a process keep the promises of those between processes: one suite over both."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from keras_private.config import ClusterConfig
from keras_private.errors import FrameError, LinkError, LinkTimeoutError
from keras_private.net.roles import Role
from keras_private.party.memory import MemoryNetwork
from keras_private.party.network import TLSNetwork, credentials

SERVER, CLIENT = Role("party", "server1"), Role("client", "bob")


@pytest.fixture(params=["memory", "tls"])
def networks(request: pytest.FixtureRequest, make_config: Any) -> tuple[Any, Any]:
    """Party server1's view of a cluster, and a client's."""
    if request.param == "memory":
        server = MemoryNetwork(SERVER)
        return server, server.as_role(CLIENT)
    config: ClusterConfig = make_config()
    return tuple(TLSNetwork(config, credentials(config, role)) for role in (SERVER, CLIENT))  # type: ignore[return-value]


def meet(networks: tuple[Any, Any], admit: Any = None) -> tuple[Any, Any, Any]:
    """Their connection (the party's end, the client's end) and the door."""
    door = networks[0].listen(1)
    ends: list[Any] = []

    def accept() -> None:
        try:
            ends.append(door.accept(10).handshake(10, admit))
        except LinkError as error:
            ends.append(error)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        ours = networks[1].connect(1, 10)
    finally:
        thread.join(10)
        if not ends or isinstance(ends[0], LinkError):
            door.close()
    return ends[0], ours, door


@pytest.fixture
def ends(networks: tuple[Any, Any]) -> Iterator[tuple[Any, Any]]:
    theirs, ours, door = meet(networks)
    yield theirs, ours
    for each in (theirs, ours, door):
        each.close()


def test_who_is_who(ends: Any) -> None:
    theirs, ours = ends
    assert (theirs.local, theirs.peer, ours.local, ours.peer) == (SERVER, CLIENT, CLIENT, SERVER)
    assert "server1" in repr(ours)


def test_messages_both_ways_in_order(ends: Any) -> None:
    for sender, receiver in (ends, ends[::-1]):
        for message in (b"one", b"", bytes(300_000)):
            sender.send(message)
        sender.send(b"ab", np.arange(3, dtype=np.uint8), memoryview(b"cd"))
        assert [receiver.receive(10) for _ in range(4)] == [b"one", b"", bytes(300_000), b"ab\0\1\2cd"]


def test_nothing_comes(ends: Any) -> None:
    theirs, ours = ends
    with pytest.raises(LinkTimeoutError, match=r"bob ← server1.*nothing came"):
        ours.receive(0.01)
    theirs.send(b"late")
    assert ours.receive(10) == b"late"


def test_too_large(ends: Any) -> None:
    theirs, ours = ends
    theirs.send(bytes(100))
    with pytest.raises(FrameError, match="100 bytes is over the limit of 99"):
        ours.receive(10, 99)
    assert ours.closed


def test_the_other_side_closes(ends: Any) -> None:
    theirs, ours = ends
    theirs.send(b"last words")
    theirs.finish()
    assert ours.receive(10) == b"last words"
    with pytest.raises(LinkError, match=r"bob ← server1.*it closed the connection"):
        ours.receive(10)


def test_closing_wakes_whoever_waits(ends: Any) -> None:
    _, ours = ends
    caught: list[Exception] = []

    def wait() -> None:
        try:
            ours.receive(30)
        except LinkError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    ours.close("we are done")
    ours.close()
    thread.join(10)
    assert not thread.is_alive()
    assert "we are done" in str(caught[0])
    with pytest.raises(LinkError):
        ours.send(b"more")


def test_not_welcome(networks: Any) -> None:
    with pytest.raises(LinkError, match=r"bob → server1.*it refused us: not today"):
        meet(networks, lambda role: "not today" if role == CLIENT else None)


def test_nobody_there(networks: Any) -> None:
    with pytest.raises(LinkError, match="bob → server1"):
        networks[1].connect(1, 5)


def test_nobody_calls(networks: Any) -> None:
    door = networks[0].listen(1)
    with pytest.raises(LinkTimeoutError):
        door.accept(0.01)
    door.close()
    with pytest.raises(LinkError):
        door.accept(5)
