"""What only a wire can do to a link: half frames, resets, forged headers. The neighbour's end is a bare TLS socket."""

from __future__ import annotations

import socket
import ssl
import struct
import tracemalloc
from contextlib import ExitStack

import pytest

from keras_private.errors import FrameError, LinkError, LinkTimeoutError
from keras_private.net.connection import Connection
from keras_private.net.frames import FrameType, pack_header
from keras_private.net.tls_link import TLSLink

from .conftest import PARTIES, Pairs, tls_links

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def bare(pairs: Pairs, closing: ExitStack) -> tuple[TLSLink, ssl.SSLSocket]:
    """Party 0's link, and server1's end of its connection to next."""
    to_next, end = pairs(PARTIES[0], PARTIES[1])
    _, from_prev = pairs(PARTIES[2], PARTIES[0])
    link = TLSLink(0, next=to_next, prev=from_prev, timeout=10.0)
    closing.callback(link.close)
    sock = end.detach().sock
    sock.settimeout(10.0)
    closing.callback(sock.close)
    link.phase = "select of conv_2"
    return link, sock


def failure(link: TLSLink, due: int = 8) -> LinkError:
    with pytest.raises(LinkError) as caught:
        link.exchange([], [], due, 0)
    assert "server0 ← server1, select of conv_2: " in str(caught.value)
    return caught.value


def header(length: int = 8, kind: int = FrameType.DATA, lane: int = 0, sequence: int = 1) -> bytes:
    # The greeting was this connection's frame number 0.
    return struct.pack("<IBBHQ", length, kind, 0, lane, sequence)


@pytest.mark.parametrize(
    ("forged", "cause"),
    [
        (header(sequence=0), "expected frame number 1, got 0"),
        (header(sequence=2**64 - 1), "expected frame number 1, got"),
        (header(lane=3), "expected a frame of lane 0, got one of lane 3"),
        (header(kind=FrameType.MESSAGE), "expected a DATA frame, got MESSAGE"),
        (header(kind=200), "unknown type 200"),
        (header(length=2**32 - 1), "expected a payload of 8 bytes, got 4294967295"),
        (header(length=0), "expected a payload of 8 bytes, got 0"),
    ],
)
def test_a_forged_header_is_refused_before_its_payload_comes(
    bare: tuple[TLSLink, ssl.SSLSocket], forged: bytes, cause: str
) -> None:
    link, sock = bare
    sock.sendall(forged)
    error = failure(link)
    assert isinstance(error, FrameError)
    assert cause in str(error)


def test_a_control_frame_of_four_gigabytes_allocates_nothing(bare: tuple[TLSLink, ssl.SSLSocket]) -> None:
    link, sock = bare
    sock.sendall(header(length=2**32 - 1, kind=FrameType.CONTROL))
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match="4294967295 bytes is over the limit of 65536"):
            link.receive_control(1)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_a_frame_in_many_pieces_is_one_frame(bare: tuple[TLSLink, ssl.SSLSocket]) -> None:
    link, sock = bare
    frame = header() + b"12345678"
    for position in range(len(frame)):
        sock.sendall(frame[position : position + 1])
    assert link.exchange([], [], 8, 0)[0].tobytes() == b"12345678"


def test_two_frames_in_one_record_are_two_frames(bare: tuple[TLSLink, ssl.SSLSocket]) -> None:
    link, sock = bare
    control = header(5, FrameType.CONTROL, sequence=3) + b"hello"
    sock.sendall(header() + b"12345678" + header(1, sequence=2) + b"9" + control)
    assert link.exchange([], [], 8, 0)[0].tobytes() == b"12345678"
    assert link.exchange([], [], 1, 0)[0].tobytes() == b"9"
    assert link.receive_control(1) == b"hello"


def test_a_control_frame_in_pieces_is_not_idle(bare: tuple[TLSLink, ssl.SSLSocket]) -> None:
    link, sock = bare
    link.timeout = 0.05
    sock.sendall(header(5, FrameType.CONTROL)[:7])
    with pytest.raises(LinkTimeoutError):
        link.receive_control(1, 0.01)
    with pytest.raises(LinkError, match="closed the link after"):  # the rest would be taken for a header
        link.receive_control(1, 0.01)


@pytest.mark.parametrize("part", [b"", header()[:9], header(), header() + b"1234567"])
def test_a_neighbour_that_goes_in_mid_frame(bare: tuple[TLSLink, ssl.SSLSocket], part: bytes) -> None:
    link, sock = bare
    if part:
        sock.sendall(part)
    sock.close()
    assert "it closed the connection" in str(failure(link))


def test_a_reset_in_mid_frame(bare: tuple[TLSLink, ssl.SSLSocket]) -> None:
    link, sock = bare
    sock.sendall(header())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    assert "it closed the connection" in str(failure(link))


def test_half_a_frame_and_silence_times_out(bare: tuple[TLSLink, ssl.SSLSocket]) -> None:
    link, sock = bare
    link.timeout = 0.05
    sock.sendall(header() + b"123")
    assert isinstance(failure(link), LinkTimeoutError)


def test_bytes_that_are_not_tls(bare: tuple[TLSLink, ssl.SSLSocket]) -> None:
    link, sock = bare
    socket.socket.send(sock, b"\x17\x03\x03\x00\x20" + bytes(32))  # past TLS, straight onto the wire
    assert "bytes were corrupted on the way" in str(failure(link))


def test_a_neighbour_that_does_not_read(bare: tuple[TLSLink, ssl.SSLSocket]) -> None:
    link, _ = bare
    link.timeout = 0.1
    with pytest.raises(LinkTimeoutError, match="server0 → server1, select of conv_2: it did not read"):
        link.exchange([bytes(64 << 20)], [], 0, 0)


def test_last_words_are_limited_and_printable(bare: tuple[TLSLink, ssl.SSLSocket]) -> None:
    link, sock = bare
    sock.sendall(header(2**32 - 1, FrameType.FAREWELL) + b"\x02" + b"bad\nnews " * 500)
    error = failure(link)
    assert "it gave up: bad?news" in str(error)
    assert len(str(error)) < 1200
    assert error.party == "server2"


@pytest.mark.parametrize("words", [b"", b"\x03bad news", b"\xff", b"\xff \xe2\x86\x90 server2"])
def test_last_words_that_blame_nobody(bare: tuple[TLSLink, ssl.SSLSocket], words: bytes) -> None:
    link, sock = bare
    sock.sendall(header(len(words), FrameType.FAREWELL) + words)
    assert failure(link).party == "server1"  # who said so


def test_lanes_do_not_mix(pairs: Pairs, closing: ExitStack) -> None:
    links = tls_links(pairs, 10.0, lanes=(0, 7, 0))
    for link in links:
        closing.callback(link.close)
    links[0].exchange([b"x"], [], 0, 0)
    with pytest.raises(FrameError, match="server1 ← server0, idle: expected a frame of lane 7, got one of lane 0"):
        links[1].exchange([], [], 0, 1)


def test_the_sequence_goes_on_where_the_connection_was(pairs: Pairs, closing: ExitStack) -> None:
    caller, called = pairs(PARTIES[0], PARTIES[1])
    caller.send(b"lane 0, please")
    assert called.receive() == b"lane 0, please"
    called.send(b"ready")
    assert caller.receive() == b"ready"
    others = pairs(PARTIES[1], PARTIES[2]), pairs(PARTIES[2], PARTIES[0])
    zero = TLSLink(0, next=caller, prev=others[1][1])
    one = TLSLink(1, next=others[0][0], prev=called)
    for link in (zero, one):
        closing.callback(link.close)
    zero.exchange([b"x"], [], 0, 0)
    assert one.exchange([], [], 0, 1)[1].tobytes() == b"x"
    for connection in (caller, called):
        with pytest.raises(LinkError, match="handed over to a lane"):
            connection.send(b"too late")


def test_a_closed_connection_makes_no_link(pairs: Pairs) -> None:
    caller, _ = pairs(PARTIES[0], PARTIES[1])
    _, prev = pairs(PARTIES[2], PARTIES[0])
    caller.close()
    with pytest.raises(LinkError, match="closed by this side"):
        TLSLink(0, next=caller, prev=prev)
    assert isinstance(prev, Connection)


def test_the_header_helper_is_the_real_one() -> None:
    assert header() == pack_header(8, FrameType.DATA, 0, 1)
