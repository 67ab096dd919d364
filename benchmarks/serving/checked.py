"""Clients that know the right answers: each says of every query, when it was asked and what came of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
OFF = 0.02  # of an answer's probabilities from the plain model's; those of other images are further apart
TIMEOUT_S = 30.0
_IMAGES = 32


class Asked(NamedTuple):
    """One query: when it was asked and settled (time.monotonic), and "right", "wrong" or why there was no answer."""

    began: float
    ended: float
    what: str


class Watch:
    """What the clients said so far."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked: list[Asked] = []
        self._answered: set[int] = set()

    def add(self, client: int, asked: Asked) -> None:
        with self._changed:
            self._asked.append(asked)
            if asked.what == "right":
                self._answered.add(client)
            self._changed.notify_all()

    def wait_all(self, count: int, seconds: float) -> bool:
        """Whether so many clients have had an answer within `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._answered) >= count, seconds)

    def wait_right(self, since: float, seconds: float) -> float | None:
        """When the first query that was asked after `since` had its right answer; None: not within `seconds`."""

        def first() -> Asked | None:
            late = (each for each in reversed(self._asked[-500:]) if each.began >= since and each.what == "right")
            return min(late, key=lambda each: each.ended, default=None)

        with self._changed:
            found = self._changed.wait_for(first, seconds)
        return found.ended if found else None

    def between(self, since: float, until: float) -> list[Asked]:
        """Those that were settled meanwhile."""
        with self._changed:
            return [each for each in self._asked if since <= each.ended < until]

    @property
    def asked(self) -> list[Asked]:
        with self._changed:
            return list(self._asked)

    @property
    def wrong(self) -> int:
        return sum(each.what == "wrong" for each in self.asked)

    @property
    def hung(self) -> int:
        """Queries that took longer than they may, by a fifth."""
        return sum(each.ended - each.began > 1.2 * TIMEOUT_S for each in self.asked)

    @property
    def failures(self) -> Counter[str]:
        return Counter(each.what for each in self.asked if each.what not in ("right", "wrong"))

    def rate(self, since: float, until: float) -> float:
        """Right answers a second."""
        return sum(each.what == "right" for each in self.between(since, until)) / (until - since)


@contextlib.contextmanager
def asking(config: Path, model: Any, count: int, retries: int = 2) -> Iterator[Watch]:
    """So many client processes, each with one query on its way at any time, until the end of the block.

    Args:
        model: the plain one, for the right answers.
        retries: what a query is allowed.
    """
    images = np.random.default_rng(0).random((_IMAGES, 28, 28, 1), dtype=np.float32)
    watch, processes = Watch(), []
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, images=images, answers=np.asarray(model(images)))
        file.flush()
        for number in range(count):
            command = [sys.executable, "-m", "benchmarks.serving.checked", str(config), file.name, str(number)]
            process = subprocess.Popen(  # noqa: S603
                [*command, str(retries)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            processes.append(process)
            threading.Thread(target=_listen, args=(number, process, watch), daemon=True).start()
        try:
            if not watch.wait_all(count, 60.0):
                raise RuntimeError("not every client had an answer within a minute")
            yield watch
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _listen(client: int, process: subprocess.Popen[str], watch: Watch) -> None:
    assert process.stdout is not None  # noqa: S101
    for line in process.stdout:
        with contextlib.suppress(json.JSONDecodeError):  # cut off in the middle, at the end
            watch.add(client, Asked(*json.loads(line)))


def _client(config: str, file: str, number: int, retries: int) -> None:
    """Ask on and on; one line for each query. Ends with its parent, which reads what it says."""
    import keras_private as kp

    kept = np.load(file)
    images, answers = kept["images"], kept["answers"]
    with kp.TFEWorker(name=f"client{number}", timeout=TIMEOUT_S) as client:
        client.connect_to_model(kp.TFECluster.from_yaml(config))
        each = number
        while True:
            each = (each + 1) % len(images)
            began = time.monotonic()
            try:
                found = client.query_model(images[each : each + 1], retries=retries)
            except kp.KerasPrivateError as error:
                what = str(error)
            else:
                what = "right" if np.abs(found - answers[each]).max() < OFF else "wrong"
            print(json.dumps([began, time.monotonic(), what]), flush=True)
            if what not in ("right", "wrong"):
                time.sleep(0.02)  # a party that is away is asked again soon, but not all the time


if __name__ == "__main__":
    _client(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
