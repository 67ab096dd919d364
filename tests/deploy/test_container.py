"""The container image: its recipe says what the security page promises, and holds what a party needs and no more."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from io import BytesIO
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.party.exporter import Exporter, Reply

from . import DEPLOY, METRICS_PORT, PARTY_PORT, ROOT, STOP_S, USER, needed_bytes, options_of, seconds

CONTAINERFILE = DEPLOY / "container" / "Containerfile"
Steps = list[tuple[str, str]]


def stages() -> list[Steps]:
    """(instruction, value) of each stage; what stands before the first FROM is left out."""
    parsed = DockerfileParser(fileobj=BytesIO(CONTAINERFILE.read_bytes())).structure
    found: list[Steps] = []
    for step in parsed:
        if step["instruction"] == "FROM":
            found.append([])
        if step["instruction"] != "COMMENT" and found:
            found[-1].append((step["instruction"], step["value"]))
    return found


def environment(steps: Steps) -> dict[str, str]:
    words = [word for name, value in steps if name == "ENV" for word in shlex.split(value)]
    return dict(word.split("=", 1) for word in words)


def only(steps: Steps, instruction: str) -> str:
    (value,) = (value for name, value in steps if name == instruction)
    return value


BUILD, FINAL = stages()


def health_command() -> list[str]:
    command: list[str] = json.loads(only(FINAL, "HEALTHCHECK").partition(" CMD ")[2])
    return command


def test_nothing_of_the_build_is_left_but_what_was_installed() -> None:
    assert [value for name, value in FINAL if name == "COPY"] == ["--from=build /opt/keras-private /opt/keras-private"]
    assert not [name for name, _ in BUILD + FINAL if name == "ADD"]


def test_versions_are_those_of_the_tests() -> None:
    assert environment(BUILD)["PIP_CONSTRAINT"] == environment(BUILD)["PIP_BUILD_CONSTRAINT"] == "constraints.txt"
    (install,) = (json.loads(value) for name, value in BUILD if name == "RUN" and '"install"' in value)
    assert install[-1] == ".[party]"


def test_what_is_copied_is_what_the_ignore_file_lets_through() -> None:
    copied = {word for name, value in BUILD if name == "COPY" for word in value.split()[:-1]}
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)
    assert any(fnmatch("keras_private/mpc/kernels/__pycache__", rule) for rule in rules[1:])


def test_no_shell_is_needed() -> None:
    lines = [value for name, value in BUILD + FINAL if name in ("RUN", "CMD", "ENTRYPOINT")]
    for line in [*lines, json.dumps(health_command())]:
        command = json.loads(line)  # the exec form
        assert command
        assert command[0] not in ("sh", "bash", "/bin/sh")


def test_a_party_runs_as_nobody_in_particular() -> None:
    assert only(FINAL, "USER") == f"{USER}:{USER}"
    assert only(FINAL, "STOPSIGNAL") == "SIGTERM"
    variables, volumes = environment(FINAL), json.loads(only(FINAL, "VOLUME"))
    assert variables["NUMBA_CACHE_DIR"] in volumes
    assert variables["HOME"] == "/nonexistent"  # or numba might keep what it compiles, and then runs, with the shares
    (made,) = (json.loads(value) for name, value in FINAL if name == "RUN")
    assert made == ["install", "-d", "-m", "0700", "-o", str(USER), "-g", str(USER), *volumes]
    assert only(FINAL, "EXPOSE").split() == [str(PARTY_PORT), str(METRICS_PORT)]
    assert json.loads(only(FINAL, "ENTRYPOINT")) == ["keras-private"]
    assert variables["PATH"].split(":")[0] == "/opt/keras-private/bin"


@pytest.mark.parametrize(("status", "code"), [("200 OK", 0), ("503 Service Unavailable", 1), (None, 1)])
def test_the_health_check_asks_the_party(status: str | None, code: int, free_ports: Any) -> None:
    """Run as it stands, but for the port, against the real page."""
    python, flag, script = health_command()
    assert (python, flag) == ("python", "-c")
    assert {str(METRICS_PORT), "/healthz"} <= {
        str(node.value) for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Constant)
    }
    (port, *_) = free_ports()
    exporter = status and Exporter(("127.0.0.1", port), {b"/healthz": lambda: Reply(status, b"")}, "server0")
    try:
        command = [sys.executable, "-I", flag, script.replace(str(METRICS_PORT), str(port))]
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
        assert done.returncode == code, done.stderr
    finally:
        if exporter:
            exporter.close()


def test_the_example_of_compose_fits() -> None:
    config = ClusterConfig.load(DEPLOY / "container" / "cluster.yaml")
    assert all(config.party(index).listen_address[1] == PARTY_PORT for index in range(3))
    assert config.metrics_address(0) == ("0.0.0.0", METRICS_PORT)
    (service,) = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text())["services"].values()
    for name in PARTY_NAMES:
        command = [re.sub(r"\$\{PARTY:.*\}", name, word) for word in service["command"]]
        assert options_of(command)["name"] == name
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["ulimits"]["core"] == 0
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"] == service["memswap_limit"]  # nothing of it in swap
    assert int(service["mem_limit"].removesuffix("g")) * 2**30 >= needed_bytes(config.limits)
    assert seconds(service["stop_grace_period"]) > config.limits.drain_s + STOP_S
    targets = {volume["target"]: volume for volume in service["volumes"]}
    assert set(targets) == {"/etc/keras-private", *json.loads(only(FINAL, "VOLUME"))}
    assert targets["/etc/keras-private"]["read_only"] is True
    assert config.storage is not None
    assert str(config.storage.path).startswith("/var/lib/keras-private/")
    assert set(service["ports"]) == {f"{PARTY_PORT}:{PARTY_PORT}", f"127.0.0.1:{METRICS_PORT}:{METRICS_PORT}"}
