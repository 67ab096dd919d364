"""Storage keys: where they come from, and what is not taken for one."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from keras_private.config import StorageConfig
from keras_private.errors import ConfigError
from keras_private.net import command as net_command
from keras_private.party.storage.keys import load_key, new_key
from keras_private.party.storage.vault import StorageKey

SECRET = bytes(range(100, 132))


def key_file(folder: Path, content: bytes, mode: int = 0o600) -> StorageConfig:
    path = folder / "storage.key"
    path.write_bytes(content)
    path.chmod(mode)
    return StorageConfig(path=folder, key_file=path)


def command(code: str) -> StorageConfig:
    return StorageConfig(path=Path("x"), key_command=(sys.executable, "-c", code))


@pytest.mark.parametrize("content", [SECRET, base64.b64encode(SECRET), base64.b64encode(SECRET) + b"\n"])
def test_from_a_file(tmp_path: Path, content: bytes) -> None:
    assert load_key(key_file(tmp_path, content)).id == StorageKey(SECRET).id


def test_from_the_environment_and_from_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    text = base64.b64encode(SECRET).decode()
    monkeypatch.setenv("A_STORAGE_KEY", text)
    assert load_key(StorageConfig(path=Path("x"), key_env="A_STORAGE_KEY")).id == StorageKey(SECRET).id
    assert load_key(command(f"print({text!r})")).id == StorageKey(SECRET).id


def test_a_new_key_is_one(tmp_path: Path) -> None:
    first, second = (load_key(key_file(tmp_path, f"{new_key()}\n".encode())).id for _ in range(2))
    assert first != second


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match=f"can be read by others \\(mode 0{mode:o}\\); run: chmod 600"):
        load_key(key_file(tmp_path, SECRET, mode))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "holds no key"),
        (SECRET[:31], "holds no key"),
        (SECRET * 100, "holds no key"),
        (base64.b64encode(SECRET[:16]), "holds no key"),
        (b"\xff" * 44, "holds no key"),
        (bytes(32), "a password"),
        (b"correct horse battery staple 123", "a password"),
        (base64.b64encode(b"correct horse battery staple 123"), "a password"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, content: bytes, cause: str) -> None:
    with pytest.raises(ConfigError, match=cause) as failure:
        load_key(key_file(tmp_path, content))
    assert "horse" not in str(failure.value)
    assert "keras-private storage-key" in str(failure.value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"key_file: .*/none cannot be read: No such file"):
        load_key(StorageConfig(path=tmp_path, key_file=tmp_path / "none"))
    with pytest.raises(ConfigError, match="Is a directory"):
        load_key(StorageConfig(path=tmp_path, key_file=tmp_path))
    with pytest.raises(ConfigError, match="no environment variable NO_SUCH_KEY"):
        load_key(StorageConfig(path=tmp_path, key_env="NO_SUCH_KEY"))
    with pytest.raises(ConfigError, match="cannot be run: No such file"):
        load_key(StorageConfig(path=tmp_path, key_command=(str(tmp_path / "none"),)))


def test_a_command_that_fails_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="ended with exit code 3"):
        load_key(command("raise SystemExit(3)"))
    monkeypatch.setattr(net_command, "COMMAND_S", 0.01)
    with pytest.raises(ConfigError, match="did not end within"):
        load_key(command("import time; time.sleep(60)"))


def test_a_command_that_prints_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "import os\nwhile True: os.write(1, bytes(1 << 16))"
    with pytest.raises(ConfigError, match="printed more than 256 bytes"):
        load_key(command(endless))
    monkeypatch.setattr(net_command, "COMMAND_S", 0.5)  # its child keeps the pipe open
    left = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)'])"
    with pytest.raises(ConfigError, match="did not end within"):
        load_key(command(left))


def test_a_pipe_does_not_keep_the_party_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match="is not a file"):
        load_key(StorageConfig(path=tmp_path, key_file=tmp_path / "pipe"))


@pytest.mark.parametrize("ways", [{}, {"key_env": "A", "key_file": "b"}])
def test_one_way_is_named(ways: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs one of key_file, key_env, key_command"):
        StorageConfig(path=Path("x"), **ways)
