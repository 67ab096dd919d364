"""Lanes: built by all three, torn down by all three, built anew with new keys; who is blamed for what."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from keras_private.client import session
from keras_private.errors import LinkError, LinkTimeoutError, PartyError, RefusedError
from keras_private.mpc import masks
from keras_private.party.failure import suspect_of
from keras_private.sharing.share import Package, split
from keras_private.worker import TFEWorker


def up(trio: Any) -> bool:
    return all(lane.up for server in trio.servers for lane in server.duty.lanes)


def query(trio: Any, tiny: Any, seed: int = 0) -> None:
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        data = tiny.batch(3, seed=seed)
        np.testing.assert_allclose(client.query_model(data), tiny.expected(data), atol=1e-3)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_lane_that_breaks_is_built_anew_with_new_keys(
    trio: Any, tiny: Any, serving: Any, until: Any, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    keys: dict[bytes, set[bytes]] = {}  # by the context in which they were agreed: a lane's epoch
    original = masks._derive

    def spy(secret: bytes, context: bytes, *more: Any) -> bytes:
        key = original(secret, context, *more)
        keys.setdefault(context, set()).add(key)
        return key

    monkeypatch.setattr(masks, "_derive", spy)
    with serving(trio, tiny):
        query(trio, tiny)
        for _ in range(2):
            before = [server.duty.lanes[0]._epoch for server in trio.servers]
            trio.servers[index].duty.lanes[0].interrupt()  # its connections break
            until(
                lambda b=before: all(s.duty.lanes[0]._epoch != e for s, e in zip(trio.servers, b, strict=True)),
                "an epoch",
            )
            until(lambda: up(trio), "the lane is up again")
            query(trio, tiny)
    assert len(keys) >= 2
    assert len(set.union(*keys.values())) == sum(map(len, keys.values()))  # none of one epoch is found in another


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_party_that_fails_in_a_run_is_named_everywhere(
    trio: Any, tiny: Any, serving: Any, until: Any, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    with serving(trio, tiny):
        query(trio, tiny)
        program = trio.servers[index].node.shelf.models[0].program
        monkeypatch.setattr(program, "protocol", lambda *_: 1 / 0, raising=False)
        with pytest.raises(PartyError, match=rf"server{index}: ZeroDivisionError, see that party"):
            query(trio, tiny)
        monkeypatch.undo()
        until(lambda: up(trio), "the lane is up again")
        until(lambda: trio.waiting() == [0, 0, 0], "nothing is left in the queues")
        query(trio, tiny)
    failures = [
        fields for _, event, fields in trio.logs[index].lines if event == "lane failed" and "exc_info" in fields
    ]
    assert failures  # a defect shows its traceback to the operator


def test_a_client_with_two_copies_of_a_share_is_refused(
    trio: Any, tiny: Any, serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_faced(secret: np.ndarray) -> tuple[Package, ...]:
        honest = split(secret)
        raised = honest[2].mine + np.uint64(1 << 16)  # x_2, as server1 does not get it
        return honest[0], honest[1], Package(raised, honest[2].next)

    with serving(trio, tiny):
        epochs = [server.duty.lanes[0]._epoch for server in trio.servers]
        served = [server.status().served for server in trio.servers]
        with monkeypatch.context() as patched:
            patched.setattr(session, "split", two_faced)
            with pytest.raises(RefusedError, match="different copies of the same share"):
                query(trio, tiny)
        assert [server.status().served for server in trio.servers] == served
        query(trio, tiny)
        assert [server.duty.lanes[0]._epoch for server in trio.servers] == epochs  # nobody else was troubled


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_party_restarts(make_trio: Any, tiny: Any, serving: Any, until: Any, index: int) -> None:
    trio = make_trio()
    until(lambda: up(trio), "the lane is up")
    for _ in range(3):
        trio.servers[index].stop()
        trio.servers[index] = trio.make(index)
        trio.servers[index].start()
        until(lambda: up(trio), "the lane is up again")
        with serving(trio, tiny):
            query(trio, tiny)


def test_a_party_that_comes_late(make_config: Any, tiny: Any, serving: Any, until: Any) -> None:
    from tests.conftest import Trio

    trio = Trio(make_config(managed=False), start=(0, 2))
    try:
        until(lambda: trio.servers[0].duty.followers.is_here(2), "server2 has found the leader")
        assert not up(trio)
        trio.servers[1].start()  # a query right after it waits until the parties have found each other
        until(lambda: up(trio), "the lane is up")
        with serving(trio, tiny):
            query(trio, tiny)
    finally:
        trio.stop()


def test_every_thread_ends(make_trio: Any, tiny: Any, serving: Any, until: Any) -> None:
    before = set(threading.enumerate())
    trio = make_trio()
    with serving(trio, tiny):
        query(trio, tiny)
    trio.stop()
    until(lambda: not [t for t in set(threading.enumerate()) - before if t.is_alive()], "every thread ends")


@pytest.mark.parametrize(
    ("error", "suspect"),
    [
        (LinkError("server0 ← server2, conv: it closed the connection", "server2"), 2),
        (LinkTimeoutError("server0 ← server2: it gave up: server2 ← server1: nothing came", "server1"), 1),
        (LinkError("server0 ← server2, conv: what is said in words counts for nothing"), 0),
        (LinkError("server0 ← bob: a client cannot be the cause", "bob"), 0),
        (PartyError("no link, server0 ← server2"), 0),
        (ZeroDivisionError("server0 ← server2"), 0),
    ],
)
def test_who_is_suspected(error: Exception, suspect: int) -> None:
    assert suspect_of(error, 0) == suspect
