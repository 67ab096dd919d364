"""A folder of files that are there whole or not at all, whenever the power fails.

Theory of operation. A new file is written aside, under a name that ends in `.part`; its bytes are flushed to the disk
(fsync), then it is renamed, which POSIX does in one step, and then the folder is flushed, so that its new name is on
the disk too. Before that last flush the caller has no promise, after it there is no way back. What a crash leaves
behind is a `.part`, which the next start removes.

A file that is to be *shredded* is renamed first, to `.gone`, so that one that lost its header to a crash is not taken
for damage. Then its header, which holds the wrapped key, is overwritten and flushed, then it is removed.

One process at a time uses a folder: it holds a lock on a file in it, which the system gives back when it ends,
however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from keras_private.errors import ConfigError, StorageError

_PART, _GONE, _DAMAGED, _LOCK = ".part", ".gone", ".damaged", "lock"
_NAME: Final = re.compile(r"[0-9a-z-]{1,64}")


class Folder:
    """Made, with mode 0700, if it is not there. Not thread-safe, but for different names.

    Args:
        head: how many bytes at a file's beginning must be overwritten for the rest of it to be lost.

    Raises:
        ConfigError: it cannot be made, used or written to, others may look into it, or another process uses it.
    """

    def __init__(self, path: Path, head: int) -> None:
        self._path = path
        self._head = head
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = path.stat()
            if not stat.S_ISDIR(found.st_mode):
                raise ConfigError(f"storage.path: {path} is not a folder")
            if found.st_uid != os.geteuid():
                raise ConfigError(
                    f"storage.path: {path} belongs to another user; chown it to the one who runs the party"
                )
            if (mode := stat.S_IMODE(found.st_mode)) & 0o077:
                raise ConfigError(f"storage.path: others may look into {path} (mode {mode:04o}); run: chmod 700 {path}")
            self._lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigError(f"storage.path: {path} cannot be used: {_cause(error)}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._tidy()
        except OSError as error:
            os.close(self._lock)
            if isinstance(error, BlockingIOError):
                raise ConfigError(
                    f"storage.path: another process uses {path}; give each party a folder of its own, as in "
                    "'path: shares/{name}', or 'shares/{replica}/{name}' where several triples are on one machine"
                ) from None
            raise ConfigError(f"storage.path: {path} cannot be written to: {_cause(error)}") from None

    def close(self) -> None:
        """Let another process use it. Idempotent."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def names(self) -> list[str]:
        """Of all files that are here, in order.

        Raises:
            StorageError: the folder cannot be read.
        """
        return [each for each in self._listed() if _NAME.fullmatch(each) and each != _LOCK]

    def aside(self) -> list[str]:
        """Of the files that were set aside, as they were called before. Raises as `names`."""
        return [each.removesuffix(_DAMAGED) for each in self._listed() if each.endswith(_DAMAGED)]

    def _listed(self) -> list[str]:
        try:
            return sorted(os.listdir(self._path))
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read: {_cause(error)}") from None

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Written]:
        """A file that takes the name, and the place of what had it, when the block ends without an exception.

        Raises:
            StorageError: it could not be written, or is perhaps not on the disk yet; names the cause. What had the
                name before is then still there, or the new file, never a part of one.
        """
        aside = self._path / (name + _PART)
        with _writable():
            file = os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
        try:
            yield Written(file)
            with _writable():
                file.flush()
                os.fsync(file.fileno())
                os.replace(aside, self._path / name)
                self._flush()
        except BaseException:
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(OSError):
                self._remove(aside.name)
            raise
        file.close()

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not keep us waiting
        with open(os.open(self._path / name, flags), "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "it is not a file")
            yield file

    def set_aside(self, name: str) -> str:
        """Keep a file for the operator to look at, under a name that is never read; that name."""
        os.replace(self._path / name, self._path / (name + _DAMAGED))
        self._flush()
        return name + _DAMAGED

    def shred(self, name: str) -> bool:
        """Make a file unreadable, then remove it, also if it was set aside; whether it was there.

        Raises:
            StorageError: it could not be done, or perhaps not for good.
        """
        return any([self._shred(name), self._shred(name + _DAMAGED)])

    def _shred(self, name: str) -> bool:
        gone = name + _GONE
        try:
            os.replace(self._path / name, self._path / gone)
            self._flush()  # from here on it is gone, whatever happens
            self._remove(gone)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"{self._path / name} cannot be shredded: {_cause(error)}") from None
        return True

    def _remove(self, name: str) -> None:
        if stat.S_ISREG((self._path / name).lstat().st_mode):  # what a link names is not ours
            with open(
                os.open(self._path / name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "wb", buffering=0
            ) as file:
                size = min(self._head, file.seek(0, os.SEEK_END))
                file.seek(0)
                file.write(os.urandom(size))
                os.fsync(file.fileno())
        os.unlink(self._path / name)
        self._flush()

    def _tidy(self) -> None:
        """Remove what a crash left behind, and find out whether there may be written."""
        for each in os.listdir(self._path):
            if each.endswith((_PART, _GONE)) and not (self._path / each).is_dir():  # no party makes folders here
                self._remove(each)
        probe = self._path / f"probe{_PART}"
        probe.touch(mode=0o600)
        probe.unlink()

    def _flush(self) -> None:
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Written:
    """A file that is being written. Other failures than its own, of who writes to it, pass through unchanged."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        """Raises:
        StorageError: it cannot be written; names the cause.
        """
        with _writable():
            self._file.write(data)


@contextlib.contextmanager
def _writable() -> Iterator[None]:
    try:
        yield
    except OSError as error:  # an owner may be told: where the operator's folder is, is not theirs to know
        raise StorageError(f"storage.path cannot be written to: {_cause(error)}") from None


def _cause(error: OSError) -> str:
    return error.strerror or type(error).__name__
