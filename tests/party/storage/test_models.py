"""Models come back from a party's disk as they went there, published as they were; or they are told and left alone."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_private.config import Limits, StorageConfig
from keras_private.errors import StorageError
from keras_private.party.intake import Upload
from keras_private.party.messages import Load
from keras_private.party.models import Facts, HeldModel
from keras_private.party.shelf import Contents, Shelf
from keras_private.party.storage import models
from keras_private.party.storage.keys import new_key
from keras_private.party.storage.models import StoredModels
from keras_private.party.storage.store import Store
from keras_private.plan.serialise import serialise
from tests.conftest import LogLines
from tests.party.test_intake import pieces

LIMITS = Limits()


@pytest.fixture
def log() -> LogLines:
    return LogLines()


@pytest.fixture
def start(tmp_path: Path, log: LogLines, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], StoredModels]]:
    """A party's start; the one before has ended, however it did."""
    monkeypatch.setenv("STORAGE_KEY", new_key())
    stores: list[Store] = []

    def make() -> StoredModels:
        while stores:
            stores.pop().close()
        config = StorageConfig(path=tmp_path / "{name}", key_env="STORAGE_KEY")
        stores.append(Store(config, "test", "server2", log))
        return StoredModels(stores[-1], log)

    yield make
    while stores:
        stores.pop().close()


def uploaded(tiny: Any, id_: bytes = bytes(16), name: str = "digits", version: int = 1) -> tuple[HeldModel, Contents]:
    upload = Upload(Load(id_, name, version, 0, serialise(tiny.executable.plan)), "owner:alice", LIMITS)
    for piece in pieces(tiny, party=2):
        upload.add(piece)
    return upload.finish(version), Contents(upload.data, upload.shares)


def keep(keeper: StoredModels, tiny: Any, id_: bytes = bytes(16)) -> HeldModel:
    model, contents = uploaded(tiny, id_)
    keeper.keep(model.facts, contents)
    return model


def test_a_model_comes_back(start: Callable[[], StoredModels], tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PIECE_BYTES", 24)  # no weight is a multiple
    model, contents = uploaded(tiny)
    start().keep(model.facts, contents)
    read: dict[str, Any] = {}
    bind = models.bind

    def reading(facts: Facts, fitted: Any, shares: Any) -> HeldModel:
        read.update(shares)
        return bind(facts, fitted, shares)

    monkeypatch.setattr(models, "bind", reading)
    (found,), missed = start().restore(LIMITS)
    assert not missed
    assert found.facts == model.facts
    assert (found.plan, found.size, found.room) == (model.plan, model.size, model.room)
    assert read.keys() == contents.shares.keys() == found.plan.weights.keys()
    for name, share in contents.shares.items():
        np.testing.assert_array_equal(read[name].mine, share.mine)
        np.testing.assert_array_equal(read[name].next, share.next)


def test_what_was_published_is_so_again(start: Callable[[], StoredModels], tiny: Any, other_tiny: Any) -> None:
    shelf = Shelf(LIMITS, lambda: None, start())
    held = [uploaded(tiny, b"1" * 16), uploaded(other_tiny, b"2" * 16, version=2), uploaded(tiny, b"3" * 16, "spam")]
    for model, contents in held:
        shelf.put(model, contents)
    shelf.publish(held[0][0], deployed=False)
    shelf.publish(held[1][0], deployed=True)
    keeper = start()
    again = Shelf(LIMITS, lambda: None, keeper)
    again.restore(*keeper.restore(LIMITS))
    assert [each.facts for each in again.models] == [each.facts for each in shelf.models]
    assert [each.published for each in again.models] == [1, 2, 0]
    assert again.named("").id == b"2" * 16
    assert again.named("digits").deployed
    again.undeploy(again.named("digits"))
    found, _ = start().restore(LIMITS)
    assert not any(model.deployed for model in found)


def test_what_is_taken_away_does_not_come_back(start: Callable[[], StoredModels], tiny: Any, tmp_path: Path) -> None:
    keeper = start()
    model = keep(keeper, tiny)
    keeper.note(Facts(model.id, model.name, 1, model.owner, model.digest, 1, deployed=True))
    keeper.forget(model.id)
    keeper.forget(b"never was there!")
    assert {each.name for each in (tmp_path / "server2").iterdir()} == {"lock", "published"}
    keeper = start()
    assert keeper.restore(LIMITS) == ([], frozenset())
    keep(keeper, tiny)
    (found,), _ = start().restore(LIMITS)
    assert not found.published  # the note forgot it too


def test_a_damaged_model_does_not_keep_the_others_from_coming_back(
    start: Callable[[], StoredModels], tiny: Any, tmp_path: Path, log: LogLines
) -> None:
    keeper = start()
    for id_ in (b"a" * 16, b"b" * 16, b"c" * 16):
        keep(keeper, tiny, id_)
    path = tmp_path / "server2" / (b"b" * 16).hex()
    os.truncate(path, path.stat().st_size - 1)
    found, missed = start().restore(LIMITS)
    assert [model.id for model in found] == [b"a" * 16, b"c" * 16]
    assert missed == {b"b" * 16}
    assert log.causes("stored model unreadable") == ["it was changed or cut short"]
    assert path.with_suffix(".damaged").exists()
    keeper = start()
    assert keeper.restore(LIMITS)[1] == {b"b" * 16}  # after each start, until it is taken away
    keeper.forget(b"b" * 16)
    assert not path.with_suffix(".damaged").exists()
    assert start().restore(LIMITS)[1] == frozenset()


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "changed"])
def test_without_the_note_nothing_is_taken_for_useless(
    lost: bool, start: Callable[[], StoredModels], tiny: Any, tmp_path: Path, log: LogLines
) -> None:
    """Nobody knows what was published then."""
    keeper = start()
    model = keep(keeper, tiny)
    keeper.note(Facts(model.id, model.name, 1, model.owner, model.digest, 1, deployed=True))
    note = tmp_path / "server2" / "published"
    content = note.read_bytes()
    for _ in range(2):
        if lost:
            note.unlink(missing_ok=True)
        else:
            note.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        keeper = start()
        assert keeper.restore(LIMITS) == ([], {model.id})
        keep(keeper, tiny, b"another upload.!")  # does not take the note's place
        keeper.forget(b"another upload.!")
    assert len(log.causes("stored note unreadable")) == 2
    note.write_bytes(content)
    (found,), missed = start().restore(LIMITS)
    assert found.deployed
    assert not missed


def test_what_cannot_be_shredded_is_not_published_any_more(
    start: Callable[[], StoredModels], tiny: Any, log: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is not served again after a restart, but shredded then."""
    keeper = start()
    model = keep(keeper, tiny)
    keeper.note(Facts(model.id, model.name, 1, model.owner, model.digest, 1, deployed=True))

    def fail(*_: object) -> None:
        raise StorageError("the disk is broken")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "forget", fail)
        keeper.forget(model.id)
    assert log.causes("stored model not shredded") == ["the disk is broken"]
    (found,), _ = start().restore(LIMITS)
    assert (found.published, found.deployed) == (0, False)


def test_a_model_beyond_the_limits_is_kept_and_not_held(
    start: Callable[[], StoredModels], tiny: Any, log: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = keep(start(), tiny)
    with monkeypatch.context() as patch:
        patch.setattr(Limits, "model_bytes", 10)
        assert start().restore(LIMITS) == ([], {model.id})
    assert "limits.model_mb" in log.causes("stored model unreadable")[0]
    assert len(start().restore(LIMITS)[0]) == 1


def test_an_owner_is_told_that_the_disk_is_full(
    start: Callable[[], StoredModels], tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(LIMITS, lambda: None, start())
    model, contents = uploaded(tiny)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"^storage\.path cannot be written to: No space left on device$"):
            shelf.put(model, contents)
    assert shelf.models == ()
    assert start().restore(LIMITS) == ([], frozenset())


def test_a_folder_that_somebody_wrote_to_holds_what_was_written_or_less(
    start: Callable[[], StoredModels], tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed, cut, lengthened, swapped, removed, replaced by links and pipes: each model is as it was, or missed."""
    keeper, written = start(), {}
    for number in range(3):
        model, contents = uploaded(tiny, bytes([number]) * 16, f"digits{number}")
        keeper.keep(model.facts, contents)
        keeper.note(Facts(model.id, model.name, 1, model.owner, model.digest, number + 1, deployed=number == 0))
        written[model.id] = ((model.name, number + 1, number == 0), contents.shares)
    folder, held = tmp_path / "server2", 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not ours")
    rng = random.Random(1)  # noqa: S311  the same files each time
    whole = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}
    read: dict[bytes, Any] = {}
    bind = models.bind
    monkeypatch.setattr(models, "bind", lambda *all_: read.update({all_[0].id: all_[2]}) or bind(*all_))
    for _ in range(60):
        keeper = start()
        for path in folder.iterdir():
            if path.name != "lock":
                path.unlink()
        for name, content in whole.items():
            (folder / name).write_bytes(content)
        for path in rng.sample([folder / name for name in whole], rng.randint(1, 3)):
            damage(path, folder / rng.choice(list(whole)), rng, elsewhere)
        found, missed = keeper.restore(LIMITS)
        for model in found:
            facts, shares = written[model.id]
            assert (model.name, model.published, model.deployed) == facts
            for name, share in shares.items():
                np.testing.assert_array_equal(read[model.id][name].mine, share.mine)
                np.testing.assert_array_equal(read[model.id][name].next, share.next)
        there = {bytes.fromhex(path.name[:32]) for path in folder.iterdir() if len(path.name) >= 32}
        assert there == {model.id for model in found} | missed
        held += len(found)
    assert held > 20
    assert elsewhere.read_bytes() == b"not ours"


def damage(path: Path, other: Path, rng: random.Random, elsewhere: Path) -> None:
    """Nothing is written through `path` or `other` that an earlier one has made a link."""
    content = bytearray(path.read_bytes())
    kind = rng.randrange(7)
    if kind == 0:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    elif kind == 1:
        os.truncate(path, rng.choice([rng.randrange(len(content)), 1 << 40]))  # nothing is allocated for it
    elif kind == 2:
        path.write_bytes(content + os.urandom(20))
    elif kind == 3 and other.is_file() and not other.is_symlink() and other.stat().st_size < 1 << 20:
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
    else:
        path.unlink()
        if kind == 4:
            os.mkfifo(path, 0o600)
        elif kind == 5:
            path.symlink_to(elsewhere)
