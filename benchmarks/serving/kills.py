"""Parties that are killed while clients ask, one after the other, on and on; and parties that are asked to end."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from benchmarks.row import Row
from benchmarks.serving.checked import asking
from benchmarks.serving.operators import Operators, serving
from keras_private.config import PARTY_NAMES

_CLIENTS = 4
_BACK_S = 60.0  # after that it does not count as coming back
_BETWEEN_S = 0.5


def rows(options: argparse.Namespace, folder: Path) -> list[Row]:
    """`kill -9` of each party in turn, `--kills` times in all: from when the party is up again to the first answer."""
    back: list[float] = []
    never = 0
    with (
        Operators(folder, "limits: {timeout_s: 5}\n") as operators,
        serving(operators) as model,
        asking(operators.path, model, _CLIENTS) as watch,
    ):
        for number in range(options.kills):
            name = PARTY_NAMES[number % len(PARTY_NAMES)]
            operators.kill(name)
            killed = time.monotonic()
            operators.start(name)
            up = operators.wait_up(name)
            answered = watch.wait_right(killed, _BACK_S)
            never += answered is None
            back.append(_BACK_S if answered is None else max(0.0, answered - up))
            time.sleep(_BETWEEN_S)
        failed = watch.failures
        detail = f"{options.kills} kills, {len(watch.asked)} queries, {sum(failed.values())} failed with a cause"
        return [
            Row("kill -9 under load: wrong answers", watch.wrong, "", 0, detail),
            Row("kill -9 under load: hangs", watch.hung + never, "", 0, "queries beyond their timeout"),
            Row(
                "kill -9 under load: back after the party, most",
                max(back, default=0.0),
                "s",
                2.0,
                f"median {statistics.median(back):.2f} s" if back else "",
            ),
        ]


def rolling(options: argparse.Namespace, folder: Path) -> list[Row]:
    """All three parties are asked to end (SIGTERM) and started again, one after the other, `--restarts` times."""
    took: list[float] = []
    with (
        Operators(folder, "limits: {timeout_s: 5}\n") as operators,
        serving(operators) as model,
        asking(operators.path, model, _CLIENTS, retries=10) as watch,
    ):
        for _ in range(options.restarts):
            for name in PARTY_NAMES:
                took.append(operators.terminate(name))
                operators.start(name)
                operators.wait_joined(name)
                watch.wait_right(time.monotonic(), _BACK_S)
        failed = watch.failures
        detail = f"{len(took)} restarts, {len(watch.asked)} queries; ended within {max(took, default=0.0):.1f} s"
        reasons = "; ".join(f"{count} x {text[:80]}" for text, count in failed.most_common(3))
        return [
            Row("rolling restart: failed queries", sum(failed.values()), "", 0, f"{detail}; {reasons}"),
            Row("rolling restart: wrong answers", watch.wrong, "", 0),
        ]
