"""A batch that was sent under an id of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from keras_private.config import PARTY_NAMES
from keras_private.errors import KerasPrivateError
from keras_private.party.messages import Answer


@dataclass(slots=True, eq=False)
class Request:
    """Settled once: with three answers, or with a failure.

    Attributes:
        size: bytes of a party's memory that it takes.
        number: of those that entered the session's window.
        crowded: it was refused for want of room while others of this client's were on their way.
    """

    id: bytes
    rows: int
    size: int = 0
    number: int = 0
    asked: set[int] = field(default_factory=set)
    answers: dict[int, Answer] = field(default_factory=dict)
    failure: KerasPrivateError | None = None
    crowded: bool = False

    @property
    def settled(self) -> bool:
        return self.failure is not None or len(self.answers) == len(PARTY_NAMES)
