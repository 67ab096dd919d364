"""Where the storage key comes from: a file, an environment variable, or what a command prints.

A key is 32 random bytes, as they are or in base64. What looks like a password is refused: it would be guessed, by
whoever has the disk, as fast as their machines go.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path

from keras_private.config import StorageConfig
from keras_private.errors import ConfigError
from keras_private.net.command import output_of
from keras_private.net.tls import open_to_others
from keras_private.party.storage.vault import KEY_BYTES, StorageKey

_MOST_BYTES = 256  # of what holds a key
_LEAST_KINDS = 16  # different bytes of a key; of 32 random ones some 30 differ, and fewer than 16 in one of 10^15
_HOW = "write one with: keras-private storage-key > FILE"


def new_key() -> str:
    """A new key, in base64."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def load_key(config: StorageConfig) -> StorageKey:
    """The key that `storage` names.

    Raises:
        ConfigError: it is not there, others may read its file, the command failed, or it is no key.
    """
    if config.key_file is not None:
        return _parse(_of_file(config.key_file), f"storage.key_file: {config.key_file}")
    if config.key_env is not None:
        return _parse(_of_environment(config.key_env), f"storage.key_env: {config.key_env}")
    command = config.key_command or ()
    name = f"storage.key_command: {command[0]}"
    return _parse(output_of(command, name, _MOST_BYTES), name)


def _of_file(path: Path) -> bytes:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"storage.key_file: {path} is not a file")
            if open_to_others(found, os.geteuid()):
                mode = stat.S_IMODE(found.st_mode)
                raise ConfigError(
                    f"storage.key_file: the key {path} can be read by others (mode {mode:04o}); run: chmod 600 {path}"
                )
            return file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"storage.key_file: {path} cannot be read: {error.strerror}; {_HOW}") from None


def _of_environment(name: str) -> bytes:
    value = os.environ.get(name)
    if value is None:
        raise ConfigError(f"storage.key_env: there is no environment variable {name}")
    return value.encode(errors="replace")


def _parse(data: bytes, source: str) -> StorageKey:
    secret = data
    if len(data) != KEY_BYTES:
        try:
            secret = base64.b64decode(data.strip(), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
    if len(secret) != KEY_BYTES:
        raise ConfigError(f"{source} holds no key, which is {KEY_BYTES} bytes, as they are or in base64; {_HOW}")
    if len(set(secret)) < _LEAST_KINDS or all(0x20 <= byte < 0x7F for byte in secret):
        raise ConfigError(f"{source} holds a password, or something else that is not random, and not a key; {_HOW}")
    return StorageKey(secret)
