"""Messages: what is written reads back; anything else is refused."""

from __future__ import annotations

import contextlib
import tracemalloc

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.errors import FrameError
from keras_private.party import messages, wire
from keras_private.party.fields import Message

from .samples import ID, INPUT, KINDS, SAMPLES, sample


def port(**changed: object) -> list[object]:
    """An input as it travels, with changes."""
    return list({**msgspec.structs.asdict(INPUT), **changed}.values())


def held(**changed: object) -> list[object]:
    return list({**msgspec.structs.asdict(messages.Hold(ID, "client:bob", ID, "text", 7, None)), **changed}.values())


def figures(**changed: object) -> list[object]:
    return list({**msgspec.structs.asdict(SAMPLES["Figures"]), **changed}.values())


WRONG: dict[str, list[object]] = {
    "Natural": [True, 1.0, "7", None, 1 << 62],
    "Natural | None": [True, 1.0, "7", 1 << 62],
    "Seconds | None": [1, 1 << 63, -0.25, float("nan"), float("inf"), True, "1"],
    "Text": [b"text", 1, None, "\N{GRINNING FACE}" * 70000],
    "bool": [0, 1, None, "true"],
    "Positive | None": [1, 1 << 63, 0.0, -0.25, float("nan"), float("inf"), True, "1"],
    "Id": [ID[1:], ID + b"x", ID.hex(), "x" * 16, None],
    "Id | None": [ID[1:], ID + b"x", "x" * 16],
    "Blob": ["text", [0], 1, None],
    "Naturals": [[True], [1.0], [-1], [None], 1, None, [0] * 65537],
    "Texts": [[b"server1"], "server1", [None], None, [""] * 65537],
    "Ids": [[ID[1:]], [ID, None], ID, None, [ID] * 65537],
    "InputPorts": [
        [],
        None,
        [None],
        [port()] * 257,
        [{"name": "x"}],
        [port()[:-1]],
        [[*port(), 1]],
        *([port(name=name)] for name in (b"x", None, 1, "x" * 129)),
        *([port(shape=shape)] for shape in ([-1], [0], [1 << 29], [True], 2, None, [1] * 9)),
        *([port(frac=frac)] for frac in (-1, 1.0, None, 63)),
        *([port(limit=limit)] for limit in (1, 1 << 63, 0.0, -0.25, float("nan"), float("inf"), True, "1")),
        *([port(range=[*ends])] for ends in ((0.0,), (0.0, 1.0, 2.0), (0.0, True), (0.0, "1"), (0.0, float("nan")))),
    ],
    "Figures": [
        None,
        [],
        [*figures()[:-1]],
        [*figures(), 1],
        *(
            [*figures(**{name: wrong})]
            for name in ("clock", "uptime", "oldest")
            for wrong in (1, None, float("nan"), "1")
        ),
        *([*figures(**{name: wrong})] for name in ("due", "clients", "rows") for wrong in (-1, 1.0, None, True)),
        *([*figures(**{name: wrong})] for name in ("limits", "unready") for wrong in ("x", [None], [1])),
    ],
    "ModelName": [b"digits", None, "", "a b", "-a", "a\n", "a" * 64, "ä", "a/b"],
    "ModelNameOrEmpty": [b"digits", None, "\n", "a b", "-a", "a\n", "a" * 64],
    "ModelStatuses": [None, [None], [["digits", 2]], [["digits", -1, "", "", "", 0, 0, 0, 0]], 1],
    "HoldingsOf": [None, [None], [[ID, "digits", 2, ""]], [[ID[1:], "digits", 2, "", ""]], [[ID, "", 2, "", ""]], 1],
    "Part | None": [[], [ID, "accuracy", 1], [ID, "accuracy", -1, True], [ID[1:], "a", 0, True], [ID, "a", 0, 1], "x"],
    "EvaluationPorts": [
        None,
        [None],
        [["accuracy"]],
        [["accuracy", "client", 20, 20, 128, None, 1, 0, 0]],
        [["accuracy", "client", 20, 20, 128, port(), 1, 3, 0]],
        1,
    ],
    "HoldTuple": [
        [],
        None,
        [None],
        [held()[:-1]],
        [[*held(), 1]],
        [held()] * 257,
        *([held(**{name: wrong})] for name in ("request", "model") for wrong in (ID[1:], None, "x" * 16)),
        *([held(rows=rows)] for rows in (-1, 1.0, True, None)),
    ],
    "OutputPorts": [[], None, [["y", [3], "real", 16, "softmax"]], [["y", [3], "real", 16, "", 1]]],
}
NO_TYPE = "does not begin with a type that is known"


def packed(**fields: object) -> bytes:
    return bytes(msgpack.packb(fields))


@pytest.mark.parametrize("kind", KINDS)
def test_reads_back(kind: str) -> None:
    message = sample(KINDS[kind])
    assert wire.decode(wire.encode(message)) == message


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_checked(kind: str) -> None:
    fields = msgpack.unpackb(wire.encode(sample(KINDS[kind])))
    for name in fields:
        for wrong in ({"a": 1}, -1, 1 << 63, [[1]], "x" * 70000, msgpack.ExtType(5, b"")):
            with pytest.raises(FrameError):
                wire.decode(packed(**{**fields, name: wrong}))
        if name != "type":
            for wrong in WRONG[KINDS[kind].__annotations__[name]]:
                with pytest.raises(
                    FrameError, match=f"a {kind} message whose field {name} is malformed|may have|written"
                ):
                    wire.decode(packed(**{**fields, name: wrong}))
        less = {key: value for key, value in fields.items() if key != name}
        with pytest.raises(FrameError, match=r"missing or unknown fields|does not begin"):
            wire.decode(packed(**less))
    with pytest.raises(FrameError, match="missing or unknown fields"):
        wire.decode(packed(**fields, extra=1))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", NO_TYPE),
        (b"\xc1", NO_TYPE),
        (b"\xdd\xff\xff\xff\xff", NO_TYPE),  # an array that claims 2^32 elements
        (b"\xc6\xff\xff\xff\xff", NO_TYPE),  # a blob that claims 2^32 bytes
        (b"\x91" * 100_000, NO_TYPE),  # nested without end
        (packed(type="ping") + b"\x00", "not msgpack"),  # something behind it
        (packed(type="fire"), NO_TYPE),
        (packed(type=3), NO_TYPE),
        (packed(), NO_TYPE),
        (bytes(msgpack.packb([1, 2])), NO_TYPE),
        (bytes(msgpack.packb({1: 2})), NO_TYPE),
        (b"\x82\xa4type\xa4ping\xa4type\xa4ping", "a ping message with missing or unknown fields"),
        (b"\x83\xa4type\xa7welcome\xa5party\xa1a\xa5party\xa1a", "missing or unknown fields"),
        (b"\x83\xa4type\xa4ping\xa4type\xa7welcome\xa5party\xa1a", "malformed|missing"),
        (b"\x82\xa4type\xa7welcome\xa5party\xa2\xff\xff", "not msgpack"),  # no UTF-8
        (b"\xde\x00\x01\xa4type\xa4ping", NO_TYPE),  # a length longer than it need be
    ],
)
def test_hostile_bytes(data: bytes, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        wire.decode(data)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_a_message(data: bytes) -> None:
    with contextlib.suppress(FrameError):
        assert isinstance(wire.decode(data), Message)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_a_flipped_byte_never_crashes(kind: str, data: st.DataObject) -> None:
    flipped = bytearray(wire.encode(sample(KINDS[kind])))
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(FrameError):
        wire.decode(bytes(flipped))


@pytest.mark.parametrize("word", ["SECRET", "SECRET - at `$.text`", "text"])
def test_errors_do_not_quote_what_came(word: str) -> None:
    fields = {"type": "error", "code": "failed", "text": "", "request": None}
    for wrong in ({**fields, word * 2: 1}, {**fields, "type": word}, {**fields, "request": word}):
        with pytest.raises(FrameError) as caught:
            wire.decode(packed(**wrong))
        assert "SECRET" not in str(caught.value)
        assert "field text" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        wire.encode(messages.Describe("", None)).replace(b"model\xc0", b"model\xc4\x00"),
        wire.encode(messages.Hello("lane", 3, "test", 7, None)).replace(b"lane\x07", b"lane\xcc\x07"),
        wire.encode(messages.Hello("lane", 3, "test", 7, None)).replace(b"\xa4lane", b"\xd9\x04lane"),
        msgpack.packb({"type": "welcome", "party": "a"}).replace(b"\xa1a", b"\xd9\x01a"),
        msgpack.packb({"type": "describe", "model": None, "name": ""}),  # in another order
    ],
)
def test_there_is_one_way_to_write_a_message(data: bytes) -> None:
    with pytest.raises(FrameError, match=r"written|malformed"):
        wire.decode(data)


def test_senders_may_give_views() -> None:
    words = np.arange(6, dtype="<u8")
    answer = wire.decode(wire.encode(messages.Answer(ID, memoryview(words).cast("B"), bytes(words))))
    assert isinstance(answer, messages.Answer)
    assert type(answer.mine) is bytes
    assert answer.mine == answer.next == words.tobytes()


def test_shares_do_not_show() -> None:
    for cls in (messages.Query, messages.Answer, messages.Weight, messages.Load):
        for message in (sample(cls), wire.decode(wire.encode(sample(cls)))):
            assert "40 bytes" in repr(message)
            assert "x00" not in repr(message)
            assert "x00" not in repr(message.__rich_repr__())


BOMBS = {
    "a list instead of a message": b"\x91" + b"\xdc\xff\xff" * 1000,  # every list reserves 65535 places
    "a list for the type": b"\x81\xa4type" + b"\xdc\xff\xff" * 1000,
    "a list of maps": b"\x81\xa4type\xdc\xff\xff" + (b"\xdc\xff\xff" + b"\x80" * 65535) * 10,
    "a list of empty maps": b"\x81\xa4type\xdc\xff\xff" + b"\x80" * 65535,
    "a map for the type": b"\x81\xa4type\xde\x00\x01\xa1a\x01",
    "maps for keys": b"\x81" + b"\x80" * 1000,
    "two lists": b"\x82\xa1a\xdc\xff\xff" + b"\xa1a" * 65535 + b"\xa1b\xdc\xff\xff" + b"\xa1b" * 65535,
    "nested lists in a list of ids": b"\x84\xa4type\xa7discard\xa8requests" + b"\xdc\xff\xff" * 1000,
    "2^32 ids": b"\x84\xa4type\xa7discard\xa8requests\xdd\xff\xff\xff\xff",
    "2^16 ids that are not there": b"\x84\xa4type\xa7discard\xa8requests\xdd\x00\x01\x00\x00",
    "2^16 empty ids": b"\x84\xa4type\xa7discard\xa8requests\xdc\xff\xff" + b"\xc4\x00" * 65535,
    "too many ids": b"\x84\xa4type\xa7discard\xa8requests\xdd\x00\x01\x00\x01" + (b"\xc4\x10" + ID) * 40_000,
    "2^32 fields": b"\xdf\xff\xff\xff\xff",
    "65535 fields before the type": b"\xde\xff\xff" + b"\xa1z\x01" * 65535,
    "65535 fields after the type": b"\xde\xff\xff\xa4type\xa4ping" + b"\xa1z\x01" * 65534,
    "lists in an unknown field": b"\x82\xa1z" + b"\x91" * 100_000,
    "maps in an unknown field": b"\x82\xa1z" + b"\x81\xa1a" * 100_000,
    "lists behind the type": b"\x82\xa4type\xa4ping\xa1z" + b"\x91" * 100_000,
    "a blob of 2^32 bytes": b"\x83\xa4type\xa4load\xa4plan\xc6\xff\xff\xff\xff",
    "a text of 2^32 bytes": b"\x82\xa4type\xa7welcome\xa5party\xdb\xff\xff\xff\xff",
    "a large text": b"\x82\xa4type\xa7welcome\xa5party\xdb\x00\x20\x00\x00\xf0\x9f\x98\x80" + b"x" * ((1 << 21) - 4),
    "a large type": b"\x81\xa4type\xdb\x00\x20\x00\x00\xf0\x9f\x98\x80" + b"x" * ((1 << 21) - 4),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_takes_no_memory(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            wire.decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_takes_much_memory(kind: str) -> None:
    """What a message of its largest size may grow to while it is read: texts are the worst."""
    fields = msgpack.unpackb(wire.encode(sample(KINDS[kind])))
    for name in fields:
        data = packed(**{**fields, name: "\N{GRINNING FACE}" + "x" * (messages.CONTROL_BYTES - 2000)})
        assert len(data) <= messages.CONTROL_BYTES
        tracemalloc.start()
        try:
            with pytest.raises(FrameError):
                wire.decode(data)
            assert tracemalloc.get_traced_memory()[1] < 10 * messages.CONTROL_BYTES
        finally:
            tracemalloc.stop()


def test_only_what_carries_blobs_may_be_large() -> None:
    blobs = {cls for cls in KINDS.values() if "Blob" in cls.__annotations__.values()}
    assert set(wire._LARGE) == blobs
    discard = messages.Discard((ID,) * 50_000, messages.FAILED, "é" * 40, None)
    assert wire.decode(wire.encode(discard)) == discard
    load = messages.Load(ID, "digits", 0, 0, bytes(4 << 20))
    assert wire.decode(wire.encode(load)) == load
    with pytest.raises(FrameError, match="a discard message of"):
        wire.decode(wire.encode(messages.Discard((ID,) * 60_000, messages.FAILED, "", None)))


def test_a_hello_of_another_version_can_be_read() -> None:
    """So that a party can say which version it speaks, and not only that it does not understand."""
    old = packed(type="hello", purpose="client", version=2, cluster="test", lane=0, epoch=None)
    assert wire.decode(old) == messages.Hello("client", 2, "test", 0, None)
