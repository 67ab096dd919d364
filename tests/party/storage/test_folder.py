"""Durable files: old or new whenever a process dies, and a folder that nobody else looks into or uses."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keras_private.config import ClusterConfig
from keras_private.errors import ConfigError, StorageError
from keras_private.party.storage.folder import Folder
from keras_private.party.storage.keys import new_key
from keras_private.party.storage.store import Store
from tests.conftest import LogLines

HEAD = 8
OLD, NEW = b"the old one" * 10, b"a newer one" * 1000
CALLS = ("open", "fsync", "replace", "unlink")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shares"


@pytest.fixture
def folder(path: Path) -> Iterator[Folder]:
    found = Folder(path, HEAD)
    yield found
    found.close()


def write(folder: Folder, name: str = "a", content: bytes = OLD) -> None:
    with folder.writing(name) as file:
        file.write(content)


def read(folder: Folder, name: str = "a") -> bytes | None:
    try:
        with folder.reading(name) as file:
            return file.read()
    except FileNotFoundError:
        return None


def interrupted(act: Callable[[], None], step: int, stop: Callable[[], Any]) -> bool:
    """Act until its call number `step` of those that change a disk, where `stop` is called; whether it came so far."""
    count = 0

    def counting(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                stop()
            return call(*arguments, **more)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counting(getattr(os, name)))
        act()
    return count >= step


def crashed(act: Callable[[], None], step: int) -> bool:
    """In a process of its own, which ends at that step as if the power failed. Whether it came so far."""
    child = os.fork()
    if child == 0:
        try:
            interrupted(act, step, lambda: os._exit(9))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_file_and_its_modes(folder: Folder, path: Path) -> None:
    write(folder)
    write(folder, "b", NEW)
    assert (read(folder), read(folder, "b"), read(folder, "c")) == (OLD, NEW, None)
    assert folder.names() == ["a", "b"]
    assert path.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in path.iterdir()} == {0o600}


def test_old_or_new_wherever_the_process_dies(path: Path) -> None:
    for first in (None, OLD):
        step, seen = 0, set()
        while True:
            step += 1
            folder = Folder(path, HEAD)
            if first:
                write(folder, content=first)
            else:
                folder.shred("a")
            died = crashed(lambda folder=folder: write(folder, content=NEW), step)
            folder.close()
            folder = Folder(path, HEAD)  # as at the next start
            seen.add(read(folder))
            folder.close()
            assert {each.name for each in path.iterdir()} <= {"a", "lock"}
            if not died:
                break
        assert step > 4
        assert seen == {first, NEW}


def test_shredded_or_not_wherever_the_process_dies(path: Path) -> None:
    step, seen = 0, set()
    while True:
        step += 1
        folder = Folder(path, HEAD)
        write(folder)
        died = crashed(lambda folder=folder: folder.shred("a") and None, step)
        folder.close()
        folder = Folder(path, HEAD)
        seen.add(read(folder))
        folder.close()
        assert {each.name for each in path.iterdir()} <= {"a", "lock"}
        if not died:
            break
    assert step > 4
    assert seen == {OLD, None}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_old_or_new_whatever_the_disk_refuses(folder: Folder, number: int) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    for step in range(1, 20):
        write(folder)
        try:
            if not interrupted(lambda: write(folder, content=NEW), step, fail):
                break
        except StorageError as error:
            assert os.strerror(number) in str(error)  # noqa: PT017
        assert read(folder) in (OLD, NEW)
        assert folder.names() == ["a"]
    assert step > 4


def test_a_file_that_finds_no_room(folder: Folder, path: Path) -> None:
    """The system itself refuses, in the middle of a write."""
    write(folder)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            write(folder, content=NEW)
        except StorageError as error:
            code = 7 if "cannot be written to: File too large" in str(error) else 8
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert read(folder) == OLD
    assert {each.name for each in path.iterdir()} == {"a", "lock"}


def test_an_exception_leaves_the_old_file(folder: Folder, path: Path) -> None:
    write(folder)

    def fail() -> None:
        with folder.writing("a") as file:
            file.write(NEW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read(folder) == OLD
    assert {each.name for each in path.iterdir()} == {"a", "lock"}


def test_what_is_shredded_has_lost_its_head(folder: Folder, path: Path, tmp_path: Path) -> None:
    write(folder)
    os.link(path / "a", tmp_path / "still there")
    assert folder.shred("a")
    assert not folder.shred("a")
    left = (tmp_path / "still there").read_bytes()
    assert left[:HEAD] != OLD[:HEAD]
    assert left[HEAD:] == OLD[HEAD:]
    assert folder.names() == []


def test_what_could_not_be_written_has_lost_its_head(folder: Folder, path: Path, tmp_path: Path) -> None:
    def fail() -> None:
        with folder.writing("a") as file:
            file.write(NEW)
            os.link(path / "a.part", tmp_path / "still there")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    left = (tmp_path / "still there").read_bytes()
    assert left[HEAD:] == NEW[HEAD:]
    assert left[:HEAD] != NEW[:HEAD]


def test_set_aside_is_kept_and_not_named(folder: Folder, path: Path, tmp_path: Path) -> None:
    write(folder)
    assert folder.set_aside("a") == "a.damaged"
    assert folder.names() == []
    assert folder.aside() == ["a"]
    assert (path / "a.damaged").read_bytes() == OLD
    os.link(path / "a.damaged", tmp_path / "still there")
    assert folder.shred("a")
    assert folder.aside() == []
    assert (tmp_path / "still there").read_bytes()[:HEAD] != OLD[:HEAD]


def test_pipes_and_folders_keep_nobody_waiting(folder: Folder, path: Path) -> None:
    """Who can write to the disk can put them there."""
    for name in ("a", "b.part", "c.gone"):
        os.mkfifo(path / name, 0o600)
    (path / "d.part").mkdir()
    with pytest.raises(OSError, match="it is not a file"):
        read(folder)
    folder.close()
    folder = Folder(path, HEAD)
    assert {each.name for each in path.iterdir()} == {"a", "d.part", "lock"}
    assert folder.shred("a")
    folder.close()


def test_a_link_is_not_followed(folder: Folder, path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(NEW)
    (path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        read(folder)
    assert folder.shred("a")
    assert (tmp_path / "elsewhere").read_bytes() == NEW


def test_the_lock_is_no_link(path: Path, tmp_path: Path) -> None:
    path.mkdir(0o700)
    (path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be used"):
        Folder(path, HEAD)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_is_one_partys(folder: Folder, path: Path) -> None:
    with pytest.raises(ConfigError, match=r"another process uses .*give each party a folder of its own"):
        Folder(path, HEAD)
    folder.close()
    Folder(path, HEAD).close()


def test_folders_of_two_triples_on_one_machine(tmp_path: Path, make_config: Any) -> None:
    (tmp_path / "key").write_text(new_key())
    (tmp_path / "key").chmod(0o600)
    triples = [json.loads(make_config(managed=False).to_json())["parties"] for _ in range(2)]

    def stores(path: str) -> list[Store]:
        """Those of one operator's two parties."""
        storage = {"path": str(tmp_path / path), "key_file": str(tmp_path / "key")}
        config = ClusterConfig.parse({"parties": triples, "storage": storage})
        with contextlib.ExitStack() as stack:
            made = []
            for number in range(2):
                own = config.replica(number).storage
                assert own is not None
                made.append(Store(own, "cluster", "server1", LogLines()))
                stack.callback(made[-1].close)
            return made

    stores("apart/{replica}/{name}")
    assert {each.name for each in (tmp_path / "apart").iterdir()} == {"0", "1"}
    with pytest.raises(ConfigError, match=r"another process uses .*shares/{replica}/{name}"):
        stores("one/{name}")


def test_a_folder_that_others_may_look_into(path: Path) -> None:
    path.mkdir(mode=0o700)
    path.chmod(0o750)
    with pytest.raises(ConfigError, match=r"others may look into .* \(mode 0750\); run: chmod 700"):
        Folder(path, HEAD)


def test_a_folder_that_cannot_be_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"cannot be used: File exists"):
        Folder(path, HEAD)
    path.unlink()

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "touch", refuse)  # root may write anywhere
    with pytest.raises(ConfigError, match=r"cannot be written to: Read-only file system"):
        Folder(path, HEAD)
