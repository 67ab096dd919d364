"""What the fields of messages hold, as types with limits, and the base of all messages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta, Struct

from keras_private.plan.attributes import MAX_EXTENT, MAX_RANK
from keras_private.plan.ports import MAX_NAME
from keras_private.sharing.fixed import MAX_FRAC

ID_BYTES: Final = 16
"""Size of a request id, a model id and a lane's epoch: random, so that nobody guesses another's."""

NUMBERS: Final = 1 << 62
"""Whole numbers in messages are below this one."""

MODEL_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z"

DEFAULT_NAME: Final = "model"
"""What a model is called that its owner gives no name, and which a client is given that names none."""

_MOST = 1 << 16

Natural = Annotated[int, Meta(ge=0, lt=NUMBERS)]
Real = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""Finite."""
Positive = Annotated[float, Meta(gt=0, le=sys.float_info.max)]
Seconds = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
Text = Annotated[str, Meta(max_length=_MOST)]
Id = Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
"""Random bytes."""
Naturals = Annotated[tuple[Natural, ...], Meta(max_length=_MOST)]
Texts = Annotated[tuple[Text, ...], Meta(max_length=_MOST)]
Name = Annotated[str, Meta(max_length=MAX_NAME)]
"""Of an input or output."""
ModelName = Annotated[str, Meta(max_length=63, pattern=MODEL_NAME)]
"""What an owner calls a model."""
ModelNameOrEmpty = Annotated[str, Meta(max_length=63, pattern=rf"^\Z|{MODEL_NAME}")]
Shape = Annotated[tuple[Annotated[int, Meta(ge=1, le=MAX_EXTENT)], ...], Meta(max_length=MAX_RANK)]
FractionalBits = Annotated[int, Meta(ge=0, le=MAX_FRAC)]
Ids = Annotated[tuple[Id, ...], Meta(max_length=_MOST)]

# Bytes of any size. A sender may pass a view of an array; what arrives is bytes, and that is what msgspec is told.
if TYPE_CHECKING:
    Blob = bytes | memoryview
else:
    Blob = bytes


class Discreet:
    """Bytes do not show."""

    __slots__ = ()
    __struct_fields__: tuple[str, ...]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # Struct's own, which tracebacks of `rich` print, shows all
        return [(name, _shown(getattr(self, name))) for name in self.__struct_fields__]


class Message(Discreet, Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """Base of every message; a subclass' tag is its type on the wire."""

    @property
    def kind(self) -> str:
        return kind_of(type(self))


def _shown(value: object) -> object:
    return f"{len(value)} bytes" if isinstance(value, (bytes, memoryview)) else value


def kind_of(message: type[Message]) -> str:
    """The name of a type of message, as in the field `type`."""
    return str(message.__struct_config__.tag)
