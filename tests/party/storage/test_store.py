"""A party's store: models come back as they were uploaded, and what was done to their files is found and told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keras_private.config import StorageConfig
from keras_private.errors import StorageError
from keras_private.party.storage.keys import new_key
from keras_private.party.storage.store import NOTE_BYTES, Store
from tests.conftest import LogLines

A, B = b"a" * 16, b"b" * 16
FACTS, PLAN = b"facts of a model", b"{a plan}" * 100
PIECES = [(os.urandom(1 << 20), False), (os.urandom(100), True), (os.urandom(32), True), (b"", True)]


@pytest.fixture
def config(tmp_path: Path) -> StorageConfig:
    key = tmp_path / "storage.key"
    key.write_text(new_key())
    key.chmod(0o600)
    return StorageConfig(path=tmp_path / "{name}", key_file=key)


@pytest.fixture
def log() -> LogLines:
    return LogLines()


@pytest.fixture
def open_store(config: StorageConfig, log: LogLines) -> Iterator[Callable[..., Store]]:
    """A party's store; the one that was opened before is closed, as if it had started again."""
    stores: list[Store] = []

    def make(config: StorageConfig = config, cluster: str = "test", party: str = "server0") -> Store:
        for each in stores:
            each.close()
        stores.append(Store(config, cluster, party, log))
        return stores[-1]

    yield make
    for each in stores:
        each.close()


def keep(store: Store, id_: bytes = A) -> None:
    with store.writing(id_, FACTS, PLAN) as file:
        for piece, last in PIECES:
            file.add(piece, last=last)


def read(store: Store, id_: bytes = A) -> None:
    """Raises if it is not what was kept."""
    with store.reading(id_) as kept:
        assert (kept.facts, kept.plan) == (FACTS, PLAN)
        assert [kept.piece() for _ in PIECES] == PIECES
        kept.finish()


def test_a_model_comes_back_after_a_restart(open_store: Callable[..., Store], tmp_path: Path) -> None:
    keep(open_store())
    store = open_store()
    assert store.models() == [A]
    read(store)
    content = (tmp_path / "server0" / A.hex()).read_bytes()
    assert not any(known in content for known in (FACTS, PLAN[:16], *(piece[:16] for piece, _ in PIECES[:3])))
    assert store.forget(A)
    assert not store.forget(A)
    assert store.models() == open_store().models() == []


def test_an_upload_that_breaks_off_leaves_nothing(open_store: Callable[..., Store]) -> None:
    store = open_store()

    def upload() -> None:
        with store.writing(A, FACTS, PLAN) as file:
            file.add(b"x", last=False)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        upload()
    assert store.models() == open_store().models() == []


def test_files_of_other_models_parties_and_clusters(open_store: Callable[..., Store], tmp_path: Path) -> None:
    store = open_store()
    keep(store)
    shutil.copy(tmp_path / "server0" / A.hex(), tmp_path / "server0" / B.hex())
    with pytest.raises(StorageError, match="belongs elsewhere"):
        read(store, B)
    shutil.copytree(tmp_path / "server0", tmp_path / "server1")
    with pytest.raises(StorageError, match="belongs elsewhere"):
        read(open_store(party="server1"))
    with pytest.raises(StorageError, match="belongs elsewhere"):
        read(open_store(cluster="other"))
    read(open_store())


def test_damage_is_told_and_put_aside(open_store: Callable[..., Store], log: LogLines, tmp_path: Path) -> None:
    store = open_store()
    keep(store)
    path = tmp_path / "server0" / A.hex()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError) as failure:
        read(store)
    store.complain(A, failure.value)
    assert store.models() == []
    assert path.with_suffix(".damaged").read_bytes() == content
    assert log.causes("stored model unreadable") == ["it was changed or cut short"]


def test_what_another_key_wrote_is_left_alone(
    open_store: Callable[..., Store], config: StorageConfig, log: LogLines
) -> None:
    store = open_store()
    keep(store)
    store.note("serving", b"all")
    assert config.key_file
    old = config.key_file.read_text()
    config.key_file.write_text(new_key())
    store = open_store()
    with pytest.raises(StorageError, match="another storage key") as failure:
        read(store)
    store.complain(A, failure.value)
    with pytest.raises(StorageError, match="another storage key"):
        store.noted("serving")
    assert store.models() == [A]
    assert len(log.causes("stored model unreadable")) == len(log.causes("stored note unreadable")) == 1
    config.key_file.write_text(old)
    store = open_store()
    read(store)
    assert store.noted("serving") == b"all"


def test_notes(open_store: Callable[..., Store], log: LogLines, tmp_path: Path) -> None:
    store = open_store()
    assert store.noted("serving") is None
    assert not log.lines
    for content in (b"one", b"", os.urandom(3 << 20)):
        store.note("serving", content)
        store = open_store()
        assert store.noted("serving") == content
    store.note("clients", b"one")
    shutil.copy(tmp_path / "server0" / "clients", tmp_path / "server0" / "serving")
    with pytest.raises(StorageError, match="belongs elsewhere"):
        store.noted("serving")
    assert log.causes("stored note unreadable") == ["it was changed, or belongs elsewhere"]
    assert store.models() == []
    os.truncate(tmp_path / "server0" / "clients", 2 * NOTE_BYTES)  # nothing is allocated for it
    with pytest.raises(StorageError, match=r"was changed or cut short|it may have"):
        store.noted("clients")
