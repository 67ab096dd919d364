"""When a query is asked again, and when its error is the user's."""

from __future__ import annotations

import math
import sys
import threading
import time

import pytest

from keras_private.client.query import Query
from keras_private.errors import ClusterError, PartyError, QuotaError, RefusedError


def query(retries: int = 2, seconds: float = 600.0) -> Query:
    return Query(None, time.monotonic() + seconds, retries)


def test_pauses_grow_and_end_with_the_retries() -> None:
    asked, failure = query(), PartyError("server1 is gone").again()
    assert [asked.pause_after(failure), asked.pause_after(failure)] == [0.2, 1.0]
    with pytest.raises(PartyError):
        asked.pause_after(failure)


@pytest.mark.parametrize("kind", [QuotaError, RefusedError, PartyError])
def test_who_is_told_when_to_come_again_waits_for_so_long_as_often_as_it_takes(kind: type[ClusterError]) -> None:
    asked, failure = query(), kind("come again").again(after=17.5)
    assert [asked.pause_after(failure) for _ in range(20)] == [17.5] * 20
    assert asked.pause_after(PartyError("server1 is gone").again()) == 0.2  # the retries are all there still
    assert asked.pause_after(kind("at once").again(after=0.0)) == 0.2  # nobody is asked without a pause


def test_a_party_may_say_any_number_of_seconds() -> None:
    """Without a deadline it is waited for, and no clock is asked for more than it can count."""
    asked = Query(None, math.inf, 2)
    pause = asked.pause_after(QuotaError("come again").again(after=sys.float_info.max))
    assert pause <= threading.TIMEOUT_MAX


def test_nobody_waits_beyond_the_deadline() -> None:
    failure = QuotaError("come again").again(after=17.5)
    with pytest.raises(QuotaError) as caught:
        query(seconds=17.0).pause_after(failure)
    assert caught.value.after == 17.5


def test_who_wants_no_retries_is_told_at_once() -> None:
    with pytest.raises(QuotaError):
        query(retries=0).pause_after(QuotaError("come again").again(after=0.0))


def test_what_will_never_be_granted_is_not_asked_again() -> None:
    with pytest.raises(QuotaError):
        query().pause_after(QuotaError("all 1000 rows are used up"))
