"""Messages as bytes: msgpack maps, the first field of which is `type`.

A party accepts data, never code, so reading is strict: an unknown type, a missing, unknown or doubled field, a value of
another type or out of range, or anything after the message is an error, and the connection that carried it is closed.
There is one way to write a message, but for the lengths of the fields of those with blobs.
How many bytes a message may have is decided by the receiver before it reads the first of them (`Connection.receive`).

Reading takes little memory beyond the message itself, whatever was sent. The type comes first and is short, so it is
looked up before msgspec sees anything. msgspec builds only what a field's type calls for, compares the length of a list
with its limit before it makes room, and skips the rest without building anything. But it builds a text, and perhaps an
error that quotes it, before it looks at the length: up to ten times its bytes, for a moment. So only messages that
carry blobs may be large.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import DecodeError, ValidationError, msgpack

from keras_private.errors import FrameError
from keras_private.party.fields import Message, kind_of
from keras_private.party.messages import (
    CONTROL_BYTES,
    Answer,
    Evaluations,
    Load,
    Query,
    Weight,
)

_LARGE: Final = (Query, Answer, Load, Weight, Evaluations)
"""All messages that may have more than CONTROL_BYTES."""

# A message begins: map of so many fields (0x80 + up to 15), "type", text of so many bytes (0xa0 + up to 31), the type.
_MAP: Final = 0x80
_TYPE: Final = msgpack.encode("type")
_LENGTH_AT: Final = 1 + len(_TYPE)
_KINDS: Final = {_TYPE + msgpack.encode(kind_of(cls)): (cls, msgpack.Decoder(cls)) for cls in Message.__subclasses__()}
_ENCODER: Final = msgpack.Encoder()


def encode(message: Message) -> bytes:
    """The message as it travels."""
    return _ENCODER.encode(message)


def decode(data: bytes) -> Message:
    """Read a message and check every field.

    Raises:
        FrameError: it is not exactly one well-formed message; says what is wrong, never what the bytes were.
    """
    length = data[_LENGTH_AT] & 0x1F if len(data) > _LENGTH_AT else 0
    cls, decoder = _KINDS.get(data[1 : _LENGTH_AT + 1 + length], (None, None))
    if cls is None or decoder is None:
        raise FrameError("a message that does not begin with a type that is known")
    kind = kind_of(cls)
    if len(data) > CONTROL_BYTES and cls not in _LARGE:
        raise FrameError(f"a {kind} message of {len(data)} bytes; it may have {CONTROL_BYTES}")
    if data[0] != _MAP + 1 + len(cls.__struct_fields__):  # as none is unknown, none can be there twice
        raise FrameError(f"a {kind} message with missing or unknown fields")
    try:
        message = decoder.decode(data)
    except ValidationError as error:
        raise FrameError(f"a {kind} message {_wrong(str(error))}") from None
    except (DecodeError, UnicodeDecodeError, RecursionError):
        raise FrameError(f"a {kind} message that is not msgpack") from None
    if cls not in _LARGE and encode(message) != data:  # of numbers, msgspec reads more than it writes
        raise FrameError(f"a {kind} message that is not written as it has to be")
    return message


def _wrong(error: str) -> str:
    """What to say of msgspec's error. Only the path at its end is ours: the rest may quote what was sent."""
    if error.startswith("Object"):
        return "with missing or unknown fields"
    return "whose field {} is malformed".format(re.split(r"\W", error.rpartition(" - at `$.")[2])[0])
