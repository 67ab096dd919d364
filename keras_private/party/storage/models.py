"""Models on the disk as the shelf has them: kept before it holds them, restored at a start, shredded with them.

Theory of operation. A model's file holds what never changes: the facts of its upload, its plan, its shares. What the
leader decides later, what a name means and what is deployed, is one note (`published`), replaced as a whole. The order
of writes makes every crash harmless: a file whose model was never published is of no use, and goes as any upload that
was not; an entry of the note whose file is gone is dropped; what is taken away is first not published any more.

What cannot be read stays on the disk and is told (`Store`). Its id is *missed* until its owner takes it away: that
this party cannot read its share is no reason for the others to shred theirs. If the note cannot be read, or is not
there, nobody knows what was published, so everything is missed. So that a note that was lost is told from one that was
never written, there is one before there is a model.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable
from typing import Annotated

import numpy as np
from msgspec import DecodeError, Meta, Struct, ValidationError, msgpack

from keras_private.config import Limits
from keras_private.errors import PlanError, StorageError
from keras_private.logs import Log
from keras_private.net.frames import as_bytes
from keras_private.party.fields import Id, ModelName, Natural, Text
from keras_private.party.messages import MAX_MODELS, PIECE_BYTES
from keras_private.party.models import Facts, HeldModel, bind, fit
from keras_private.party.shelf import Contents
from keras_private.party.storage.store import Kept, Store, Writing
from keras_private.sharing.share import Share, Words

_NOTE = "published"


class _Upload(Struct, frozen=True, forbid_unknown_fields=True):
    """What never changes of `Facts`; the id is the file's name."""

    name: ModelName
    version: Natural
    owner: Text
    digest: Text


class _Published(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What does."""

    model: Id
    published: Natural
    deployed: bool


_Note = Annotated[tuple[_Published, ...], Meta(max_length=MAX_MODELS)]


class StoredModels:
    """A `shelf.Keeper`. For different models, from different threads.

    Args:
        notes: whether this party notes what is published: the leader.
    """

    def __init__(self, store: Store, log: Log, *, notes: bool = True) -> None:
        self._store = store
        self._notes = notes
        self._log = log
        self._lock = threading.Lock()  # around the note
        self._published: dict[bytes, _Published] = {}

    def restore(self, limits: Limits) -> tuple[list[HeldModel], frozenset[bytes]]:
        """Every model that is kept and can be read, and the ids of those that cannot, which the log says why."""
        ids, missed = self._store.models(), set(self._store.damaged())
        try:
            self._published = {each.model: each for each in self._noted(ids)} if self._notes else {}
        except StorageError:
            return [], frozenset(missed.union(ids))
        models = []
        for id_ in ids:
            try:
                models.append(self._read(id_, limits))
            except Exception as error:  # noqa: BLE001  whatever it is, the others can be read
                missed.add(id_)
                self._store.complain(id_, error)
        return models, frozenset(missed)

    def keep(self, facts: Facts, contents: Contents) -> None:
        """See `Keeper`."""
        with self._lock:
            if self._notes and not (self._published or self._store.models()):
                self._write_note({})
        upload = _Upload(facts.name, facts.version, facts.owner, facts.digest)
        with self._store.writing(facts.id, msgpack.encode(upload), contents.plan) as file:
            for name, share in contents.shares.items():
                file.add(name.encode(), last=True)
                _write(file, share.mine)
                _write(file, share.next)

    def note(self, facts: Facts) -> None:
        """See `Keeper`."""
        with self._lock:
            changed = self._published | {facts.id: _Published(facts.id, facts.published, facts.deployed)}
            self._write_note(changed)

    def forget(self, id_: bytes) -> None:
        """See `Keeper`. What could not be shredded is told in the log."""
        for act in (self._unpublish, self._store.forget):
            try:
                act(id_)
            except StorageError as error:
                self._log.error("stored model not shredded", file=id_.hex(), cause=str(error))

    def _unpublish(self, id_: bytes) -> None:
        with self._lock:
            if id_ in self._published:
                self._write_note({key: each for key, each in self._published.items() if key != id_})

    def _write_note(self, changed: dict[bytes, _Published]) -> None:
        self._store.note(_NOTE, msgpack.encode(tuple(changed.values())))
        self._published = changed

    def _noted(self, ids: Collection[bytes]) -> Iterable[_Published]:
        content = self._store.noted(_NOTE)
        if content is None and not ids:
            return ()
        try:
            if content is None:
                raise StorageError("it is not there")
            return msgpack.decode(content, type=_Note)
        except (DecodeError, ValidationError, StorageError) as error:
            cause = str(error) if isinstance(error, StorageError) else "another release wrote it"
            self._log.error("stored note unreadable", file=_NOTE, cause=cause)
            raise StorageError(cause) from None

    def _read(self, id_: bytes, limits: Limits) -> HeldModel:
        with self._store.reading(id_) as kept:
            try:
                upload = msgpack.decode(kept.facts, type=_Upload)
            except (DecodeError, ValidationError):
                raise StorageError("another release wrote it") from None
            fitted = fit(kept.plan, limits)
            shares = {}
            for _ in fitted.plan.weights:
                name = _piece(kept, last=True).decode()
                if name not in fitted.plan.weights or name in shares:
                    raise PlanError("it holds weights that its plan does not name")
                shape = fitted.plan.weights[name].shape
                shares[name] = Share(_words(kept, shape), _words(kept, shape))
            kept.finish()
        known = self._published.get(id_)
        facts = Facts(
            id_,
            upload.name,
            upload.version,
            upload.owner,
            upload.digest,
            known.published if known else 0,
            known.deployed if known else False,
        )
        return bind(facts, fitted, shares)


def _write(file: Writing, words: Words) -> None:
    data = as_bytes(words)
    for start in range(0, max(1, len(data)), PIECE_BYTES):
        file.add(data[start : start + PIECE_BYTES], last=start + PIECE_BYTES >= len(data))


def _words(kept: Kept, shape: tuple[int, ...]) -> Words:
    """One summand of a weight, in memory that is exactly its size."""
    words = np.empty(math.prod(shape), "<u8")
    view, start = as_bytes(words), 0
    while True:
        piece, last = kept.piece()
        if start + len(piece) > len(view) or (last and start + len(piece) != len(view)):
            raise PlanError("it holds weights of other sizes than its plan names")
        view[start : start + len(piece)] = piece
        start += len(piece)
        if last:
            return words.astype(np.uint64, copy=False).reshape(shape)


def _piece(kept: Kept, *, last: bool) -> bytes:
    piece, ended = kept.piece()
    if ended is not last:
        raise PlanError("it holds weights of other sizes than its plan names")
    return piece
