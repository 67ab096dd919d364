"""What a client is told when it gets no answer: one sentence per cause, with what to do, whoever notices it first.

Each is a pair of an error's code and text, see `messages`. The details (who noticed it, and how) are in the parties'
logs.
"""

from __future__ import annotations

from keras_private.party import messages

Cause = tuple[str, str]

STOPPED: Cause = messages.STOPPED, "the model was stopped by its owner; ask again when it is shared and served again"
SHARED_AGAIN: Cause = messages.REPLACED, "the model was replaced by its owner; call connect_to_model again"

INTERRUPTED: Cause = messages.BROKEN, "the parties lost each other between two runs of this request; ask again"
LOST: Cause = messages.BROKEN, "the parties do not know this evaluation any more; begin it again"


def gone(party: str) -> Cause:
    """A party ended, or cannot be reached any more."""
    return messages.BROKEN, f"{party} is gone or out of reach; ask again when it is back"


def broken(party: str, detail: str) -> Cause:
    """A run failed at a party that is still there."""
    return messages.BROKEN, f"the run failed at {party}: {detail}; ask again"


def never_came(parties: list[str], seconds: float, why: str = "") -> Cause:
    """A request never came to all three parties."""
    late = f"{' and '.join(parties)} did not receive the request within {seconds:g} s"
    return messages.BROKEN, f"{', '.join(filter(None, (late, why)))}; ask again"


def apart(seconds: float) -> Cause:
    """The lanes are down."""
    return messages.BROKEN, f"the three parties were not connected with each other for {seconds:g} s; ask again"
