"""Clients that ask for more than their part: the others go on, and what was taken is given back."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from keras_private.cluster import TFECluster
from keras_private.errors import LinkError, RefusedError
from keras_private.net.roles import Role
from keras_private.party.dial import ask, call
from keras_private.party.messages import Describe, Description, Error, Hello, Query
from keras_private.party.wire import decode, encode
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.memory import row_bytes
from keras_private.plan.optimise import optimise
from keras_private.sharing import fixed
from keras_private.sharing.share import split
from keras_private.worker import TFEWorker
from tests.conftest import Tiny

MALLORY = Role("client", "mallory")


class Wide(Tiny):
    """Like `Tiny`, with another number of inputs, outputs and ReLUs."""

    def __init__(self, inputs: int, outputs: int, hidden: int = 0) -> None:
        rng = np.random.default_rng(0)
        builder = PlanBuilder((inputs,), (-1.0, 1.0))
        value, width = builder.input, inputs
        if hidden:
            weight = builder.weight(rng.normal(size=(inputs, hidden)) / 50, "first")
            value, width = builder.op("relu", builder.op("matmul", value, weights=[weight])), hidden
        weight = builder.weight(rng.normal(size=(width, outputs)) / 50, "last")
        draft = builder.finish(builder.op("matmul", value, weights=[weight]))
        super().__init__(draft, optimise(draft))
        object.__setattr__(self, "input_shape", (1, inputs))
        object.__setattr__(self, "output_shape", (1, outputs))

    def batch(self, rows: int, seed: int = 0) -> np.ndarray[Any, Any]:
        return np.random.default_rng(seed).uniform(-1, 1, (rows, *self.input_shape[1:]))


@pytest.fixture(scope="module")
def wide() -> Wide:
    """2,000 numbers come out for each that goes in: answers of megabytes."""
    return Wide(2, 2000)


@contextlib.contextmanager
def channel(cluster: Any, index: int, role: Role = MALLORY) -> Iterator[tuple[Any, Description]]:
    """A client's connection to one party, and the model it is told of."""
    channel = call(cluster.network(role), index, Hello.plain("client", cluster.config.cluster), 20)
    try:
        with contextlib.closing(
            call(cluster.network(role), 0, Hello.plain("client", cluster.config.cluster), 20)
        ) as leader:
            meant = ask(leader, Describe("", None), Description, 20).model
        yield channel, ask(channel, Describe("", meant), Description, 20)
    finally:
        channel.close()


def good_client(cluster: Any, model: Any, queries: int, rows: int = 1) -> None:
    """Asks one query after the other and gets every answer."""
    with TFEWorker(name="good") as client:
        client.connect_to_model(model.input_shape, model.output_shape, cluster)
        for seed in range(queries):
            data = model.batch(rows, seed)
            np.testing.assert_allclose(client.query_model(data, timeout=60), model.expected(data), atol=1e-2)


def test_what_is_sent_to_one_party_only_takes_the_senders_places(
    make_trio: Any, tiny: Any, serving: Any, until: Any
) -> None:
    trio = make_trio(queue=32)
    with serving(trio, tiny), channel(trio, 1) as (mallory, model):
        for _ in range(200):  # seeds only: 32 bytes each stand for as many rows as a query may have
            mallory.send(encode(Query(os.urandom(16), model.model, 100, None, None, bytes(32), bytes(32))))
        refusal = decode(mallory.receive(20))
        assert isinstance(refusal, Error)
        assert "client:mallory has its share of the queue already" in refusal.text
        assert trio.servers[1].duty.queue.waiting == 16
        good_client(trio, tiny, 20)
    until(lambda: trio.waiting() == [0, 0, 0], "what nobody can run is forgotten with its sender")
    assert [server.node.memory.used for server in trio.servers] == [0, 0, 0]


def test_what_only_some_hold_goes_soon_when_places_are_scarce(
    make_trio: Any, tiny: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras_private.party.leader.queue.IMPATIENT_S", 0.2)
    trio = make_trio(queue=32, timeout_s=60)
    model = tiny.upload(trio)
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(channel(trio, 2, Role("client", f"mallory{i}"))) for i in range(3)]
        for mallory, described in channels:
            for _ in range(32):
                mallory.send(encode(Query(os.urandom(16), described.model, 1, None, None, bytes(32), bytes(32))))
        queue = trio.servers[2].duty.queue
        until(lambda: queue.waiting > 16, "server2 is crowded")
        until(lambda: queue.waiting <= 16, "it is not for long, though nobody serves", 15)
        texts = []
        while not any("places are scarce" in text for text in texts):
            texts.append(decode(channels[0][0].receive(10)).text)
    model.stop()


def test_clients_that_never_read(
    make_trio: Any, wide: Wide, serving: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras_private.net.connection.SLOWEST_BYTES_PER_SECOND", 1_000_000)
    trio = make_trio(request_mb=1, memory_mb=64, timeout_s=5)
    with serving(trio, wide), contextlib.ExitStack() as stack:
        flood = [[stack.enter_context(channel(trio, index)) for index in range(3)] for _ in range(8)]
        packages = split(fixed.encode(wide.batch(128), 16))
        for three in flood:
            for _ in range(4):
                request = os.urandom(16)
                for (mallory, model), package in zip(three, packages, strict=True):
                    with contextlib.suppress(LinkError):
                        query = Query(request, model.model, 128, None, None, bytes(package.mine), bytes(package.next))
                        mallory.send(encode(query))
        good_client(trio, wide, 20)
        for server in trio.servers:
            assert server.node.memory.held("client:mallory") <= server.node.memory.total // 2
        until(lambda: all(s.node.memory.used == 0 for s in trio.servers), "who does not read is cut off", 40)
        good_client(trio, wide, 2, rows=128)
    until(lambda: trio.waiting() == [0, 0, 0], "nothing waits")


def test_single_images_beside_large_batches(
    make_trio: Any, tiny: Any, serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs in which others wait are short, and every client's rows are in them."""
    monkeypatch.setattr("keras_private.party.leader.turns.FIRST_ROWS", 16)
    monkeypatch.setattr("keras_private.party.leader.turns.Pace.note", lambda *_: None)
    trio = make_trio()
    over, failures = threading.Event(), []

    def batches() -> None:
        try:
            with TFEWorker(name="batches") as client:
                client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
                while not over.is_set():
                    data = tiny.batch(128)
                    np.testing.assert_allclose(client.query_model(data), tiny.expected(data), atol=1e-3)
        except BaseException as error:  # noqa: BLE001  shown below
            failures.append(error)

    with serving(trio, tiny):
        thread = threading.Thread(target=batches)
        thread.start()
        try:
            good_client(trio, tiny, 30)
        finally:
            over.set()
            thread.join(30)
    assert not failures, failures
    runs = [fields["rows"] for _, event, fields in trio.logs[0].lines if event == "run done"]
    assert runs.count(16) >= 8  # batches were cut
    assert all(rows <= 16 for rows in runs[10:-10])


def test_a_query_larger_than_a_run_may_be(make_trio: Any, serving: Any, until: Any) -> None:
    model = Wide(8, 3, hidden=5000)
    trio = make_trio(request_mb=1, memory_mb=16)
    most = 8 * 2**20 // row_bytes(model.executable.plan)
    assert 2 <= most <= 40
    with serving(trio, model):
        good_client(trio, model, 2, rows=100)
    for server, log in zip(trio.servers, trio.logs, strict=True):
        runs = [fields["rows"] for _, event, fields in log.lines if event == "run done"]
        assert max(runs) <= most
        assert sum(runs) == 200
        assert server.node.served == 2


def test_not_even_one_row_fits(make_trio: Any) -> None:
    trio = make_trio(request_mb=1, memory_mb=12)
    with pytest.raises(RefusedError, match=r"server0: not even one row.*limits.memory_mb is 12, it takes \d\d"):
        Wide(200_000, 1).upload(trio)


def test_a_query_that_never_fits_is_told_how_many_rows_do(make_trio: Any, serving: Any) -> None:
    model = Wide(2, 3000)
    trio = make_trio(request_mb=1, memory_mb=16)  # a quarter of it is for one client: 4 MB of answers
    with serving(trio, model):
        with TFEWorker(name="good") as client:
            client.connect_to_model(model.input_shape, model.output_shape, trio)
            assert client._session is not None
            assert client._session.model.max_batch == 87
            client.query_model(model.batch(87))
            data = model.batch(100)  # in batches
            np.testing.assert_allclose(client.query_model(data), model.expected(data), atol=1e-2)
        with channel(trio, 1) as (mallory, described):
            mallory.send(encode(Query(bytes(16), described.model, 88, None, None, bytes(32), bytes(32))))
            assert "from 1 to 87 rows (limits.memory_mb), not 88" in decode(mallory.receive(20)).text


@pytest.fixture
def small_cluster(make_config: Any) -> Iterator[TFECluster]:
    """Three real processes with little memory."""
    with TFECluster.from_config(make_config(request_mb=16, memory_mb=192, timeout_s=8)) as cluster:
        yield cluster


def sizes(cluster: TFECluster) -> list[int]:
    return [psutil.Process(pid).memory_info().rss for pid in cluster.pids.values()]


@pytest.mark.slow
def test_messages_on_their_way_share_one_budget(small_cluster: TFECluster, tiny: Any, serving: Any, until: Any) -> None:
    """32 connections, each with 15 of 16 MB: 480 MB would be held without a budget."""
    cluster = small_cluster
    with serving(cluster, tiny), contextlib.ExitStack() as stack:
        good_client(cluster, tiny, 2)
        before = sizes(cluster)[1]
        connections = [stack.enter_context(channel(cluster, 1)) for _ in range(32)]
        message = encode(Query(bytes(16), connections[0][1].model, 1, None, None, bytes(8 << 20), bytes(7 << 20)))
        peaks: list[int] = []
        answers: list[Any] = []
        halfway = threading.Barrier(33, timeout=60)

        def send(mallory: Any) -> None:
            part = HalfSent(mallory, message)
            part.first()
            with contextlib.suppress(threading.BrokenBarrierError):
                halfway.wait()
            part.rest()
            answers.append(decode(mallory.receive(60)))

        threads = [threading.Thread(target=send, args=(mallory,)) for mallory, _ in connections]
        for thread in threads:
            thread.start()
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.02):
                peaks.append(sizes(cluster)[1])

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            good_client(cluster, tiny, 20)  # while they are all stuck
            halfway.wait()
            for thread in threads:
                thread.join(120)
        finally:
            done.set()
            watcher.join()
        assert max(peaks) - before < 192 << 20
        assert len(answers) == 32  # every one of them ended, with an answer
        assert all(isinstance(answer, Error) for answer in answers)
        assert any("its share of the queue" in answer.text for answer in answers)
        assert any("share of shape" in answer.text for answer in answers)  # some came through, and were read
        good_client(cluster, tiny, 2)


class HalfSent:
    """Most of a large message, and later the rest; it goes on though the other side does not read for a while."""

    def __init__(self, connection: Any, message: bytes) -> None:
        self._connection = connection
        self._ready, self._go = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        cut = len(message) * 15 // 16
        self._parts = (message[:cut], message[cut:])

    def first(self) -> None:
        from keras_private.net.frames import FrameType, pack_header

        total = sum(map(len, self._parts))
        header = pack_header(total, FrameType.MESSAGE, 0, self._connection._sent)
        self._thread = threading.Thread(target=self._send, args=(header + self._parts[0],))
        self._thread.start()

    def _send(self, data: bytes) -> None:
        import time

        self._connection._write(data, time.monotonic() + 60)
        self._go.wait(60)
        self._connection._write(self._parts[1], time.monotonic() + 60)
        self._connection._sent += 1

    def rest(self) -> None:
        self._go.set()
        self._thread.join(120)


@pytest.mark.slow
def test_memory_is_given_back_after_load(make_config: Any, wide: Wide, serving: Any, until: Any) -> None:
    """Eight connections with large queries and answers; some seconds later a party is about as small as before."""
    with (
        TFECluster.from_config(make_config(timeout_s=5)) as cluster,
        serving(cluster, wide),
    ):
        good_client(cluster, wide, 3)
        before = sizes(cluster)
        threads = [threading.Thread(target=good_client, args=(cluster, wide, 6, 128)) for _ in range(8)]
        for thread in threads:
            thread.start()
        peak = before
        while any(thread.is_alive() for thread in threads):
            peak = [max(pair) for pair in zip(peak, sizes(cluster), strict=True)]
            threads[0].join(0.05)
        assert min(high - low for high, low in zip(peak, before, strict=True)) > 20 << 20  # there was something to give
        until(lambda: all(now - low < 30 << 20 for now, low in zip(sizes(cluster), before, strict=True)), "small", 30)
