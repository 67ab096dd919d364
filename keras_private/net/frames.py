"""Frames: the unit every connection carries, and the checks each one passes before a byte is allocated for it.

A frame is a header of 16 bytes, little endian, then its payload:

    length u32 | type u8 | reserved u8 (0) | lane u16 | sequence u64

The sequence number counts the frames of one direction of one connection, whatever their type, from 0. The receiver
always knows which number, lane and type are due, and for DATA the exact length too, so the header is not a request
that is obeyed: it is an expectation that is compared.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import FrameError

Buffer = bytes | bytearray | memoryview | NDArray[Any]

HEADER_BYTES = 16
_HEADER = struct.Struct("<IBBHQ")

MAX_DATA_BYTES = 1 << 30
"""Largest payload of a DATA frame: one party's message in one round."""
MAX_CONTROL_BYTES = 1 << 16
"""Largest payload of a CONTROL frame: an announcement within a lane."""
MAX_MESSAGE_BYTES = 1 << 30
"""Largest payload of a MESSAGE frame. A receiver normally allows far less, see `Connection.receive`."""


class FrameType(enum.IntEnum):
    """What a frame's payload is."""

    DATA = 1
    """Shares, in the middle of a protocol; the length is known to both sides beforehand."""
    CONTROL = 2
    """Between the runs of a lane: which batch comes next."""
    MESSAGE = 3
    """A request or an answer of an owner, a client or a party, outside of any protocol."""
    FAREWELL = 4
    """The last frame of a lane that failed: which party is blamed, and why, in words."""


LIMITS = (0, MAX_DATA_BYTES, MAX_CONTROL_BYTES, MAX_MESSAGE_BYTES, 1000)
"""Largest payload by `FrameType`. A tuple and not a dict: hashing an enum costs a microsecond in every round."""


class Header(NamedTuple):
    """A frame's header as it arrived; nothing in it is to be believed before `check_header`."""

    length: int
    type: int
    reserved: int
    lane: int
    sequence: int


def pack_header(length: int, kind: FrameType, lane: int, sequence: int) -> bytes:
    """The 16 bytes before a payload of `length` bytes.

    Raises:
        FrameError: the payload is larger than its type allows.
    """
    if length > LIMITS[kind]:
        raise FrameError(f"a {kind.name} frame of {length} bytes is over the limit of {LIMITS[kind]}; send it in parts")
    return _HEADER.pack(length, kind, 0, lane, sequence)


def parse_header(data: bytes | bytearray | memoryview) -> Header:
    """Reads the first 16 bytes of `data`, without judging them."""
    return Header(*_HEADER.unpack_from(data))


def check_header(
    data: bytes | bytearray | memoryview,
    kind: FrameType,
    lane: int,
    sequence: int,
    *,
    length: int | None = None,
    limit: int | None = None,
) -> int:
    """Compares the header in the first 16 bytes of `data` with the one that is due, and returns the payload's length.

    Args:
        length: the exact payload length that is due; None takes any up to `limit`.
        limit: the largest payload accepted, in bytes; never above the limit of `kind`.

    Raises:
        FrameError: what was expected and what came. The caller adds who was talking to whom.
    """
    header = parse_header(data)
    if header.type != kind or header.reserved:
        raise FrameError(
            f"expected a {kind.name} frame, got {_type_name(header.type)}; the peer is at another step or version"
        )
    if header.lane != lane:
        raise FrameError(f"expected a frame of lane {lane}, got one of lane {header.lane}")
    if header.sequence != sequence:
        raise FrameError(
            f"expected frame number {sequence}, got {header.sequence}; the two sides are out of step, reconnect"
        )
    if length is not None and header.length != length:
        raise FrameError(f"expected a payload of {length} bytes, got {header.length}; the two sides are out of step")
    largest = LIMITS[kind] if limit is None else min(limit, LIMITS[kind])
    if header.length > largest:
        raise FrameError(f"a payload of {header.length} bytes is over the limit of {largest}")
    return header.length


def payload_bytes(buffers: Sequence[Buffer]) -> int:
    """Total size of the buffers, in bytes."""
    total = 0
    for buffer in buffers:
        total += buffer.nbytes if isinstance(buffer, np.ndarray) else memoryview(buffer).nbytes
    return total


def as_bytes(buffer: Buffer) -> memoryview:
    """A flat view of a contiguous buffer's bytes, without a copy.

    Raises:
        ValueError: the array is not C-contiguous.
    """
    if isinstance(buffer, np.ndarray):  # memoryview.cast refuses empty and zero-dimensional shapes; reshape does not
        if not buffer.flags.c_contiguous:
            raise ValueError("only C-contiguous arrays can be sent")
        return buffer.reshape(-1).view(np.uint8).data
    return memoryview(buffer).cast("B")


def printable(text: bytes) -> str:
    """What a peer says about itself, safe to log: no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text.decode(errors="replace"))


def _type_name(value: int) -> str:
    try:
        return FrameType(value).name
    except ValueError:
        return f"unknown type {value}"
