"""Load for minutes on end: what each party takes of memory and descriptors, after the first minute and at its most."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from benchmarks.row import Row
from benchmarks.serving.checked import asking
from benchmarks.serving.operators import Operators, serving

_CLIENTS = 8
_EVERY_S = 1.0
_FIRST_S = 60.0  # of the load; half of it if all is shorter than two minutes
_SMOOTH = 5  # samples of which the median is taken: a run that is under way is no growth


def rows(options: argparse.Namespace, folder: Path) -> list[Row]:
    """`--minutes` of load; growth is that of the largest median of five seconds over that after the first minute."""
    seconds = 60 * options.minutes
    first = min(_FIRST_S, seconds / 2)
    memory: dict[str, list[int]] = {}
    files: dict[str, list[int]] = {}
    with (
        Operators(folder) as operators,
        serving(operators) as model,
        asking(operators.path, model, _CLIENTS) as watch,
    ):
        began = time.monotonic()
        parties = operators.parties
        while (now := time.monotonic()) < began + seconds:
            if now >= began + first:
                for name, process in parties.items():
                    memory.setdefault(name, []).append(process.memory_info().rss)
                    files.setdefault(name, []).append(process.num_fds())
            time.sleep(_EVERY_S)
        asked, failed = len(watch.asked), sum(watch.failures.values())
    worst = max(memory, key=lambda name: _growth(memory[name]))
    detail = f"{options.minutes:g} min, {asked} queries; {memory[worst][0] / 2**20:.0f} MiB after {first:.0f} s"
    return [
        Row("endurance: growth of a party's memory", 100 * _growth(memory[worst]), "%", 3.0, f"{worst}, {detail}"),
        Row(
            "endurance: growth of a party's descriptors",
            100 * max(_growth(each) for each in files.values()),
            "%",
            3.0,
            f"{max(map(max, files.values()))} at most",
        ),
        Row("endurance: queries lost", failed, "", 0),
    ]


def _growth(samples: list[int]) -> float:
    """Of the largest running median over the first one."""
    smooth = [statistics.median(samples[i : i + _SMOOTH]) for i in range(max(1, len(samples) - _SMOOTH + 1))]
    return max(smooth) / smooth[0] - 1
