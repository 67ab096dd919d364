"""`make bench`: the figures of the shipped model and of every kind of op, as tables and as JSON in benchmarks/results/.

Medians of interleaved runs on this machine: three parties over mutual TLS on loopback, a client, and the plain model
beside them. Absolute times mean little on a shared machine; ratios within one run do. CPU time is given wherever it
can be told apart. `--quick` takes fewer runs, and leaves out the large networks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import psutil

from benchmarks import kinds, nets, transformer
from benchmarks.parties import ThreeProcesses
from benchmarks.ports import free_ports
from benchmarks.row import Row, mb

ROOT = Path(__file__).resolve().parents[1]
INPUT_RANGE = (0.0, 1.0)


def interleaved(calls: dict[str, Callable[[], Any]], runs: dict[str, int]) -> dict[str, list[float]]:
    """Seconds of every run; the calls take turns, so that the machine's moods fall on all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    turns = max(runs.values())
    for turn in range(turns):
        for name, call in calls.items():
            if turn * runs[name] // turns != (turn + 1) * runs[name] // turns:
                started = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - started)
    return seconds


def cpu_ms(call: Callable[[], Any], runs: int, parties: list[psutil.Process]) -> float:
    """Milliseconds of CPU time that a call takes, in this process and in the parties together."""

    def seconds() -> float:
        return time.process_time() + sum(sum(party.cpu_times()[:2]) for party in parties)

    before = seconds()
    for _ in range(runs):
        call()
    return 1e3 * (seconds() - before) / runs


def start_of_a_party(kp: Any) -> tuple[float, float, float]:
    """Median seconds until a party's process listens; MB resident then (of the largest), and MB private to it."""
    seconds, resident, private = [], [], []
    for _ in range(3):
        started = time.perf_counter()
        with local_cluster(kp) as cluster:
            seconds.append(time.perf_counter() - started)
            memory = [psutil.Process(pid).memory_full_info() for pid in cluster.pids.values()]
            resident.append(max(m.rss for m in memory))
            private.append(max(m.uss for m in memory))
    return statistics.median(seconds), statistics.median(resident) / 1e6, statistics.median(private) / 1e6


def local_cluster(kp: Any) -> Any:
    cluster = kp.TFECluster(*(kp.TFEWorker(host=f"localhost:{p}", auto_managed=True) for p in free_ports(3)))
    return cluster.start()


def system_rows(quick: bool) -> list[Row]:
    """Everything that is measured around `query_model`, `share` and `start`."""
    import tensorflow as tf

    import keras_private as kp

    kp.KerasHook(tf.keras)
    model = tf.keras.models.load_model(ROOT / "models" / "mnist_cnn.keras")
    with np.load(ROOT / "models" / "mnist_sample.npz", allow_pickle=False) as sample:
        images = sample["images"].reshape(-1, 28, 28, 1).astype(np.float32) / np.float32(255)
    party_s, party_mb, private_mb = start_of_a_party(kp)

    with local_cluster(kp) as cluster:
        shares = []
        for _ in range(5):
            started = time.perf_counter()
            model.share(cluster, input_range=INPUT_RANGE)
            shares.append(time.perf_counter() - started)
        with open(os.devnull, "w") as nowhere:
            sys.stderr, stderr = nowhere, sys.stderr  # the progress bar would fall into the table
            serving = threading.Thread(target=model.serve, daemon=True)
            serving.start()
            with kp.TFEWorker() as client:
                client.connect_to_model((1, 28, 28, 1), (1, 10), cluster)
                answers = np.concatenate([client.query_model(images[i : i + 100]) for i in range(0, len(images), 100)])
                runs = {"one": 60 if quick else 300, "batch": 10 if quick else 40, "plain": 20 if quick else 60}
                parties = [psutil.Process(pid) for pid in cluster.pids.values()]
                calls = {
                    "one": lambda: client.query_model(images[:1]),
                    "batch": lambda: client.query_model(images[:32]),
                    "plain": lambda: model.predict(images[:1], verbose=0),
                }
                calls["plain"]()
                seconds = interleaved(calls, runs)
                cpu = {name: cpu_ms(calls[name], runs[name], parties) for name in calls}
                served_mb = max(party.memory_info().rss for party in parties) / 1e6
            model.stop()
            serving.join(30)
            sys.stderr = stderr

    plain = model.predict(images, verbose=0)
    top = np.sort(plain, axis=1)
    clear = top[:, -1] - top[:, -2] >= 0.01
    differ = int(np.sum(plain.argmax(1)[clear] != answers.argmax(1)[clear]))
    one, batch, predict = (1e3 * statistics.median(seconds[name]) for name in ("one", "batch", "plain"))
    tail = 1e3 * statistics.quantiles(seconds["one"], n=10)[-1]
    return [
        Row("one image, median", one, "ms", 8, f"90th percentile {tail:.2f} ms", cpu["one"]),
        Row("batch of 32, median", batch, "ms", 100, f"{batch / 32:.2f} ms an image", cpu["batch"]),
        Row("model.predict of one image, median", predict, "ms", None, "the plain model, same run", cpu["plain"]),
        Row("share of the model, the first", shares[0], "s", 2, f"later ones {statistics.median(shares[1:]):.3f} s"),
        Row("three parties started at once, until ready", party_s, "s", 2, "processes, certificates, listening"),
        Row("memory of a party when it listens", party_mb, "MB", 200, f"{private_mb:.0f} MB private to it"),
        Row(
            "memory of a party that has served", served_mb, "MB", None, "kernels loaded, batches of up to 100 behind it"
        ),
        Row("1,000 images: other class, top two 0.01 apart", differ, "", 0, f"{int(clear.sum())} such images"),
        Row("1,000 images: largest difference of a logit", float(np.abs(plain - answers).max()), "", 0.002, ""),
    ]


def evaluation_rows(quick: bool) -> list[Row]:
    """`evaluate_model` over TLS: images and classes shared by 50, one number told."""
    import tensorflow as tf

    import keras_private as kp

    kp.KerasHook(tf.keras)
    layers = tf.keras.layers
    model = tf.keras.Sequential([tf.keras.Input((784,)), layers.Dense(500, "relu"), layers.Dense(10, "softmax")])
    with np.load(ROOT / "models" / "mnist_sample.npz", allow_pickle=False) as sample:
        images = sample["images"].reshape(-1, 784).astype(np.float32) / np.float32(255)
    classes = model.predict(images, verbose=0).argmax(1)
    classes[::2] = 0
    plain = int(np.sum(model.predict(images, verbose=0).argmax(1) == classes))
    with local_cluster(kp) as cluster:
        model.share(cluster, input_range=INPUT_RANGE, evaluation="client", verbose=0)
        with model_served(model), kp.TFEWorker() as client:
            client.connect_to_model(cluster)
            score = client.evaluate_model(images, classes, batch=50)
            parties = [psutil.Process(pid) for pid in cluster.pids.values()]
            call = {"all": lambda: client.evaluate_model(images, classes, batch=50)}
            seconds = interleaved(call, {"all": 3 if quick else 9})["all"]
            cpu = cpu_ms(call["all"], 2, parties) / len(images)
    each = 1e3 * statistics.median(seconds) / len(images)
    told = f"{score.total:g} of {len(images)} right, {plain} plain"
    return [Row("784-500-10 evaluated by 50, an image", each, "ms", 1, told, cpu)]


@contextlib.contextmanager
def model_served(model: Any) -> Iterator[None]:
    """Serve what was shared, without a progress bar; stop it in the end."""
    serving = threading.Thread(target=model.serve, kwargs={"verbose": 0}, daemon=True)
    serving.start()
    try:
        yield
    finally:
        model.stop()
        serving.join(30)


def party_rows(quick: bool) -> tuple[list[Row], list[kinds.Figure]]:
    """The protocols alone: three processes joined by TLS, no client; and the table of kinds."""
    from keras_private.plan.builder import PlanBuilder
    from keras_private.plan.optimise import optimise

    builder = PlanBuilder((100_000,), None)
    relus = optimise(builder.finish(builder.op("relu", [builder.input], layer="relu")), precision=16)
    network = shipped_model()
    images = np.random.default_rng(0).random((32, 28, 28, 1))
    values = np.random.default_rng(0).normal(0, 10, (1, 100_000))
    runs = 10 if quick else 40
    with ThreeProcesses() as parties:
        one = parties.measure(network, images[:1], 10 * runs)
        batch = parties.measure(network, images, runs)
        compared = parties.measure(relus, values, runs)
        functions = [*kinds.rows(parties, runs), *transformer.rows(parties, runs)]
        table = kinds.table(parties, runs)
    each = max(compared.bytes_sent) / 100_000
    rows = [
        Row("parties only: one image, median", one.wall_ms, "ms", None, cpu_ms=one.cpu_ms),
        Row("rounds a query, counted", one.rounds, "", 14, "parties only"),
        Row("bytes sent, busiest party, one image", max(one.bytes_sent) / 1e6, "MB", 0.14, mb(one.bytes_sent)),
        Row("parties only: batch of 32, median", batch.wall_ms, "ms", None, cpu_ms=batch.cpu_ms),
        Row(
            "100,000 ReLUs, 64-bit comparison, median",
            compared.wall_ms,
            "ms",
            60,
            f"{compared.rounds} rounds",
            compared.cpu_ms,
        ),
        Row("100,000 ReLUs, 64-bit comparison, rounds", compared.rounds, "", 6),
        Row("bytes a ReLU, busiest party", each, "B", 64, mb(compared.bytes_sent)),
        *functions,
    ]
    return rows, table


def shipped_model() -> Any:
    import tensorflow as tf

    from keras_private.lowering import draft_of
    from keras_private.plan.optimise import optimise

    model = tf.keras.models.load_model(ROOT / "models" / "mnist_cnn.keras")
    return optimise(draft_of(model, INPUT_RANGE), precision=16)


def machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs, and no large networks")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "latest.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["KERAS_PRIVATE_HOME"] = home
        of_parties, table = party_rows(options.quick)
        rows = [*system_rows(options.quick), *evaluation_rows(options.quick), *of_parties]
        if not options.quick:
            rows += nets.rows()
    print(f"\n{machine()}\n")
    print(f"{'':<46}{'reached':>9} {'':<3}{'at most':>8}  {'':<8}{'CPU ms':>8}")
    for row in rows:
        print(row.line())
    print(f"\n{kinds.HEAD}")
    for figure in table:
        print(figure.line())
    options.json.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "machine": machine(),
        "taken": time.strftime("%Y-%m-%d"),
        "rows": [row.record() for row in rows],
        "kinds": [figure._asdict() for figure in table],
    }
    options.json.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
