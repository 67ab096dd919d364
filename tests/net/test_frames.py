from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.errors import FrameError
from keras_private.net.frames import (
    HEADER_BYTES,
    LIMITS,
    MAX_CONTROL_BYTES,
    FrameType,
    as_bytes,
    check_header,
    pack_header,
    parse_header,
    payload_bytes,
    printable,
)

lengths = st.integers(0, 2**30)
lanes = st.integers(0, 2**16 - 1)
sequences = st.integers(0, 2**64 - 1)


@settings(derandomize=True, deadline=None)
@given(lengths, lanes, sequences)
def test_a_header_reads_back(length: int, lane: int, sequence: int) -> None:
    header = pack_header(length, FrameType.DATA, lane, sequence)
    assert len(header) == HEADER_BYTES
    assert parse_header(header) == (length, FrameType.DATA, 0, lane, sequence)
    assert check_header(header, FrameType.DATA, lane, sequence) == length
    assert check_header(header + b"payload", FrameType.DATA, lane, sequence, length=length) == length


def test_the_layout_is_fixed() -> None:
    assert (
        pack_header(0x01020304, FrameType.DATA, 0x0506, 7).hex() == "04030201" + "01" + "00" + "0605" + "07" + "00" * 7
    )


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"kind": FrameType.CONTROL}, "expected a CONTROL frame, got DATA"),
        ({"lane": 1}, "lane 1, got one of lane 0"),
        ({"sequence": 6}, "number 6, got 5"),
        ({"length": 9}, "payload of 9 bytes, got 8"),
        ({"limit": 7}, "8 bytes is over the limit of 7"),
    ],
)
def test_what_is_not_due_is_refused(expected: dict[str, int], message: str) -> None:
    header = pack_header(8, FrameType.DATA, 0, 5)
    due = {"kind": FrameType.DATA, "lane": 0, "sequence": 5} | expected
    with pytest.raises(FrameError, match=message):
        check_header(header, **due)


def test_unknown_types_and_reserved_bits_are_refused() -> None:
    header = bytearray(pack_header(8, FrameType.DATA, 0, 0))
    header[4] = 77
    with pytest.raises(FrameError, match="unknown type 77"):
        check_header(header, FrameType.DATA, 0, 0)
    header[4:6] = bytes([FrameType.DATA, 1])
    with pytest.raises(FrameError):
        check_header(header, FrameType.DATA, 0, 0)


def test_the_limit_of_a_type_holds_whatever_the_caller_allows() -> None:
    header = parse_header(pack_header(8, FrameType.CONTROL, 0, 0))
    huge = b"\xff\xff\xff\xff" + pack_header(8, FrameType.CONTROL, 0, 0)[4:]
    assert header.type == FrameType.CONTROL
    with pytest.raises(FrameError, match=f"4294967295 bytes is over the limit of {MAX_CONTROL_BYTES}"):
        check_header(huge, FrameType.CONTROL, 0, 0, limit=2**40)


@pytest.mark.parametrize("kind", list(FrameType))
def test_nothing_too_large_is_sent(kind: FrameType) -> None:
    pack_header(LIMITS[kind], kind, 0, 0)
    with pytest.raises(FrameError, match="over the limit"):
        pack_header(LIMITS[kind] + 1, kind, 0, 0)


def test_buffers_of_every_kind_are_counted_and_viewed() -> None:
    array = np.arange(6, dtype=np.uint64).reshape(2, 3)
    buffers = [b"abc", bytearray(b"de"), memoryview(b"f"), array, np.empty((0, 4)), np.uint64(1).reshape(())]
    assert payload_bytes(buffers) == 3 + 2 + 1 + 48 + 0 + 8
    assert [as_bytes(buffer).nbytes for buffer in buffers] == [3, 2, 1, 48, 0, 8]
    assert bytes(as_bytes(array)) == array.tobytes()
    with pytest.raises(ValueError, match="contiguous"):
        as_bytes(array.T)


def test_what_a_peer_says_cannot_forge_log_lines() -> None:
    assert printable(b"no\nserver1: all is well\x1b[2J\xff") == "no?server1: all is well?[2J\N{REPLACEMENT CHARACTER}"
