"""Arrays of any length: every row is asked once, and answers and errors come back in their places."""

from __future__ import annotations

import concurrent.futures
import io
import itertools
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from keras_private import progress
from keras_private.client.batches import AT_ONCE, divided, joined
from keras_private.client.checks import QUERY_OVERHEAD, check_data, held_bytes
from keras_private.client.query import Query
from keras_private.client.session import Session
from keras_private.client.window import memory_of_one
from keras_private.config import Limits
from keras_private.errors import InputError, LinkTimeoutError, PartyError, RangeError, RefusedError
from keras_private.worker import TFEWorker

from .described import INPUT, OUTPUT, described

FORMS = ("array", "list", "dict")


@settings(max_examples=40)
@given(
    rows=st.integers(1, 400),
    most=st.integers(1, 128),
    width=st.sampled_from([1, 4, 5000]),
    request_mb=st.sampled_from([1, 2]),
    form=st.sampled_from(FORMS),
    refused=st.sets(st.integers(0, 399), max_size=20),
    guarded=st.sets(st.integers(0, 399), max_size=20),
)
def test_any_length_any_limits(
    rows: int, most: int, width: int, request_mb: int, form: str, refused: set[int], guarded: set[int]
) -> None:
    """As the parties would answer: each row by its own number, or by a notice."""
    ports = [replace(INPUT, shape=(width,))] + ([replace(INPUT, name="z", shape=())] if form != "array" else [])
    model = described(ports, [OUTPUT], takes=form, gives=form)
    model = replace(model, max_batch=most)
    limits = Limits(request_mb=request_mb, memory_mb=12 * request_mb)
    numbers = np.arange(rows, dtype=np.int64)
    x = np.broadcast_to(numbers[:, None], (rows, width))
    data: Any = {"array": x, "list": [x, numbers], "dict": {"x": x, "z": numbers}}[form]
    batches = divided(Query(data, 0.0, 2), model, limits)
    seen: list[float] = []
    for batch in batches:
        values = check_data(batch.query.data, model)
        count = len(values[0])
        assert 8 * model.input_words * count + QUERY_OVERHEAD <= limits.request_bytes
        if len(batches) > 1:
            assert (batch.start, batch.rows) == (len(seen), count)
            held = held_bytes(count, model.input_words, model.output_words)
            assert count == 1 or AT_ONCE * held <= memory_of_one(limits)
        mine = values[-1].reshape(count, -1)[:, 0]
        seen += mine.tolist()
        out = [np.flatnonzero(np.isin(mine, list(which))).tolist() for which in (refused, guarded - refused)]
        if any(out):
            causes = {name: tuple(found) for name, found in zip(("range", "guard"), out, strict=True) if found}
            batch.outcome = RangeError("", tuple(sorted(out[0] + out[1])), causes)
        else:
            batch.outcome = {"array": mine, "list": [mine], "dict": {"y": mine}}[form]
    assert seen == numbers.tolist()
    wrong = tuple(sorted(row for row in refused | guarded if row < rows))
    if wrong:
        with pytest.raises(RangeError) as caught:
            joined(batches)
        assert caught.value.rows == wrong
        assert set(caught.value.causes) == {
            *(["range"] if min(refused, default=rows) < rows else []),
            *(["guard"] if min(guarded - refused, default=rows) < rows else []),
        }
    else:
        answer = joined(batches)
        answer = {"array": lambda: answer, "list": lambda: answer[0], "dict": lambda: answer["y"]}[form]()
        np.testing.assert_array_equal(answer, numbers)


def test_nothing_is_sent_if_any_row_is_wrong() -> None:
    model = described(range=(0.0, 1.0))
    data = np.zeros((1 << 19, 4))  # looked at in pieces
    data[-1, 3], data[5, 0] = 2.0, -3.0
    with pytest.raises(InputError, match="the data reaches from -3 to 2, the model was shared for values from 0 to 1"):
        divided(Query(data, 0.0, 2), model, Limits())
    data[7, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        divided(Query(data, 0.0, 2), model, Limits())
    two = described([INPUT, replace(INPUT, name="z")])
    with pytest.raises(InputError, match="the same number of rows; they have 'x' 200, 'z' 2"):
        divided(Query([np.zeros((200, 4)), np.zeros((2, 4))], 0.0, 2), two, Limits())


@pytest.fixture
def small(make_trio: Any) -> Any:
    """Parties that take four rows at a time, and eight requests, of which one client may have four."""
    return make_trio(max_batch=4, queue=8)


@pytest.fixture
def client(small: Any, tiny: Any, serving: Any) -> Iterator[TFEWorker]:
    with serving(small, tiny), TFEWorker().connect_to_model(tiny.input_shape, tiny.output_shape, small) as client:
        yield client


def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each request that is sent from now on."""
    requests: list[Any] = []
    send = Session.send

    def note(self: Session, *arguments: Any, **more: Any) -> Any:
        requests.append(send(self, *arguments, **more))
        return requests[-1]

    monkeypatch.setattr(Session, "send", note)
    return requests


@pytest.mark.parametrize("rows", [1, 4, 5, 31])
def test_answers_are_in_order(client: Any, tiny: Any, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    requests, data = sent(monkeypatch), tiny.batch(rows)
    np.testing.assert_allclose(client.query_model(data), tiny.expected(data), atol=1e-3)
    np.testing.assert_allclose(client.query_model_async(data).result(60), tiny.expected(data), atol=1e-3)
    np.testing.assert_allclose(client.start_query(data).result(60), tiny.expected(data), atol=1e-3)
    assert sorted({request.rows for request in requests}) == sorted({min(4, rows), rows % 4 or min(4, rows)})
    assert sum(request.rows for request in requests) == 3 * rows
    assert client._session.load == 0


def test_more_queries_than_the_parties_take_wait_in_the_client(client: Any, tiny: Any, small: Any) -> None:
    """Not one is refused for good, though each has no retries: what a client may not have, it does not send twice."""
    batches = [tiny.batch(1 + seed % 9, seed) for seed in range(60)]
    tickets = {client.query_model_async(data, retries=0): data for data in batches}
    for ticket in concurrent.futures.as_completed(tickets, 60):
        np.testing.assert_allclose(ticket.result(), tiny.expected(tickets[ticket]), atol=1e-3)


def test_threads_wait_for_room_too(client: Any, tiny: Any) -> None:
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        batches = [tiny.batch(1, seed) for seed in range(96)]
        answers = pool.map(lambda data: client.query_model(data, retries=0), batches)
        for answer, data in zip(answers, batches, strict=True):
            np.testing.assert_allclose(answer, tiny.expected(data), atol=1e-3)


def test_what_was_refused_for_want_of_room_is_asked_again_when_there_is(
    client: Any, tiny: Any, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window knows nothing yet: it begins as wide as if the queue were a hundred times as long."""
    requests = sent(monkeypatch)
    client._session._window._size = client._session._window._most = 100
    tickets = [client.start_query(tiny.batch(1, seed), retries=0) for seed in range(40)]
    for seed, ticket in enumerate(tickets):
        np.testing.assert_allclose(ticket.result(60), tiny.expected(tiny.batch(1, seed)), atol=1e-3)
    assert any(request.crowded for request in requests)
    assert client._session._window.size < 20


@pytest.fixture
def waiting(small: Any, tiny: Any) -> Iterator[tuple[Any, TFEWorker]]:
    """A model that nobody serves yet, and a client of it."""
    model = tiny.upload(small)
    with TFEWorker().connect_to_model(tiny.input_shape, tiny.output_shape, small) as client:
        yield model, client
    model.stop()


def test_few_batches_are_on_their_way_at_a_time(waiting: Any, tiny: Any, small: Any, until: Any) -> None:
    model, client = waiting
    client._session._window._size = 100.0
    ticket = client.start_query(tiny.batch(100))
    until(lambda: small.waiting() == [AT_ONCE] * 3, "three wait")
    model.serve(5)
    until(lambda: ticket.answered == 5, "five were answered")
    until(lambda: small.waiting() == [AT_ONCE] * 3, "others took their places")
    assert ticket.cancel()
    until(lambda: small.waiting() == [0] * 3, "all are taken back")


def test_ctrl_c_takes_back_what_is_on_its_way(
    waiting: Any, tiny: Any, small: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = waiting

    def interrupted(self: Any, timeout: float | None = None) -> None:
        until(lambda: small.waiting()[0], "something waits")
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_private.client.ticket.Ticket.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.query_model(tiny.batch(50))
    until(lambda: small.waiting() == [0] * 3, "it is taken back")
    assert client._session.load == 0


def test_one_timeout_for_the_whole(waiting: Any, tiny: Any, small: Any, until: Any) -> None:
    model, client = waiting
    thread = threading.Thread(target=model.serve, args=(6,))
    thread.start()
    with pytest.raises(LinkTimeoutError, match="no answer came in time"):
        client.query_model(tiny.batch(50), timeout=1)
    thread.join(20)
    until(lambda: small.waiting() == [0] * 3, "the others are taken back")


def test_each_batch_is_asked_again_by_itself(client: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_private.client.query._PAUSES_S", (0.01,))
    result, calls = Session.result, itertools.count()

    def fail_often(self: Session, request: Any, deadline: float) -> Any:
        answer = result(self, request, deadline)
        if next(calls) % 3 < 2:
            raise PartyError("a blip").again()
        return answer

    monkeypatch.setattr(Session, "result", fail_often)
    data = tiny.batch(30)
    with pytest.raises(PartyError, match="a blip"):
        client.query_model(data, retries=0)
    np.testing.assert_allclose(client.query_model(data, retries=100), tiny.expected(data), atol=1e-3)


def test_what_fails_for_good_ends_the_whole(client: Any, tiny: Any, small: Any, until: Any) -> None:
    ticket = client.start_query(tiny.batch(400))
    until(lambda: ticket.answered > 1, "it has begun")
    client.close()
    assert "closed" in str(ticket.exception(20))
    until(lambda: small.waiting() == [0] * 3, "nothing waits")


def test_what_cannot_be_sent_is_the_tickets_outcome(client: Any, tiny: Any) -> None:
    assert isinstance(client.start_query(np.zeros((9, 5))).exception(20), InputError)
    assert isinstance(client.start_query(np.full((1, 6), np.nan)).exception(20), InputError)
    assert isinstance(client.start_query(3.0).exception(20), InputError)


def test_a_bar_for_long_ones_at_a_terminal(client: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(progress, "_LONG_S", 0.0)
    for screen, verbose, drawn in ((Terminal(), 1, True), (Terminal(), 0, False), (io.StringIO(), 1, False)):
        monkeypatch.setattr(sys, "stderr", screen)
        client.query_model(tiny.batch(10), verbose=verbose)
        assert ("of 10 rows |" in screen.getvalue()) == drawn
    monkeypatch.setattr(progress, "_LONG_S", 3600.0)
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    client.query_model(tiny.batch(10))
    assert "10 rows" not in screen.getvalue()


def test_a_refusal_for_good_is_raised_as_it_is(client: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Session, request: Any, deadline: float) -> None:
        raise RefusedError("not you")

    monkeypatch.setattr(Session, "result", refuse)
    with pytest.raises(RefusedError, match=r"^not you$"):
        client.query_model(tiny.batch(30))
