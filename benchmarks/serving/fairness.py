"""A client with single images, alone and beside one that sends batches of 100 without end."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from benchmarks.row import Row
from benchmarks.serving import served
from benchmarks.serving.clients import Clients, Load, together

_AT_MOST = 3.0  # times as long as alone
_BATCH = 100


def rows(options: argparse.Namespace, folder: Path) -> list[Row]:
    """The ratio of the medians; the two are measured in turns."""
    alone: list[Load] = []
    beside: list[Load] = []
    batches: list[Load] = []
    with served.shipped_model(folder) as serving:
        for _ in range(options.turns):
            with Clients(serving.config, [1]) as clients:
                alone += clients.ask(options.seconds)
            with Clients(serving.config, [1, _BATCH]) as clients:
                image, batch = clients.ask(options.seconds)
            beside.append(image)
            batches.append(batch)
    without = statistics.median(load.median_ms for load in alone)
    with_ = statistics.median(load.median_ms for load in beside)
    rate = statistics.median(load.rows / load.seconds for load in batches)
    lost = together([*alone, *beside, *batches]).lost
    detail = f"{with_:.1f} ms, alone {without:.1f} ms; the other gets {rate:.0f} rows a second"
    return [
        Row("one image beside batches of 100, median to alone", with_ / without, "", _AT_MOST, detail),
        Row("queries lost", sum(lost.values()), "", 0, "; ".join(lost)),
    ]
