"""The whole story, over every kind of cluster: share, serve, query, stop."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import psutil
import pytest

from keras_private.cluster import TFECluster
from keras_private.errors import StateError
from keras_private.worker import TFEWorker


@pytest.fixture(params=["memory_cluster", "process_cluster"])
def cluster(request: pytest.FixtureRequest) -> TFECluster:
    return request.getfixturevalue(request.param)


def test_share_serve_query_stop(cluster: TFECluster, tiny: Any, serving: Any) -> None:
    with serving(cluster, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
        for rows in (1, 2, 17, 128):
            data = tiny.batch(rows, seed=rows)
            answer = client.query_model(data)
            assert answer.dtype == np.float32
            assert answer.shape == (rows, 3)
            np.testing.assert_allclose(answer, tiny.expected(data), atol=1e-3)


def test_serve_returns_after_so_many(cluster: TFECluster, tiny: Any, until: Any) -> None:
    model, seen = tiny.upload(cluster), []
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
        for rows in (1, 2, 3):  # they wait, in order, while nobody serves
            client.query_model_async(tiny.batch(rows))
        until(lambda: all(status.waiting == 3 for status in cluster.status().values()), "three requests wait")
        assert model.serve(2.0, seen.append) == 2  # R sends doubles
        assert seen[-1] == 2
        assert client.query_model_join().shape == (1, 3)
        assert client.query_model_join().shape == (2, 3)
        assert cluster.status()["server0"].waiting == 1
        assert model.serve(1) == 1
        assert client.query_model_join().shape == (3, 3)
    model.stop()


def test_what_waits_is_served_in_one_run(trio: Any, tiny: Any, until: Any) -> None:
    model = tiny.upload(trio)
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        batches = [tiny.batch(rows, seed=rows) for rows in range(1, 6)]
        for data in batches:
            client.query_model_async(data)
        until(lambda: trio.waiting() == [5, 5, 5], "five requests wait")
        model.serve(5)
        for data in batches:
            np.testing.assert_allclose(client.query_model_join(), tiny.expected(data), atol=1e-3)
    model.stop()
    for log in trio.logs:
        runs = [fields for _, event, fields in log.lines if event == "run done"]
        assert [(run["requests"], run["rows"]) for run in runs] == [(5, 15)]


def test_several_clients_at_once(cluster: TFECluster, tiny: Any, serving: Any) -> None:
    failures: list[BaseException] = []

    def ask(seed: int) -> None:
        try:
            with TFEWorker(name=f"client{seed}") as client:
                client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
                for step in range(5):
                    data = tiny.batch(1 + (seed + step) % 4, seed=100 * seed + step)
                    np.testing.assert_allclose(client.query_model(data), tiny.expected(data), atol=1e-3)
        except BaseException as error:  # noqa: BLE001  shown below
            failures.append(error)

    with serving(cluster, tiny):
        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not failures


def test_sharing_again_replaces(cluster: TFECluster, tiny: Any, other_tiny: Any, serving: Any, until: Any) -> None:
    first = tiny.upload(cluster)
    second = other_tiny.upload(cluster)
    assert first.digest != second.digest
    held = [second.digest]
    until(
        lambda: all([each.digest for each in status.models] == held for status in cluster.status().values()),
        "nobody needs the first any more",
    )
    with serving(cluster, other_tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
        data = tiny.batch(2)
        np.testing.assert_allclose(client.query_model(data), other_tiny.expected(data), atol=1e-3)


def test_stop_twice_and_serve_after_stop(cluster: TFECluster, tiny: Any) -> None:
    model = tiny.upload(cluster)
    model.stop()
    model.stop()
    with pytest.raises(StateError, match="share it again"):
        model.serve(1)
    assert not any(status.models for status in cluster.status().values())


def test_a_party_is_small(process_cluster: TFECluster, tiny: Any, serving: Any) -> None:
    with serving(process_cluster, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, process_cluster)
        client.query_model(tiny.batch(1))
        for pid in process_cluster.pids.values():
            # Its own memory. What is resident besides are pages of libraries (LLVM's above all), which processes share.
            assert psutil.Process(pid).memory_full_info().uss < 120 * 2**20
