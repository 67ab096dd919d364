"""`keras-private status`: exit codes that an alarm can be built on, of real processes and for each kind of answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from keras_private.cli import app
from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES, ClusterConfig, TLSConfig
from keras_private.errors import ConfigError, LinkError, RefusedError, TrustError
from keras_private.net.certificates import create_authority, issue
from keras_private.net.roles import Role
from keras_private.party.messages import Figures, ModelStatus, Status
from keras_private.status import Verdict, judge, line

FIGURES = Figures("0.1.0", time.time(), 60.0, ("queue=512",), (), 1, 2, 0.5, 0, 3, 3, 6000)
DIGITS = ModelStatus("digits", 2, "owner:owner", "ab" * 32, "serving", 3, 0, 1, 1 << 20)
FACES = replace(DIGITS, name="faces", version=1, state="deployed")
OLD = replace(DIGITS, version=1, state="retired")
GOOD = Status("server0", (OLD, DIGITS, FACES), 3, 0, ("server1", "server2"), 1, None, FIGURES)
HELD = tuple(replace(each, state="held") for each in (DIGITS, FACES))
ALL = {
    "server0": GOOD,
    "server1": replace(GOOD, party="server1", models=HELD, peers=("server0",)),
    "server2": replace(GOOD, party="server2", models=HELD, peers=("server0",)),
}


def with_digits(**changes: Any) -> Status:
    return replace(GOOD, models=(OLD, replace(DIGITS, **changes), FACES))


GONE = LinkError("owner → server2 at localhost:1: nothing listens there; is that party started?")
FOREIGN = TrustError("owner → server0 at localhost:1, greeting: it refused our certificate: not from its authority")
OTHER = RefusedError("server0 belongs to cluster 'a', not 'b'; use its cluster.yaml")


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, Verdict.SERVING, "all parties are up"),
        ({"server2": GONE}, Verdict.DOWN, "server2: cannot be asked"),
        ({"server0": GONE, "server2": GONE}, Verdict.DOWN, "server0, server2: cannot be asked"),
        ({"server0": FOREIGN}, Verdict.DOWN, "server0: cannot be asked"),
        (dict.fromkeys(PARTY_NAMES, FOREIGN), Verdict.OWN_FAULT, "our certificate"),
        (dict.fromkeys(PARTY_NAMES, OTHER), Verdict.OWN_FAULT, "our cluster.yaml"),
        ({"server0": FOREIGN, "server1": GONE, "server2": OTHER}, Verdict.DOWN, "server1"),
        ({"server1": replace(ALL["server1"], lanes=0)}, Verdict.APART, "server1: no lane"),
        ({"server0": replace(GOOD, models=())}, Verdict.NO_MODEL, "server0: no model"),
        ({"server0": replace(GOOD, models=(replace(DIGITS, state="loading"),))}, Verdict.NO_MODEL, "no model"),
        (
            {"server2": replace(ALL["server2"], models=HELD[:1])},
            Verdict.NO_MODEL,
            "server2 does not hold faces version 1",
        ),
        ({"server0": with_digits(digest="cd" * 32)}, Verdict.NO_MODEL, "server1 does not hold digits version 2"),
        ({"server0": with_digits(state="incomplete")}, Verdict.NO_MODEL, "different uploads of digits version 2;"),
        ({"server0": with_digits(state="paused")}, Verdict.NOT_SERVED, "nobody serves digits version 2;"),
        ({"server0": replace(GOOD, models=(), lanes=0), "server1": GONE}, Verdict.DOWN, "server1"),
        ({"server0": replace(GOOD, models=(), lanes=0)}, Verdict.APART, "server0"),
    ],
)
def test_the_verdict(changes: dict[str, Any], verdict: Verdict, words: str) -> None:
    found, sentence = judge(ALL | changes)
    assert found is verdict
    assert words in sentence


def several(*triples: dict[str, Any]) -> dict[str, Any]:
    """What the parties of several triples say: each as in `ALL`, but for what is given."""
    return {
        f"{number}.{name}": said for number, changes in enumerate(triples) for name, said in (ALL | changes).items()
    }


BARE = {"server0": replace(GOOD, models=())} | {name: replace(ALL[name], models=()) for name in PARTY_NAMES[1:]}
PAUSED = {"server0": with_digits(state="paused")}


@pytest.mark.parametrize(
    ("triples", "verdict", "words"),
    [
        (({}, {}), Verdict.SERVING, "all parties of 2 replicas are up; all parties are up; served: digits version 2"),
        (({}, {"server2": GONE}), Verdict.DEGRADED, "but not by every replica: replica 1: server2: cannot be asked"),
        ((dict.fromkeys(PARTY_NAMES, GONE), {}), Verdict.DEGRADED, "replica 0: server0, server1, server2: cannot"),
        (({}, dict.fromkeys(PARTY_NAMES, FOREIGN)), Verdict.DEGRADED, "replica 1: every party refuses us"),
        (({}, BARE), Verdict.DEGRADED, "replica 1: server0: no model"),
        (({}, {"server1": replace(ALL["server1"], lanes=0)}), Verdict.DEGRADED, "replica 1: server1: no lane"),
        (({}, PAUSED), Verdict.DEGRADED, "replica 1: nobody serves digits version 2"),
        (({}, {"server0": replace(GOOD, models=(DIGITS,))}), Verdict.DEGRADED, "replica 1: no model faces"),
        (({}, {name: replace(each, models=tuple(replace(model, digest="ef" * 32) for model in each.models))
               for name, each in ALL.items()}), Verdict.DEGRADED, "the replicas hold different plans of digits"),
        ((PAUSED, {"server2": GONE}), Verdict.DOWN, "replica 1: server2: cannot be asked"),
        ((PAUSED, BARE), Verdict.NO_MODEL, "replica 0: nobody serves digits version 2; queries wait"),
        ((PAUSED, PAUSED), Verdict.NOT_SERVED, "replica 1: nobody serves digits"),
        ((PAUSED, {"server0": GONE}, {}), Verdict.DEGRADED, "replica 0: nobody serves digits"),
        ((BARE, {"server0": GONE}), Verdict.DOWN, "replica 0: server0: no model"),
        ((dict.fromkeys(PARTY_NAMES, OTHER), PAUSED), Verdict.DOWN, "replica 0: every party refuses us"),
        ((dict.fromkeys(PARTY_NAMES, OTHER), dict.fromkeys(PARTY_NAMES, OTHER)), Verdict.OWN_FAULT, "our cluster.yaml"),
    ],
)  # fmt: skip
def test_the_verdict_on_several_triples(triples: Any, verdict: Verdict, words: str) -> None:
    """A model is answered as long as one triple does."""
    found, sentence = judge(several(*triples))
    assert found is verdict
    assert words in sentence


def test_a_model_that_followers_alone_know_of_counts() -> None:
    """Replica 0's leader is away, and it alone has had `faces`: that is not answered, though `digits` is."""
    alone = {name: replace(each, models=tuple(model for model in each.models if model.name != "faces"))
             for name, each in ALL.items()}  # fmt: skip
    found, _ = judge(several({"server0": GONE}, alone))
    assert found is Verdict.DOWN


def test_an_expired_party_is_shown_as_such() -> None:
    assert "certificate EXPIRED on 2001-09-09" in line("server1", "localhost:1", replace(GOOD, expires=10**9))


@pytest.fixture
def folder(make_config: Any, tmp_path: Path) -> Path:
    """A cluster.yaml with certificates, and nothing running."""
    create_authority(tmp_path / "authority")
    for role in [Role("party", name) for name in PARTY_NAMES] + [Role("owner", "owner"), Role("client", "client")]:
        certify(tmp_path, role)
    tls = TLSConfig(ca="{name}/ca.crt", cert="{name}/{name}.crt", key="{name}/{name}.key")  # type: ignore[arg-type]
    (tmp_path / "cluster.yaml").write_text(make_config(timeout_s=5).with_tls(tls).to_json())
    return tmp_path


def certify(folder: Path, role: Role, days: float = 100, authority: str = "authority") -> None:
    (folder / role.name).mkdir(exist_ok=True)
    issue(folder / role.name, role, days=days, authority=folder / authority)  # type: ignore[arg-type]


@pytest.fixture
def cluster(folder: Path) -> Iterator[TFECluster]:
    with TFECluster.from_config(ClusterConfig.load(folder / "cluster.yaml")) as cluster:
        yield cluster


def status(folder: Path, *more: str) -> tuple[int, str]:
    """The command's exit code, and all that it says."""
    done = CliRunner().invoke(app, ["status", "--config", str(folder / "cluster.yaml"), *more])
    assert done.exception is None or isinstance(done.exception, SystemExit | ConfigError)  # the latter in one line
    return done.exit_code, f"{done.output}{done.exception}"


def test_from_a_start_to_serving_and_a_death(
    folder: Path, cluster: TFECluster, tiny: Any, serving: Any, until: Any
) -> None:
    until(lambda: all(getattr(each, "lanes", 0) for each in cluster.status().values()), "the lane is up")
    assert status(folder)[0] == Verdict.NO_MODEL
    with serving(cluster, tiny):
        assert status(folder)[0] == Verdict.SERVING
    model = tiny.upload(cluster)
    assert status(folder)[0] == Verdict.NOT_SERVED
    model.stop()
    pid = cluster.pids["server1"]
    os.kill(pid, signal.SIGSTOP)
    try:
        code, text = status(folder)
        assert code == Verdict.DOWN
        assert "keras-private: server1: cannot be asked" in text
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def both(folder: Path, make_config: Any) -> Path:
    """The folder, whose cluster.yaml lists two triples; of the second nobody is started from here."""
    path = folder / "cluster.yaml"
    data = json.loads(path.read_text())
    other = json.loads(make_config(managed=False).to_json())["parties"]
    path.write_text(json.dumps(data | {"parties": [data["parties"], other]}))
    return folder


def test_a_triple_that_is_away_degrades_and_no_more(
    both: Path, tiny: Any, serving: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = ClusterConfig.load(both / "cluster.yaml")
    assert status(both)[0] == Verdict.DOWN
    alone = tmp_path_factory.mktemp("alone") / "cluster.yaml"
    alone.write_text(config.replica(0).to_json())
    with TFECluster.from_config(ClusterConfig.load(alone)) as cluster, serving(cluster, tiny):
        code, text = status(both)
        assert code == Verdict.DEGRADED
        lines = text.splitlines()
        assert [line.split()[0] for line in lines if " DOWN " in line] == [f"1.{name}" for name in PARTY_NAMES]
        assert lines[0].startswith(f"0.server0  {config.parties['server0'].host}  up")
        code, text = status(both, "--json")
        found = json.loads(text.splitlines()[0])
        assert (code, found["verdict"], found["exit_code"]) == (Verdict.DEGRADED, "degraded", 7)
        assert found["replicas"]["0"]["verdict"] == "serving"
        assert found["replicas"]["1"]["verdict"] == "down"
        assert found["parties"]["1.server2"]["host"] == config.triples[1]["server2"].host


@pytest.mark.slow
def test_parties_that_do_not_reach_each_other(folder: Path, make_config: Any, until: Any) -> None:
    """server2 looks for server0 at an address where nobody is: all three are up, and no lane is."""
    config = ClusterConfig.load(folder / "cluster.yaml")
    wrong = config.model_copy(update={"parties": config.parties | {"server0": make_config().parties["server0"]}})
    (folder / "wrong.yaml").write_text(wrong.to_json())
    processes = []
    try:
        for name in PARTY_NAMES:
            path = folder / ("wrong.yaml" if name == "server2" else "cluster.yaml")
            command = [sys.executable, "-m", "keras_private.cli", "party", "--config", str(path), "--name", name]
            processes.append(subprocess.Popen(command, cwd=Path(__file__).parent.parent))
        code, text = until(lambda: (found := status(folder))[0] != Verdict.DOWN and found, "all are up", 60)
        assert code == Verdict.APART
        assert "server0, server1, server2: no lane" in text
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)  # one that still compiles its kernels ends after that


def test_ones_own_fault_is_named(folder: Path, cluster: TFECluster, until: Any) -> None:
    own = folder / "owner"

    certify(folder, Role("owner", "owner"), days=-0.01)
    code, text = status(folder)
    assert code == Verdict.OWN_FAULT
    assert "our own certificate" in text
    assert "has expired" in text
    assert "DOWN" not in text

    create_authority(folder / "foreign")
    trusted = (own / "ca.crt").read_bytes()
    certify(folder, Role("owner", "owner"), authority="foreign")
    (own / "ca.crt").write_bytes(trusted)
    code, text = status(folder)
    assert code == Verdict.OWN_FAULT
    assert "every party refuses us" in text

    (own / "owner.crt").write_bytes(b"half")
    code, text = status(folder)
    assert code == Verdict.OWN_FAULT
    assert "owner.crt" in text

    (own / "owner.key").unlink()
    code, text = status(folder)
    assert code == Verdict.OWN_FAULT
    assert "owner.key" in text

    code, text = status(folder, "--owner", "client")  # client:client's certificate
    assert code == Verdict.OWN_FAULT
    assert "is the certificate of client:client; to ask for the status takes owner:client's" in text
    assert status(folder, "--nonsense")[0] == 2
