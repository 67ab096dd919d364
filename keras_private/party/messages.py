"""The messages between owners, clients and parties: typed records, written as msgpack maps.

A party accepts data, never code, so reading is strict: an unknown type, a missing or unknown field, a value of another
type, or anything after the message is an error, and the connection that carried it is closed. How many bytes a message
may have is decided by the receiver before it reads the first of them (`Connection.receive`).

    everyone   Hello → Welcome, or Error
    client     Describe → Description · Query → Answer or Error · Cancel
    owner      Load → Accepted, Weight…  → Loaded · Serve → Progress… · Stop → Stopped · AskStatus → Status
    parties    control (server1, server2 → server0): Hold, Drop, Model, LaneFailed; back: OpenLane, Discard; both: Ping
               lane (between runs, as link control): Run
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar

import msgpack

from keras_private.errors import FrameError

VERSION: Final = 2
"""Of this protocol. Both sides must speak the same one."""

ID_BYTES: Final = 16
"""Size of a request id, a model id and a lane's epoch: random, so that nobody guesses another's."""

CONTROL_BYTES: Final = 1 << 20
"""Largest message that carries no shares."""

# Codes of an error. Those who are told REFUSED, BUSY, STOPPED or REPLACED raise a `RefusedError`, else a `PartyError`.
REFUSED: Final = "refused"
"""The party that says so does not take it, for good."""
BUSY: Final = "busy"
"""The party that says so does not take it now; asking again may help."""
STOPPED: Final = "stopped"
"""The model was taken away by its owner."""
REPLACED: Final = "replaced"
"""The owner shared again; asking again may help, after a new `Describe`."""
FAILED: Final = "failed"
"""The party that says so could not do it."""
BROKEN: Final = "broken"
"""A party or a connection among them went away; the text names it. Asking again may help."""
NO_MODEL: Final = "no model"
"""The party that says so holds no model, perhaps not any more (`NoModelError`); asking again may help."""

_MAX_TEXT = 1 << 16
_MAX_ITEMS = 1 << 16


class Message:
    """Base of every message; subclasses are frozen dataclasses, registered under `kind`."""

    kind: ClassVar[str]


M = TypeVar("M", bound=type[Message])
_KINDS: dict[str, tuple[type[Message], dict[str, Callable[[Any], bool]]]] = {}


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _real(value: Any) -> bool:
    return type(value) is float or type(value) is int


def _positive(value: Any) -> bool:
    return type(value) is float and value > 0


def _text(value: Any) -> bool:
    return type(value) is str and len(value) <= _MAX_TEXT


def _blob(value: Any) -> bool:
    return type(value) is bytes


def _identifier(value: Any) -> bool:
    return type(value) is bytes and len(value) == ID_BYTES


def _tuple_of(item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: type(value) is tuple and len(value) <= _MAX_ITEMS and all(map(item, value))


def _optional(item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or item(value)


Id = bytes
"""ID_BYTES random bytes."""
Blob = bytes | memoryview
"""Bytes of any size; a sender may pass a view of an array."""

_CHECKS: dict[str, Callable[[Any], bool]] = {
    "int": _natural,
    "int | None": _optional(_natural),
    "str": _text,
    "bool": lambda value: type(value) is bool,
    "float | None": _optional(_positive),
    "Id": _identifier,
    "Id | None": _optional(_identifier),
    "Blob": _blob,
    "tuple[int, ...]": _tuple_of(_natural),
    "tuple[str, ...]": _tuple_of(_text),
    "tuple[Id, ...]": _tuple_of(_identifier),
    "tuple[float, ...] | None": _optional(_tuple_of(_real)),
}


def _message(kind: str) -> Callable[[M], M]:
    """Class decorator: register under `kind`, with a check for every field."""

    def register(cls: M) -> M:
        cls.kind = kind
        checks = {field.name: _CHECKS[str(field.type)] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        _KINDS[kind] = (cls, checks)
        return cls

    return register


# Everyone ------------------------------------------------------------------------------------------------------------


@_message("hello")
@dataclasses.dataclass(frozen=True, slots=True)
class Hello(Message):
    """The first message of every connection. `purpose`: owner, client, control or lane."""

    purpose: str
    version: int
    cluster: str
    lane: int = 0
    epoch: Id | None = None


@_message("welcome")
@dataclasses.dataclass(frozen=True, slots=True)
class Welcome(Message):
    party: str


@_message("error")
@dataclasses.dataclass(frozen=True, slots=True)
class Error(Message):
    """`code`: see above; `request`: the query it is about, if it is about one."""

    code: str
    text: str
    request: Id | None = None


# Clients -------------------------------------------------------------------------------------------------------------


@_message("describe")
@dataclasses.dataclass(frozen=True, slots=True)
class Describe(Message):
    pass


@_message("description")
@dataclasses.dataclass(frozen=True, slots=True)
class Description(Message):
    """All that a client is told about a model. Shapes are per sample; `owner` is the name in their certificate. Inputs
    have `input_frac` fractional bits, outputs `precision`. `input_limit`: what inputs stay below in size where no range
    was declared.
    """

    model: Id
    digest: str
    owner: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_range: tuple[float, ...] | None
    input_limit: float | None
    input_frac: int
    precision: int
    final_activation: str
    max_batch: int


@_message("query")
@dataclasses.dataclass(frozen=True, slots=True)
class Query(Message):
    """One party's package of a shared batch: each part a 32-byte seed or the words themselves."""

    request: Id
    model: Id
    rows: int
    mine: Blob = dataclasses.field(repr=False)
    next: Blob = dataclasses.field(repr=False)


@_message("answer")
@dataclasses.dataclass(frozen=True, slots=True)
class Answer(Message):
    """One party's share of the output, little-endian words."""

    request: Id
    mine: Blob = dataclasses.field(repr=False)
    next: Blob = dataclasses.field(repr=False)


@_message("cancel")
@dataclasses.dataclass(frozen=True, slots=True)
class Cancel(Message):
    request: Id


# Owners --------------------------------------------------------------------------------------------------------------


@_message("load")
@dataclasses.dataclass(frozen=True, slots=True)
class Load(Message):
    """`model` names this sharing of the plan: three shares only mean something together if they carry the same."""

    model: Id
    plan: Blob = dataclasses.field(repr=False)


@_message("accepted")
@dataclasses.dataclass(frozen=True, slots=True)
class Accepted(Message):
    pass


@_message("weight")
@dataclasses.dataclass(frozen=True, slots=True)
class Weight(Message):
    """The next piece of one part of a weight's package. `part`: mine or next."""

    name: str
    part: str
    data: Blob = dataclasses.field(repr=False)
    last: bool


@_message("loaded")
@dataclasses.dataclass(frozen=True, slots=True)
class Loaded(Message):
    digest: str


@_message("serve")
@dataclasses.dataclass(frozen=True, slots=True)
class Serve(Message):
    """Answer this many requests (None: until stopped), for as long as this connection lives."""

    model: Id
    num_requests: int | None


@_message("progress")
@dataclasses.dataclass(frozen=True, slots=True)
class Progress(Message):
    """How serving goes on. `trouble`: why no query can be run now, such as a party that is away; empty: nothing is."""

    served: int
    waiting: int
    done: bool
    trouble: str


@_message("stop")
@dataclasses.dataclass(frozen=True, slots=True)
class Stop(Message):
    """Forget this upload. What was loaded after it stays."""

    model: Id


@_message("stopped")
@dataclasses.dataclass(frozen=True, slots=True)
class Stopped(Message):
    pass


@_message("ask-status")
@dataclasses.dataclass(frozen=True, slots=True)
class AskStatus(Message):
    pass


@_message("status")
@dataclasses.dataclass(frozen=True, slots=True)
class Status(Message):
    """`expires`: when the party's certificate does, seconds since 1970; None without one (in-process clusters)."""

    party: str
    digest: str
    owner: str
    serving: bool
    served: int
    waiting: int
    peers: tuple[str, ...]
    lanes: int
    expires: int | None


# Parties -------------------------------------------------------------------------------------------------------------


@_message("hold")
@dataclasses.dataclass(frozen=True, slots=True)
class Hold(Message):
    """A follower holds its package of this request."""

    request: Id
    client: str
    model: Id
    digest: str
    rows: int


@_message("drop")
@dataclasses.dataclass(frozen=True, slots=True)
class Drop(Message):
    """A follower's client went away or changed its mind. The leader decides what becomes of the request."""

    request: Id


@_message("model")
@dataclasses.dataclass(frozen=True, slots=True)
class Model(Message):
    """What a follower holds now; None and an empty digest: nothing."""

    model: Id | None
    digest: str


@_message("lane-failed")
@dataclasses.dataclass(frozen=True, slots=True)
class LaneFailed(Message):
    """A follower tore the lane down; `suspect` is the party whose fault it seemed to be."""

    lane: int
    epoch: Id
    suspect: int
    cause: str


@_message("open-lane")
@dataclasses.dataclass(frozen=True, slots=True)
class OpenLane(Message):
    """The leader wants the lane built anew; connections of another epoch are of an older attempt."""

    lane: int
    epoch: Id


@_message("discard")
@dataclasses.dataclass(frozen=True, slots=True)
class Discard(Message):
    """The leader will not run these requests; followers forget them and tell their clients why."""

    requests: tuple[Id, ...]
    code: str
    text: str


@_message("ping")
@dataclasses.dataclass(frozen=True, slots=True)
class Ping(Message):
    pass


@_message("run")
@dataclasses.dataclass(frozen=True, slots=True)
class Run(Message):
    """The leader announces the next run of a lane: the next so many `rows` of each of these requests, in this order."""

    model: Id
    digest: str
    requests: tuple[Id, ...]
    rows: tuple[int, ...]


# -- The wire ----------------------------------------------------------------------------------------------------------


def encode(message: Message) -> bytes:
    """The message as it travels."""
    fields = {name: getattr(message, name) for name in _KINDS[message.kind][1]}
    return bytes(msgpack.packb({"type": message.kind, **fields}, use_bin_type=True))


def decode(data: bytes) -> Message:
    """Read a message and check every field.

    Raises:
        FrameError: it is not exactly one well-formed message; says what is wrong, never what the bytes were.
    """
    try:
        _check_structure(data)
        fields = msgpack.unpackb(
            data,
            raw=False,
            use_list=False,
            max_array_len=_MAX_ITEMS,
            max_map_len=64,
            max_str_len=_MAX_TEXT,
            max_ext_len=0,
        )
    except (ValueError, TypeError, IndexError, RecursionError, msgpack.UnpackException):
        raise FrameError("a message that is not msgpack") from None
    if type(fields) is not dict:
        raise FrameError("a message that is not a map of fields")
    kind = fields.pop("type", None)
    if type(kind) is not str or kind not in _KINDS:
        raise FrameError("a message of an unknown type")
    cls, checks = _KINDS[kind]
    if fields.keys() != checks.keys():
        raise FrameError(f"a {kind} message with missing or unknown fields")
    for name, check in checks.items():
        if not check(fields[name]):
            raise FrameError(f"a {kind} message whose field {name} is malformed")
    return cls(**fields)


# Of the msgpack types with a first byte from 0xc0 on: bytes that follow it, and bytes in front of a string or blob that
# say its length. All others (extensions, long maps, 0xc1) appear in no message.
_FOLLOWING = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FOLLOWING |= {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_LENGTH = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}


def _check_structure(data: bytes) -> None:
    """Refuse what is no map of scalars, texts, blobs, and lists of those, before msgpack makes objects of it.

    A nested list of three bytes has msgpack reserve half a megabyte, and a map of one byte becomes hundreds.

    Raises:
        ValueError, IndexError: it is something else.
    """
    if not data:
        raise ValueError("empty")
    due = 2 * (data[0] & 0x0F) if data[0] & 0xF0 == 0x80 else 1
    at, listed = int(data[0] & 0xF0 == 0x80), 0
    for _ in range(due):
        at, items = _after(data, at)
        listed += items
        if listed > _MAX_ITEMS:
            raise ValueError("too many items")
        for _ in range(items):
            at, nested = _after(data, at)
            if nested:
                raise ValueError("a list in a list")


def _after(data: bytes, at: int) -> tuple[int, int]:
    """Where the value at `at` ends or its items begin, and how many items it has if it is a list."""
    first = data[at]
    at += 1
    if first < 0x80 or first >= 0xE0:
        return at, 0
    if 0x90 <= first < 0xA0:
        return at, first & 0x0F
    if 0xA0 <= first < 0xC0:
        return at + (first & 0x1F), 0
    if first in _FOLLOWING:
        return at + _FOLLOWING[first], 0
    if first in _LENGTH:
        start = at + _LENGTH[first]
        return start + int.from_bytes(data[at:start]), 0
    if first in (0xDC, 0xDD):
        start = at + (2 if first == 0xDC else 4)
        return start, int.from_bytes(data[at:start])
    raise ValueError("a type that no message has")
