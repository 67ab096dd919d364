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

import psutil
import pytest

from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES
from keras_private.errors import ClusterError, LinkError, PartyError, RefusedError
from keras_private.worker import TFEWorker
from tests.checks import goes_on


@pytest.fixture
def own_cluster(make_config: Any) -> Iterator[TFECluster]:
    """Three processes for one test, which may kill them."""
    with TFECluster.from_config(make_config(timeout_s=5)) as cluster:
        yield cluster


def start_party(cluster: TFECluster, name: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    """Start a party of the cluster by hand, as an operator would."""
    path = tmp_path / "cluster.yaml"
    parties = "\n".join(f"  {each}: {{host: '{party.host}'}}" for each, party in cluster.config.parties.items())
    path.write_text(f"cluster: test\nparties:\n{parties}\nlimits: {{timeout_s: 5}}\n")
    command = [sys.executable, "-m", "keras_private.party", "--config", str(path), "--name", name]
    return subprocess.Popen(command, cwd=Path(__file__).parent.parent)


def waiting(cluster: TFECluster) -> list[int | None]:
    return [getattr(status, "waiting", None) for status in cluster.status().values()]


def join_all(client: TFEWorker, count: int) -> None:
    for _ in range(count):
        client.query_model_join()


@pytest.mark.parametrize("name", PARTY_NAMES)
def test_a_party_is_killed_in_the_middle_of_a_query(
    own_cluster: TFECluster, slow_tiny: Any, tiny: Any, serving: Any, until: Any, tmp_path: Path, name: str
) -> None:
    model = slow_tiny.upload(own_cluster)
    ended: list[BaseException | int] = []
    progress = threading.Event()

    def serve() -> None:
        try:
            ended.append(model.serve(None, lambda served: served > 1 and progress.set()))
        except Exception as error:  # noqa: BLE001  looked at below
            ended.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    client = TFEWorker()
    client.connect_to_model(slow_tiny.input_shape, slow_tiny.output_shape, own_cluster)
    data = slow_tiny.batch(128)
    for _ in range(200):  # a second of work or more
        client.query_model_async(data)
    assert progress.wait(20)
    os.kill(own_cluster.pids[name], signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises((PartyError, RefusedError), match=name):
        join_all(client, 200)
    assert time.monotonic() - began < 5
    others = [other for other in PARTY_NAMES if other != name]
    for other in others:
        assert psutil.pid_exists(own_cluster.pids[other])
    with pytest.raises((ClusterError, LinkError), match=name):
        client.query_model(data, timeout=5)

    # The dead party comes back, without a model; once it has one again all is as before.
    process = start_party(own_cluster, name, tmp_path)
    try:
        until(lambda: all(getattr(status, "lanes", 0) for status in own_cluster.status().values()), "the lane is up")
        thread.join(10)
        assert not thread.is_alive()
        assert isinstance(ended[0], ClusterError)
        assert name in str(ended[0])
        with pytest.raises(RefusedError, match=f"{name}: holds no model; the owner must share it"):
            client.query_model(data)
        assert waiting(own_cluster) == [0, 0, 0]
        goes_on(own_cluster, tiny, serving)
    finally:
        client.close()
        process.terminate()
        assert process.wait(10) == 0


def test_a_party_that_freezes(own_cluster: TFECluster, slow_tiny: Any, serving: Any) -> None:
    """Not dead, but silent: the others give up on it after timeout_s."""
    pid = own_cluster.pids["server1"]
    with serving(own_cluster, slow_tiny), TFEWorker() as client:
        client.connect_to_model(slow_tiny.input_shape, slow_tiny.output_shape, own_cluster)
        data = slow_tiny.batch(128)
        client.query_model(data)
        for _ in range(100):
            client.query_model_async(data)
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
