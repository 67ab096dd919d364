"""What a party keeps over a restart: its shares of models, each as it was uploaded, and small notes.

Theory of operation. A model's file holds what its owner sent: facts, plan, and the pieces of every weight's package, in
the order in which they came, written while they come. So a summand that travelled as a seed of 32 bytes takes 32 bytes
here, no more memory is needed than for the upload itself, and reading a file is the upload once more, with all of its
checks. A model's file never changes: it is there or not.

    content   layout 1 · facts behind their length · plan behind its length · pieces, each behind its length (the
              highest bit: the last of its part)

What changes (what the leader serves, what clients have used) is a *note*: a small sealed file, replaced as a whole.

Files are named by the model's id, which is random. A model's file that was changed is renamed and never read again; one
of another key, place or release stays as it is; neither keeps the party from starting. A note that cannot be read is
there until the next one takes its place.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from keras_private.config import StorageConfig
from keras_private.errors import KerasPrivateError, StorageError
from keras_private.logs import Log
from keras_private.party.messages import PIECE_BYTES
from keras_private.party.storage.folder import Folder
from keras_private.party.storage.keys import load_key
from keras_private.party.storage.vault import HEADER_BYTES, Opener, Sealer, context
from keras_private.plan.serialise import MAX_BYTES as MAX_PLAN_BYTES

_LAYOUT: Final = 1
FACTS_BYTES: Final = 1 << 16
"""The most facts of a model."""
NOTE_BYTES: Final = 16 << 20
"""The largest note."""
_LENGTH = 4
_LAST = 1 << 31
_MODEL = re.compile(r"[0-9a-f]{32}")


class Writing:
    """A model's file that is being written."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def add(self, piece: bytes | memoryview, *, last: bool) -> None:
        """The next piece of a part of a weight's package.

        Raises:
            StorageError: it cannot be written.
        """
        size = memoryview(piece).nbytes
        if not size <= PIECE_BYTES:
            raise StorageError(f"a piece of {size} bytes; it may have {PIECE_BYTES}")
        self._sealer.write((size | (_LAST if last else 0)).to_bytes(_LENGTH, "big"))
        self._sealer.write(piece)


@dataclass(frozen=True, slots=True)
class Kept:
    """A model's file that is being read. Not to be believed before `finish`."""

    facts: bytes
    plan: bytes
    _opener: Opener

    def piece(self) -> tuple[bytes, bool]:
        """The next piece, and whether it is the last of its part.

        Raises:
            StorageError: the file ends, or is damaged.
            OSError: it cannot be read.
        """
        head = int.from_bytes(self._opener.read(_LENGTH), "big")
        return self._opener.read(_within(head & ~_LAST, PIECE_BYTES)), bool(head & _LAST)

    def finish(self) -> None:
        """The file must end here. Raises as `piece`."""
        self._opener.finish()


class Store:
    """One party's files, in a folder that is this process' alone. For different models, from different threads.

    Raises:
        ConfigError: the folder or the key cannot be used.
    """

    def __init__(self, config: StorageConfig, cluster: str, party: str, log: Log) -> None:
        own = config.for_name(party)
        self._key = load_key(own)
        self._folder = Folder(own.path, HEADER_BYTES)
        self._where = cluster, party
        self._log = log

    def close(self) -> None:
        """Let another process use the folder. Idempotent."""
        self._folder.close()

    # Models

    def models(self) -> list[bytes]:
        """The ids of all that are here, readable or not.

        Raises:
            StorageError: the folder cannot be read.
        """
        return [bytes.fromhex(name) for name in self._folder.names() if _MODEL.fullmatch(name)]

    def damaged(self) -> list[bytes]:
        """The ids of those that were put aside. Raises as `models`."""
        return [bytes.fromhex(name) for name in self._folder.aside() if _MODEL.fullmatch(name)]

    @contextlib.contextmanager
    def writing(self, id_: bytes, facts: bytes, plan: bytes) -> Iterator[Writing]:
        """Write a model's file; it is on the disk when the block has ended without an exception.

        Args:
            facts: what else is to be known of it, up to FACTS_BYTES.

        Raises:
            StorageError: it could not be written; nothing of it is left.
        """
        with self._folder.writing(id_.hex()) as file:
            sealer = Sealer(file, self._key, self._context("model", id_))
            sealer.write(bytes([_LAYOUT]))
            for block in (facts, plan):
                sealer.write(len(block).to_bytes(_LENGTH, "big"))
                sealer.write(block)
            yield Writing(sealer)
            sealer.finish()

    @contextlib.contextmanager
    def reading(self, id_: bytes) -> Iterator[Kept]:
        """Read a model's file.

        Raises:
            StorageError: it is damaged, or of another key or release.
            OSError: it is not there, or cannot be read.
        """
        with self._folder.reading(id_.hex()) as file:
            opener = Opener(file, self._key, self._context("model", id_))
            if (layout := opener.read(1)[0]) != _LAYOUT:
                raise StorageError(f"it has layout {layout}, this release knows layout {_LAYOUT}")
            facts, plan = _block(opener, FACTS_BYTES), _block(opener, MAX_PLAN_BYTES)
            yield Kept(facts, plan, opener)

    def forget(self, id_: bytes) -> bool:
        """Shred a model's file, also one that was put aside; whether there was one.

        Raises:
            StorageError: it could not be done.
        """
        return self._folder.shred(id_.hex())

    def complain(self, id_: bytes, error: Exception) -> None:
        """A model's file could not be read: say so, and put it aside if it is damaged."""
        name, cause = id_.hex(), _cause(error)
        if isinstance(error, StorageError) and error.damaged:
            with contextlib.suppress(OSError):
                name = self._folder.set_aside(name)
        self._log.error("stored model unreadable", file=name, cause=cause)

    # Notes

    def note(self, name: str, content: bytes) -> None:
        """Keep a note instead of the one before; it is on the disk when this returns.

        Args:
            name: small letters; no model's.
            content: up to NOTE_BYTES.

        Raises:
            StorageError: it could not be written; the one before is there, or this one.
        """
        with self._folder.writing(name) as file:
            sealer = Sealer(file, self._key, self._context("note", name))
            sealer.write(content)
            sealer.finish()

    def noted(self, name: str) -> bytes | None:
        """The note that was kept last; None: there is none.

        Raises:
            StorageError: it cannot be read, which the log says too.
        """
        try:
            with self._folder.reading(name) as file:
                opener = Opener(file, self._key, self._context("note", name))
                content = opener.read(_within(opener.size, NOTE_BYTES))
                opener.finish()
                return content
        except FileNotFoundError:
            return None
        except (StorageError, OSError) as error:
            self._log.error("stored note unreadable", file=name, cause=_cause(error))
            raise StorageError(_cause(error)) from None

    def _context(self, kind: str, id_: str | bytes) -> bytes:
        return context(*self._where, kind, id_)


def _block(opener: Opener, most: int) -> bytes:
    return opener.read(_within(int.from_bytes(opener.read(_LENGTH), "big"), most))


def _within(size: int, most: int) -> int:
    if size > most:
        raise StorageError(f"a part of it has {size} bytes; it may have {most}", damaged=True)
    return size


def _cause(error: Exception) -> str:
    if isinstance(error, KerasPrivateError):
        return str(error)
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
