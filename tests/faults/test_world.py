"""The world notices what it is there to notice: each invariant is broken once, on purpose."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import versions
from tests.faults.proxy import Proxy
from tests.faults.soak import generated
from tests.faults.world import Asked, Outcome, Shared, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Nobody has been started in it but the proxy."""
    world = World(tmp_path)
    yield world
    world.stop()


def judged(world: World, *reports: dict[str, object], seconds: float = 5.0) -> list[str]:
    now = time.monotonic()
    asked = Asked("ann", 1, now, seconds, [(now + 1, dict(report)) for report in reports])
    return [finding.what for finding in world._judge(0, asked, True, Outcome([]))]


def test_answers_of_versions_are_told_apart() -> None:
    data = versions.batch(8, 1)
    for version in range(versions.VERSIONS):
        assert versions.matching(data, versions.answer(version, data)) == [version]
    assert versions.matching(data, versions.answer(0, data) + 0.1) == []


def test_sequences_follow_from_their_seed() -> None:
    assert generated(3, 5, 8) == generated(3, 5, 8) != generated(4, 5, 8)


def test_what_queries_must_not_do_is_found(world: World) -> None:
    world._shares = [Shared(1, 0.0, 0.0), Shared(2, time.monotonic() + 0.5)]
    right = {"outcome": "answered", "versions": [1], "seconds": 1.0}
    named = {"outcome": "failed", "error": "PartyError", "text": "server1 is gone", "seconds": 1.0}
    assert judged(world, right) == judged(world, named) == judged(world, right | {"versions": [2]}) == []
    assert judged(world) == ["a query was neither answered nor failed"]
    assert judged(world, right, named) == ["a query was settled more than once"]
    assert judged(world, right | {"seconds": 5.5}) == ["a query took longer than it may"]
    for versions_ in ([], [3]):
        assert judged(world, right | {"versions": versions_}) == ["a wrong answer"]
    assert judged(world, named | {"text": "oh dear"}) == ["a failure names neither party nor cause"]
    assert judged(world, named | {"error": "KeyError"}) == ["a query failed otherwise than it may"]


def test_an_old_version_is_wrong_once_it_was_stopped(world: World) -> None:
    world._shares = [Shared(1, 0.0, 0.0), Shared(2, 1.0, 2.0, stopped=True), Shared(3, 5.0, 6.0), Shared(4, 8.0)]
    assert world._served(1.5, 1.8) == {1, 2}
    assert world._served(2.5, 4.0) == {2}
    assert world._served(6.5, 7.0) == {2, 3}  # clients that know a version which was replaced may go on with it
    assert world._served(6.5, 9.0) == {2, 3, 4}


def test_tracebacks_in_a_partys_log_are_found(world: World) -> None:
    log = world.folder / "server0.log"
    log.write_text('{"event": "old", "exception": "Traceback"}\n')
    mark = {"server0": log.stat().st_size}
    assert list(world._tracebacks(mark)) == []
    with log.open("a") as file:
        file.write('{"event": "session failed", "exception": "Traceback"}\n')
    assert [finding.what for finding in world._tracebacks(mark)] == ["server0 wrote a traceback"]


# -- the proxy


class Echo:
    """Sends back what it gets, for one caller at a time."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            try:
                while data := sock.recv(1000):
                    sock.sendall(data)
            except OSError:
                pass
            sock.close()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def proxied() -> Iterator[Proxy]:
    echo = Echo()
    proxy = Proxy({"a": echo.port})
    yield proxy
    proxy.stop()
    echo.close()


def talk(proxy: Proxy, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", proxy.ports["a"]), 10) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        found = b""
        while more := sock.recv(1000):
            found += more
        return found


def test_bytes_pass(proxied: Proxy) -> None:
    assert talk(proxied, b"abcd") == b"abcd"


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize(("trick", "found"), [("duplicate", b"abcdabcd"), ("reorder", b"cdab"), ("corrupt", b"abbd")])
def test_tricks_are_played_once(proxied: Proxy, trick: str, found: bytes, way: str) -> None:
    proxied.do("a", trick, way=way)
    assert talk(proxied, b"abcd") == found
    assert talk(proxied, b"abcd") == b"abcd"


def test_links_are_cut_refused_stalled_and_healed(proxied: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxied.ports["a"]), 10) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        assert proxied.do("a", "stall", way="down")["a"] == 1
        sock.sendall(b"y")
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        proxied.do("a", "heal")
        sock.settimeout(10)
        assert sock.recv(1) == b"y"
        proxied.do("a", "cut")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    proxied.do("a", "refuse")
    with pytest.raises(ConnectionResetError):
        talk(proxied, b"abcd")
    proxied.do("a", "heal")
    assert talk(proxied, b"abcd") == b"abcd"


def test_a_half_closed_link_passes_the_other_way(proxied: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxied.ports["a"]), 10) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        proxied.do("a", "half_close", way="up")
        assert sock.recv(1) == b""  # the party saw the end, and closed its side
