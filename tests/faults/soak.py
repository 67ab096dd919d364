"""Break things for as long as one likes: `make soak ARGS="--minutes 10"`.

Each sequence follows from the seed and its number. One that finds something is printed and written to `--found`, a JSON
file to replay with `--replay`, and the next one begins in a new world.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from tests.faults.sequences import Sequence, sequences
from tests.faults.world import Outcome, World


def generated(seed: int, count: int, longest: int) -> list[Sequence]:
    """The first `count` sequences of a seed; the same ones for the same release of hypothesis."""
    found: list[Sequence] = []

    @seeded(seed)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(sequences(longest))
    def collect(sequence: Sequence) -> None:
        found.append(sequence)

    collect()
    return found[:count]


def endless(seed: int, longest: int) -> Iterator[tuple[str, Sequence]]:
    """Sequences without end, each with its name."""
    while True:
        for number, sequence in list(enumerate(generated(seed, 11, longest)))[1:]:  # the first of all is a trivial one
            yield f"{seed}-{number}", sequence
        seed += 1


class Soak:
    """Runs sequences, in one world as long as nothing is found, and adds up."""

    def __init__(self, found: Path) -> None:
        self.found = found
        self.outcomes: list[Outcome] = []
        self.kept: list[Path] = []
        self._world: World | None = None

    def run(self, name: str, sequence: Sequence) -> Outcome:
        """Run one; what it finds is printed and kept."""
        if self._world is None:
            folder = Path(tempfile.mkdtemp(prefix="soak-"))
            self._world = World(folder)
            self._world.start()
        outcome = self._world.run(sequence)
        self.outcomes.append(outcome)
        if outcome.findings:
            self.found.mkdir(parents=True, exist_ok=True)
            path = self.found / f"{name}.json"
            path.write_text(json.dumps({"sequence": sequence, "findings": list(map(str, outcome.findings))}, indent=1))
            self.kept.append(path)
            print(f"\n{name}: {len(outcome.findings)} findings, kept as {path}; logs are in {self._world.folder}")
            print(json.dumps(sequence))
            for finding in outcome.findings:
                print(f"  {finding}")
            self.stop()
        return outcome

    def stop(self) -> None:
        if self._world is not None:
            self._world.stop()
            self._world = None

    def summary(self) -> str:
        back = [outcome.back_s for outcome in self.outcomes] or [0.0]
        causes = Counter(cause for outcome in self.outcomes for cause in outcome.causes)
        lines = [
            f"{len(self.outcomes)} sequences, {sum(bool(outcome.findings) for outcome in self.outcomes)} with findings",
            f"queries: {sum(each.answered for each in self.outcomes)} answered, "
            f"{sum(each.failed for each in self.outcomes)} failed with a cause, "
            f"{sum(each.lost for each in self.outcomes)} lost with their client",
            f"service back after {statistics.median(back):.1f} s in the median, {max(back):.1f} s at most",
            *(f"  {count:5} x {cause[:140]}" for cause, count in causes.most_common(12)),
        ]
        return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long; the last sequence is finished")
    parser.add_argument("--count", type=int, help="how many sequences, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=int, default=16, help="operations of a sequence, at most")
    parser.add_argument("--found", type=Path, default=Path("soak-found"), help="where sequences with findings are kept")
    parser.add_argument("--replay", type=Path, nargs="*", help="run these files' sequences instead")
    options = parser.parse_args()
    os.environ.setdefault("KERAS_PRIVATE_HOME", tempfile.mkdtemp(prefix="soak-home-"))  # certificates of its own
    if options.replay:
        source = ((path.stem, json.loads(path.read_text())["sequence"]) for path in options.replay)
    else:
        source = endless(options.seed, options.longest)
    soak, began = Soak(options.found), time.monotonic()
    deadline = began + 60 * options.minutes
    try:
        for count, (name, sequence) in enumerate(source, 1):
            outcome = soak.run(name, sequence)
            print(
                f"\r{name}: {count} sequences, {sum(each.answered for each in soak.outcomes)} answered, "
                f"{len(soak.kept)} with findings; back after {outcome.back_s:.1f} s; {time.monotonic() - began:.0f} s ",
                end="",
                flush=True,
            )
            if time.monotonic() > deadline or count == options.count:
                break
    finally:
        soak.stop()
        print(f"\n{soak.summary()}")
    return 1 if soak.kept else 0


if __name__ == "__main__":
    sys.exit(main())
