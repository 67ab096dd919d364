"""What clients have asked for is kept where models are, and never less of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keras_private.config import ClusterConfig
from keras_private.errors import ConfigError
from keras_private.net.roles import Role
from keras_private.party.ledger import LEAST_AHEAD
from keras_private.party.network import TLSNetwork, credentials
from keras_private.party.server import PartyServer
from keras_private.party.storage.keys import new_key
from tests.conftest import LogLines


@pytest.fixture
def config(make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterConfig:
    monkeypatch.setenv("STORAGE_KEY", new_key())
    data = make_config(managed=False).model_dump(mode="json")
    return ClusterConfig.parse(data | {"storage": {"path": str(tmp_path / "{name}"), "key_env": "STORAGE_KEY"}})


def make(config: ClusterConfig, log: LogLines) -> PartyServer:
    network = TLSNetwork(config, credentials(config, Role("party", "server1")))
    return PartyServer(config, 1, network, log=log, warm_up=lambda: None)


def test_usage_is_kept(config: ClusterConfig) -> None:
    log = LogLines()
    server = make(config, log)
    server.start()
    server.node.access.ledger.add("client:bob", "digits", 1234)
    with pytest.raises(ConfigError, match="another process uses"):
        make(config, log)
    server.stop()
    server = make(config, log)
    ledger = server.node.access.ledger
    assert ledger.rows("client:bob", "digits") == 1234
    ledger.add("client:bob", "digits", 1)
    assert server._store
    server._store.close()  # the process dies here
    server = make(config, log)
    assert 1235 <= server.node.access.ledger.rows("client:bob") <= 1235 + 2 * LEAST_AHEAD
    assert not log.causes("usage not kept")


def test_usage_of_another_release(config: ClusterConfig) -> None:
    log = LogLines()
    server = make(config, log)
    assert server._store
    server._store.note("usage", b'{"version": 99}')
    server._store.close()
    server = make(config, log)
    assert server.node.access.ledger.rows("client:bob") == 0
    assert log.causes("stored note unreadable") == ["usage of version 99 is not known to this release"]
