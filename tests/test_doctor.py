"""`keras-private doctor`: each thing that can be wrong is found, with what to do; what is right is said to be."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from keras_private.cli import app
from keras_private.config import PARTY_NAMES, ClusterConfig, TLSConfig
from keras_private.doctor import Finding, Level, examine, exit_code
from keras_private.net.certificates import create_authority, issue, revoke
from keras_private.net.roles import Role
from keras_private.party.storage.keys import new_key
from tests.conftest import Trio


def certify(
    folder: Path, role: Role, days: float = 100, authority: str = "authority", hosts: Any = ("localhost",)
) -> None:
    (folder / role.name).mkdir(exist_ok=True)
    issue(folder / role.name, role, hosts, days, folder / authority)  # type: ignore[arg-type]


@pytest.fixture
def folder(make_config: Any, tmp_path: Path) -> Path:
    """A cluster.yaml with certificates, and nothing running."""
    return prepared(tmp_path, make_config(managed=False, timeout_s=5))


def prepared(folder: Path, config: ClusterConfig) -> Path:
    create_authority(folder / "authority")
    for role in [Role("party", name) for name in PARTY_NAMES] + [Role("owner", "owner"), Role("client", "bob")]:
        certify(folder, role)
    tls = TLSConfig(ca="{name}/ca.crt", cert="{name}/{name}.crt", key="{name}/{name}.key")  # type: ignore[arg-type]
    write(folder, config.with_tls(tls))
    return folder


def write(folder: Path, config: ClusterConfig, **changes: Any) -> None:
    data = json.loads(config.to_json()) | changes
    (folder / "cluster.yaml").write_text(json.dumps(data))


def change(folder: Path, **changes: Any) -> None:
    data = json.loads((folder / "cluster.yaml").read_text()) | changes
    (folder / "cluster.yaml").write_text(json.dumps(data))


def bad(folder: Path, name: str = "owner", about: str = "") -> list[Finding]:
    """What is not good, but for what is so in every test: all three parties on one machine."""
    found = examine(folder / "cluster.yaml", name)
    assert all(each.do or each.level is Level.GOOD for each in found), "whoever reads it wants to know what to do"
    return [
        each
        for each in found
        if each.level is not Level.GOOD and each.about.startswith(about) and "on this machine" not in each.says
    ]


def says(folder: Path, *args: str) -> str:
    return "\n".join(f"{each.level} {each.about}: {each.says} → {each.do}" for each in bad(folder, *args))


def test_mistakes_in_the_file_come_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("cluster: a b\nparties: {}\nlimit: 1\n")
    found = examine(tmp_path / "cluster.yaml", "owner")
    assert len(found) == 3
    assert {(each.level, each.about) for each in found} == {(Level.WRONG, "configuration")}
    assert exit_code(found) == 2


def test_parties_that_are_not_there(folder: Path) -> None:
    assert {each.about for each in bad(folder)} == set(PARTY_NAMES)
    assert "nothing listens there" in says(folder)
    assert [each.about for each in bad(folder, "server2", "server")] == ["server0", "server1"]  # whom it calls
    change(folder, parties=parties(folder, server1="no-such-host.invalid:4000"))
    assert "no-such-host.invalid:4000: the host name is not known" in says(folder, "owner", "server1")


def test_several_triples(folder: Path, make_config: Any) -> None:
    """An owner looks at all, a party at its own alone."""
    other = json.loads(make_config(managed=False).to_json())["parties"]
    change(folder, parties=[parties(folder), other])
    assert {each.about for each in bad(folder)} == {f"{number}.{name}" for number in (0, 1) for name in PARTY_NAMES}
    for number, hosts in ((0, parties(folder)[0]), (1, other)):
        found = examine(folder / "cluster.yaml", "server2", number)
        assert [each.about for each in found if each.about.startswith("server")] == ["server0", "server1"]
        assert hosts["server0"]["host"] in str([each for each in found if each.about == "server0"])
        assert hosts["server2"]["host"].replace("localhost", "127.0.0.1") in str(
            [each for each in found if each.about == "port"]
        ).replace("localhost", "127.0.0.1")
    (wrong,) = (each for each in examine(folder / "cluster.yaml", "server2", 2) if each.level is Level.WRONG)
    assert "no replica 2; use 0 to 1" in wrong.says


def parties(folder: Path, **hosts: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "cluster.yaml").read_text())["parties"]
    for name, host in hosts.items():
        found[name] |= {"host": host}
    return found


def test_certificates(folder: Path) -> None:
    own = folder / "server0"
    assert not bad(folder, "server0", "certificate")

    certify(folder, Role("party", "server0"), days=20)
    assert "expires on" in says(folder, "server0", "certificate")
    assert exit_code(bad(folder, "server0", "certificate")) == 1
    certify(folder, Role("party", "server0"), days=-0.01)
    assert "has expired" in says(folder, "server0", "certificate")
    certify(folder, Role("party", "server0"), hosts=("elsewhere.example.org",))
    assert "does not name the host localhost" in says(folder, "server0", "certificate")

    (own / "server0.key").chmod(0o644)
    assert [(each.level, each.about) for each in bad(folder, "server0") if "can be read" in each.says] == [
        (Level.WRONG, "key")  # once
    ]
    (own / "server0.key").chmod(0o600)

    create_authority(folder / "foreign")
    trusted = (own / "ca.crt").read_bytes()
    certify(folder, Role("party", "server0"), authority="foreign")
    (own / "ca.crt").write_bytes(trusted)
    assert "server0.crt was not issued by" in says(folder, "server0", "certificate")

    certify(folder, Role("party", "server0"))
    (own / "server0.key").write_bytes((folder / "server1" / "server1.key").read_bytes())
    assert "do not load" in says(folder, "server0", "certificate")
    for suffix in ("crt", "key"):
        (own / f"server0.{suffix}").write_bytes((folder / "server1" / f"server1.{suffix}").read_bytes())
    assert "is the certificate of party:server1, not of server0" in says(folder, "server0", "certificate")
    assert "is the certificate of client:bob" not in says(folder, "bob")  # who it is, its certificate says

    certify(folder, Role("party", "server0"))
    (own / "server0.key").chmod(0o644)
    (own / "ca.crt").chmod(0o666)
    text = says(folder, "server0")
    assert f"chmod 600 {own / 'server0.key'}" in text
    assert f"{own / 'ca.crt'} can be changed by others" in text
    (own / "server0.key").unlink()
    (own / "server0.crt").write_bytes(b"half")
    assert f"there is no file {own / 'server0.key'}" in says(folder, "server0")


def test_what_was_taken_back(folder: Path) -> None:
    tls = {"ca": "{name}/ca.crt", "cert": "{name}/{name}.crt", "key": "{name}/{name}.key", "crl": "crl.pem"}
    change(folder, tls=tls)
    assert "crl.pem" in says(folder, "server0", "certificate")  # there is none
    revoke(folder / "authority", "bob", [folder / "bob" / "bob.crt"])
    (folder / "crl.pem").write_bytes((folder / "authority" / "crl.pem").read_bytes())
    assert not bad(folder, "server0", "revocation")
    assert "bob.crt was taken back by its authority: nobody accepts it" in says(folder, "bob", "revocation")


def test_an_authority_may_be_one_of_several(folder: Path) -> None:
    create_authority(folder / "next")
    both = (folder / "next" / "ca.crt").read_bytes() + (folder / "server0" / "ca.crt").read_bytes()
    (folder / "server0" / "ca.crt").write_bytes(both)
    assert not bad(folder, "server0", "certificate")


def test_the_host_of_a_party(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(which: int) -> tuple[int, int]:
        return {resource.RLIMIT_NOFILE: (256, 256), resource.RLIMIT_CORE: (resource.RLIM_INFINITY, 0)}[which]

    monkeypatch.setattr("keras_private.doctor.host.resource.getrlimit", limited)
    monkeypatch.setattr("keras_private.doctor.host._there", lambda: 1 << 30)
    monkeypatch.setattr("keras_private.doctor.host.require", refuse)
    change(folder, storage={"path": "kept/{name}", "key_file": "{name}.storage"})
    text = says(folder, "server0")
    assert "256 open files are allowed; 1024 may be needed" in text
    assert "core dumps are on" in text
    assert "memory_mb and models_mb allow 10240 MB, this process may have 1024 MB" in text
    assert "installation: server0 needs numba" in text
    assert "server0.storage cannot be read" in text

    key = folder / "server0.storage"
    key.write_text(new_key())
    key.chmod(0o600)
    (folder / "kept" / "server0").mkdir(parents=True, mode=0o755)
    assert "can be looked into by others" in says(folder, "server0", "storage")
    (folder / "kept" / "server0").chmod(0o700)
    assert not bad(folder, "server0", "storage")
    assert key.read_text() not in str(examine(folder / "cluster.yaml", "server0"))


def test_rules_of_access(folder: Path) -> None:
    rules = folder / "access.yaml"
    change(folder, access="access.yaml")
    assert "access.yaml" in says(folder, "server0", "access")
    rules.write_text("clients: {bob: {models: '*'}}\nowners: {}\n")
    assert not bad(folder, "server0", "access")
    rules.chmod(0o666)
    assert "can be changed by others: so who may query can" in says(folder, "server0", "access")
    rules.write_text("clients: {bob: {model: '*'}}\nowners: {}\n")
    assert "did you mean 'models'?" in says(folder, "server0", "access")


def refuse(extra: str, what: str) -> None:
    from keras_private.errors import ConfigError

    raise ConfigError(f"{what} needs numba, which this installation lacks: pip install 'keras-private[{extra}]'")


@pytest.fixture(scope="module")
def running(make_config: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three parties that run, and their folder."""
    folder = prepared(tmp_path_factory.mktemp("running"), make_config(managed=False))
    trio = Trio(ClusterConfig.load(folder / "cluster.yaml"))
    for server in trio.servers:
        assert server.node.warm.wait(120)
    yield folder
    trio.stop()


@pytest.fixture
def file(running: Path) -> Iterator[Path]:
    """The folder, whose cluster.yaml may be changed."""
    path = running / "cluster.yaml"
    before = path.read_bytes()
    yield running
    path.write_bytes(before)


def test_all_is_well(file: Path, until: Any) -> None:
    until(lambda: not bad(file), "the lane is up, too")
    assert not bad(file, "bob")
    assert not bad(file, "server2", "server")  # it may run already: its place at the leader is not taken
    found = examine(file / "cluster.yaml", "owner")
    assert ("limits", f"the same at {', '.join(PARTY_NAMES)} and in this file") in [(f.about, f.says) for f in found]
    ports = [each for each in examine(file / "cluster.yaml", "server0") if each.about == "port"]
    assert "is in use, by this party" in ports[0].says


def test_ports_that_others_have_taken(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_private.doctor.host._ANSWER_S", 0.2)
    given = parties(file)
    given["server0"] |= {"host": given["server1"]["host"]}
    given["server1"] |= {"host": "localhost:1"}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        given["server0"] |= {"metrics": f"localhost:{silent.getsockname()[1]}"}
        change(file, parties=given)
        text = says(file, "server0")
    assert "is in use, and not by this party: it is party:server1" in text
    assert "is in use, and not by this party: no answer to /healthz (TimeoutError)" in text


def test_what_differs_between_the_parties(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(file, limits={"queue": 7, "timeout_s": 10})
    assert says(file, "owner", "server1").startswith("warning server1: limits.queue is 512 there, 7 in this file")
    change(file, cluster="other")
    assert {each.about for each in bad(file)} == set(PARTY_NAMES)
    assert "belongs to cluster 'test', not 'other'" in says(file)
    change(file, cluster="test", limits={"timeout_s": 10})
    monkeypatch.setattr(
        "keras_private.party.monitor.time", SimpleNamespace(time=lambda: time.time() - 90, monotonic=time.monotonic)
    )
    monkeypatch.setattr("keras_private.doctor.parties.keras_private", SimpleNamespace(__version__="9.9"))
    text = says(file, "owner", "server2")
    assert "its clock is -90 s off this host's" in text
    assert "runs release " in text
    assert "here is 9.9" in text


def test_nothing_hangs_on_a_port_that_says_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_private.doctor.parties.REACH_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        change(file, parties=parties(file, server1=f"localhost:{silent.getsockname()[1]}"))
        assert "it took too long" in says(file, "owner", "server1")


def test_the_command(file: Path) -> None:
    def run(*more: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["doctor", "--config", str(file / "cluster.yaml"), *more])
        return done.exit_code, done.output

    code, text = run()
    assert code == 1  # three parties on one machine
    assert "[ warn ] configuration: all three parties are on this machine" in text
    assert "→ for real use" in text
    code, text = run("--name", "bob", "--json")
    found = json.loads(text)
    assert code == found["exit_code"] == 1
    assert set(found["findings"][0]) == {"level", "about", "says", "do"}
    secret = (file / "bob" / "bob.key").read_text().splitlines()[1]
    assert secret not in text
    code, text = run("--name", "dave")
    assert code == 2
    assert "[WRONG ] certificate: there is no file" in text
