"""Client processes: each asks one query after the other over TLS, and all begin together when each had a first answer.

None of them imports TensorFlow. What is not answered is counted, with its reason: nothing may be lost.
"""

from __future__ import annotations

import collections
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).resolve().parents[2]
_AT_A_TIME = 10  # clients that start at once
_LATE_S = 60.0  # an answer that takes longer than the load lasts is waited for so long


class Load(NamedTuple):
    """What some clients got within `seconds`.

    Attributes:
        latencies: seconds of each query that was answered.
        lost: reasons why the others were not, and how many.
        cpu_s: what the clients used of the processors.
    """

    seconds: float
    rows: int
    latencies: list[float]
    lost: dict[str, int]
    cpu_s: float

    @property
    def queries_per_second(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def median_ms(self) -> float:
        return 1e3 * statistics.median(self.latencies)

    def percentile_ms(self, hundredths: int) -> float:
        return 1e3 * statistics.quantiles(self.latencies, n=100, method="inclusive")[hundredths - 1]


class Clients:
    """Processes that are connected and have had an answer. `ask` has all of them ask for a while, again and again.

    Use as a context manager.

    Args:
        config: cluster.yaml.
        rows: one client for every number, which is that of its queries' rows.
    """

    def __init__(self, config: Path, rows: Sequence[int]) -> None:
        self._config = config
        self._rows = rows
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Clients:
        try:
            for start in range(0, len(self._rows), _AT_A_TIME):
                new = [self._start(number) for number in range(start, min(start + _AT_A_TIME, len(self._rows)))]
                for process in new:
                    if _line(process) != "ready":
                        raise RuntimeError("a client did not get its first answer")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            _tell(process, "")
        for process in self._processes:
            try:
                process.wait(_LATE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ask(self, seconds: float) -> list[Load]:
        """What each client got, in their order."""
        before = self._cpu_seconds()
        begin = time.time() + 0.3 + 0.002 * len(self._processes)
        for process in self._processes:
            _tell(process, f"{begin} {seconds}")
        results = [json.loads(_line(process)) for process in self._processes]
        used = [after - earlier for earlier, after in zip(before, self._cpu_seconds(), strict=True)]
        return [
            Load(seconds, count * len(result["latencies"]), result["latencies"], result["lost"], cpu)
            for count, result, cpu in zip(self._rows, results, used, strict=True)
        ]

    def _start(self, number: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmarks.serving.clients", str(self._config), str(self._rows[number])]
        process = subprocess.Popen(  # noqa: S603
            [*command, f"client{number}"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._processes.append(process)
        return process

    def _cpu_seconds(self) -> list[float]:
        return [sum(psutil.Process(process.pid).cpu_times()[:2]) for process in self._processes]


def together(loads: Sequence[Load]) -> Load:
    """All clients as one."""
    lost: collections.Counter[str] = collections.Counter()
    for load in loads:
        lost.update(load.lost)
    return Load(
        loads[0].seconds,
        sum(load.rows for load in loads),
        [seconds for load in loads for seconds in load.latencies],
        dict(lost),
        sum(load.cpu_s for load in loads),
    )


def _line(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline().strip() if process.stdout else ""


def _tell(process: subprocess.Popen[str], line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        if process.stdin:
            process.stdin.write(line + "\n")
            process.stdin.flush()


def _orders() -> Iterator[tuple[float, float]]:
    """When to begin and for how many seconds, until an empty line."""
    while line := sys.stdin.readline().strip():
        begin, seconds = map(float, line.split())
        yield begin, seconds


def _client(config: str, rows: int, name: str) -> None:
    """One client process: "ready" after a first answer, then, for each order, queries and their figures."""
    import numpy as np

    import keras_private as kp

    images = np.random.default_rng(rows).random((rows, 28, 28, 1), dtype=np.float32)
    with kp.TFEWorker(name=name) as client:
        client.connect_to_model((1, 28, 28, 1), (1, 10), kp.TFECluster.from_yaml(config))
        client.query_model(images)
        print("ready", flush=True)
        for begin, seconds in _orders():
            latencies: list[float] = []
            lost: collections.Counter[str] = collections.Counter()
            time.sleep(max(0.0, begin - time.time()))
            while time.time() < begin + seconds:
                started = time.perf_counter()
                try:
                    client.query_model(images)
                except kp.KerasPrivateError as error:
                    lost[str(error)[:200]] += 1
                else:
                    latencies.append(time.perf_counter() - started)
            print(json.dumps({"latencies": latencies, "lost": lost}), flush=True)


if __name__ == "__main__":
    _client(sys.argv[1], int(sys.argv[2]), sys.argv[3])
