"""The command line: certificates ready to be copied, a party by hand, a cluster's state."""

from __future__ import annotations

import datetime
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import keras_private
from keras_private.cli import app
from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES, StorageConfig
from keras_private.net.certificates import issue
from keras_private.net.revocation import load_revoked
from keras_private.net.roles import Role
from keras_private.owner import OwnedModel
from keras_private.party.storage.keys import load_key
from keras_private.worker import TFEWorker

ROOT = Path(__file__).parent.parent


def cli(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_storage_key_is_new_and_good(tmp_path: Path) -> None:
    ids = []
    for name in ("a", "b"):
        path = tmp_path / name
        path.write_text(cli("storage-key").stdout)
        path.chmod(0o600)
        ids.append(load_key(StorageConfig(path=tmp_path, key_file=path)).id)
    assert ids[0] != ids[1]


@pytest.fixture
def yaml(make_config: Any, tmp_path: Path) -> Path:
    """A cluster.yaml that names certificates."""
    path = tmp_path / "cluster.yaml"
    parties = "\n".join(
        f"  {name}: {{host: '{party.host}', auto_managed: true}}" for name, party in make_config().parties.items()
    )
    path.write_text(
        f"cluster: test\nparties:\n{parties}\nlimits: {{timeout_s: 5}}\n"
        'tls: {ca: "certs/{name}/ca.crt", cert: "certs/{name}/{name}.crt", key: "certs/{name}/{name}.key"}\n'
    )
    return path


def certs(yaml: Path, *more: str) -> Any:
    return cli("certs", "--config", yaml, "--folder", yaml.parent / "certs", *more)


def test_certificates_ready_to_be_copied(yaml: Path) -> None:
    done = certs(yaml, "--owner", "alice", "--client", "bob", "--client", "carol")
    assert done.exit_code == 0, done.output
    folder = yaml.parent / "certs"
    names = [*PARTY_NAMES, "alice", "bob", "carol"]
    assert sorted(each.name for each in folder.iterdir()) == sorted([*names, "authority"])
    year = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=365)).strftime("%Y-%m-%d")
    for name in names:
        assert sorted(each.name for each in (folder / name).iterdir()) == sorted(
            ["ca.crt", "crl.pem", f"{name}.crt", f"{name}.key"]
        )
        assert not load_revoked(folder / name / "crl.pem", folder / name / "ca.crt").serials
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / name / f"{name}.key").stat().st_mode) == 0o600
    assert done.output.count(f"expires {year}") == len(names)
    assert 'tls: {ca: "certs/{name}/ca.crt"' in done.output
    assert 'crl: "certs/{name}/crl.pem"}' in done.output


def test_what_is_good_is_kept_what_expires_is_renewed(yaml: Path) -> None:
    certs(yaml)
    folder = yaml.parent / "certs"
    issue(folder / "server1", Role("party", "server1"), days=10, authority=folder / "authority")
    before = {each: each.read_bytes() for each in folder.rglob("*.crt")}
    done = certs(yaml)
    assert done.output.count("(kept)") == 4
    changed = [each.name for each, old in before.items() if each.read_bytes() != old]
    assert changed == ["server1.crt"]
    assert "(kept)" not in certs(yaml, "--renew").output


def test_a_name_twice(yaml: Path) -> None:
    assert certs(yaml, "--owner", "server0").exit_code != 0


def test_a_cluster_with_certificates_of_its_own(yaml: Path, tiny: Any, serving: Any) -> None:
    certs(yaml)
    with TFECluster.from_yaml(yaml) as cluster, serving(cluster, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
        client.query_model(tiny.batch(1))
        done = cli("status", "--config", yaml)
        assert done.exit_code == 0, done.output
        lines = done.output.splitlines()
        for name, line, model in zip(PARTY_NAMES, lines[::2], lines[1::2], strict=True):
            assert line.startswith(name)
            for word in ("up", "1 model", "served 1, waiting 0", "lanes 1", "certificate until 20", "364 days"):
                assert word in line
            assert model.startswith("  model version 1 of owner:owner  ")
            assert "served 1, waiting 0" in model
        assert "  serving  " in lines[1]
        assert "  held  " in lines[3]
        assert "peers server1, server2" in lines[0]
    done = cli("status", "--config", yaml)
    assert done.exit_code == 3
    assert done.output.count("DOWN") == 3
    assert "nothing listens there" in done.output


def test_an_owner_and_a_client_with_names_of_their_own(yaml: Path, tiny: Any) -> None:
    certs(yaml, "--owner", "alice", "--client", "bob")
    with TFECluster.from_yaml(yaml, owner="alice") as cluster, TFEWorker(name="bob") as client:
        model = OwnedModel.upload(cluster, tiny.executable.plan, tiny.executable.values)
        client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
        client.query_model_async(tiny.batch(1))
        assert model.serve(1) == 1
        np.testing.assert_allclose(client.query_model_join(), tiny.expected(tiny.batch(1)), atol=1e-3)
        done = cli("status", "--config", yaml, "--owner", "alice")
        assert done.exit_code == 6, done.output
        assert "nobody serves model version 1;" in done.output
        assert done.output.count("of owner:alice") == 3
        assert cli("status", "--config", yaml).exit_code == 1  # there is no certificate for owner:owner
        model.stop()


def test_expiry_is_shown_and_warned_of(
    yaml: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    certs(yaml, "--days", "9")
    monkeypatch.setenv("KERAS_PRIVATE_LOG", "warning")
    with TFECluster.from_yaml(yaml):
        done = cli("status", "--config", yaml)
    assert done.exit_code in (4, 5), done.output  # no model; perhaps no lane yet
    assert done.output.count("(8 days)  RENEW IT: keras-private certs") == 3
    logged = [line for line in capfd.readouterr().err.splitlines() if '"event": "certificate"' in line]
    assert len(logged) == 3
    assert all("expires in 8 days" in line and '"level": "warning"' in line for line in logged)


def test_a_party_by_hand(yaml: Path) -> None:
    command = [sys.executable, "-m", "keras_private.cli"]
    done = subprocess.run(
        [*command, "party", "--config", yaml, "--name", "server1"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "server1: cannot read" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["party", "--name", "server9"], ["party", "--name", "../x"]])
def test_a_party_that_is_none(yaml: Path, arguments: list[str]) -> None:
    done = cli(*arguments, "--config", yaml)
    assert done.exit_code == 2
    assert "server0, server1, server2" in done.output


def test_errors_are_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "keras_private.cli", "status", "--config", str(tmp_path / "none.yaml")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("keras-private: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_version() -> None:
    done = cli("--version")
    assert done.exit_code == 0
    assert done.output == f"keras-private {keras_private.__version__}\n"
