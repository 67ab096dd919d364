"""A cluster whose parties keep what they hold: what is there again after restarts, and what if they disagree then."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_private.config import ClusterConfig
from keras_private.errors import NoModelError
from keras_private.owner import OwnedModel
from keras_private.party.storage.keys import new_key
from keras_private.worker import TFEWorker
from tests.conftest import Trio

WAIT_S = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def trio(make_config: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trio]:
    """Three parties with a storage each."""
    monkeypatch.setenv("STORAGE_KEY", new_key())
    data = make_config(managed=False).model_dump(mode="json")
    storage = {"path": str(folder / "{name}"), "key_env": "STORAGE_KEY"}
    found = Trio(ClusterConfig.parse(data | {"storage": storage}))
    yield found
    found.stop()


def restart(trio: Trio, *indices: int, meanwhile: Callable[[], object] = lambda: None) -> None:
    for index in indices:
        trio.servers[index].stop()
    meanwhile()
    for index in indices:
        trio.servers[index] = trio.make(index)
        trio.servers[index].start()


def deploy(trio: Trio, tiny: Any, name: str = "digits") -> OwnedModel:
    return OwnedModel.upload(trio, tiny.executable.plan, tiny.executable.values, owner="owner", name=name, deploy=True)


def ask(trio: Trio, tiny: Any, name: str = "digits") -> None:
    data = tiny.batch(2)
    with TFEWorker() as client:
        client.connect_to_model(cluster=trio, model=name)
        np.testing.assert_allclose(client.query_model(data, timeout=WAIT_S), tiny.expected(data), atol=1e-2)


def held(folder: Path, index: int) -> int:
    """Files of models that a party has."""
    return sum(len(path.name) == 32 for path in (folder / f"server{index}").iterdir())


def test_what_is_deployed_is_served_again_by_parties_that_all_restarted(
    trio: Trio, tiny: Any, other_tiny: Any, folder: Path
) -> None:
    deploy(trio, tiny)
    deploy(trio, other_tiny, "spam")
    replaced = deploy(trio, tiny)
    ids = [model.id for model in trio.servers[0].node.shelf.published.values()]
    restart(trio, 0, 1, 2)
    assert [model.id for model in trio.servers[0].node.shelf.published.values()] == ids
    ask(trio, tiny)
    ask(trio, other_tiny, "spam")
    replaced.stop()
    assert [held(folder, index) for index in range(3)] == [1, 1, 1]
    restart(trio, 0, 1, 2)
    ask(trio, other_tiny, "spam")
    with TFEWorker() as client, pytest.raises(NoModelError):
        client.connect_to_model(cluster=trio, model="digits")


def test_what_its_owner_serves_goes_on_in_the_same_shares(trio: Trio, tiny: Any, until: Callable[..., Any]) -> None:
    model = tiny.upload(trio)
    (id_,) = [each.id for each in trio.servers[0].node.shelf.models]
    serving = threading.Thread(target=model.serve, daemon=True)
    serving.start()
    until(lambda: trio.servers[0].duty.queue.serving, "it is served")
    restart(trio, 0, 1)
    ask(trio, tiny, "")
    assert [[each.id for each in server.node.shelf.models] for server in trio.servers] == [[id_]] * 3
    model.stop()
    serving.join(WAIT_S)
    assert not serving.is_alive()


def test_a_party_that_lost_its_folder_is_named(trio: Trio, tiny: Any, folder: Path, until: Callable[..., Any]) -> None:
    deploy(trio, tiny)
    restart(trio, 2, meanwhile=lambda: shutil.rmtree(folder / "server2"))
    until(lambda: trio.logs[0].causes("model incomplete"), "the leader says so")
    assert "server2 holds no model 'digits' version 1" in trio.logs[0].causes("model incomplete")[0]
    with TFEWorker() as client, pytest.raises(NoModelError, match="server2"):
        client.connect_to_model(cluster=trio, model="digits")
    assert [held(folder, index) for index in range(3)] == [1, 1, 0]
    deploy(trio, tiny)
    ask(trio, tiny)


def test_a_leader_with_the_wrong_folder_or_key_has_nobody_shred_anything_soon(
    trio: Trio, tiny: Any, folder: Path, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(trio, tiny)
    away = folder / "away"
    restart(trio, 0, meanwhile=lambda: (folder / "server0").rename(away))
    until(lambda: len(trio.logs[0].causes("model lost")) == 2, "both followers hold what the leader does not know")

    def put_back() -> None:
        shutil.rmtree(folder / "server0")
        away.rename(folder / "server0")

    restart(trio, 0, meanwhile=put_back)
    ask(trio, tiny)
    with monkeypatch.context() as patch:
        patch.setenv("STORAGE_KEY", new_key())
        patch.setattr("keras_private.party.leader.names.STRAY_S", 0.0)
        restart(trio, 0)
        until(lambda: len(trio.logs[0].causes("model lost")) == 4, "they say so again")
        trio.servers[0].duty.expire()
        assert [held(folder, index) for index in range(3)] == [1, 1, 1]  # it knows that it could not read its own
        restart(trio, 0, meanwhile=lambda: shutil.rmtree(folder / "server0"))
        until(lambda: [held(folder, index) for index in (1, 2)] == [0, 0], "what is lost for good goes after a while")


def test_a_leader_that_lost_its_note_has_nobody_shred_anything(
    trio: Trio, tiny: Any, folder: Path, until: Callable[..., Any]
) -> None:
    deploy(trio, tiny)
    note = folder / "server0" / "published"
    content = note.read_bytes()
    for damage in (lambda: note.write_bytes(content[:-1]), note.unlink):
        restart(trio, 0, meanwhile=damage)
        until(lambda: len(trio.logs[0].causes("model lost")) >= 2, "the followers hold what the leader does not know")
        trio.logs[0].lines.clear()
        assert [held(folder, index) for index in range(3)] == [1, 1, 1]
    restart(trio, 0, meanwhile=lambda: note.write_bytes(content))
    ask(trio, tiny)
