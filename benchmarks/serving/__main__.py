"""`make bench-serving`: what operators see of a cluster, measured with real parties and real clients over TLS.

Three parties and every client are processes of their own on this machine; none of the clients imports TensorFlow.
Absolute figures mean little on a shared machine; ratios within one run do, so what is compared is measured in turns.
`ARGS="--only throughput --clients 1 50"` runs a part.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.__main__ import machine
from benchmarks.row import Row
from benchmarks.serving import endurance, fairness, hostile, kills, starts, strangers, throughput

ROOT = Path(__file__).resolve().parents[2]

PARTS: dict[str, Callable[[argparse.Namespace, Path], list[Row]]] = {
    "throughput": throughput.rows,
    "fairness": fairness.rows,
    "kills": kills.rows,
    "rolling": kills.rolling,
    "starts": starts.rows,
    "hostile": hostile.rows,
    "strangers": strangers.rows,
    "endurance": endurance.rows,
}
"""What can be measured, in this order: each is given the options and an empty folder of its own. Each serves its own
cluster, and leaves nothing running."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 2, 10, 50, 100], help="how many at once")
    parser.add_argument("--seconds", type=float, default=6.0, help="of load a turn")
    parser.add_argument("--turns", type=int, default=3, help="of everything that is compared")
    parser.add_argument("--kills", type=int, default=100, help="of parties, under load")
    parser.add_argument("--restarts", type=int, default=5, help="of all three parties, one after the other, under load")
    parser.add_argument("--frames", type=int, default=100_000, help="that make no sense, beside load")
    parser.add_argument("--strangers", type=int, default=2000, help="connections without a certificate, beside load")
    parser.add_argument("--minutes", type=float, default=30.0, help="of load while memory and descriptors are watched")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "serving.json")
    options = parser.parse_args()
    rows: list[Row] = []
    print(f"\n{machine()}\n")
    with tempfile.TemporaryDirectory() as home:
        os.environ["KERAS_PRIVATE_HOME"] = home
        for name in options.only:
            found = PARTS[name](options, Path(home) / name)
            print(f"{name:<46}{'reached':>9} {'':<3}{'target':>8}  {'':<8}{'CPU ms':>8}")
            for row in found:
                print(row.line(), flush=True)
            rows += found
    options.json.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": machine(), "taken": time.strftime("%Y-%m-%d"), "rows": [row.record() for row in rows]}
    options.json.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
