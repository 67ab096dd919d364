"""Three parties as their operators run them: each a command of its own, that ends and is started again by itself, and
keeps what it holds, encrypted.

What kills, drains or watches a party needs these; where parties only serve, `served.py` is enough.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.ports import free_ports
from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.errors import KerasPrivateError
from keras_private.net.roles import Role
from keras_private.owner import ask_status
from keras_private.party.messages import Status
from keras_private.party.network import TLSNetwork, credentials
from keras_private.party.storage.keys import new_key

ROOT = Path(__file__).resolve().parents[2]
UP_S = 60.0


class Operators:
    """Three party processes. Use as a context manager; `path` is their cluster.yaml, which clients can read too.

    Args:
        folder: for cluster.yaml and logs.
        sections: more of cluster.yaml, as text.
    """

    def __init__(self, folder: Path, sections: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "cluster.yaml"
        line = "  server{}: {{host: localhost:{}}}\n"
        hosts = "".join(line.format(index, port) for index, port in enumerate(free_ports(3)))
        kept = "storage: {path: '{name}/shares', key_file: '{name}/storage.key'}\n"
        self.path.write_text(f"parties:\n{hosts}{kept}{sections}")
        for name in PARTY_NAMES:
            key = folder / name / "storage.key"
            key.parent.mkdir(exist_ok=True)
            key.touch(mode=0o600)
            key.write_text(new_key())
        self._folder = folder
        self._config = ClusterConfig.load(self.path)
        self._network = TLSNetwork(self._config, credentials(self._config, Role("owner", "owner")))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Operators:
        for name in PARTY_NAMES:
            self.start(name)
        for name in PARTY_NAMES:
            self.wait_up(name)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(UP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name: str) -> None:
        command = [sys.executable, "-m", "keras_private.party", "--config", str(self.path), "--name", name]
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log
            )

    def kill(self, name: str) -> None:
        """As a machine that loses power."""
        self._processes[name].kill()
        self._processes[name].wait()

    def terminate(self, name: str) -> float:
        """SIGTERM, as a service manager sends it; returns the seconds until it had ended."""
        began = time.monotonic()
        self._processes[name].terminate()
        self._processes[name].wait(UP_S)
        return time.monotonic() - began

    def status(self, name: str) -> Status | None:
        """What a party says of itself; None if it says nothing."""
        try:
            return ask_status(self._config, self._network, PARTY_NAMES.index(name))
        except KerasPrivateError:
            return None

    def wait_up(self, name: str) -> float:
        """Wait until a party answers; returns when that was."""
        deadline = time.monotonic() + UP_S
        while self.status(name) is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not come up within {UP_S:g} s; see {self._log(name)}")
            time.sleep(0.02)
        return time.monotonic()

    def wait_joined(self, name: str) -> None:
        """Wait until a party is up and has a lane with the other two."""
        deadline = time.monotonic() + UP_S
        while (found := self.status(name)) is None or not found.lanes:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} was not joined by the others within {UP_S:g} s; see {self._log(name)}")
            time.sleep(0.02)

    @property
    def parties(self) -> dict[str, psutil.Process]:
        return {name: psutil.Process(process.pid) for name, process in self._processes.items()}

    def tracebacks(self) -> int:
        """How many the parties wrote into their logs."""
        return sum(self._log(name).read_bytes().count(b"Traceback") for name in PARTY_NAMES)

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


@contextlib.contextmanager
def serving(operators: Operators) -> Iterator[Any]:
    """The shipped model, deployed by an owner who is gone by then; until the end of the block."""
    import tensorflow as tf

    import keras_private as kp

    kp.KerasHook(tf.keras)
    model = tf.keras.models.load_model(ROOT / "models" / "mnist_cnn.keras")
    with kp.TFECluster.from_yaml(operators.path) as cluster:
        model.deploy(cluster, input_range=(0.0, 1.0), verbose=0)
        yield model
