"""More and more clients with single images, and what the engine alone makes of batches of 32 in the same minutes."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np

from benchmarks.parties import ThreeProcesses
from benchmarks.row import Row
from benchmarks.serving import served
from benchmarks.serving.clients import Clients, Load, together

ENGINE_BATCH = 32
_ENGINE_RUNS = 12
_OF_THE_ENGINE = 0.8
_TAIL = 5.0  # of the median
_FROM = 50  # clients, from which on the engine's rate is to be reached


def rows(options: argparse.Namespace, folder: Path) -> list[Row]:
    """For each number of clients: queries a second, and more; turns with the engine, whose rate they are held to."""
    from benchmarks.__main__ import shipped_model

    network, found, before = shipped_model(), [], 0.0
    images = np.random.default_rng(0).random((ENGINE_BATCH, 28, 28, 1))
    engine: list[float] = []
    with ThreeProcesses() as parties, served.shipped_model(folder) as serving:

        def engine_takes() -> None:
            engine.append(1e3 * ENGINE_BATCH / parties.measure(network, images, _ENGINE_RUNS).wall_ms)

        for count in options.clients:
            with Clients(serving.config, [1] * count) as clients:
                loads = []
                engine_takes()
                for _ in range(options.turns):
                    cpu = serving.cpu_seconds()
                    load = together(clients.ask(options.seconds))
                    used = {name: seconds - cpu[name] for name, seconds in serving.cpu_seconds().items()}
                    loads.append((load, used))
                    engine_takes()
            rate = statistics.median(engine[-options.turns - 1 :])
            found += _of(count, loads, rate, before)
            before = max(before, found[-3].value)
    return found


def _of(count: int, loads: list[tuple[Load, dict[str, float]]], engine: float, before: float) -> list[Row]:
    load, used = sorted(loads, key=lambda each: each[0].queries_per_second)[len(loads) // 2]
    rate, queries = load.queries_per_second, max(1, len(load.latencies))
    parties = ", ".join(f"{1e3 * seconds / queries:.2f}" for seconds in used.values())
    total = 1e3 * (sum(used.values()) + load.cpu_s) / queries
    detail = f"{rate / engine:.2f} of the engine's {engine:.0f}; CPU ms a query: parties {parties}"
    detail += f", client {1e3 * load.cpu_s / queries:.2f}"
    least = max(before, _OF_THE_ENGINE * engine if count >= _FROM else 0.0)
    tail = load.percentile_ms(99)
    lost = sum(sum(each.lost.values()) for each, _ in loads)
    reasons = "; ".join(sorted({reason for each, _ in loads for reason in each.lost}))
    return [
        Row(f"{count} clients: queries a second", rate, "/s", least, detail, total, at_least=True),
        Row(
            f"{count} clients: 99th percentile",
            tail,
            "ms",
            _TAIL * load.median_ms,
            f"median {load.median_ms:.1f} ms",
        ),
        Row(f"{count} clients: queries lost", lost, "", 0, reasons),
    ]
