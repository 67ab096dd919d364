"""Many queries in flight on one client: each asker gets their own answer, whichever way they ask."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from keras_private.client.session import Session
from keras_private.client.ticket import Ticket
from keras_private.errors import InputError, LinkTimeoutError, StateError
from keras_private.worker import TFEWorker


@pytest.fixture(params=["memory_cluster", "process_cluster"])
def cluster(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def connected(cluster: Any, tiny: Any) -> TFEWorker:
    return TFEWorker().connect_to_model(tiny.input_shape, tiny.output_shape, cluster)


def check(answer: Any, tiny: Any, data: Any) -> None:
    np.testing.assert_allclose(answer, tiny.expected(data), atol=1e-3)


@pytest.fixture
def waiting(memory_cluster: Any, tiny: Any) -> Iterator[tuple[Any, TFEWorker]]:
    """A model that is shared and served by hand, and a client of it."""
    model = tiny.upload(memory_cluster)
    with connected(memory_cluster, tiny) as client:
        yield model, client
    model.stop()


def by_ticket(client: TFEWorker, data: Any) -> Any:
    return client.query_model_join(client.query_model_async(data))


def by_result(client: TFEWorker, data: Any) -> Any:
    return client.query_model_async(data).result(60)


def by_waiting(client: TFEWorker, data: Any) -> Any:
    return client.query_model(data)


@pytest.mark.parametrize("ways", [(by_ticket,), (by_result, by_waiting)], ids=["tickets", "mixed"])
def test_every_thread_gets_its_own_answers(cluster: Any, tiny: Any, serving: Any, ways: Any) -> None:
    failures: list[BaseException] = []

    def ask(thread: int, client: TFEWorker) -> None:
        try:
            for step in range(25):
                data = tiny.batch(1 + step % 3, seed=100 * thread + step)
                check(ways[thread % len(ways)](client, data), tiny, data)
        except BaseException as error:  # noqa: BLE001  shown below
            failures.append(error)

    with serving(cluster, tiny), connected(cluster, tiny) as client:
        threads = [threading.Thread(target=ask, args=(thread, client)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)
    assert not failures


def test_asyncio(cluster: Any, tiny: Any, serving: Any) -> None:
    batches = [tiny.batch(1 + seed % 3, seed=seed) for seed in range(40)]

    async def ask(client: TFEWorker, data: Any) -> Any:
        return await asyncio.wrap_future(client.query_model_async(data))

    async def ask_all(client: TFEWorker) -> list[Any]:
        return await asyncio.wait_for(asyncio.gather(*[ask(client, data) for data in batches]), 60)

    with serving(cluster, tiny), connected(cluster, tiny) as client:
        for answer, data in zip(asyncio.run(ask_all(client)), batches, strict=True):
            check(answer, tiny, data)
        with pytest.raises(StateError, match="no query is on its way"):  # what is awaited is not kept for a join
            client.query_model_join()


def test_join_without_a_ticket_is_for_one_thread(waiting: Any, tiny: Any) -> None:
    model, client = waiting
    mine = client.query_model_async(tiny.batch(1))
    sent = threading.Event()
    outcome: list[Any] = []

    def other() -> None:
        ticket = client.query_model_async(tiny.batch(2))
        sent.set()
        outcome.append(ticket.result(60))

    thread = threading.Thread(target=other)
    theirs = client.query_model_async(tiny.batch(3))
    thread.start()
    assert sent.wait(20)
    thread_of_theirs = theirs.thread
    theirs.thread = object()  # as if it were the other's: `result` there has taken its own out of the way
    with pytest.raises(StateError, match=r"another thread's queries are on their way too.*query_model_join\(ticket\)"):
        client.query_model_join()
    theirs.thread = thread_of_theirs
    model.serve(3)
    check(client.query_model_join(mine), tiny, tiny.batch(1))
    check(client.query_model_join(), tiny, tiny.batch(3))
    thread.join(20)
    check(outcome[0], tiny, tiny.batch(2))


def test_another_threads_query_is_not_joined(waiting: Any, tiny: Any) -> None:
    model, client = waiting
    thread = threading.Thread(target=client.query_model_async, args=(tiny.batch(2),))
    thread.start()
    thread.join(20)
    with pytest.raises(StateError, match="another thread's queries"):
        client.query_model_join()
    model.serve(1)


def test_a_thread_that_has_ended_is_another_one(waiting: Any, tiny: Any) -> None:
    """Its ident is given out again, as a rule to the next thread."""
    _, client = waiting
    claimed = client.query_model_async(tiny.batch(3))  # the client's own thread runs from now on
    claimed.add_done_callback(lambda _: None)
    idents: list[int] = []
    outcome: list[str] = []

    def leave() -> None:
        idents.append(threading.get_ident())
        client.query_model_async(tiny.batch(2), timeout=1)

    def join() -> None:
        if threading.get_ident() != idents[0]:
            return
        client.query_model_async(tiny.batch(1))
        try:
            client.query_model_join()
        except (StateError, LinkTimeoutError) as error:
            outcome.append(str(error))

    for each in (leave, *(join,) * 20):
        if not outcome:
            thread = threading.Thread(target=each)
            thread.start()
            thread.join(20)
    if not outcome:
        pytest.skip("this system does not give idents out again")
    assert "another thread's queries" in outcome[0]


def test_a_ticket_is_a_future(waiting: Any, tiny: Any) -> None:
    model, client = waiting
    ticket = client.query_model_async(tiny.batch(2))
    assert isinstance(ticket, concurrent.futures.Future)
    assert repr(ticket) == "<Ticket on its way>"
    with pytest.raises(TimeoutError):
        ticket.result(0.01)
    model.serve(1)
    check(ticket.result(20), tiny, tiny.batch(2))
    check(client.query_model_join(ticket), tiny, tiny.batch(2))
    assert ticket.exception() is None
    assert repr(ticket) == "<Ticket answered or failed>"
    with pytest.raises(InputError, match="what query_model_async"):
        client.query_model_join("x")  # type: ignore[arg-type]


def test_cancel_takes_the_query_back(waiting: Any, tiny: Any, memory_cluster: Any, until: Any) -> None:
    _, client = waiting
    ticket = client.query_model_async(tiny.batch(1))
    until(lambda: all(status.waiting == 1 for status in memory_cluster.status().values()), "it waits")
    assert ticket.cancel()
    until(lambda: all(status.waiting == 0 for status in memory_cluster.status().values()), "the parties forget it")
    with pytest.raises(StateError, match="taken back"):
        client.query_model_join(ticket)
    with pytest.raises(StateError, match="no query is on its way"):
        client.query_model_join()


def test_cancelling_a_task_takes_the_query_back(waiting: Any, tiny: Any, memory_cluster: Any, until: Any) -> None:
    _, client = waiting

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(client.query_model_async(tiny.batch(1))), 0.1)

    asyncio.run(give_up())
    until(lambda: all(status.waiting == 0 for status in memory_cluster.status().values()), "the parties forget it")


def test_a_ticket_nobody_waits_for_ends_in_time(waiting: Any, tiny: Any) -> None:
    _, client = waiting
    ended = threading.Event()
    ticket = client.query_model_async(tiny.batch(1), timeout=0.2)
    ticket.add_done_callback(lambda _: ended.set())
    assert ended.wait(20)
    assert isinstance(ticket.exception(), LinkTimeoutError)


def test_no_thread_stays(waiting: Any, tiny: Any, until: Any) -> None:
    model, client = waiting
    ticket = client.query_model_async(tiny.batch(1))
    model.serve(1)
    ticket.result(20)
    names = lambda: [thread.name for thread in threading.enumerate()]  # noqa: E731
    until(lambda: "keras_private tickets" not in names(), "the client's thread ends with its last ticket")


@pytest.mark.parametrize("how", ["wait", "ticket"])
def test_close_does_not_wait_for_a_query(cluster: Any, tiny: Any, how: str) -> None:
    """Nobody serves: the query would wait for ten minutes."""
    model = tiny.upload(cluster)
    client = connected(cluster, tiny)
    outcome: list[Any] = []

    def ask() -> None:
        try:
            outcome.append((by_waiting if how == "wait" else by_ticket)(client, tiny.batch(1)))
        except StateError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    waited = threading.Event()
    while not all(status.waiting == 1 for status in cluster.status().values()):
        assert not waited.wait(0.01)
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 2
    thread.join(20)
    assert outcome == ["this client was closed while a query was waiting"]
    model.stop()


def test_a_ticket_belongs_to_its_process(waiting: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, client = waiting
    ticket = client.query_model_async(tiny.batch(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)  # the child's view; a real fork is tested with the worker
        with pytest.raises(StateError, match="process that forked"):
            ticket.result()
    model.serve(1)
    check(Ticket.result(ticket, 20), tiny, tiny.batch(1))


def test_a_thread_that_did_not_start_is_started_later(
    waiting: Any, tiny: Any, memory_cluster: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, client = waiting
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "keras_private tickets":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            client.query_model_async(tiny.batch(1))
    until(lambda: all(status.waiting == 0 for status in memory_cluster.status().values()), "the parties forget it")
    data = tiny.batch(2)
    ticket = client.query_model_async(data)
    model.serve(1)
    check(ticket.result(20), tiny, data)


def test_tickets_survive_what_their_thread_meets(
    memory_cluster: Any, tiny: Any, serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, met = Session._read, threading.Event()

    def fail_once(session: Session, seconds: float) -> None:
        if not met.is_set():
            met.set()
            raise MemoryError
        read(session, seconds)

    monkeypatch.setattr(Session, "_read", fail_once)
    data = tiny.batch(2)
    with serving(memory_cluster, tiny), connected(memory_cluster, tiny) as client:
        check(client.query_model_async(data).result(20), tiny, data)
    assert met.is_set()


def test_a_callback_may_wait_for_other_tickets_and_take_its_time(waiting: Any, tiny: Any) -> None:
    model, client = waiting
    data = [tiny.batch(1, seed=seed) for seed in range(4)]
    tickets = [client.query_model_async(each) for each in data]
    heard: list[Any] = []
    last, go_on = threading.Event(), threading.Event()

    def wait_for_another(_: object) -> None:
        heard.append(tickets[1].result(20))
        heard.extend(concurrent.futures.wait(tickets[2:], 20).done)
        assert go_on.wait(20)
        raise ZeroDivisionError  # nobody else's concern

    tickets[0].add_done_callback(wait_for_another)
    tickets[3].add_done_callback(lambda _: last.set())
    model.serve(4)
    for ticket, each in zip(tickets, data, strict=True):
        check(ticket.result(20), tiny, each)  # while the callback of the first goes on
    assert not last.is_set()
    go_on.set()
    assert last.wait(20)
    check(heard[0], tiny, data[1])
    assert {*heard[1:]} == {*tickets[2:]}
    called_in: list[threading.Thread] = []
    tickets[0].add_done_callback(lambda _: called_in.append(threading.current_thread()))
    assert called_in == [threading.current_thread()]  # at once, as it is done already


def test_a_callback_of_a_closed_client_may_wait_too(waiting: Any, tiny: Any) -> None:
    _, client = waiting
    first, second = client.query_model_async(tiny.batch(1)), client.query_model_async(tiny.batch(2))
    causes: list[Any] = []
    ended = threading.Event()
    first.add_done_callback(lambda _: (causes.append(second.exception(20)), ended.set()))
    client.close()
    assert ended.wait(20)
    assert isinstance(causes[0], StateError)


def test_taking_back_does_not_wait_for_a_party_that_does_not_read(
    waiting: Any, tiny: Any, memory_cluster: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = waiting
    ticket = client.query_model_async(tiny.batch(1))
    until(lambda: all(status.waiting == 1 for status in memory_cluster.status().values()), "it waits")
    reads, stuck = threading.Event(), client._session._channels[1]
    send = stuck.send

    def wait(*message: bytes) -> None:
        assert reads.wait(20)
        send(*message)

    monkeypatch.setattr(stuck, "send", wait)
    assert ticket.cancel()
    until(lambda: all(status.waiting == 0 for status in memory_cluster.status().values()), "the others forget it")
    assert not reads.is_set()
    reads.set()
    names = lambda: [thread.name for thread in threading.enumerate()]  # noqa: E731
    until(lambda: "keras_private to server1" not in names(), "its thread ends")
