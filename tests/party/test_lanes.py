"""Several lanes: side by side, each with masks of its own, and none hurt by another's end."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from keras_private.cluster import TFECluster
from keras_private.config import ClusterConfig
from keras_private.errors import RefusedError
from keras_private.mpc import masks
from keras_private.sharing.random import Stream
from keras_private.worker import TFEWorker

pytestmark = pytest.mark.timeout(60)


def lanes(servers: list[Any]) -> list[Any]:
    return [lane for server in servers for lane in server.duty.lanes]


def ask(cluster: Any, tiny: Any, seed: int) -> None:
    with TFEWorker(name=f"client{seed}") as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
        data = tiny.batch(3, seed=seed)
        np.testing.assert_allclose(client.query_model(data, timeout=20, retries=0), tiny.expected(data), atol=1e-3)


def before_each_run(server: Any, monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Called with the lane's number, at this party."""
    (model,) = server.node.shelf.models
    run = model.program.protocol

    def watched(*given: Any) -> Any:
        act(int(threading.current_thread().name.rpartition(" ")[2]))
        return run(*given)

    monkeypatch.setattr(model.program, "protocol", watched, raising=False)


def both_at_once(cluster: Any, servers: list[Any], tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two queries, neither of which goes on at any party before the other one has begun there."""
    ran: list[set[int]] = []
    begun = threading.Event()
    for server in servers:
        meeting, seen = threading.Barrier(2), set[int]()
        ran.append(seen)

        def meet(lane: int, meeting: threading.Barrier = meeting, seen: set[int] = seen) -> None:
            seen.add(lane)
            begun.set()
            meeting.wait(20)

        before_each_run(server, monkeypatch, meet)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, cluster, tiny, 1)
        assert begun.wait(20)  # or they would share a run
        ask(cluster, tiny, 2)
        first.result(30)
    assert ran == [{0, 1}] * 3


def test_two_runs_of_one_model_side_by_side(
    make_trio: Any, tiny: Any, serving: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS. No key, and so no mask, of one lane is used in the other."""
    keys: dict[bytes, set[bytes]] = defaultdict(set)
    derive = masks._derive

    def spy(secret: bytes, context: bytes, name: bytes) -> bytes:
        keys[context].add(derive(secret, context, name))
        return derive(secret, context, name)

    drawn: dict[str, set[bytes]] = defaultdict(set)
    words = Stream.words

    def draw(stream: Stream, count: int) -> Any:
        found = words(stream, count)
        if count >= 4:
            drawn[threading.current_thread().name].add(found[:4].tobytes())
        return found

    monkeypatch.setattr(masks, "_derive", spy)
    monkeypatch.setattr(Stream, "words", draw)
    trio = make_trio(lanes=2)
    until(lambda: all(lane.up for lane in lanes(trio.servers)), "both lanes are up")
    with serving(trio, tiny):
        both_at_once(trio, trio.servers, tiny, monkeypatch)
    by_lane = [set[bytes](), set[bytes]()]
    for context, found in keys.items():
        by_lane[int(context.split(b"/")[1])] |= found
    assert [len(found) for found in by_lane] == [4 * len(keys) // 2] * 2  # three of pairs and one of all
    assert not by_lane[0] & by_lane[1]
    first, second = (
        set[bytes]().union(*(found for name, found in drawn.items() if name.endswith(f"lane {lane}")))
        for lane in (0, 1)
    )
    assert first
    assert second
    assert not first & second


def test_two_runs_side_by_side_in_one_process(
    tiny: Any, serving: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClusterConfig, "lanes", property(lambda _: 2))
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as cluster, serving(cluster, tiny):
        until(lambda: all(lane.up for lane in lanes(cluster._servers)), "both lanes are up")
        both_at_once(cluster, cluster._servers, tiny, monkeypatch)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_lane_that_breaks_hurts_no_other(
    make_trio: Any, tiny: Any, serving: Any, until: Any, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    trio = make_trio(lanes=2)
    until(lambda: all(lane.up for lane in lanes(trio.servers)), "both lanes are up")
    with serving(trio, tiny), ThreadPoolExecutor(2) as pool:
        running, go_on, where = threading.Event(), threading.Event(), list[int]()

        def wait(lane: int) -> None:
            where.append(lane)
            running.set()
            assert go_on.wait(20)

        with monkeypatch.context() as patched:
            before_each_run(trio.servers[0], patched, wait)
            asked = pool.submit(ask, trio, tiny, 1)
            assert running.wait(20)
        other = 1 - where[0]
        epoch = trio.servers[0].duty.lanes[other]._epoch
        trio.servers[index].duty.lanes[other].interrupt()
        until(lambda: trio.servers[0].duty.lanes[other]._epoch != epoch, "it is built anew")
        until(lambda: all(server.duty.lanes[other].up for server in trio.servers), "it is up again")
        ask(trio, tiny, 2)  # runs in it: the other one is busy
        go_on.set()
        asked.result(30)
        assert len(where) == 1


def test_the_parties_are_told_how_long_a_client_waits(make_trio: Any, tiny: Any, until: Any) -> None:
    """And what it no longer waits for is not run: nobody serves here."""
    trio = make_trio()
    tiny.upload(trio)
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        ticket = client.query_model_async(tiny.batch(1), timeout=50)
        queue = trio.servers[0].duty.queue
        until(lambda: queue.waiting == 1, "it waits")
        (request,) = queue._requests.values()
        assert 0 < request.deadline - time.monotonic() <= 50
        request.deadline = time.monotonic()  # its time is over
        with pytest.raises(RefusedError, match="time for this request is over"):
            ticket.result(20)
    until(lambda: trio.waiting() == [0, 0, 0], "no party keeps it")


def test_a_follower_with_fewer_lanes_opens_so_many(make_trio: Any, tiny: Any, serving: Any, until: Any) -> None:
    trio = make_trio(lanes=2)
    trio.servers[2].stop()
    fewer = trio.config.limits.model_copy(update={"lanes": 1})
    trio.config = trio.config.model_copy(update={"limits": fewer})
    trio.servers[2] = trio.make(2)
    trio.servers[2].start()
    until(lambda: all(server.duty.lanes[0].up for server in trio.servers), "the lane that all have is up")
    until(lambda: any("limits.lanes" in cause for cause in trio.logs[0].causes("lane failed")), "the leader is told")
    with serving(trio, tiny):
        ask(trio, tiny, 1)
        assert trio.servers[0].duty.trouble() == ""
