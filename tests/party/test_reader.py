"""One thread reads for all clients; what would have to wait goes to the connection's own thread."""

from __future__ import annotations

import queue
import select
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from keras_private.config import ClusterConfig
from keras_private.errors import LinkError
from keras_private.net.connection import FREE_BYTES, Connection
from keras_private.net.frames import HEADER_BYTES, FrameType, pack_header
from keras_private.party.client_session import TURN_MESSAGES, ClientSession
from keras_private.party.messages import Cancel
from keras_private.party.reader import Reader
from keras_private.party.wire import encode
from tests.net.conftest import CLIENT, PARTIES, Pairs, closing, credentials, pairs, pool  # noqa: F401  fixtures

pytestmark = pytest.mark.timeout(60)


class Watching:
    """Watches one end of a connection, as a session does; what came, and when it was let go."""

    def __init__(self, reader: Reader, connection: Connection) -> None:
        self.connection, self.came, self.let_go = connection, queue.SimpleQueue[Any](), threading.Event()
        self.thread = ""
        reader.watch(connection, self.handle)

    def handle(self) -> bool:
        self.thread = threading.current_thread().name
        try:
            while (data := self.connection.receive_at_once(1 << 20)) is not None:
                self.came.put(data)
                if not self.connection.buffered:
                    return True
            if not self.connection.begun:
                return True
        except LinkError as error:
            self.came.put(error)
        self.let_go.set()
        return False


class Sweeps:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def sweeps() -> Sweeps:
    return Sweeps()


@pytest.fixture
def reader(sweeps: Sweeps) -> Iterator[Reader]:
    log: Any = None
    reader = Reader("server0", log, lambda: True, sweeps)
    yield reader
    reader.close()


def test_one_thread_reads_for_all(pairs: Pairs, reader: Reader) -> None:  # noqa: F811
    ends = [pairs(CLIENT, PARTIES[0]) for _ in range(5)]
    watching = [Watching(reader, server) for _, server in ends]
    for turn in range(3):
        for number, (bob, _) in enumerate(ends):
            bob.send(b"%d of %d" % (turn, number))
        assert [each.came.get(timeout=20) for each in watching] == [b"%d of %d" % (turn, n) for n in range(5)]
    assert {each.thread for each in watching} == {"server0 reader"}


def test_what_waits_in_openssl_is_not_forgotten(pairs: Pairs, reader: Reader) -> None:  # noqa: F811
    bob, server = pairs(CLIENT, PARTIES[0])
    bob._write(b"".join(pack_header(1, FrameType.MESSAGE, 0, n) + b"x" for n in range(4)), 1e12)  # in one record
    assert server.receive(20) == b"x"  # by the connection's own thread: the three others are in OpenSSL now
    watching = Watching(reader, server)
    assert [watching.came.get(timeout=20) for _ in range(3)] == [b"x"] * 3


@pytest.mark.parametrize("first", [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 3])
def test_half_a_message_is_the_own_threads_business(pairs: Pairs, reader: Reader, first: int) -> None:  # noqa: F811
    bob, server = pairs(CLIENT, PARTIES[0])
    other, busy = pairs(CLIENT, PARTIES[0])
    watching, beside = Watching(reader, server), Watching(reader, busy)
    message = pack_header(9, FrameType.MESSAGE, 0, 0) + b"a message"
    bob._write(message[:first], 1e12)
    assert watching.let_go.wait(20)
    other.send(b"and others are read meanwhile")
    assert beside.came.get(timeout=20) == b"and others are read meanwhile"
    bob._write(message[first:], 1e12)
    assert server.receive(20) == b"a message"
    again = Watching(reader, server)
    bob._sent = 1
    bob.send(b"the next")
    assert again.came.get(timeout=20) == b"the next"


def test_a_large_message_is_the_own_threads_business(pairs: Pairs, reader: Reader) -> None:  # noqa: F811
    bob, server = pairs(CLIENT, PARTIES[0])
    watching = Watching(reader, server)
    sending = threading.Thread(target=bob.send, args=(bytes(FREE_BYTES + 1),))
    sending.start()
    assert watching.let_go.wait(20)
    assert server.receive(20) == bytes(FREE_BYTES + 1)
    sending.join(20)


def test_the_end_of_a_connection_is_told_whoever_ends_it(pairs: Pairs, reader: Reader) -> None:  # noqa: F811
    (bob, server), (_, ours) = pairs(CLIENT, PARTIES[0]), pairs(CLIENT, PARTIES[0])
    theirs, own = Watching(reader, server), Watching(reader, ours)
    bob.close()
    assert theirs.let_go.wait(20)
    ours.close("this party was stopped")
    assert own.let_go.wait(20)
    assert "this party was stopped" in str(own.came.get(timeout=20))
    assert ours.fileno() == -1  # the reader holds it no longer
    late = Watching(reader, ours)
    assert late.let_go.wait(20)


def test_nobody_waits_for_a_reader_that_was_closed(pairs: Pairs, sweeps: Sweeps) -> None:  # noqa: F811
    log: Any = None
    reader = Reader("server0", log, lambda: True, sweeps)
    _, server = pairs(CLIENT, PARTIES[0])
    watching = Watching(reader, server)
    server.close("this party was stopped")
    reader.close()
    assert watching.let_go.wait(20)
    with pytest.raises(LinkError, match="stopped"):
        Watching(reader, server)
    assert sweeps.count >= 0


def test_who_never_stops_sending_keeps_nobody_else_waiting(pairs: Pairs, reader: Reader, until: Any) -> None:  # noqa: F811
    """Small messages without end, of which there is always one more: after some of them, others have their turn."""
    client, server = pairs(CLIENT, PARTIES[0])
    config = ClusterConfig.of_hosts([f"localhost:{port}" for port in (4000, 4001, 4002)])
    node: Any = SimpleNamespace(name="server0", config=config)
    session = ClientSession(node, server, lambda _: None, lambda *_: None, reader)
    cancel, many = encode(Cancel(bytes(16))), 4 * TURN_MESSAGES
    flood = b"".join(pack_header(len(cancel), FrameType.MESSAGE, 0, number) + cancel for number in range(many))
    client.detach().sock.sendall(flood)  # one record holds many of them
    until(lambda: select.select([server.fileno()], [], [], 0)[0], "it has come")
    assert not session._read(server)  # a turn, as the reader gives it
    assert session._turn.acquire(blocking=False)  # its own thread brings it back, behind the others
    assert server.detach().received == TURN_MESSAGES
