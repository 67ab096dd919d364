"""How long a party takes from its start until it listens, and so holds what it kept: the shipped CNN three times."""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.ports import free_ports
from benchmarks.row import Row

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("server0", "server1", "server2")


class Parties:
    """Three parties with a storage each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "cluster.yaml"
        ports = zip(NAMES, free_ports(3), strict=True)
        hosts = "".join(f"  {name}: {{host: localhost:{port}}}\n" for name, port in ports)
        self.file.write_text(f"parties:\n{hosts}storage: {{path: '{{name}}', key_file: storage.key}}\n")
        key = subprocess.run(
            [sys.executable, "-m", "keras_private.cli", "storage-key"], cwd=ROOT, capture_output=True, check=True
        )
        path = folder / "storage.key"
        path.write_bytes(key.stdout)
        path.chmod(0o600)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> float:
        """Seconds until it listens, and so holds its models."""
        began = time.perf_counter()
        command = [sys.executable, "-m", "keras_private.party", "--config", str(self.file), "--name", name]
        self._running[name] = party = subprocess.Popen(  # noqa: S603  our own command
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if party.stdout is None or not party.stdout.readline():
            raise RuntimeError(f"{name} did not start")
        return time.perf_counter() - began

    def end(self, name: str, how: signal.Signals) -> None:
        self._running[name].send_signal(how)
        self._running[name].wait(60)

    def close(self) -> None:
        for party in self._running.values():
            party.kill()
            party.wait()


def rows(options: argparse.Namespace, folder: Path) -> list[Row]:
    import tensorflow as tf

    import keras_private as kp
    from keras_private.compiler import Choices, compiled
    from keras_private.owner import OwnedModel

    model = tf.keras.models.load_model(ROOT / "models" / "mnist_cnn.keras")
    draft = compiled(model, Choices(input_range=(0.0, 1.0)), 16)
    parties, starts = Parties(folder), []
    try:
        for name in NAMES:
            parties.start(name)
        cluster = kp.TFECluster.from_yaml(parties.file).start()
        for number in range(3):
            OwnedModel.upload(cluster, draft.plan, draft.values, name=f"cnn{number}", deploy=True)
        for _ in range(options.turns):
            for name in NAMES:
                parties.end(name, signal.SIGTERM)
                starts.append(parties.start(name))
    finally:
        parties.close()
    detail = f"median of {len(starts)} starts; longest {max(starts):.2f}"
    return [Row("start of a party that holds 3 models", statistics.median(starts), "s", 3.0, detail)]
