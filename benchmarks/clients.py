"""Many clients at once: queries a second and their latencies, with real client processes over TLS on loopback.

Each client is a process of its own that asks one query after the other; all begin together when each has had a first
answer. `beside` measures single images while one other client sends large batches without a pause.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Load(NamedTuple):
    """What some clients got within a time: answers, rows of them, and seconds of each query."""

    seconds: float
    rows: int
    latencies: list[float]
    refused: int

    @property
    def queries_per_second(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def median_ms(self) -> float:
        return 1e3 * statistics.median(self.latencies)

    @property
    def tail_ms(self) -> float:
        """The 90th percentile."""
        return 1e3 * statistics.quantiles(self.latencies, n=10)[-1]


def measure(config: Path, rows: Sequence[int], seconds: float) -> list[Load]:
    """One client for every number in `rows`, which is that of its queries' rows; all ask for `seconds` seconds."""
    command = [sys.executable, "-m", "benchmarks.clients", str(config)]
    clients = [
        subprocess.Popen(  # noqa: S603
            [*command, str(count), f"client{number}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, count in enumerate(rows)
    ]
    try:
        for client in clients:
            if _line(client) != "ready":
                raise RuntimeError("a client did not get its first answer")
        for client in clients:
            _tell(client, f"{time.time() + 0.5 + 0.002 * len(clients)} {seconds}")
        results = [json.loads(_line(client)) for client in clients]
    finally:
        for client in clients:
            _tell(client, "")
            client.wait(60)
    return [
        Load(seconds, count * len(result["latencies"]), result["latencies"], result["refused"])
        for count, result in zip(rows, results, strict=True)
    ]


def together(loads: Sequence[Load]) -> Load:
    """All clients as one."""
    return Load(
        loads[0].seconds,
        sum(load.rows for load in loads),
        [seconds for load in loads for seconds in load.latencies],
        sum(load.refused for load in loads),
    )


def _line(client: subprocess.Popen[str]) -> str:
    return client.stdout.readline().strip() if client.stdout else ""


def _tell(client: subprocess.Popen[str], line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        if client.stdin:
            client.stdin.write(line + "\n")
            client.stdin.flush()


def _client(config: str, rows: int, name: str) -> None:
    """One client process: "ready" after a first answer, then queries from the time given on, then its figures."""
    import numpy as np

    import keras_private as kp

    images = np.random.default_rng(rows).random((rows, 28, 28, 1), dtype=np.float32)
    latencies, refused = [], 0
    with kp.TFEWorker(name=name) as client:
        client.connect_to_model((1, 28, 28, 1), (1, 10), kp.TFECluster.from_yaml(config))
        client.query_model(images)
        print("ready", flush=True)
        begin, seconds = map(float, sys.stdin.readline().split())
        time.sleep(max(0.0, begin - time.time()))
        while time.time() < begin + seconds:
            started = time.perf_counter()
            try:
                client.query_model(images)
            except kp.RefusedError:
                refused += 1
            else:
                latencies.append(time.perf_counter() - started)
        print(json.dumps({"latencies": latencies, "refused": refused}), flush=True)
        sys.stdin.readline()  # the connection stays until all are done


def serve_shipped_model(folder: Path, ports: Sequence[int]) -> tuple[Path, Callable[[], None]]:
    """Three parties and the shipped model, being served: the path of their cluster.yaml, and what ends it."""
    import tensorflow as tf

    import keras_private as kp

    kp.KerasHook(tf.keras)
    path = folder / "cluster.yaml"
    line = "  server{}: {{host: localhost:{}, auto_managed: true}}\n"
    path.write_text("parties:\n" + "".join(line.format(index, port) for index, port in enumerate(ports)))
    cluster = kp.TFECluster.from_yaml(path).start()
    model = tf.keras.models.load_model(ROOT / "models" / "mnist_cnn.keras")
    model.share(cluster, input_range=(0.0, 1.0))
    serving = threading.Thread(target=model.serve, kwargs={"verbose": 0}, daemon=True)
    serving.start()

    def end() -> None:
        model.stop()
        serving.join(30)
        cluster.stop()

    return path, end


if __name__ == "__main__":
    _client(sys.argv[1], int(sys.argv[2]), sys.argv[3])
