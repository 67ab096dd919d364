"""The wheel, in environments of its own: a client needs no compiler, no TensorFlow; what lacks says what to install."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES
from keras_private.worker import TFEWorker
from tests.processes import ROOT, write_config

pytestmark = pytest.mark.slow

QUERY = """
import sys
import numpy as np
import keras_private as kp

with kp.TFEWorker() as client:
    client.connect_to_model((1, 6), (1, 3), kp.TFECluster.from_yaml(sys.argv[1]))
    np.save(sys.argv[3], client.query_model(np.load(sys.argv[2])))
"""


class Installation:
    """A virtual environment that the wheel was installed into, and nothing else by hand."""

    def __init__(self, folder: Path, wheel: Path, extras: str = "") -> None:
        self.folder = folder
        self.run_with(sys.executable, "-m", "venv", folder / "venv").check_returncode()
        done = self.run("pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{wheel}{extras}")
        assert done.returncode == 0, done.stderr

    @property
    def environment(self) -> dict[str, str]:
        """This process's, but without a way back to the source tree."""
        return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def path(self, command: str) -> Path:
        return self.folder / "venv" / "bin" / command

    def run(self, command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run_with(self.path(command), *arguments)

    def run_with(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=500, check=False
        )

    def start(self, command: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([self.path(command), *arguments], cwd=self.folder, env=self.environment)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the files that make it, with the setuptools that is here."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "keras_private", folder / "keras_private", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("keras_private-*.whl")
    return built


@pytest.fixture(scope="module")
def client_only(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("client"), wheel)


def ask(installation: Installation, config: Path, tiny: Any) -> None:
    """Query the served tiny model from an installation, and compare."""
    data, answer = installation.folder / "data.npy", installation.folder / "answer.npy"
    np.save(data, tiny.batch(3))
    done = installation.run("python", "-c", QUERY, config, data, answer)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(answer), tiny.expected(tiny.batch(3)), atol=1e-3)


def test_a_client_is_small_and_gets_its_answer(
    client_only: Installation, free_ports: Any, tiny: Any, serving: Any
) -> None:
    version = client_only.run("keras-private", "--version")
    assert version.stdout.strip() == "keras-private 0.1.0", version.stderr
    listed = json.loads(client_only.run("pip", "list", "--format=json").stdout)
    installed = {each["name"].lower().replace("_", "-") for each in listed}
    assert "keras-private" in installed
    assert not installed & {"numba", "llvmlite", "structlog", "tensorflow", "keras", "tf-encrypted"}

    config = write_config(client_only.folder, free_ports())
    with TFECluster.from_yaml(config) as cluster, serving(cluster, tiny):
        ask(client_only, config, tiny)
        status = client_only.run("keras-private", "status", "--config", config)
        assert status.returncode == 0, status.stdout + status.stderr
        assert status.stdout.count("1 model  served 1") == len(PARTY_NAMES)
    certs = client_only.run("keras-private", "certs", "--config", config)
    assert certs.returncode == 0, certs.stderr
    assert (client_only.folder / "certs" / "client" / "client.key").exists()


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["keras-private", "party", "--config", "cluster.yaml", "--name", "server0"], "party"),
        (["python", "-c", "from keras_private import *; TFECluster(*(TFEWorker() for _ in '012')).start()"], "party"),
        (["python", "-c", "import keras_private as kp; kp.TFECluster.from_yaml('cluster.yaml').start()"], "party"),
        (["python", "-c", "import json, keras_private as kp; kp.KerasHook(json)"], "owner"),
    ],
)  # fmt: skip
def test_what_lacks_is_named(client_only: Installation, free_ports: Any, command: Sequence[str], extra: str) -> None:
    write_config(client_only.folder, free_ports())
    done = client_only.run(*command)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f"which this installation lacks: pip install 'keras-private[{extra}]'")
    assert "ModuleNotFoundError" not in done.stderr


@pytest.mark.timeout(600)  # the kernels are compiled anew
def test_three_operators_install_the_extra_party(
    wheel: Path, tmp_path: Path, make_config: Any, tiny: Any, serving: Any
) -> None:
    operator = Installation(tmp_path, wheel, "[party]")
    operator.run("python", "-m", "keras_private.mpc.kernels").check_returncode()  # once, not at each of the three
    config = make_config(managed=False)
    path = tmp_path / "cluster.yaml"
    path.write_text(config.model_dump_json())  # JSON is YAML
    parties = [operator.start("keras-private", "party", "--config", path, "--name", name) for name in PARTY_NAMES]
    try:
        with TFECluster.from_config(config) as cluster, serving(cluster, tiny), TFEWorker() as client:
            client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
            np.testing.assert_allclose(client.query_model(tiny.batch(2)), tiny.expected(tiny.batch(2)), atol=1e-3)
    finally:
        for party in parties:
            party.send_signal(signal.SIGTERM)
        codes = [party.wait(20) for party in parties]
    assert codes == [0, 0, 0]
