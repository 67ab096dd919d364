"""Connections between two participants, once they are established."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest

from keras_private.errors import FrameError, LinkTimeoutError, StateError, TrustError
from keras_private.net.connection import Connection
from keras_private.net.frames import FrameType, pack_header
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles

from .conftest import CLIENT, PARTIES, Pairs, failure

pytestmark = pytest.mark.timeout(60)

Credentials = dict[Role, TLSFiles]


def test_messages_go_both_ways_and_know_who_speaks(pairs: Pairs) -> None:
    bob, server = pairs(CLIENT, PARTIES[0])
    assert (bob.local, bob.peer, server.local, server.peer) == (CLIENT, PARTIES[0], PARTIES[0], CLIENT)
    bob.send(b"query ", np.arange(2, dtype=np.uint8), bytearray(b"!"))
    bob.send(b"")
    assert server.receive() == b"query \x00\x01!"
    assert server.receive() == b""
    server.send(b"answer")
    assert bob.receive() == b"answer"
    assert repr(bob) == "<Connection bob ↔ server0>"


@pytest.mark.parametrize("size", [16368, 16369, (1 << 18) - 1, 1 << 18, 9 << 20])
def test_large_messages_cross(pairs: Pairs, pool: ThreadPoolExecutor, size: int) -> None:
    bob, server = pairs()
    data = np.arange(size, dtype=np.uint32).astype(np.uint8)
    ends = [bob, server]
    sending = [pool.submit(end.send, data[:100], data[100:]) for end in ends]
    got = [pool.submit(end.receive) for end in ends]
    assert all(future.result(30.0) == data.tobytes() for future in got)
    for future in sending:
        future.result(30.0)


def test_many_threads_may_send_while_one_receives(pairs: Pairs, pool: ThreadPoolExecutor) -> None:
    bob, server = pairs()
    everything = pool.submit(lambda: [server.receive() for _ in range(80)])
    waiting = pool.submit(bob.receive)  # a reader waits all the while

    def send(letter: bytes) -> None:
        for size in range(20):
            bob.send(letter * (size * 3000))

    for future in [pool.submit(send, letter) for letter in (b"a", b"b", b"c", b"d")]:
        future.result(30.0)
    messages = everything.result(30.0)
    for letter in b"abcd":
        assert [len(m) for m in messages if m[:1] == bytes([letter])] == [size * 3000 for size in range(1, 20)]
    assert all(len(set(m)) <= 1 for m in messages)
    server.send(b"done")
    assert waiting.result(10.0) == b"done"


def test_an_idle_timeout_harms_nothing(pairs: Pairs) -> None:
    bob, server = pairs()
    server.phase = "waiting for a query"
    error = failure(lambda: server.receive(0.01))
    assert isinstance(error, LinkTimeoutError)
    assert "server0 ← bob, waiting for a query" in str(error)
    bob.send(b"late")
    assert server.receive() == b"late"


def test_a_message_over_the_limit_closes_and_allocates_nothing(pairs: Pairs) -> None:
    bob, server = pairs()
    bob.send(bytes(1001))
    error = failure(lambda: server.receive(max_bytes=1000))
    assert isinstance(error, FrameError)
    assert "1001 bytes is over the limit of 1000" in str(error)
    assert server.closed
    failure(bob.receive)


def bare(connection: Connection, closing: ExitStack) -> ssl.SSLSocket:
    sock = connection.detach().sock
    sock.settimeout(10.0)
    closing.callback(sock.close)
    return sock


@pytest.mark.parametrize(
    ("forged", "cause"),
    [
        (struct.pack("<IBBHQ", 2**32 - 1, FrameType.MESSAGE, 0, 0, 0), "4294967295 bytes is over the limit"),
        (pack_header(4, FrameType.DATA, 0, 0), "expected a MESSAGE frame, got DATA"),
        (pack_header(4, FrameType.MESSAGE, 0, 9), "expected frame number 0, got 9"),
        (pack_header(4, FrameType.MESSAGE, 2, 0), "lane"),
        (b"GET / HTTP/1.1\r\n", "expected a MESSAGE frame, got unknown type"),
    ],
)
def test_forged_frames_close(pairs: Pairs, closing: ExitStack, forged: bytes, cause: str) -> None:
    bob, server = pairs()
    bare(bob, closing).sendall(forged)
    error = failure(server.receive)
    assert isinstance(error, FrameError)
    assert cause in str(error)
    assert server.closed


@pytest.mark.parametrize("part", [b"", b"\x01", pack_header(4, FrameType.MESSAGE, 0, 0) + b"123"])
def test_a_peer_that_goes_in_mid_message(pairs: Pairs, closing: ExitStack, part: bytes) -> None:
    bob, server = pairs()
    sock = bare(bob, closing)
    if part:
        sock.sendall(part)
    sock.close()
    assert "server0 ← bob, connected: it closed the connection" in str(failure(server.receive))
    assert "closed" in str(failure(server.receive))


def test_half_a_message_and_silence_closes(pairs: Pairs, closing: ExitStack) -> None:
    bob, server = pairs()
    server.timeout = 0.05
    bare(bob, closing).sendall(pack_header(4, FrameType.MESSAGE, 0, 0) + b"123")
    assert isinstance(failure(server.receive), LinkTimeoutError)
    assert server.closed


def test_a_peer_that_does_not_read_hangs_nobody(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    _, server = pairs()
    server.timeout = 0.1
    # What a megabyte may take at the slowest rate is seconds, and not worth a test's time.
    monkeypatch.setattr("keras_private.net.connection.SLOWEST_BYTES_PER_SECOND", 10**9)
    chunk = bytes(1 << 20)

    def send_much() -> None:
        for _ in range(64):
            server.send(chunk)

    error = failure(send_much)
    assert isinstance(error, LinkTimeoutError)
    assert "server0 → bob, connected: it does not read what we send" in str(error)
    assert server.closed


def test_corrupted_bytes_are_blamed_on_the_network(pairs: Pairs) -> None:
    """And on nobody's certificate: the next connection may be good."""
    bob, server = pairs()
    socket.socket.sendall(bob._sock, b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that nobody encrypted
    for end in (server, bob):  # the one that gets it, and the one that is told
        error = failure(end.receive)
        assert "bytes were corrupted on the way; look at the network between the two" in str(error)
        assert not isinstance(error, TrustError)
        assert end.closed


def test_close_wakes_a_reader_in_another_thread(pairs: Pairs, pool: ThreadPoolExecutor) -> None:
    bob, server = pairs()
    for _ in range(2):  # the second time it may or may not have begun to wait: the same
        waiting = pool.submit(failure, server.receive)
        server.close()
        assert "closed by this side" in str(waiting.result(10.0))
    assert server.fileno() == -1
    assert "it closed the connection" in str(failure(bob.receive))


def test_finish_lets_the_last_answer_arrive(pairs: Pairs, pool: ThreadPoolExecutor) -> None:
    bob, server = pairs()
    for _ in range(20):
        bob.send(bytes(50_000))  # never read by the server: a plain close would reset the connection
    server.send(b"refused: too much")
    ending = pool.submit(server.finish, 10.0)
    assert bob.receive() == b"refused: too much"
    bob.close()
    ending.result(10.0)
    assert server.closed


@pytest.mark.parametrize("came", [0, 1])
def test_a_claimed_size_takes_no_memory(pairs: Pairs, closing: ExitStack, came: int) -> None:
    bob, server = pairs()
    sock = bare(bob, closing)
    sock.sendall(pack_header(64 << 20, FrameType.MESSAGE, 0, 0) + bytes(came))
    sock.close()
    tracemalloc.start()
    try:
        assert "it closed the connection" in str(failure(server.receive))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


class Interrupt:
    """Stands for a connection's `_attempt`: Ctrl-C at call number `at`, after the call."""

    def __init__(self, connection: Connection, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.attempt, self.left = connection._attempt, at
        monkeypatch.setattr(connection, "_attempt", self)

    def __call__(self, *arguments: object, **keywords: object) -> int:
        moved = self.attempt(*arguments, **keywords)  # type: ignore[arg-type]
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return moved


@pytest.mark.parametrize("at", [0, 1])
def test_ctrl_c_within_a_frame_closes(pairs: Pairs, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    bob, server = pairs()
    bob.send(b"query")
    with monkeypatch.context() as patch:
        Interrupt(server, at, patch)
        with pytest.raises(KeyboardInterrupt):
            server.receive()
    assert "interrupted" in str(failure(server.receive))


def test_ctrl_c_while_sending_closes(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    bob, server = pairs()
    with monkeypatch.context() as patch:
        Interrupt(bob, 0, patch)
        with pytest.raises(KeyboardInterrupt):
            bob.send(bytes(1 << 18))  # the header has gone
    assert "interrupted" in str(failure(lambda: bob.send(b"")))
    assert "it closed the connection" in str(failure(server.receive))


def test_ctrl_c_while_idle_harms_nothing(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> bool:
        raise KeyboardInterrupt

    bob, server = pairs()
    with monkeypatch.context() as patch:
        patch.setattr(server, "_wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            server.receive()
    bob.send(b"query")
    assert server.receive() == b"query"


def test_a_fork_cannot_use_the_connection(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    bob, server = pairs()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)  # the child's view; a real fork is tested with the worker
        for use in (lambda: bob.send(b"x"), lambda: bob.receive(0.1), bob.detach):
            with pytest.raises(StateError, match="connect anew"):
                use()
    assert not bob.closed
    bob.send(b"ours")
    assert server.receive() == b"ours"


def test_who_never_stops_sending_does_not_keep_us(
    pairs: Pairs, pool: ThreadPoolExecutor, closing: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras_private.net.connection.CHUNK_BYTES", 1)  # the other side is faster than we read
    bob, server = pairs()
    sock = bare(bob, closing)
    flooding = pool.submit(flood, sock)
    try:
        pool.submit(server.finish, 0.1).result(10.0)
    finally:
        sock.close()
    flooding.result(10.0)
    assert server.closed


def flood(sock: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):
        while True:
            socket.socket.sendall(sock, bytes(1 << 20))
