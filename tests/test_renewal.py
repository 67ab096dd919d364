"""Certificates that end while the parties run, and are renewed without a restart. Real processes, real time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES, ClusterConfig, TLSConfig
from keras_private.errors import LinkError
from keras_private.net.certificates import create_authority, expires_at, issue
from keras_private.net.roles import Role
from keras_private.owner import ask_status
from keras_private.party.messages import Status
from keras_private.party.network import TLSNetwork, credentials
from keras_private.worker import TFEWorker

SECONDS = 20  # until server1's certificate ends: enough for all to start on a busy machine


@pytest.mark.slow
def test_a_certificate_ends_and_is_renewed_while_the_party_runs(
    make_config: Any, tiny: Any, serving: Any, until: Any, tmp_path: Path
) -> None:
    authority, path, logs = tmp_path / "authority", tmp_path / "cluster.yaml", {}
    create_authority(authority)
    for role in [Role("party", name) for name in PARTY_NAMES] + [Role("owner", "owner"), Role("client", "client")]:
        (tmp_path / role.name).mkdir()
        days = SECONDS / 86400 if role.name == "server1" else 100
        issue(tmp_path / role.name, role, days=days, authority=authority)  # type: ignore[arg-type]
    tls = TLSConfig(ca="{name}/ca.crt", cert="{name}/{name}.crt", key="{name}/{name}.key")  # type: ignore[arg-type]
    path.write_text(make_config(managed=False, timeout_s=5).with_tls(tls).to_json())
    config = ClusterConfig.load(path)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name in PARTY_NAMES:
            command = [sys.executable, "-m", "keras_private.party", "--config", str(path), "--name", name]
            environment = os.environ | {"KERAS_PRIVATE_LOG": "info"}
            logs[name] = tmp_path / f"{name}.log"
            with logs[name].open("wb") as log:
                processes.append(
                    subprocess.Popen(command, env=environment, stderr=log, cwd=Path(__file__).parent.parent)
                )

        def said(event: str, name: str = "server1") -> list[dict[str, Any]]:
            lines = [json.loads(line) for line in logs[name].read_text().splitlines(keepends=True) if line[-1] == "\n"]
            return [line for line in lines if line["event"] == event]

        owner = TLSNetwork(config, credentials(config, Role("owner", "owner")))

        def status() -> Status:
            return ask_status(config, owner, 1)

        def refused() -> str:
            try:
                status()
            except LinkError as error:
                return str(error)
            return ""

        with TFECluster.from_config(config) as cluster, serving(cluster, tiny), TFEWorker() as client:
            client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
            until(lambda: said("certificate")[1:], "its end is in the log", SECONDS + 20)
            soon, ended = said("certificate")
            assert (soon["level"], ended["level"]) == ("warning", "error")
            assert "expires in 0 days" in soon["cause"]
            assert "server1.crt has expired" in ended["cause"]
            assert "its certificate has expired" in until(refused, "new connections fail")
            client.query_model(tiny.batch(1))  # those that are there go on

            folder = tmp_path / "server1"
            whole = (folder / "server1.crt").read_bytes()
            (folder / "server1.crt").write_bytes(whole[:100])
            until(lambda: said("certificate kept"), "files of no use are in the log")
            files = issue(folder, Role("party", "server1"), days=50, authority=authority)
            until(lambda: said("certificate reloaded"), "the new one is in use")
            assert status().expires == int(expires_at(files.cert).timestamp())
            with TFEWorker() as other:
                other.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
                np.testing.assert_allclose(other.query_model(tiny.batch(2)), tiny.expected(tiny.batch(2)), atol=1e-3)
            client.query_model(tiny.batch(1))
            assert not said("peer down")
            for process in processes:
                assert process.poll() is None
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(60) for process in processes]
    assert codes == [0, 0, 0]
