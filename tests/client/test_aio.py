"""The client for event loops: many at once, in order, taken back when cancelled, and the loop never stands still."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest

from keras_private import AsyncClient
from keras_private.client.session import Session
from keras_private.client.ticket import Ticket, Tickets
from keras_private.errors import InputError, LinkError, LinkTimeoutError, RefusedError, StateError
from keras_private.owner import OwnedModel
from keras_private.party.network import TLSNetwork, credentials
from tests.conftest import Trio
from tests.test_evaluation import X, Y, draft


def run(work: Callable[[], Awaitable[None]]) -> None:
    """In a loop of its own, for a minute at most, with every mistake that asyncio notices on its own."""
    noticed: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: noticed.append(context))
        await asyncio.wait_for(work(), 60)

    asyncio.run(watched())
    assert not noticed


def check(answer: Any, tiny: Any, data: Any) -> None:
    np.testing.assert_allclose(answer, tiny.expected(data), atol=1e-3)


@pytest.fixture(scope="module")
def small(make_config: Any) -> Iterator[Any]:
    """Parties that take four rows at a time, and sixteen requests, of which one client may have eight."""
    trio = Trio(make_config(managed=False, max_batch=4, queue=16))
    yield trio
    trio.stop()


@pytest.fixture
def served(small: Any, tiny: Any, serving: Any) -> Iterator[Any]:
    with serving(small, tiny):
        yield small


@pytest.fixture
def waiting(small: Any, tiny: Any) -> Iterator[Any]:
    """The model is there, and nobody serves it."""
    model = tiny.upload(small)
    yield model
    model.stop()


def test_many_tasks_at_once(served: Any, tiny: Any) -> None:
    async def work() -> None:
        async with AsyncClient(served, tiny.input_shape, tiny.output_shape, owner="owner") as client:
            assert client.connected
            assert client.owner == "owner"
            assert len(client.digest or "") == 64
            assert [port.shape for port in (*(client.inputs or ()), *(client.outputs or ()))] == [(6,), (3,)]
            assert client.evaluations == {}
            batches = [tiny.batch(1 + seed % 11, seed) for seed in range(150)]
            answers = await asyncio.gather(*[client.query(data, retries=0) for data in batches])
            for answer, data in zip(answers, batches, strict=True):
                check(answer, tiny, data)
            tasks = {asyncio.create_task(client.query(data)): data for data in batches[:20]}
            for each in asyncio.as_completed(tasks):
                await each
            for task, data in tasks.items():
                check(task.result(), tiny, data)
        assert not client.connected
        assert repr(client) == "AsyncClient(<not connected>)"

    run(work)


def test_the_loop_goes_on_while_arrays_are_encoded_and_parties_do_not_read(
    served: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a query does that may take long, the loop's thread has no part in it."""
    threads: list[threading.Thread] = []
    send, stuck = Session.send, threading.Event()

    def wait(self: Session, *arguments: Any, **more: Any) -> Any:
        threads.append(threading.current_thread())
        assert stuck.wait(20)
        return send(self, *arguments, **more)

    monkeypatch.setattr(Session, "send", wait)

    async def work() -> None:
        async with AsyncClient(served) as client:
            data = tiny.batch(30)
            tasks = [asyncio.create_task(client.query(data)) for _ in range(5)]
            while not threads:
                await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)
            stuck.set()
            for task in tasks:
                check(await task, tiny, data)

    run(work)
    assert threading.main_thread() not in threads


def test_a_cancelled_query_is_taken_back(small: Any, waiting: Any, tiny: Any, until: Any) -> None:
    async def work() -> None:
        async with AsyncClient(small) as client:
            task = asyncio.create_task(client.query(tiny.batch(30)))
            long = asyncio.create_task(client.query(tiny.batch(1)))
            await asyncio.to_thread(until, lambda: small.waiting()[0] == 2, "as many as the window has wait")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(until, lambda: small.waiting() == [1] * 3, "the parties forget it")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await long
            await asyncio.to_thread(until, lambda: small.waiting() == [0] * 3, "and that one")
            with pytest.raises(LinkTimeoutError, match="no answer came in time"):
                await client.query(tiny.batch(1), timeout=0.2)

    run(work)


def test_a_query_ends_in_time_though_another_one_holds_up_whatever_sends(
    served: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when an earlier one waits for a connection with a party that says nothing."""
    held_up, over = threading.Event(), threading.Event()
    begin = Tickets._begin

    def first_waits(self: Tickets, ticket: Any) -> None:
        if not held_up.is_set():
            held_up.set()
            assert over.wait(50)
        begin(self, ticket)

    async def work() -> None:
        async with AsyncClient(served) as client:
            first = asyncio.create_task(client.query(tiny.batch(3)))
            assert await asyncio.to_thread(held_up.wait, 20)
            with pytest.raises(LinkTimeoutError, match="could not even be asked"):
                await client.query(tiny.batch(1), timeout=0.1)
            for look in (Ticket.result, Ticket.exception):
                ticket = client._client.start_query(tiny.batch(1), timeout=0.1)
                with pytest.raises(LinkTimeoutError, match="could not even be asked"):
                    raise await asyncio.to_thread(look, ticket)  # type: ignore[arg-type]
                assert ticket.done()
            forever = client._client.start_query(tiny.batch(1), timeout=float("inf"))
            over.set()
            check(await first, tiny, tiny.batch(3))
            check(await asyncio.to_thread(forever.result), tiny, tiny.batch(1))

    monkeypatch.setattr(Tickets, "_begin", first_waits)
    try:
        run(work)
    finally:
        over.set()


def test_closing_with_queries_on_their_way(small: Any, waiting: Any, tiny: Any, until: Any) -> None:
    async def work() -> None:
        async with AsyncClient(small) as client:
            tasks = [asyncio.create_task(client.query(tiny.batch(1 + seed % 9))) for seed in range(40)]
            await asyncio.to_thread(until, lambda: small.waiting()[0], "some wait there, others here")
        assert all("closed" in str(error) for error in await asyncio.gather(*tasks, return_exceptions=True))
        await asyncio.to_thread(until, lambda: small.waiting() == [0] * 3, "the parties forget them")
        await client.close()
        with pytest.raises(StateError, match="not connected"):
            await client.query(tiny.batch(1))
        async with client:  # again
            assert client.connected

    run(work)


def test_what_is_wrong_is_raised_where_it_is_awaited(served: Any, tiny: Any) -> None:
    async def work() -> None:
        async with AsyncClient(served) as client:
            for data in (np.zeros((1, 5)), np.full((9, 6), 2.0), None):
                with pytest.raises(InputError):
                    await client.query(data)
            with pytest.raises(InputError, match="seconds above 0"):
                await client.query(tiny.batch(1), timeout=0)
            with pytest.raises(InputError, match="allows no evaluation"):
                await client.evaluate(tiny.batch(30), np.zeros(30))
        with pytest.raises(RefusedError, match="that of 'bob' is wanted"):
            await AsyncClient(served, owner="bob").connect()

    run(work)


def test_evaluation(small: Any, until: Any) -> None:
    made = draft()
    model = OwnedModel.upload(small, made.plan, made.values, owner="owner")

    async def work() -> None:
        async with AsyncClient(small) as client:
            task = asyncio.create_task(client.evaluate(X, Y))
            await asyncio.to_thread(until, lambda: small.waiting() == [1] * 3, "its first part waits")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(until, lambda: small.waiting() == [0] * 3, "the parties forget it")
            serving = asyncio.create_task(asyncio.to_thread(model.serve, 1))
            assert (await client.evaluate(X, Y)).total == 150
            await serving

    run(work)
    model.stop()


def test_connecting_that_nobody_waits_for(
    small: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    opened, go_on = threading.Event(), threading.Event()
    original = Session.open

    def slow(*arguments: Any) -> Session:
        opened.set()
        assert go_on.wait(20)
        return original(*arguments)

    monkeypatch.setattr(Session, "open", slow)

    async def work() -> None:
        client = AsyncClient(small)
        task = asyncio.create_task(client.connect())
        await asyncio.to_thread(opened.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await asyncio.to_thread(until, lambda: not client.connected and client._client._target is None, "it is closed")

    run(work)
    until(lambda: not [thread for thread in threading.enumerate() if "client" in thread.name], "nobody stays")


def test_a_cluster_that_is_away(make_config: Any) -> None:
    class Away:
        config = make_config(managed=False)

        def network(self, role: Any) -> Any:
            return TLSNetwork(self.config, credentials(self.config, role))

    async def work() -> None:
        with pytest.raises(LinkError, match="nothing listens there"):
            async with AsyncClient(Away()):  # type: ignore[arg-type]
                pass

    run(work)
