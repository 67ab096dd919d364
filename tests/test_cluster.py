"""TFECluster: starting, what happens when a party does not start, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from keras_private import managed
from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES, ClusterConfig, TLSConfig
from keras_private.errors import ConfigError, StartError, StateError, TrustError
from keras_private.net.certificates import create_authority, issue, local_authority
from keras_private.net.roles import Role
from keras_private.party.dial import wait_for
from keras_private.party.messages import Hello
from keras_private.party.network import TLSNetwork, credentials
from keras_private.worker import TFEWorker
from tests.conftest import LogLines


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def yaml_of(config: Any) -> str:
    lines = ["cluster: test", "parties:"]
    lines += [
        f"  {name}: {{host: '{party.host}', auto_managed: {str(party.auto_managed).lower()}}}"
        for name, party in config.parties.items()
    ]
    return "\n".join([*lines, "limits: {timeout_s: 10}", ""])


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_not_three_workers(count: int) -> None:
    with pytest.raises(ConfigError, match=f"exactly three workers; {count} were given"):
        TFECluster(*[TFEWorker() for _ in range(count)])


def test_not_workers() -> None:
    with pytest.raises(ConfigError, match="TFEWorker objects, not str"):
        TFECluster("localhost:1", "localhost:2", "localhost:3")  # type: ignore[arg-type]


def test_a_mixture() -> None:
    with pytest.raises(ConfigError, match="either all three workers have a host"):
        TFECluster(TFEWorker(host="localhost:4000"), TFEWorker(), TFEWorker())


def test_a_host_twice() -> None:
    with pytest.raises(ConfigError, match=r"parties\.server1\.host.*server0"):
        TFECluster(*[TFEWorker(host="localhost:4000") for _ in PARTY_NAMES])


def test_workers_and_config(make_config: Any, tmp_path: Path) -> None:
    config = make_config()
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml_of(config))
    cluster = TFECluster.from_yaml(path)
    assert cluster.config == config
    assert [worker.host for worker in cluster.workers] == [party.host for party in config.parties.values()]
    assert all(worker.auto_managed for worker in cluster.workers)
    assert not cluster.started


def test_an_owner_needs_a_started_cluster(make_config: Any, tiny: Any) -> None:
    for cluster in (TFECluster.from_config(make_config()), TFECluster(TFEWorker(), TFEWorker(), TFEWorker())):
        with pytest.raises(StateError, match=r"call cluster\.start\(\) first"):
            tiny.upload(cluster)


def test_stop_twice_and_before_start(make_config: Any) -> None:
    cluster = TFECluster.from_config(make_config())
    cluster.stop()
    before = children()
    cluster.start()
    assert cluster.start() is cluster  # the second start does nothing
    pids = set(cluster.pids.values())
    assert len(pids) == 3
    assert pids <= children() - before
    cluster.stop()
    cluster.stop()
    assert not pids & children()


def test_start_again_after_stop() -> None:
    cluster = TFECluster(TFEWorker(), TFEWorker(), TFEWorker())
    for _ in range(2):
        with cluster:
            assert [status.party for status in cluster.status().values()] == list(PARTY_NAMES)


def test_threads_end_with_an_in_process_cluster(until: Any, tiny: Any, serving: Any) -> None:
    before = set(threading.enumerate())
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as cluster, serving(cluster, tiny):
        assert set(threading.enumerate()) - before
    until(lambda: not set(threading.enumerate()) - before, "every thread ends")


def test_ctrl_c_while_stopping_leaves_nothing_behind(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    before = children()
    with TFECluster.from_config(make_config()) as cluster:
        pids = set(cluster.pids.values())
        with monkeypatch.context() as patch:
            patch.setattr(managed._Process, "wait_stopped", interrupt)
            with pytest.raises(KeyboardInterrupt):
                cluster.stop()
        assert set(cluster.pids.values()) == pids
        cluster.stop()
        assert children() == before
        assert not cluster.pids
        # The same when it comes while a failed start cleans up.
        with monkeypatch.context() as patch:
            patch.setattr(managed._Process, "wait_ready", lambda *_: interrupt(None))
            patch.setattr(managed._Process, "wait_stopped", interrupt)
            with pytest.raises(KeyboardInterrupt):
                cluster.start()
        assert not cluster.started
        assert len(cluster.pids) == 3
    assert children() == before


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_port_that_is_taken(make_config: Any, index: int) -> None:
    config, before = make_config(), children()
    with socket.create_server(config.party(index).address):
        began = time.monotonic()
        with pytest.raises(StartError, match=rf"server{index}.*another process listens there"):
            TFECluster.from_config(config).start()
        assert time.monotonic() - began < 10
    assert children() == before


def test_a_party_whose_certificate_is_missing(make_config: Any, tmp_path: Path) -> None:
    config, before = make_config(), children()
    create_authority(tmp_path / "certs")
    for role in [*(Role("party", name) for name in config.parties), Role("owner", "owner")]:
        issue(tmp_path / "certs", role, ["localhost"])
    (tmp_path / "certs" / "server2.key").unlink()
    tls = TLSConfig(ca=Path("certs/ca.crt"), cert=Path("certs/{name}.crt"), key=Path("certs/{name}.key"))
    cluster = TFECluster.from_config(config.with_tls(tls.under(tmp_path)))
    with pytest.raises(StartError, match=r"server2 did not start: cannot read the key .*server2\.key"):
        cluster.start()
    assert children() == before


def test_a_party_that_dies_at_start(make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *server1*) exit 3;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    before, began = children(), time.monotonic()
    with pytest.raises(StartError, match="server1 ended while starting, with exit code 3"):
        TFECluster.from_config(make_config()).start()
    assert time.monotonic() - began < 10
    assert children() == before


def test_a_party_that_never_gets_ready(make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *server2*) read a; read b; exit;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    before = children()
    with pytest.raises(StartError, match="server2 did not start in time"):
        TFECluster.from_config(make_config()).start(timeout=3)
    assert children() == before


def test_parties_of_others_get_their_command_and_are_waited_for(
    make_config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny: Any, serving: Any
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml_of(make_config(managed=False)))
    cluster = TFECluster.from_yaml(path)
    with pytest.raises(StartError, match=r"server0 at localhost:.* is not there: .*nothing listens there"):
        cluster.start(timeout=0.5)
    printed = capsys.readouterr().out
    commands = [cluster.workers[index].command(index, str(path)) for index in range(3)]
    assert all(command in printed for command in commands)
    assert commands[1] == f"keras-private party --config {path} --name server1"

    parties = [
        subprocess.Popen(
            [sys.executable, "-m", "keras_private.cli", *command.split()[1:]], cwd=Path(__file__).parent.parent
        )
        for command in commands
    ]
    try:
        with cluster, serving(cluster, tiny), TFEWorker() as client:
            client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
            client.query_model(tiny.batch(1))
        assert all(party.poll() is None for party in parties)  # they are not ours to stop
    finally:
        for party in parties:
            party.send_signal(signal.SIGINT)
        codes = [party.wait(10) for party in parties]
    assert codes == [0, 0, 0]


@pytest.mark.parametrize("mistake", ["swapped hosts", "a foreign certificate", "an expired certificate", "no TLS"])
def test_start_does_not_wait_where_waiting_is_no_use(
    make_trio: Any, mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_trio().config
    hosts = [party.host for party in config.parties.values()]
    with socket.create_server(("127.0.0.1", 0)) as stranger, ThreadPoolExecutor() as pool:
        if mistake == "swapped hosts":
            hosts[0], hosts[1] = hosts[1], hosts[0]
            words = r"it is party:server1, not party:server0; is the address right\?"
        elif mistake == "a foreign certificate":
            monkeypatch.setenv("KERAS_PRIVATE_HOME", str(tmp_path))
            words = "its certificate is not from our authority"
        elif mistake == "an expired certificate":
            expired = issue(tmp_path, Role("owner", "owner"), days=-0.01, authority=local_authority())  # type: ignore[arg-type]
            config = config.with_tls(TLSConfig(ca=expired.ca, cert=expired.cert, key=expired.key))
            words = "it refused our certificate: expired"
        else:
            hosts[0] = f"localhost:{stranger.getsockname()[1]}"
            pool.submit(lambda: stranger.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
            words = "server0 at localhost:.*: it does not speak TLS"
        parties = {name: {"host": host} for name, host in zip(PARTY_NAMES, hosts, strict=True)}
        wrong = ClusterConfig.parse({"cluster": "test", "parties": parties})
        wrong = wrong.with_tls(config.tls) if config.tls else wrong
        monkeypatch.setattr("keras_private.cluster.wait_for", None)  # would be called to wait
        with pytest.raises(StartError, match=f"server0 at localhost:.* is not usable: .*{words}"):
            TFECluster.from_config(wrong).start()


def test_waiting_for_a_party_ends_when_somebody_else_is_there(make_trio: Any) -> None:
    config = make_trio().config
    hosts = [party.host for party in config.parties.values()]
    parties = {name: {"host": host} for name, host in zip(PARTY_NAMES, [hosts[1], hosts[0], hosts[2]], strict=True)}
    owner = Role("owner", "owner")
    network = TLSNetwork(ClusterConfig.parse({"cluster": "test", "parties": parties}), credentials(config, owner))
    with pytest.raises(TrustError, match="it is party:server1, not party:server0"):
        wait_for(network, 0, Hello.plain("owner", "test"), 3600)


def test_only_the_commands_of_missing_parties_are_printed(make_trio: Any, capsys: pytest.CaptureFixture[str]) -> None:
    trio = make_trio()
    with TFECluster.from_config(trio.config):
        assert capsys.readouterr().out == ""
    trio.servers[1].stop()
    cluster = TFECluster.from_config(trio.config)
    with pytest.raises(StartError, match=r"server1 at localhost:.* is not there"):
        cluster.start(timeout=0.1)
    assert (
        capsys.readouterr().out == f"Run on the host of {cluster.workers[1].host}:  {cluster.workers[1].command(1)}\n"
    )


def test_a_party_that_dies_again_and_again(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    """It is started again after pauses that grow, up to a limit; `stop` ends that."""
    log = LogLines()

    def events(event: str) -> list[Any]:
        return [fields for _, name, fields in log.lines if name == event]

    monkeypatch.setattr(managed, "party_log", lambda *_: log)
    monkeypatch.setattr(managed, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(managed, "_LONGEST_PAUSE_S", 0.02)
    before = children()
    with TFECluster.from_config(make_config()) as cluster:
        pid, others = cluster.pids["server1"], {cluster.pids["server0"], cluster.pids["server2"]}
        python = tmp_path / "python"
        python.write_text("#!/bin/sh\nexit 3\n")
        python.chmod(0o755)
        ready, met = managed._Process.wait_ready, threading.Event()

        def fail_once(process: Any, deadline: float) -> None:
            if not met.is_set():
                met.set()
                raise MemoryError
            ready(process, deadline)

        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(python))
            patch.setattr(managed._Process, "wait_ready", fail_once)
            os.kill(pid, signal.SIGKILL)
            until(lambda: len(events("party ended")) >= 4, "it was tried again")
        ended = events("party ended")
        assert [(event["code"], event["restart_s"]) for event in ended[:4]] == [(-9, 0.01), *[(3, 0.02)] * 3]
        causes = [event["cause"] for event in events("party not restarted")]
        assert causes[0] == "MemoryError"
        assert "server1 ended while starting, with exit code 3" in causes[1]
        until(lambda: events("party restarted"), "it runs again")
        assert not psutil.pid_exists(pid)
        assert {cluster.pids["server0"], cluster.pids["server2"]} == others
        until(lambda: all(getattr(status, "lanes", 0) for status in cluster.status().values()), "the lane is up")
    assert children() == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_parties_end_with_the_process_that_started_them(
    make_config: Any, tmp_path: Path, until: Any, how: signal.Signals
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml_of(make_config()))
    code = (
        "import sys, time, keras_private as kp\n"
        "with kp.TFECluster.from_yaml(sys.argv[1]) as cluster:\n"
        "    print(*cluster.pids.values(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 3
        process.send_signal(how)
        process.wait(10)
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids), "the parties end", 10)


def test_no_file_is_left(make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with TFECluster.from_config(make_config()):
        pass
    assert os.listdir(tmp_path) == []


def test_a_name_for_a_cluster_of_workers() -> None:
    workers = [TFEWorker(host=f"localhost:{port}") for port in (4000, 4001, 4002)]
    assert TFECluster(*workers).config.cluster == "cluster"
    assert TFECluster(*workers, cluster="hospital").config.cluster == "hospital"
    with pytest.raises(ConfigError, match="'my cluster' is not a name"):
        TFECluster(*workers, cluster="my cluster")
    with pytest.raises(ConfigError, match="'my owner' cannot name"):
        TFECluster(*workers, owner="my owner")


@pytest.mark.slow
def test_tfe_config(make_config: Any) -> None:
    cluster = TFECluster.from_config(make_config())
    players = {player.name: player.host for player in cluster.tfe_config.players}
    assert players == {name: party.host for name, party in cluster.config.parties.items()}
