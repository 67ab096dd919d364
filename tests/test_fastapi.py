"""The example of a web service: one client for all its requests, over loopback, and errors as HTTP has them."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from keras_private.cluster import TFECluster
from keras_private.errors import InputError, LinkError, LinkTimeoutError, PartyError, QuotaError, RefusedError
from keras_private.worker import TFEWorker

EXAMPLE = Path(__file__).parents[1] / "examples" / "fastapi" / "app.py"


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("fastapi_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def service(example: Any, tiny: Any, serving: Any, until: Any) -> Iterator[tuple[str, TFECluster]]:
    """Where it is called, and the cluster behind it; the app runs as uvicorn runs it."""
    with (
        TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as cluster,
        serving(cluster, tiny),
        socket.create_server(("127.0.0.1", 0)) as place,
    ):
        app = example.make_app(cluster, timeout=20)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        try:
            until(lambda: server.started, "it has started")
            yield f"http://127.0.0.1:{place.getsockname()[1]}", cluster
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def test_many_are_answered_at_once_by_one_client(service: tuple[str, TFECluster], tiny: Any) -> None:
    url, cluster = service
    with httpx.Client(base_url=url, timeout=30) as http, ThreadPoolExecutor(8) as pool:

        def ask(seed: int) -> None:
            data = tiny.batch(1 + seed % 3, seed)
            answer = http.post("/predict", json={"instances": data.tolist()})
            assert answer.status_code == 200, answer.text
            np.testing.assert_allclose(answer.json()["predictions"], tiny.expected(data), atol=1e-3)

        list(pool.map(ask, range(40)))
        assert http.get("/readyz").json() == {"ready": True}
        described = http.get("/model").json()
        assert [tuple(port["shape"]) for port in described["inputs"]] == [tiny.input_shape[1:]]
        assert [tuple(port["shape"]) for port in described["outputs"]] == [tiny.output_shape[1:]]
    (leader,) = (answer for name, answer in cluster.status().items() if name == "server0")
    assert leader.served == 40  # type: ignore[union-attr]
    assert leader.figures.clients == 1  # type: ignore[union-attr]


def test_what_is_wrong_is_said_as_http_does(service: tuple[str, TFECluster], tiny: Any, example: Any) -> None:
    url, _ = service
    good = tiny.batch(1, 0).tolist()
    with httpx.Client(base_url=url, timeout=30) as http:
        for given, code, words in (
            ({"instances": [[1.0, 2.0], [3.0]]}, 422, "rows of different shapes"),
            ({"instances": [[1.0]]}, 422, "shape"),
            ({"instances": "many"}, 422, ""),
            ({"instances": good * (example.MOST_ROWS + 1)}, 413, "rows a request"),
            ({"rows": good}, 422, "instances"),
        ):
            answer = http.post("/predict", json=given)
            assert answer.status_code == code, answer.text
            assert words in answer.text
        assert http.post("/predict", json={"instances": good}).status_code == 200  # and it goes on


@pytest.mark.slow
def test_the_program_beside_three_processes(
    make_config: Any, free_ports: Any, tiny: Any, serving: Any, tmp_path: Path, until: Any
) -> None:
    """As its first lines say: over TLS, with cluster.yaml, until it is told to stop."""
    (tmp_path / "cluster.yaml").write_text(make_config().to_json())
    port = free_ports()[0]
    with TFECluster.from_yaml(tmp_path / "cluster.yaml") as cluster, serving(cluster, tiny):
        command = [sys.executable, str(EXAMPLE), "--config", str(tmp_path / "cluster.yaml"), "--port", str(port)]
        paths = filter(None, [str(EXAMPLE.parents[2]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        process = subprocess.Popen(command, env=environment)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:

                def ready() -> bool:
                    try:
                        return http.get("/readyz").status_code == 200
                    except httpx.TransportError:
                        assert process.poll() is None
                        return False

                until(ready, "it listens", 60)
                data = tiny.batch(2, 1)
                answer = http.post("/predict", json={"instances": data.tolist()}).json()
            np.testing.assert_allclose(answer["predictions"], tiny.expected(data), atol=1e-3)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) in (0, -signal.SIGINT)
        finally:
            process.kill()
            process.wait(20)


def test_each_error_has_its_status(example: Any) -> None:
    for error, code in (
        (InputError("no"), 422),
        (QuotaError("later"), 429),
        (LinkTimeoutError("late"), 504),
        (RefusedError("queue full").again(), 503),
        (RefusedError("for good"), 502),
        (PartyError("gone").again(), 503),
        (LinkError("away"), 503),
    ):
        assert example.status_of(error) == code
