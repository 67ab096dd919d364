"""One question of a user's: its data, its deadline, and how often it may be asked again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import TIMEOUT_MAX
from typing import Any

from keras_private.errors import KerasPrivateError

_PAUSES_S = (0.2, 1.0, 5.0)  # before the second, the third, and every later attempt


@dataclass(slots=True, eq=False)
class Query:
    """Each attempt draws new shares and a new id, so answers of two attempts never mix."""

    data: Any = field(repr=False)
    deadline: float
    retries: int
    attempts: int = 0
    """That failed. Those who are told when to come again, or find a party away, lose time and no attempt."""

    def pause_after(self, error: Exception) -> float:
        """Seconds to wait before the next attempt. Raises `error` if there shall be none."""
        if not (isinstance(error, KerasPrivateError) and error.transient) or not self.retries:
            raise error
        if error.after is not None:
            pause = min(TIMEOUT_MAX, max(_PAUSES_S[0], error.after))  # a party may say anything
        else:
            pause = _PAUSES_S[min(self.attempts, len(_PAUSES_S) - 1)]
            self.attempts += 1
        if self.attempts > self.retries or time.monotonic() + pause >= self.deadline:
            raise error
        return pause
