"""Parties as operators run them, with storage: killed or restarted in turn under load, and nobody loses a query."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.owner import OwnedModel
from keras_private.party.storage.keys import new_key
from keras_private.worker import TFEWorker

ROOT = Path(__file__).parent.parent


class Operators:
    """Three parties as processes of three operators, who keep what they hold."""

    def __init__(self, config: ClusterConfig, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "cluster.yaml"
        hosts = "\n".join(f"  {name}: {{host: '{party.host}'}}" for name, party in config.parties.items())
        self.file.write_text(
            f"cluster: test\nparties:\n{hosts}\nlimits: {{timeout_s: 10}}\n"
            "storage: {path: '{name}/shares', key_file: '{name}/storage.key'}\n"
        )
        for name in PARTY_NAMES:
            (folder / name).mkdir()
            key = folder / name / "storage.key"
            key.write_text(new_key())
            key.chmod(0o600)
        self.cluster = TFECluster.from_yaml(self.file)
        self.parties: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, name: str) -> None:
        """Start a party, and wait until it listens."""
        command = [sys.executable, "-m", "keras_private.party", "--config", str(self.file), "--name", name]
        self.parties[name] = party = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert party.stdout
        assert party.stdout.readline(), f"{name} did not start"

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        party = self.parties[name]
        party.send_signal(how)
        code = party.wait(60)
        assert party.stdout
        party.stdout.close()
        return code


@pytest.fixture
def operators(make_config: Any, tmp_path: Path) -> Iterator[Operators]:
    found = Operators(make_config(managed=False), tmp_path)
    for name in PARTY_NAMES:
        found.run(name)
    found.cluster.start()
    try:
        yield found
        found.cluster.stop()
        assert {found.end(name) for name in PARTY_NAMES} == {0}
    finally:
        for party in found.parties.values():
            party.kill()


class Load:
    """Clients that ask without end, and what became of it."""

    def __init__(self, cluster: TFECluster, model: Any, clients: int = 3) -> None:
        self.answered = 0
        self.failures: list[Exception] = []
        self._cluster, self._model = cluster, model
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(seed,), daemon=True) for seed in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, seed: int) -> None:
        try:
            with TFEWorker() as client:
                client.connect_to_model(self._model.input_shape, self._model.output_shape, self._cluster)
                while not self._over.is_set():
                    data = self._model.batch(1 + seed, seed)
                    answer = client.query_model(data, timeout=60)
                    np.testing.assert_allclose(answer, self._model.expected(data), atol=1e-2)
                    with self._changed:
                        self.answered += 1
                        self._changed.notify_all()
        except Exception as error:  # noqa: BLE001  looked at by the test
            self.failures.append(error)
            with self._changed:
                self._changed.notify_all()

    def wait_answers(self, count: int = 10) -> float:
        """So many more answers; seconds until the first of them."""
        began = time.monotonic()
        with self._changed:
            before = self.answered
            assert self._changed.wait_for(lambda: self.failures or self.answered > before, 60)
            first = time.monotonic() - began
            assert self._changed.wait_for(lambda: self.failures or self.answered >= before + count, 60)
        assert not self.failures
        return first

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(90)
            assert not thread.is_alive()
        assert not self.failures


def deploy(cluster: TFECluster, tiny: Any) -> None:
    OwnedModel.upload(cluster, tiny.executable.plan, tiny.executable.values, deploy=True)


@pytest.mark.slow
def test_rolling_restart(operators: Operators, tiny: Any) -> None:
    deploy(operators.cluster, tiny)
    load = Load(operators.cluster, tiny)
    load.wait_answers()
    for name in PARTY_NAMES:
        assert max(resource.prlimit(operators.parties[name].pid, resource.RLIMIT_CORE)) <= 1  # bytes of a core dump
        assert operators.end(name) == 0
        operators.run(name)
        load.wait_answers()
    load.end()


@pytest.mark.slow
def test_parties_that_are_killed(operators: Operators, tiny: Any) -> None:
    deploy(operators.cluster, tiny)
    load = Load(operators.cluster, tiny)
    load.wait_answers()
    for name in PARTY_NAMES:
        assert operators.end(name, signal.SIGKILL) == -signal.SIGKILL
        operators.run(name)
        load.wait_answers()
    load.end()
