"""What a client is told when it gets no answer: one sentence per cause, with what to do, whoever notices it first.

Each is what an `Error` says: its code, its text, and when asking again may help (see `messages`). The details (who
noticed it, and how) are in the parties' logs.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from keras_private.party import messages

LEAVING_S: Final = 0.5
"""When a client may look whether a party that ended is back."""


class Cause(NamedTuple):
    """See the top of this file."""

    code: str
    text: str
    after: float | None = None


class Refuse(Protocol):
    """Tells a client (id of its request, and why) that there will be no output."""

    def __call__(self, id_: bytes, code: str, text: str, after: float | None = None, /) -> None: ...


STOPPED: Final = Cause(
    messages.STOPPED, "the model was stopped by its owner; ask again when it is shared and served again"
)
NOT_HELD: Final = Cause(
    messages.NO_MODEL, "does not hold this upload of the model (any more); the owner must share it again"
)
EXPIRED: Final = Cause(messages.REFUSED, "the client's time for this request is over")
TAKEN_BACK: Final = Cause(messages.REFUSED, "the client took the request back")
SHARED_AGAIN: Final = Cause(messages.REPLACED, "the model was replaced by its owner; call connect_to_model again")

INTERRUPTED: Final = Cause(messages.BROKEN, "the parties lost each other between two runs of this request; ask again")
LOST: Final = Cause(messages.BROKEN, "the parties do not know this evaluation any more; begin it again")


def gone(party: str) -> Cause:
    """A party ended, or cannot be reached any more."""
    return Cause(messages.BROKEN, f"{party} is gone or out of reach; ask again when it is back")


def leaving(party: str) -> Cause:
    """A party finishes what runs and then ends, to be started again as a rule."""
    return Cause(messages.BROKEN, f"{party} is about to end; ask again when it is back", LEAVING_S)


def broken(party: str, detail: str) -> Cause:
    """A run failed at a party that is still there."""
    return Cause(messages.BROKEN, f"the run failed at {party}: {detail}; ask again")


def never_came(parties: list[str], seconds: float, why: str = "") -> Cause:
    """A request never came to all three parties."""
    late = f"{' and '.join(parties)} did not receive the request within {seconds:g} s"
    return Cause(messages.BROKEN, f"{', '.join(filter(None, (late, why)))}; ask again")


def apart(seconds: float) -> Cause:
    """The lanes are down."""
    return Cause(messages.BROKEN, f"the three parties were not connected with each other for {seconds:g} s; ask again")
