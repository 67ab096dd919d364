"""Messages: what is written reads back; anything else is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.errors import FrameError
from keras_private.party import messages

ID = bytes(range(16))
SAMPLES: dict[str, object] = {
    "int": 7,
    "int | None": None,
    "str": "text",
    "bool": True,
    "float | None": 0.25,
    "Id": ID,
    "Id | None": None,
    "Blob": b"\x00" * 40,
    "tuple[int, ...]": (28, 28, 1),
    "tuple[str, ...]": ("server1",),
    "tuple[Id, ...]": (ID, ID),
    "tuple[float, ...] | None": (0.0, 1.0),
}
KINDS = {kind: cls for kind, (cls, _) in messages._KINDS.items()}


def sample(cls: type[messages.Message]) -> messages.Message:
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    return cls(**{field.name: SAMPLES[str(field.type)] for field in fields})


def packed(**fields: object) -> bytes:
    return bytes(msgpack.packb(fields))


@pytest.mark.parametrize("kind", KINDS)
def test_reads_back(kind: str) -> None:
    message = sample(KINDS[kind])
    assert messages.decode(messages.encode(message)) == message


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_checked(kind: str) -> None:
    fields = msgpack.unpackb(messages.encode(sample(KINDS[kind])))
    for name in fields:
        for wrong in ({"a": 1}, -1, 1 << 63, [[1]], "x" * 70000, msgpack.ExtType(5, b"")):
            with pytest.raises(FrameError):
                messages.decode(packed(**{**fields, name: wrong}))
        less = {key: value for key, value in fields.items() if key != name}
        with pytest.raises(FrameError):
            messages.decode(packed(**less))
    with pytest.raises(FrameError, match="missing or unknown fields"):
        messages.decode(packed(**fields, extra=1))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (b"\xdd\xff\xff\xff\xff", "not msgpack"),  # an array that claims 2^32 elements
        (b"\xc6\xff\xff\xff\xff", "not msgpack"),  # a blob that claims 2^32 bytes
        (b"\x91" * 100_000, "not msgpack"),  # nested without end
        (packed(type="ping") + b"\x00", "not msgpack"),  # something behind it
        (packed(type="fire"), "unknown type"),
        (packed(type=3), "unknown type"),
        (packed(), "unknown type"),
        (bytes(msgpack.packb([1, 2])), "not a map"),
        (bytes(msgpack.packb({1: 2})), "not msgpack"),
    ],
)
def test_hostile_bytes(data: bytes, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        messages.decode(data)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_a_message(data: bytes) -> None:
    with contextlib.suppress(FrameError):
        assert isinstance(messages.decode(data), messages.Message)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_a_flipped_byte_never_crashes(kind: str, data: st.DataObject) -> None:
    wire = bytearray(messages.encode(sample(KINDS[kind])))
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(FrameError):
        messages.decode(bytes(wire))


def test_shares_do_not_show() -> None:
    for cls in (messages.Query, messages.Answer, messages.Weight, messages.Load):
        assert "\\x00\\x00" not in repr(sample(cls))


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x91" + b"\xdc\xff\xff" * 1000,  # every list reserves 65535 places
        b"\x81\xa4type" + b"\xdc\xff\xff" * 1000,
        b"\x81\xa4type\xdc\xff\xff" + (b"\xdc\xff\xff" + b"\x80" * 65535) * 10,
        b"\x81\xa4type\xdc\xff\xff" + b"\x80" * 65535,
        b"\x81\xa4type\xde\x00\x01\xa1a\x01",
        b"\x81" + b"\x80" * 1000,
        b"\x82\xa1a\xdc\xff\xff" + b"\xa1a" * 65535 + b"\xa1b\xdc\xff\xff" + b"\xa1b" * 65535,
    ],
)
def test_a_bomb_takes_no_memory(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match="not msgpack"):
            messages.decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_long_lists_read_back() -> None:
    discard = messages.Discard((ID,) * 60_000, messages.FAILED, "é" * 40)
    assert messages.decode(messages.encode(discard)) == discard
    load = messages.Load(ID, bytes(1 << 20))
    assert messages.decode(messages.encode(load)) == load
