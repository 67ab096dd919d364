"""Callers who have not said enough to shake hands: they cost no thread, and end one way or another."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keras_private.errors import LinkError
from keras_private.net.certificates import create_authority, issue
from keras_private.net.handshake import Listener
from keras_private.net.roles import Role
from keras_private.party.entrance import _whose
from keras_private.party.lobby import Lobby

HELLO = b"\x16\x03\x01\x00\x40" + bytes(0x40)  # a whole record; what it says is the handshake's business
LONG_S = 60.0


class Room:
    """A lobby behind a real door, and who came out of it."""

    def __init__(self, folder: Path) -> None:
        create_authority(folder)
        self.listener = Listener(("127.0.0.1", 0), issue(folder, Role("party", "server0")))
        self.ready: list[Any] = []
        self.gone: list[str] = []
        self.changed = threading.Condition()
        self.lobby = Lobby("server0", lambda caller: self.note(self.ready, caller), self.turned_away)
        self.lobby.open()
        self.socks: list[socket.socket] = []

    def turned_away(self, _: Any, error: LinkError) -> None:
        self.note(self.gone, str(error).partition(": ")[2])

    def note(self, where: list[Any], what: Any) -> None:
        with self.changed:
            where.append(what)
            self.changed.notify_all()

    def wait(self, ready: int, gone: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: (len(self.ready), len(self.gone)) == (ready, gone), 20), vars(self)

    def call(self, data: bytes = b"", seconds: float = LONG_S) -> tuple[socket.socket, Any]:
        sock = socket.create_connection(self.listener.address, 10)
        self.socks.append(sock)
        sock.sendall(data)
        caller = self.listener.accept(10)
        self.lobby.add(caller, seconds)
        return sock, caller

    def close(self) -> None:
        self.lobby.close()
        self.lobby._thread.join(20)
        assert not self.lobby._thread.is_alive()
        self.listener.close()
        for sock in self.socks:
            sock.close()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.close()


def test_who_says_a_whole_record_gets_on_however_it_comes(room: Room) -> None:
    _, caller = room.call(HELLO)
    room.wait(1, 0)
    assert room.ready == [caller]
    sock, _ = room.call(HELLO[:3])
    room.call(HELLO)
    room.wait(2, 0)  # the one behind it does not wait
    sock.sendall(HELLO[3:20])
    room.call(HELLO)
    room.wait(3, 0)
    sock.sendall(HELLO[20:])
    room.wait(4, 0)
    assert room.ready[0]._sock.recv(1000) == HELLO  # nothing was taken out


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "it speaks HTTP, not TLS"),
        (b"SSH-2.0-x\r\n", "it does not speak TLS"),
        (b"\x16\x02\x00\x00\x40" + bytes(64), "it does not speak TLS"),
        (b"\x16\x03\x01\xff\xff" + bytes(64), "it does not speak TLS"),
        (b"\x16\x03\x01\x00\x00", "it does not speak TLS"),
    ],
)
def test_who_speaks_something_else_is_hung_up_on(room: Room, data: bytes, words: str) -> None:
    sock, _ = room.call(data)
    room.wait(0, 1)
    assert words in room.gone[0]
    with contextlib.suppress(ConnectionResetError):  # what it said was not even read
        assert sock.recv(1) == b""


@pytest.mark.parametrize("data", [b"", HELLO[:2], HELLO[:5], HELLO[:30]])
def test_who_hangs_up(room: Room, data: bytes) -> None:
    sock, _ = room.call(data)
    sock.shutdown(socket.SHUT_WR)
    room.wait(0, 1)
    assert "it closed the connection" in room.gone[0]


@pytest.mark.parametrize("data", [b"", HELLO[:30]])
def test_who_takes_too_long(room: Room, data: bytes) -> None:
    room.call(data, seconds=0.05)
    room.wait(0, 1)
    assert "it took too long to begin a handshake" in room.gone[0]


def test_who_is_displaced(room: Room) -> None:
    """Closed from outside, and the number of its file is somebody else's at once."""
    callers = [room.call(HELLO[:10])[1] for _ in range(5)]
    for caller in callers:
        caller.close("others came")
        room.call()
    room.call(HELLO)
    room.wait(1, 5)
    assert all("others came" in cause for cause in room.gone)


def test_hundreds_that_wait_cost_one_thread(room: Room) -> None:
    room.call(HELLO)
    room.wait(1, 0)
    before = threading.active_count()
    for number in range(150):
        room.call(HELLO[: number % 30])
    room.call(HELLO)
    room.wait(2, 0)
    assert threading.active_count() == before


class At:
    def __init__(self, host: str) -> None:
        self.address = host, 1


@pytest.mark.parametrize(
    ("host", "whose"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_whose_a_place_is(host: str, whose: str) -> None:
    assert _whose(At(host)) == whose  # type: ignore[arg-type]
