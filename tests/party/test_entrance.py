"""Who comes in at a party, and whom nobody can keep out."""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from keras_private.errors import LinkError
from keras_private.net.roles import Role
from keras_private.party import entrance
from keras_private.party.dial import call
from keras_private.party.messages import Hello
from keras_private.worker import TFEWorker

CLIENT, OWNER = Role("client", "client"), Role("owner", "owner")


def silent(address: Any, source: str = "127.0.0.1") -> socket.socket:
    """A caller that says nothing."""
    return socket.create_connection(address, 10, source_address=(source, 0))


def shaking(trio: Any, index: int) -> int:
    return len(trio.servers[index]._entrance._shaking)


@pytest.fixture
def crowd() -> Iterator[ExitStack]:
    """Where hundreds of sockets are put; closed in the end."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    with ExitStack() as stack:
        yield stack
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_one_client_may_not_take_every_connection(
    trio: Any, tiny: Any, serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "MAX_OF_ONE", 2)
    with serving(trio, tiny), ExitStack() as clients:
        for _ in range(2):
            client = clients.enter_context(TFEWorker(name="bob"))
            client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        with pytest.raises(LinkError, match="has 2 connections to server0 already"):
            TFEWorker(name="bob").connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        TFEWorker().connect_to_model(tiny.input_shape, tiny.output_shape, trio).close()
        client.query_model(tiny.batch(1))


def test_clients_without_a_name_leave_places_to_those_who_have_one(
    trio: Any, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    until(lambda: not any(server._entrance._places[CLIENT] for server in trio.servers), "nobody is in")
    monkeypatch.setattr(entrance, "MAX_UNNAMED", 2)
    hello = Hello.plain("client", "test")
    with ExitStack() as stack:
        for _ in range(2):
            stack.callback(call(trio.network(CLIENT), 0, hello, 5).close)
        with pytest.raises(LinkError, match="server0 has 2 connections of clients without a name already"):
            call(trio.network(CLIENT), 0, hello, 5)
        stack.callback(call(trio.network(Role("client", "bob")), 0, hello, 5).close)


def test_clients_take_no_place_of_an_owner_or_a_party(
    make_trio: Any, tiny: Any, serving: Any, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    monkeypatch.setattr(entrance, "MAX_OF_KIND", {"party": 4, "owner": 4, "client": 3})
    trio, hello = make_trio(), Hello.plain("client", "test")
    with ExitStack() as stack:
        for number in range(3):
            for index in range(3):
                stack.callback(call(trio.network(Role("client", f"c{number}")), index, hello, 5).close)
        with pytest.raises(LinkError, match="server0 has 3 connections of kind client already; try again later"):
            call(trio.network(CLIENT), 0, hello, 5)
        break_links(trio, until)
        model = tiny.upload(trio)
    until(lambda: not any(server._entrance._places[Role("client", "c0")] for server in trio.servers), "they left")
    model.stop()
    with serving(trio, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        client.query_model(tiny.batch(1))


def break_links(trio: Any, until: Any) -> None:
    """Every connection between the parties breaks; wait until they have found each other again."""
    lanes = [server.duty.lanes[0] for server in trio.servers]
    until(lambda: all(lane.up for lane in lanes), "the lane is up")
    epoch = lanes[0]._epoch
    for server in trio.servers[1:]:
        server.duty.line._channel.close("a blip")
    until(lambda: lanes[0]._epoch != epoch and all(lane.up for lane in lanes), "the lane is up again")


def test_strangers_and_a_blip(
    make_trio: Any, tiny: Any, serving: Any, until: Any, crowd: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds that say nothing at every party, and all links break: the parties, an owner and clients get through."""
    trio = make_trio()
    with serving(trio, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        monkeypatch.setattr(entrance, "HANDSHAKE_S", 60.0)  # they stay to the end
        for index in range(3):
            for _ in range(512):
                crowd.enter_context(silent(trio.config.party(index).address))
        full = [entrance.MAX_HANDSHAKES] * 3
        until(lambda: [shaking(trio, index) for index in range(3)] == full, "the rooms are full")
        break_links(trio, until)
        with TFEWorker() as other:
            other.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
            np.testing.assert_allclose(other.query_model(tiny.batch(2)), tiny.expected(tiny.batch(2)), atol=1e-3)
        with contextlib.closing(call(trio.network(OWNER), 0, Hello.plain("owner", "test"), 5)):
            pass


@pytest.fixture
def small_room(make_trio: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A party whose room has four places, and no party has come yet."""
    monkeypatch.setattr(entrance, "MAX_HANDSHAKES", 4)
    trio = make_trio()
    for server in trio.servers[1:]:
        server.stop()
    trio.servers[0]._entrance._familiar.clear()
    return trio


def hung_up(sock: socket.socket) -> bool:
    sock.settimeout(20)
    return sock.recv(1) == b""


def still_open(sock: socket.socket) -> bool:
    sock.settimeout(0)
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    return True


def test_the_oldest_of_the_largest_crowd_goes(small_room: Any, until: Any, crowd: ExitStack) -> None:
    address = small_room.config.party(0).address
    alone = crowd.enter_context(silent(address, "127.0.0.2"))  # the oldest of all, but by itself
    until(lambda: shaking(small_room, 0) == 1, "it is in")
    others = []
    for number in range(5):
        others.append(crowd.enter_context(silent(address, "127.0.0.3")))
        until(lambda number=number: shaking(small_room, 0) == min(number + 2, 4), "it is in")
    assert hung_up(others[0])
    assert hung_up(others[1])
    assert all(still_open(each) for each in (alone, *others[2:]))
    until(
        lambda: sum("127.0.0.3" in cause and "others" in cause for cause in small_room.logs[0].causes("refused")) == 2,
        "both are in the log",
    )


def test_where_parties_and_owners_come_from_is_spared(small_room: Any, until: Any, crowd: ExitStack) -> None:
    address = small_room.config.party(0).address
    call(small_room.network(OWNER), 0, Hello.plain("owner", "test"), 5).close()  # from 127.0.0.1
    call(small_room.network(CLIENT), 0, Hello.plain("client", "test"), 5).close()
    assert list(small_room.servers[0]._entrance._familiar) == ["127.0.0.1"]
    until(lambda: shaking(small_room, 0) == 0, "both are through")
    slow = [crowd.enter_context(silent(address)) for _ in range(3)]  # owners on a slow line, say
    until(lambda: shaking(small_room, 0) == 3, "they are in")
    strangers = [crowd.enter_context(silent(address, f"127.0.1.{number}")) for number in range(1, 9)]
    assert all(hung_up(each) for each in strangers[:-1])
    assert all(still_open(each) for each in (*slow, strangers[-1]))


def test_a_hand_that_is_withdrawn(small_room: Any, until: Any, crowd: ExitStack) -> None:
    """Places are given back, whatever ends a handshake."""
    address = small_room.config.party(0).address
    for _ in range(20):
        silent(address).close()
        with silent(address) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with contextlib.suppress(OSError), context.wrap_socket(silent(address)) as tls:
            tls.recv(1)
    until(lambda: shaking(small_room, 0) == 0, "nobody is left")
    call(small_room.network(OWNER), 0, Hello.plain("owner", "test"), 5).close()
    until(lambda: not small_room.servers[0]._entrance._places, "no place is taken")


def test_a_defect_shuts_nobody_out(make_trio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trio = make_trio()
    door = trio.servers[0]._entrance._door
    accept, met = door.accept, threading.Event()

    def fail_once(timeout: float) -> Any:
        if not met.is_set():
            met.set()
            raise MemoryError
        return accept(timeout)

    monkeypatch.setattr(door, "accept", fail_once)
    call(trio.network(CLIENT), 0, Hello.plain("client", "test"), 5).close()  # whom the first wait is for
    call(trio.network(CLIENT), 0, Hello.plain("client", "test"), 5).close()
    assert met.is_set()
    assert trio.logs[0].causes("cannot accept") == ["MemoryError, see that party's log"]
