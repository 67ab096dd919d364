"""Three operators, three ways to run a party: the image's, the unit's and the pod's, each confined as it says.

The image is built by its own recipe, step by step, in a root file system of the test's own; the parties are then run
with the command line, the environment, the folders, the user, the files' owners and modes, and (the unit's) the filter
of system calls that `deploy/` gives them. What is not tried so: a container runtime's, a kubelet's and systemd's own
handling of these files, limits of memory, and networks between hosts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_private.cli import certs
from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES
from keras_private.worker import TFEWorker

from . import ROOT, USER
from .jail import PYTHON, Jail, reason_against
from .operators import ETC, ByContainer, ByPod, ByUnit, Operator, folder
from .test_container import BUILD, environment, only

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := reason_against():
        pytest.skip(reason)
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def image(lab: Path) -> Path:
    """What the recipe's first stage leaves in /opt/keras-private."""
    source, opt = folder(lab / "source"), folder(lab / "opt")
    jail = Jail(
        folder(lab / "build"),
        writable={"/source": source, "/opt/keras-private": opt, "/home/build": folder(lab / "home")},
    )
    variables = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}  # this machine's index
    variables |= environment(BUILD) | {"PATH": "/usr/bin:/bin", "HOME": "/home/build", "TMPDIR": "/home/build"}
    for instruction, value in BUILD:
        if instruction == "COPY":
            *names, target = value.split()
            for name in names:
                if (ROOT / name).is_dir():
                    ignore = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(ROOT / name, source / target, ignore=ignore)
                else:
                    shutil.copy(ROOT / name, source / target)
        elif instruction == "RUN":
            command = json.loads(value)
            jail.run(
                [PYTHON if command[0] == "python" else command[0], *command[1:]], variables, only(BUILD, "WORKDIR")
            )
        else:
            assert instruction in ("FROM", "WORKDIR", "ENV")
    return opt


def test_the_image_has_what_a_party_needs_and_no_more(image: Path) -> None:
    (packages,) = image.glob("lib/python3.*/site-packages")
    installed = {path.name.split("-")[0].lower() for path in packages.glob("*.dist-info")}
    assert {"keras_private", "numba", "numpy", "structlog", "cryptography"} <= installed
    assert not installed & {"tensorflow", "keras", "tf_keras", "tf_encrypted", "pip", "pytest", "hypothesis"}
    constraints = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    versions = {name.lower().replace("-", "_"): version for name, version in constraints.items()}
    for path in packages.glob("*.dist-info"):
        name, version = path.name.removesuffix(".dist-info").rsplit("-", 1)
        assert versions.get(name.lower(), "none") == version or name in ("keras_private", "setuptools"), path.name


@pytest.fixture
def operators(lab: Path, image: Path, free_ports: Any) -> Iterator[list[Operator]]:
    parties = {
        name: {"host": f"localhost:{port}", "metrics": f"127.0.0.1:{shown}"}
        for name, port, shown in zip(PARTY_NAMES, free_ports(), free_ports(), strict=True)
    }
    files = {"ca": "certs/{name}/ca.crt", "cert": "certs/{name}/{name}.crt", "key": "certs/{name}/{name}.key"}
    (lab / "cluster.yaml").write_text(json.dumps({"cluster": "hospital", "parties": parties, "tls": files}))
    certs(config=lab / "cluster.yaml", folder=lab / "certs", owner=None, client=None, days=90, renew=False)
    kinds = zip(PARTY_NAMES, (ByContainer, ByUnit, ByPod), strict=True)
    found = [kind(name, lab / name, image, lab / "certs", parties) for name, kind in kinds]
    try:
        yield found
    finally:
        for operator in found:
            operator.close()


def test_three_operators_serve_a_model(operators: list[Operator], lab: Path, tiny: Any, until: Any) -> None:
    container, unit, pod = operators
    assert isinstance(unit, ByUnit)
    pod.jail.run(pod.kernels, pod.variables)
    for other in (container, unit):  # the same processor and paths: one compilation is enough for a test
        shutil.copytree(pod.cache, other.cache, dirs_exist_ok=True)
        for path in other.cache.rglob("*"):
            os.chown(path, USER, USER)
        compiled = len(list(other.cache.rglob("*.nbc")))
        other.jail.run(other.kernels, other.variables)
        assert len(list(other.cache.rglob("*.nbc"))) == compiled > 0  # found where the command looks for them
    for operator in operators:
        operator.start()
    for operator in operators:
        until(operator.ready, f"{operator.name} is ready", 60)
    assert unit.manager.recv(100) == b"READY=1"

    for operator in operators:
        confined(operator)
        code, said = operator.ask("doctor", "--config", f"{ETC}/cluster.yaml", "--name", operator.name)
        assert (code, said.count("[ warn ]")) == (1, 1), said  # that all three are on one machine
    with TFECluster.from_yaml(lab / "cluster.yaml") as cluster:
        tiny.upload(cluster).deploy()  # and its owner goes home
    with TFECluster.from_yaml(lab / "cluster.yaml") as cluster, TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
        np.testing.assert_allclose(client.query_model(tiny.batch(2)), tiny.expected(tiny.batch(2)), atol=1e-3)
        for operator in operators:  # one after the other, as a rolling restart goes
            (kept,) = (
                path for path in (operator.state / "shares").iterdir() if re.fullmatch("[0-9a-f]{32}", path.name)
            )
            assert (kept.stat().st_uid, kept.stat().st_mode & 0o777) == (USER, 0o600)
            code, said = operator.stop()
            assert code == 0, said
            operator.start()
            until(operator.ready, f"{operator.name} is ready again", 60)
            np.testing.assert_allclose(client.query_model(tiny.batch(3)), tiny.expected(tiny.batch(3)), atol=1e-3)
    assert [unit.manager.recv(100) for _ in range(2)] == [b"STOPPING=1", b"READY=1"]

    ends = {operator.name: operator.stop() for operator in operators}
    assert {code for code, _ in ends.values()} == {0}, ends
    for operator in operators:
        assert {path.name for path in operator.state.iterdir()} == {"shares"}  # and nothing beside


def confined(operator: Operator) -> None:
    """The kernel says of the party's process what the page says of it."""
    status, limits = operator.proc("status", ":"), operator.proc("limits", "  ")
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(USER)}
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == ("2" if operator.confined else "0")
    assert set(limits["Max core file size"].split()[:2]) <= {"0", "1"}  # bytes
