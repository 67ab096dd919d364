"""The systemd unit: systemd itself finds no fault with it, and it fits the package."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from keras_private.config import PARTY_NAMES, ClusterConfig

from . import DEPLOY, METRICS_PORT, STOP_S, options_of, seconds

UNIT = DEPLOY / "systemd" / "keras-private-party@.service"
INSTANCE = "keras-private-party@server0.service"
MOST_EXPOSED = 1.5  # of 10, by `systemd-analyze security`

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def settings(section: str, instance: str = "server0") -> dict[str, list[str]]:
    """A section's settings, with what systemd puts for its specifiers."""
    found: dict[str, list[str]] = defaultdict(list)
    current = ""
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            current = line.strip("[]")
        elif line and not line.startswith("#") and current == section:
            name, _, value = line.partition("=")
            value = value.replace("%i", instance).replace("%S", "/var/lib").replace("%C", "/var/cache")
            assert "%" not in value, line
            found[name].append(value)
    return found


def only(name: str) -> str:
    (value,) = settings("Service")[name]
    return value


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file system with this machine's units, ours, and something to execute where it says."""
    root = tmp_path_factory.mktemp("root")
    theirs = next(path for path in map(Path, ("/usr/lib/systemd/system", "/lib/systemd/system")) if path.is_dir())
    shutil.copytree(theirs, root / "usr/lib/systemd/system", symlinks=True)
    ours = root / "etc/systemd/system"
    ours.mkdir(parents=True)
    shutil.copy(UNIT, ours)
    for name in ("ExecStartPre", "ExecStart", "ExecReload"):
        command = root / only(name).split()[0].removeprefix("/")
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text("#!/bin/sh\n")
        command.chmod(0o755)
    return root


def analyze(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--man=no", f"--root={root}", *arguments, INSTANCE]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@needs_systemd
def test_systemd_finds_no_fault(root: Path) -> None:
    done = analyze(root, "verify")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_systemd_would_find_one(root: Path, tmp_path: Path) -> None:
    worse = tmp_path / "root"
    shutil.copytree(root, worse, symlinks=True)
    unit = worse / "etc/systemd/system" / UNIT.name
    unit.write_text(unit.read_text().replace("NoNewPrivileges=", "NoNewPriviledges="))
    assert "Unknown key" in analyze(worse, "verify").stderr


@needs_systemd
def test_systemd_thinks_it_well_confined(root: Path) -> None:
    done = analyze(root, "security", "--offline=true", f"--threshold={10 * MOST_EXPOSED:.0f}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level" in done.stdout


def test_it_runs_the_command_as_it_is() -> None:
    for name in PARTY_NAMES:
        (line,) = settings("Service", name)["ExecStart"]
        program, *arguments = shlex.split(line)
        assert program.endswith("/bin/keras-private")
        assert options_of(arguments)["name"] == name
    assert shlex.split(only("ExecStartPre"))[1:] == ["-m", "keras_private.mpc.kernels"]
    assert only("Type") == "notify"  # party/notify.py
    assert only("KillSignal") == "SIGTERM"
    assert only("ExecReload").endswith("kill -HUP $MAINPID")


@pytest.mark.parametrize("name", PARTY_NAMES)
def test_its_folders_and_times_are_those_of_the_example(name: str) -> None:
    config = ClusterConfig.load(DEPLOY / "systemd" / "cluster.yaml")
    assert config.storage is not None
    storage, service = config.storage.for_name(name), settings("Service", name)
    (state,), (cache,) = service["StateDirectory"], service["CacheDirectory"]
    assert str(storage.path).startswith(f"/var/lib/{state}/")
    variables = dict(word.split("=", 1) for line in service["Environment"] for word in shlex.split(line))
    assert variables["NUMBA_CACHE_DIR"] == f"/var/cache/{cache}"
    (credential,) = service["LoadCredential"]
    identifier, source = credential.split(":")
    assert str(storage.key_file) == f"/run/credentials/{INSTANCE.replace('server0', name)}/{identifier}"
    assert source.startswith("/etc/keras-private/")
    assert seconds(only("TimeoutStopSec")) > config.limits.drain_s + STOP_S
    assert config.metrics_address(PARTY_NAMES.index(name)) == ("127.0.0.1", METRICS_PORT)


def test_what_is_promised_of_it() -> None:
    service = settings("Service")
    for name in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "RestrictNamespaces"):
        assert service[name] == ["yes"], name
    assert only("ProtectSystem") == "strict"
    assert only("CapabilityBoundingSet") == ""
    assert only("LimitCORE") == only("MemorySwapMax") == "0"
    assert "MemoryDenyWriteExecute" not in service  # numba
    assert "PrivateUsers" not in service  # whose file a key is would not be seen
    assert settings("Unit")["StartLimitIntervalSec"] == ["0"]  # it comes back without a person
    assert only("Restart") == "on-failure"
    (line,) = (line for line in (UNIT.parent / "keras-private.sysusers").read_text().splitlines() if line[0] != "#")
    assert line.split()[:2] == ["u", only("User")]
