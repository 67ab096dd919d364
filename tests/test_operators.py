"""What an operator does while the parties run: rules and revocations by file and SIGHUP, keys behind passwords.

Three real processes, as operators start them, with everything in files.
"""

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

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from keras_private.cli import app
from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.errors import KerasPrivateError, LinkError, QuotaError, RefusedError
from keras_private.worker import TFEWorker

from .processes import ROOT

pytestmark = pytest.mark.slow
RULES = """
clients:
  bob: {models: "*", rows_per_minute: 20}
  carol: {models: "*"}
owners: {owner: {models: "*"}}
"""


class Operators:
    """Three parties and the folder that all their files are in."""

    def __init__(self, folder: Path, config: str) -> None:
        self.folder = folder
        self.path = folder / "cluster.yaml"
        self.path.write_text(config)
        self.rules(RULES)
        self.certs("--client", "bob", "--client", "carol", "--client", "eve")
        self.certs("--revoke", "eve")
        for name in (*PARTY_NAMES, "bob"):
            self.lock(name)
        self.config = ClusterConfig.load(self.path)
        self.processes: list[subprocess.Popen[bytes]] = []
        for name in PARTY_NAMES:
            command = [sys.executable, "-m", "keras_private.party", "--config", str(self.path), "--name", name]
            with (folder / f"{name}.log").open("wb") as log:
                environment = os.environ | {"KERAS_PRIVATE_LOG": "info"}
                self.processes.append(subprocess.Popen(command, env=environment, stderr=log, cwd=ROOT))

    def certs(self, *options: str) -> str:
        made = CliRunner().invoke(
            app, ["certs", "--config", str(self.path), "--folder", str(self.folder / "certs"), *options]
        )
        assert made.exit_code == 0, made.output
        return made.output

    def lock(self, name: str) -> None:
        path = self.folder / "certs" / name / f"{name}.key"
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"password of " + name.encode()),
            )
        )

    def rules(self, text: str) -> None:
        (self.folder / "access.yaml").write_text(text)

    def hang_up(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGHUP)

    def said(self, name: str, event: str) -> list[dict[str, Any]]:
        text = (self.folder / f"{name}.log").read_text()
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
        return [line for line in lines if line["event"] == event]

    def all_said(self, event: str, times: int) -> bool:
        return all(len(self.said(name, event)) >= times for name in PARTY_NAMES)

    def stop(self) -> list[int]:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        return [process.wait(60) for process in self.processes]


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory, free_ports: Any) -> Iterator[Operators]:
    folder = tmp_path_factory.mktemp("operators")
    parties = "".join(
        f"  {name}: {{host: localhost:{port}}}\n" for name, port in zip(PARTY_NAMES, free_ports(), strict=True)
    )
    stem = "certs/{name}/"
    files = f'ca: "{stem}ca.crt", cert: "{stem}{{name}}.crt", key: "{stem}{{name}}.key", crl: "{stem}crl.pem"'
    config = (
        f"cluster: test\nparties:\n{parties}limits: {{timeout_s: 10}}\naccess: access.yaml\n"
        f'tls: {{{files}, key_password_command: [echo, "password of {{name}}"]}}\n'
    )
    found = Operators(folder, config)
    try:
        yield found
    finally:
        codes = found.stop()
    assert codes == [0, 0, 0]


def test_a_day_of_an_operator(operators: Operators, tiny: Any, serving: Any, until: Any) -> None:
    with (
        TFECluster.from_config(operators.config) as cluster,
        serving(cluster, tiny),
        TFEWorker(name="bob") as bob,
        TFEWorker(name="carol") as carol,
    ):
        for client in (bob, carol):
            client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
            np.testing.assert_allclose(client.query_model(tiny.batch(20)), tiny.expected(tiny.batch(20)), atol=1e-3)
        with TFEWorker(name="eve") as eve, pytest.raises(LinkError, match="your certificate has been revoked"):
            eve.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)

        # rows
        carol.query_model(tiny.batch(20))
        with pytest.raises(QuotaError, match="client:bob may ask for 20 rows a minute and has had 20") as caught:
            bob.query_model(tiny.batch(1), timeout=5)
        assert caught.value.after is not None
        assert 5 < caught.value.after <= 61

        # rules: with mistakes, then good ones, at once by a signal
        operators.rules(RULES.replace("rows_per_minute", "rows_per_hour"))
        operators.hang_up()
        until(lambda: operators.all_said("access kept", 1), "the mistake is in every log")
        assert "did you mean 'rows_per_minute'?" in operators.said("server1", "access kept")[0]["cause"]
        with pytest.raises(QuotaError):
            bob.query_model(tiny.batch(1), timeout=5)
        operators.rules(RULES.replace("bob", "dave"))
        operators.hang_up()
        until(lambda: operators.all_said("access reloaded", 1), "the rules are in use")
        with pytest.raises(RefusedError, match="there is no model 'model' that client:bob may query"):
            bob.query_model(tiny.batch(1))
        operators.rules(RULES.replace("20", "20000"))
        until(lambda: operators.all_said("access reloaded", 2), "changed files are noticed without a signal")
        bob.query_model(tiny.batch(1))

        # a client's certificate
        output = operators.certs("--revoke", "bob")
        assert "bob: 1 certificates revoked" in output
        began = time.monotonic()
        until(lambda: not all_there(bob), "bob has been cut off")
        assert time.monotonic() - began < 10
        with pytest.raises(KerasPrivateError, match="your certificate has been revoked"):
            bob.query_model(tiny.batch(1), retries=2)
        carol.query_model(tiny.batch(1))
        assert "REVOKED" in operators.certs("--client", "bob")

        # a party's: its lanes and its control connection end, at both other parties
        operators.certs("--revoke", "server2")
        operators.hang_up()
        until(
            lambda: any("revoked" in line["cause"] for line in operators.said("server0", "peer down")), "control ended"
        )
        until(lambda: operators.said("server0", "lane down"), "the lane ended")
        until(
            lambda: any("refused party:server2" in line["cause"] for line in operators.said("server0", "refused")),
            "and it is refused",
        )
        with pytest.raises(KerasPrivateError):
            carol.query_model(tiny.batch(1), retries=0, timeout=5)
        operators.certs("--renew", "--client", "carol")
        for name in PARTY_NAMES:
            operators.lock(name)
        operators.hang_up()
        until(lambda: [name for name in PARTY_NAMES if not operators.said(name, "certificate reloaded")] == [], "anew")
        until(lambda: answered(carol, tiny), "the three work together again", 60)


def all_there(client: Any) -> bool:
    """Whether no party has hung up."""
    channels = client._session._channels
    for channel in channels:
        try:
            channel.receive(0.0)
        except LinkError:
            if channel.closed:
                return False
    return True


def answered(client: Any, tiny: Any) -> bool:
    try:
        client.query_model(tiny.batch(1), retries=0, timeout=5)
    except KerasPrivateError:
        return False
    return True
