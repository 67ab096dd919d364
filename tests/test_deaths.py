"""Parties and clients that die or freeze in the middle of a query, as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES
from keras_private.errors import ClusterError, LinkError, NoModelError, PartyError, RefusedError
from keras_private.owner import OwnedModel
from keras_private.worker import TFEWorker
from tests.checks import goes_on


@pytest.fixture
def own_cluster(make_config: Any) -> Iterator[TFECluster]:
    """Three processes for one test, which may kill them."""
    with TFECluster.from_config(make_config(timeout_s=5)) as cluster:
        yield cluster


class Operators:
    """Three parties that are started by hand, as operators would; `cluster` is the owner's view of them."""

    def __init__(self, config: Any, folder: Path) -> None:
        self.cluster = TFECluster.from_config(config)
        self._folder = folder
        self.parties: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, name: str, hosts: dict[str, str] | None = None) -> None:
        """Start a party; `hosts` changes what its cluster.yaml says."""
        path = self._folder / f"{name}.yaml"
        all_hosts = {each: party.host for each, party in self.cluster.config.parties.items()} | (hosts or {})
        parties = "\n".join(f"  {each}: {{host: '{host}'}}" for each, host in all_hosts.items())
        path.write_text(f"cluster: test\nparties:\n{parties}\nlimits: {{timeout_s: 5}}\n")
        command = [sys.executable, "-m", "keras_private.party", "--config", str(path), "--name", name]
        self.parties[name] = subprocess.Popen(command, cwd=Path(__file__).parent.parent)

    def kill(self, name: str) -> None:
        self.parties[name].kill()
        self.parties[name].wait(10)

    def stop(self) -> None:
        self.cluster.stop()
        for party in self.parties.values():
            party.terminate()
        for party in self.parties.values():
            party.wait(60)  # one that still compiles its kernels ends after that


@pytest.fixture
def operators(make_config: Any, tmp_path: Path) -> Iterator[Operators]:
    """Three parties of three operators, none of them started yet."""
    found = Operators(make_config(managed=False, timeout_s=5), tmp_path)
    yield found
    found.stop()


class Serving:
    """An owner who serves a model in the background, and what she is told."""

    def __init__(self, model: OwnedModel, num_requests: int | None = None, *, reshare: bool = True) -> None:
        self.model = model
        self.troubles: list[str] = []
        self.ended: list[int | Exception] = []
        self.progress: list[int] = []
        self._told = threading.Condition()
        self.thread = threading.Thread(target=self._serve, args=(num_requests, reshare), daemon=True)
        self.thread.start()

    def _serve(self, num_requests: int | None, reshare: bool) -> None:
        try:
            served = self.model.serve(num_requests, self._on_progress, reshare=reshare, on_trouble=self._on_trouble)
            self.ended.append(served)
        except Exception as error:  # noqa: BLE001  looked at by the test
            self.ended.append(error)
        self._on_progress(-1)

    def _on_progress(self, served: int) -> None:
        with self._told:
            self.progress.append(served)
            self._told.notify_all()

    def _on_trouble(self, text: str) -> None:
        with self._told:
            self.troubles.append(text)
            self._told.notify_all()

    def wait(self, what: Any, seconds: float = 90.0) -> None:
        with self._told:
            assert self._told.wait_for(lambda: what(self), seconds), (self.troubles, self.progress, self.ended)


def waiting(cluster: TFECluster) -> list[int | None]:
    return [getattr(status, "waiting", None) for status in cluster.status().values()]


def join_all(client: TFEWorker, count: int) -> None:
    for _ in range(count):
        client.query_model_join()


def ask(client: TFEWorker, model: Any, data: Any) -> bool:
    """Whether a query was answered; and if it was, rightly."""
    try:
        answer = client.query_model(data, timeout=5)
    except (ClusterError, LinkError):
        return False
    np.testing.assert_allclose(answer, model.expected(data), atol=1e-3)
    return True


@pytest.mark.parametrize("name", PARTY_NAMES)
def test_a_party_is_killed_in_the_middle_of_a_query(
    own_cluster: TFECluster, slow_tiny: Any, until: Any, name: str
) -> None:
    """Clients and owner are told at once, the party is started again, the model is shared again, and all goes on."""
    model = slow_tiny.upload(own_cluster)
    first = model._id
    serving = Serving(model)
    client = TFEWorker()
    client.connect_to_model(slow_tiny.input_shape, slow_tiny.output_shape, own_cluster)
    data = slow_tiny.batch(128)
    for _ in range(200):  # a second of work or more
        client.query_model_async(data, retries=0)  # another try may well come when all is up again
    serving.wait(lambda it: it.progress[-1] > 1)
    pids = own_cluster.pids
    os.kill(pids[name], signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises((PartyError, RefusedError), match=name):
        join_all(client, 200)
    assert time.monotonic() - began < 5
    serving.wait(lambda it: any(name in trouble for trouble in it.troubles), 20)
    for other in PARTY_NAMES:
        if other != name:
            assert own_cluster.pids[other] == pids[other]
            assert psutil.pid_exists(pids[other])

    until(lambda: not psutil.pid_exists(pids[name]), "it is no zombie")
    serving.wait(lambda it: it.troubles[-1] == "")  # another process runs, and holds the model
    assert own_cluster.pids[name] != pids[name]
    served = model.served
    client.close()
    client.connect_to_model(slow_tiny.input_shape, slow_tiny.output_shape, own_cluster)
    until(lambda: ask(client, slow_tiny, data[:3]), "queries are answered")
    serving.wait(lambda it: it.progress[-1] > served)
    assert model._id != first  # shares drawn anew, at all three
    client.close()
    model.stop()
    serving.thread.join(10)
    assert serving.ended == [model.served]


@pytest.mark.slow
def test_without_reshare_the_owner_gets_the_error(operators: Operators, tiny: Any, serving: Any, until: Any) -> None:
    for name in PARTY_NAMES:
        operators.run(name)
    with operators.cluster as cluster:
        for name in PARTY_NAMES:
            model = tiny.upload(cluster)
            owner = Serving(model, reshare=False)
            owner.wait(lambda it: it.progress)
            operators.kill(name)
            operators.run(name)
            owner.thread.join(20)
            (error,) = owner.ended
            if name == "server0":
                assert isinstance(error, PartyError)
                assert "server0" in str(error)
            else:
                assert isinstance(error, NoModelError)
                assert f"{name} holds no model 'model' version " in str(error)
                assert "(it was restarted); share the model again" in str(error)
            until(lambda: all(getattr(status, "lanes", 0) for status in cluster.status().values()), "the lane is up")
            said = "holds no model; the owner must" if name == "server0" else "does not hold this upload of the model"
            with TFEWorker() as client, pytest.raises(RefusedError, match=f"{name}: {said}"):
                client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
            model.stop()
        goes_on(cluster, tiny, serving)


@pytest.mark.slow
def test_the_rest_of_the_requests_is_served_after_a_restart(operators: Operators, tiny: Any, until: Any) -> None:
    """`serve(3)` counts across a party's death; every party dies once."""
    for name in PARTY_NAMES:
        operators.run(name)
    with operators.cluster as cluster, TFEWorker() as client:
        model = tiny.upload(cluster)
        owner = Serving(model, 4)
        client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
        for count, name in enumerate(PARTY_NAMES, 1):
            until(lambda: ask(client, tiny, tiny.batch(1)), "a query is answered")
            owner.wait(lambda it, count=count: it.progress[-1] == count)
            operators.kill(name)
            owner.wait(lambda it, name=name: it.troubles and name in it.troubles[-1])
            assert owner.thread.is_alive()
            operators.run(name)
            owner.wait(lambda it: it.troubles[-1] == "")
            client.close()
            client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
        until(lambda: ask(client, tiny, tiny.batch(1)), "the last query is answered")
        owner.thread.join(10)
        assert owner.ended == [4]
        model.stop()


def test_the_owner_is_told_of_a_party_that_never_connected(
    operators: Operators, tiny: Any, free_ports: Any, until: Any
) -> None:
    """server1 looks for the leader where nobody is."""
    operators.run("server0")
    operators.run("server1", {"server0": f"localhost:{free_ports()[0]}"})
    operators.run("server2")
    with operators.cluster as cluster:
        expected = r"server1 is away \(it has not connected to server0 yet; its log says why\); try again"
        with pytest.raises(RefusedError, match=expected) as caught:
            tiny.upload(cluster)
        assert caught.value.transient
        until(lambda: not cluster.status()["server0"].models, "nothing is left of it")


def test_the_owner_is_told_of_parties_that_do_not_find_each_other(
    operators: Operators, tiny: Any, free_ports: Any
) -> None:
    """server2 looks for server1 where nobody is: each of them reaches the leader, and there is no lane."""
    wrong = free_ports()[0]
    operators.run("server0")
    operators.run("server1")
    operators.run("server2", {"server1": f"localhost:{wrong}"})
    with operators.cluster as cluster:
        model = tiny.upload(cluster)
        owner = Serving(model)
        expected = f"server2 → server1 at localhost:{wrong}: nothing listens there"
        owner.wait(lambda it: it.troubles and expected in it.troubles[-1])  # until then a party may still be away
        model.stop()
        owner.thread.join(10)


def test_stop_ends_a_serve_that_waits_for_a_party(operators: Operators, tiny: Any) -> None:
    for name in PARTY_NAMES:
        operators.run(name)
    with operators.cluster as cluster:
        model = tiny.upload(cluster)
        owner = Serving(model)
        owner.wait(lambda it: it.progress)
        operators.kill("server0")
        owner.wait(lambda it: it.troubles)
        assert "trying again" in owner.troubles[-1]
        model.stop()
        owner.thread.join(10)
        assert owner.ended == [0]


def test_a_party_that_freezes(own_cluster: TFECluster, slow_tiny: Any, serving: Any) -> None:
    """Not dead, but silent: the others give up on it after timeout_s."""
    pid = own_cluster.pids["server1"]
    with serving(own_cluster, slow_tiny), TFEWorker() as client:
        client.connect_to_model(slow_tiny.input_shape, slow_tiny.output_shape, own_cluster)
        data = slow_tiny.batch(128)
        client.query_model(data)
        for _ in range(100):
            client.query_model_async(data, retries=0)
        client.query_model_join()
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            with pytest.raises(PartyError, match="server1"):
                join_all(client, 99)
            assert time.monotonic() - began < 5 + 3
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_client_that_is_killed(own_cluster: TFECluster, tiny: Any, serving: Any, until: Any, tmp_path: Path) -> None:
    model = tiny.upload(own_cluster)
    path = tmp_path / "cluster.yaml"
    parties = "\n".join(f"  {each}: {{host: '{party.host}'}}" for each, party in own_cluster.config.parties.items())
    path.write_text(f"cluster: test\nparties:\n{parties}\n")
    code = (
        "import sys, keras_private as kp; client = kp.TFEWorker();"
        "client.connect_to_model((1, 6), (1, 3), kp.TFECluster.from_yaml(sys.argv[1]));"
        "client.query_model([[0.0] * 6])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parent.parent)
    until(lambda: waiting(own_cluster) == [1, 1, 1], "its query waits")
    process.kill()
    process.wait(10)
    until(lambda: waiting(own_cluster) == [0, 0, 0], "it is forgotten")
    model.stop()
    goes_on(own_cluster, tiny, serving)
