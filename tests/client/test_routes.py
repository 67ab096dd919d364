"""Several triples behind one name: queries spread over them, move over when one fails, and never go to two at once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from keras_private import replicas
from keras_private.client import pulse, routes
from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES, ClusterConfig, Limits
from keras_private.errors import (
    ConfigError,
    InputError,
    KerasPrivateError,
    LinkError,
    NoModelError,
    PartyError,
    RefusedError,
)
from keras_private.net.roles import Role
from keras_private.owner import undeploy
from keras_private.party.client_session import ClientSession
from keras_private.party.memory import MemoryChannel, MemoryNetwork
from keras_private.party.messages import Ping, Query
from keras_private.party.wire import decode
from keras_private.worker import TFEWorker
from tests.conftest import Trio


@pytest.fixture(autouse=True)
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_FIRST_REST_S", 0.05)
    monkeypatch.setattr(routes, "_LONGEST_REST_S", 0.05)


@pytest.fixture
def two() -> Iterator[TFECluster]:
    """Two triples in this process."""
    with TFECluster(*[TFEWorker() for _ in range(6)]) as cluster:
        yield cluster


@pytest.fixture
def both(two: TFECluster, tiny: Any, serving: Any) -> Iterator[TFECluster]:
    with serving(two.replicas[0], tiny), serving(two.replicas[1], tiny):
        yield two


def served(cluster: TFECluster) -> list[int]:
    return [
        getattr(replica.status()["server0"], "served", -1) if replica.started else -1 for replica in cluster.replicas
    ]


def ask(client: Any, tiny: Any, seed: int, **more: Any) -> None:
    data = tiny.batch(1 + seed % 3, seed)
    np.testing.assert_allclose(client.query_model(data, **more), tiny.expected(data), atol=1e-3)


def test_a_cluster_of_two_triples(two: TFECluster) -> None:
    assert len(two.workers) == 6
    assert [len(replica.workers) for replica in two.replicas] == [3, 3]
    assert set(two.status()) == {f"{number}.{name}" for number in (0, 1) for name in PARTY_NAMES}
    assert all(replica.replicas == (replica,) for replica in two.replicas)
    with pytest.raises(ConfigError, match="each of its replicas has one"):
        two.network(Role("client", "client"))


def test_queries_spread_over_both_and_each_stays_in_one(
    both: TFECluster, tiny: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shares of one query go to the three parties of one triple: to parties of two, an operator could have two."""
    seen: dict[bytes, list[tuple[int, str]]] = defaultdict(list)
    connect, send = MemoryNetwork.connect, MemoryChannel.send

    def tagged(self: MemoryNetwork, index: int, timeout: float) -> Any:
        channel: Any = connect(self, index, timeout)
        channel.triple = id(self._hub)
        return channel

    def noted(self: Any, *buffers: Any) -> None:
        if hasattr(self, "triple"):
            message = decode(b"".join(map(bytes, buffers)))
            if isinstance(message, Query):
                seen[message.request].append((self.triple, self.peer.name))
        send(self, *buffers)

    monkeypatch.setattr(MemoryNetwork, "connect", tagged)
    monkeypatch.setattr(MemoryChannel, "send", noted)
    with TFEWorker().connect_to_model(both) as client:
        until(lambda: all(route.usable for route in client._routes._routes), "both ways are open")
        tickets = [client.query_model_async(tiny.batch(2, seed)) for seed in range(40)]
        for seed, ticket in enumerate(tickets):
            np.testing.assert_allclose(ticket.result(20), tiny.expected(tiny.batch(2, seed)), atol=1e-3)
        for seed in range(20):
            ask(client, tiny, seed)
    assert len(seen) == 60
    for places in seen.values():
        assert len({triple for triple, _ in places}) == 1
        assert sorted(name for _, name in places) == list(PARTY_NAMES)
    used = Counter(places[0][0] for places in seen.values())
    assert min(used.values()) >= 20


def test_a_triple_that_fails_is_left_and_taken_up_again(both: TFECluster, tiny: Any, serving: Any, until: Any) -> None:
    over, failures = threading.Event(), []

    def load(thread: int) -> None:
        try:
            seed = 1000 * thread
            while not over.is_set():
                ask(client, tiny, seed := seed + 1)
        except BaseException as error:  # noqa: BLE001  shown below
            failures.append(error)

    first = both.replicas[0]
    with TFEWorker(timeout=30).connect_to_model(both) as client:
        until(lambda: all(route.usable for route in client._routes._routes), "both ways are open")
        threads = [threading.Thread(target=load, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: min(served(both)) > 20, "both have work")
        first.stop()
        before = served(both)[1]
        until(lambda: served(both)[1] > before + 40, "the other one goes on")
        first.start()
        with serving(first, tiny):
            until(lambda: served(both)[0] > 20, "it has work again")
            over.set()
            for thread in threads:
                thread.join(30)
    assert not failures, failures


@pytest.fixture
def short_pulse(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Parties that fall silent are noticed at once. What they are asked is noted."""
    monkeypatch.setattr(pulse, "QUIET_S", 0.05)
    monkeypatch.setattr(pulse, "SILENT_S", 0.2)
    pings: list[Any] = []
    handle = ClientSession._handle

    def noted(self: ClientSession, message: Any) -> None:
        if isinstance(message, Ping):
            pings.append(self)
        handle(self, message)

    monkeypatch.setattr(ClientSession, "_handle", noted)
    return pings


@pytest.mark.parametrize("name", PARTY_NAMES)
def test_a_party_that_says_nothing_any_more_is_not_waited_for(
    both: TFECluster, tiny: Any, until: Any, monkeypatch: pytest.MonkeyPatch, short_pulse: list[Any], name: str
) -> None:
    """It keeps its connections, takes in what it is sent, and does nothing: what it owes is asked of the other triple,
    under new ids, and each query is answered once."""
    (frozen,) = (server.node for server in both.replicas[0]._servers if server.node.name == name)
    stopped, handle = threading.Event(), ClientSession._handle
    taken: list[bytes] = []

    def frozen_one(self: ClientSession, message: Any) -> None:
        if self._node is frozen and stopped.is_set():
            taken.append(getattr(message, "request", b""))
        else:
            handle(self, message)

    monkeypatch.setattr(ClientSession, "_handle", frozen_one)
    with TFEWorker().connect_to_model(both) as client:
        until(lambda: all(route.usable for route in client._routes._routes), "both ways are open")
        stopped.set()
        tickets = [client.query_model_async(tiny.batch(2, seed), timeout=30) for seed in range(20)]
        calls: Counter[int] = Counter()
        for seed, ticket in enumerate(tickets):
            ticket.add_done_callback(lambda _, seed=seed: calls.update([seed]))
        for seed, ticket in enumerate(tickets):
            np.testing.assert_allclose(ticket.result(30), tiny.expected(tiny.batch(2, seed)), atol=1e-3)
        until(lambda: len(calls) == 20, "all are told")
        assert set(calls.values()) == {1}
        assert len(set(filter(None, taken))) >= 5  # it had work that was given up
        stopped.clear()
        before = served(both)[0]
        until(lambda: ask(client, tiny, 1) or served(both)[0] > before + 3, "it has work again")


def test_who_only_waits_is_waited_for(two: TFECluster, tiny: Any, until: Any, short_pulse: list[Any]) -> None:
    """Nobody serves the model: its parties say that they are there, and stay."""
    models = [tiny.upload(replica) for replica in two.replicas]
    with TFEWorker().connect_to_model(two) as client:
        until(lambda: all(route.usable for route in client._routes._routes), "both ways are open")
        sessions = [route.session for route in client._routes._routes]
        tickets = [client.query_model_async(tiny.batch(1, seed), timeout=60) for seed in range(2)]
        until(lambda: Counter(short_pulse)[short_pulse[-1]] > 5 if short_pulse else False, "they are asked")
        assert len(set(short_pulse)) == 6
        threads = [threading.Thread(target=model.serve, args=(1,)) for model in models]
        for thread in threads:
            thread.start()
        for seed, ticket in enumerate(tickets):
            np.testing.assert_allclose(ticket.result(30), tiny.expected(tiny.batch(1, seed)), atol=1e-3)
        assert [route.session for route in client._routes._routes] == sessions
        for thread in threads:
            thread.join(20)


@pytest.mark.slow
def test_processes_of_a_triple_hang_under_load(free_ports: Any, tiny: Any, serving: Any, until: Any) -> None:
    """All three, then one: stopped by a signal, with their connections open. No query is lost or outlives its time."""
    hosts = [f"localhost:{port}" for port in free_ports() + free_ports()]
    config = ClusterConfig.of_hosts(hosts, [True] * 6)
    config = config.model_copy(update={"limits": Limits(timeout_s=20)})
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(TFECluster.from_config(config))
        for replica in cluster.replicas:
            stack.enter_context(serving(replica, tiny))
        client = stack.enter_context(TFEWorker().connect_to_model(cluster))
        over, asked = threading.Event(), [0] * 8

        def load(thread: int) -> None:
            while not over.is_set():
                ask(client, tiny, asked[thread], timeout=15)  # less than parties give each other
                asked[thread] += 1

        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(8))
        stack.callback(over.set)
        threads = [pool.submit(load, thread) for thread in range(8)]
        until(lambda: min(served(cluster)) > 20, "both have work", 30)
        for number, names in ((0, PARTY_NAMES), (1, ("server2",))):
            stopped = [cluster.pids[f"{number}.{name}"] for name in names]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            try:
                before = list(asked)
                until(
                    lambda before=before: all(now > then + 20 for now, then in zip(asked, before, strict=True)),
                    "every thread is answered while it hangs",
                    60,
                )
            finally:
                for pid in stopped:
                    os.kill(pid, signal.SIGCONT)
            there = served(cluster)[number]
            until(lambda number=number, there=there: served(cluster)[number] > there + 20, "it has work again", 60)
        over.set()
        for thread in threads:
            thread.result(60)


def test_only_triples_with_the_same_plan_are_used(two: TFECluster, tiny: Any, other_tiny: Any, serving: Any) -> None:
    with serving(two.replicas[0], tiny) as model, serving(two.replicas[1], other_tiny):
        with TFEWorker().connect_to_model(two, digest=model.digest) as client:
            for seed in range(20):
                ask(client, tiny, seed)
        with TFEWorker().connect_to_model(two) as client:  # whichever answered first
            chosen = tiny if client.digest == model.digest else other_tiny
            for seed in range(20):
                ask(client, chosen, seed)
        with pytest.raises(RefusedError, match="is wanted"):
            TFEWorker().connect_to_model(two, digest="a" * 64)


def test_connecting_needs_one_triple_and_no_more(two: TFECluster, tiny: Any, serving: Any) -> None:
    two.replicas[0].stop()
    with serving(two.replicas[1], tiny), TFEWorker().connect_to_model(two) as client:
        for seed in range(5):
            ask(client, tiny, seed, retries=0)
        two.replicas[1].stop()
        with pytest.raises((PartyError, RefusedError)):
            ask(client, tiny, 0, retries=0)
    with pytest.raises(KerasPrivateError):
        TFEWorker().connect_to_model(two)


@pytest.mark.slow
def test_processes_of_a_triple_are_killed_under_load(free_ports: Any, tiny: Any, serving: Any, until: Any) -> None:
    """Each party of either triple in turn: no query is lost, and both triples have work in the end."""
    hosts = [f"localhost:{port}" for port in free_ports() + free_ports()]
    config = ClusterConfig.of_hosts(hosts, [True] * 6)
    config = config.model_copy(update={"limits": Limits(timeout_s=10)})
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(TFECluster.from_config(config))
        for replica in cluster.replicas:
            stack.enter_context(serving(replica, tiny))
        client = stack.enter_context(TFEWorker(timeout=60).connect_to_model(cluster))
        over, asked = threading.Event(), [0] * 8

        def load(thread: int) -> None:
            while not over.is_set():
                ask(client, tiny, asked[thread], retries=4)
                asked[thread] += 1

        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(8))
        stack.callback(over.set)
        threads = [pool.submit(load, thread) for thread in range(8)]
        for number, name in ((0, "server1"), (1, "server0"), (0, "server2")):
            before = sum(asked)
            os.kill(cluster.pids[f"{number}.{name}"], signal.SIGKILL)
            until(lambda before=before: sum(asked) > before + 100, "queries are answered all the while", 60)
            until(
                lambda number=number: all(
                    getattr(s, "lanes", 0) and getattr(s, "models", ())
                    for s in cluster.replicas[number].status().values()
                ),
                "it is back",
                60,
            )
            there = served(cluster)[number]
            until(lambda number=number, there=there: served(cluster)[number] > there + 20, "it has work again", 60)
        over.set()
        for thread in threads:
            thread.result(60)


def test_an_owner_shares_with_all_triples_and_serves_at_all(two: TFECluster, tiny: Any, until: Any) -> None:
    plan, values = tiny.executable.plan, tiny.executable.values
    two.replicas[1].stop()
    two.replicas[1].start()
    model = replicas.share(two, plan, values)
    assert isinstance(model, replicas.OwnedReplicas)
    with pytest.raises(InputError, match="cannot count requests together"):
        model.serve(3)
    told: list[int] = []
    thread = threading.Thread(target=model.serve, args=(None, told.append))
    thread.start()
    with TFEWorker().connect_to_model(two) as client:
        until(lambda: all(route.usable for route in client._routes._routes), "both ways are open")
        for seed in range(20):
            ask(client, tiny, seed)
    until(lambda: told and told[-1] == 20, "it counts what all served")
    assert min(served(two)) == 10
    assert {len(status.models) for status in two.status().values()} == {1}
    uploads = [each._id for each in model._models]
    assert len({*uploads}) == 2  # in shares of its own
    for each in model._models:
        each.pause()
    thread.join(20)
    assert not thread.is_alive()
    model.deploy()
    with TFEWorker().connect_to_model(two) as client:
        for seed in range(6):
            ask(client, tiny, seed)
    model.stop()
    assert model.stopped
    assert not any(status.models for status in two.status().values())

    replicas.share(two, plan, values, name="digits", deploy=True)
    two.replicas[0].stop()
    networks = [MemoryNetwork(Role("owner", "owner")), two.replicas[1].network(Role("owner", "owner"))]
    left = "'digits' is left where it was by some triples, undeploy it there again .replica 0: "
    with pytest.raises(LinkError, match=left):  # and yet, where it can be said, it is done
        undeploy(two.config, networks, "digits")
    assert not any(status.models for status in two.replicas[1].status().values())
    with pytest.raises(NoModelError):
        undeploy(two.config, networks[1:], "digits")


def test_a_triple_that_is_away_is_said_and_gets_the_model_when_it_is_back(
    make_trio: Any, make_config: Any, tiny: Any, until: Any
) -> None:
    there, away = make_trio(), make_config(managed=False)
    hosts = [party.host for config in (there.config, away) for party in config.parties.values()]
    config = ClusterConfig.of_hosts(hosts, cluster="test")
    cluster = TFECluster.from_config(config)
    with pytest.warns(UserWarning, match=r"the others do \(replica 1: server0 at .* is not there"):
        cluster.start(timeout=0.2)
    with pytest.warns(UserWarning, match=r"the others go on \(replica 1: .*nothing listens there"):
        model = replicas.share(cluster, tiny.executable.plan, tiny.executable.values)
    troubles: list[str] = []
    thread = threading.Thread(target=model.serve, kwargs={"on_trouble": troubles.append})
    thread.start()
    with TFEWorker().connect_to_model(cluster) as client:
        for seed in range(5):
            ask(client, tiny, seed)
        until(lambda: any("replica 1: " in text for text in troubles), "which is away is told")
        late = Trio(away)
        try:
            until(lambda: late.servers[0].node.served == 0 and late.servers[0].node.shelf.models, "it gets the model")
            until(lambda: ask(client, tiny, 1) or late.servers[0].node.served > 3, "and has work")
            model.stop()
            thread.join(20)
            assert not thread.is_alive()
        finally:
            late.stop()


def test_a_batch_fits_whichever_triple_takes_it(make_trio: Any, tiny: Any, serving: Any, until: Any) -> None:
    large, small = make_trio(max_batch=8), make_trio(max_batch=3)
    hosts = [party.host for trio in (large, small) for party in trio.config.parties.values()]
    cluster = TFECluster.from_config(ClusterConfig.of_hosts(hosts, cluster="test")).start()
    with serving(large, tiny), serving(small, tiny), TFEWorker().connect_to_model(cluster) as client:
        until(lambda: all(route.usable for route in client._routes._routes), "both ways are open")
        for rows in (7, 8, 20):
            data = tiny.batch(rows, rows)
            for _ in range(3):
                np.testing.assert_allclose(client.query_model(data), tiny.expected(data), atol=1e-3)
        assert all(trio.servers[0].node.served for trio in (large, small))


def test_a_triple_that_is_away_while_a_model_is_replaced_is_given_the_new_version(
    make_trio: Any, make_config: Any, tiny: Any, other_tiny: Any, until: Any
) -> None:
    """It has the old one, and its owner's `serve` waits for it."""
    there, config = make_trio(), make_config(managed=False)
    second = Trio(config)
    hosts = [party.host for each in (there.config, config) for party in each.parties.values()]
    cluster = TFECluster.from_config(ClusterConfig.of_hosts(hosts, cluster="test")).start()
    model = replicas.share(cluster, tiny.executable.plan, tiny.executable.values)
    thread = threading.Thread(target=model.serve)
    thread.start()
    try:
        until(lambda: all(trio.servers[0].node.shelf.models for trio in (there, second)), "both have it")
        second.stop()
        with pytest.warns(UserWarning, match=r"the others go on \(replica 1: "):
            model.replace(other_tiny.executable.plan, other_tiny.executable.values)
        with TFEWorker().connect_to_model(cluster) as client:
            ask(client, other_tiny, 1)
            second = Trio(config)
            held = second.servers[0].node.shelf
            until(lambda: held.models, "it is given the model", 60)
            assert {each.digest for each in held.models} == {model.digest}
            until(lambda: ask(client, other_tiny, 2) or second.servers[0].node.served > 3, "it has work", 60)
    finally:
        model.stop()
        thread.join(20)
        second.stop()
    assert not thread.is_alive()
    assert not model._due
