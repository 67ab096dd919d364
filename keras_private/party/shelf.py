"""The models that a party holds, by upload, and the room that they have.

Theory of operation. A model is found by its upload's id, the same at all three parties. What a *name* means the leader
alone decides: it publishes an upload, and from then on the name means that one (`leader.names`). The version that it
meant before is *retired*: it stays for the clients that know it. Followers hold what they were sent, tell the leader,
and forget what it says.

Models take memory until they are taken away, so there is a limit for each owner and one for all. What an upload will
take is set aside before its first byte comes. A refusal says who holds what.

A `Keeper` may keep the models beyond the party's end: it is asked before a model is on the shelf, and so before its
owner is told that it is there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from keras_private.config import Limits
from keras_private.errors import NoModelError, RefusedError
from keras_private.party.causes import Cause
from keras_private.party.fields import DEFAULT_NAME
from keras_private.party.messages import MAX_MODELS
from keras_private.party.models import Facts, HeldModel
from keras_private.sharing.share import Share

OWNED = 64
"""Models of one owner that a party holds at once, retired versions and uploads on their way among them."""
_REMEMBERED = 1024  # uploads that are gone, and why

Listener = Callable[[HeldModel], None]
"""Told that a model which it uses was retired. Must not wait."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What an upload brought, for a `Keeper`: the serialised plan, and this party's shares by the weights' names."""

    plan: bytes = field(repr=False)
    shares: Mapping[str, Share] = field(repr=False)


class Keeper(Protocol):
    """Where models are kept beyond a party's end. Called without a lock, by one thread at a time for one model."""

    def keep(self, facts: Facts, contents: Contents) -> None:
        """Return when it would survive the power's going. Raises a KerasPrivateError that its owner is told."""

    def note(self, facts: Facts) -> None:
        """The facts about a model that is kept have changed; as durable as `keep`."""

    def forget(self, id_: bytes) -> None:
        """Shred a model, if it is kept."""


class Nowhere:
    """The `Keeper` of a party that keeps nothing."""

    def keep(self, facts: Facts, contents: Contents) -> None:
        pass

    def note(self, facts: Facts) -> None:
        pass

    def forget(self, id_: bytes) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Reservation:
    """An upload on its way."""

    id: bytes
    name: str
    owner: str
    size: int


class Shelf:
    """Thread-safe.

    Args:
        changed: called, without a lock, after models have come or gone.
    """

    def __init__(self, limits: Limits, changed: Callable[[], None], keeper: Keeper | None = None) -> None:
        self._limits = limits
        self._changed = changed
        self._keeper = keeper or Nowhere()
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._models: dict[bytes, HeldModel] = {}  # in the order in which they came
        self._uploads: dict[bytes, Reservation] = {}
        self._users: dict[bytes, dict[object, Listener]] = {}
        self._gone: dict[bytes, Cause] = {}
        self.missed: frozenset[bytes] = frozenset()
        """What is kept and could not be read: no reason for others to shred theirs."""
        self.changes = 0
        """How often models have come or gone."""

    # What is here

    @property
    def models(self) -> tuple[HeldModel, ...]:
        """All, in the order in which they came."""
        with self._lock:
            return tuple(self._models.values())

    @property
    def uploads(self) -> tuple[Reservation, ...]:
        """Those on their way, and those that are whole and not yet acknowledged."""
        with self._lock:
            return tuple(self._uploads.values())

    def snapshot(self) -> tuple[int, tuple[HeldModel, ...]]:
        """`changes` and `models` of one moment."""
        with self._lock:
            return self.changes, tuple(self._models.values())

    def get(self, id_: bytes) -> HeldModel | None:
        return self._models.get(id_)

    def holds(self, id_: bytes) -> bool:
        """Whether an upload is here, or on its way."""
        with self._lock:
            return id_ in self._models or id_ in self._uploads

    def gone(self, id_: bytes) -> Cause | None:
        """What clients are told of an upload that was here lately; None: it was not."""
        return self._gone.get(id_)

    def owned(self, id_: bytes, owner: str) -> HeldModel | None:
        """An upload that this owner may do something with; None: it is not here.

        Raises:
            RefusedError: it is somebody else's.
        """
        model = self._models.get(id_)
        if model is not None and model.owner != owner:
            raise RefusedError(
                f"the model '{model.name}' belongs to {model.owner}; only they can replace, serve or stop it"
            )
        return model

    # What names mean: at the leader

    @property
    def published(self) -> dict[str, HeldModel]:
        """What each name means, in the order of publication."""
        with self._lock:
            return self._published()

    def _published(self) -> dict[str, HeldModel]:
        found: dict[str, HeldModel] = {}
        for model in sorted(self._models.values(), key=lambda model: model.published):
            if model.published and model.ended is None:
                found[model.name] = model
        return found

    def named(self, name: str, may: Callable[[str], bool] = lambda _: True) -> HeldModel:
        """What a name means now. Without a name: `DEFAULT_NAME`, or else the only model that is published.

        Args:
            may: whether who asks may know of a model of that name; used without one.

        Raises:
            NoModelError: nothing.
            RefusedError: without a name there is more than one.
        """
        with self._lock:
            published = self._published()
        if name in published:
            return published[name]
        if name:
            raise NoModelError(f"holds no model {name!r}; its owner must share it (again)")
        published = {each: model for each, model in published.items() if may(each)}
        if len(published) > 1 and DEFAULT_NAME not in published:
            raise RefusedError(
                "holds several models, and none is the default; say which is meant, as in "
                'connect_to_model(…, model="digits")'
            )
        if not published:
            raise NoModelError("holds no model; the owner must share it (again)")
        return published.get(DEFAULT_NAME) or next(iter(published.values()))

    def retired(self, model: HeldModel) -> bool:
        """Whether its name means a newer one now."""
        with self._lock:
            return bool(model.published) and self._published().get(model.name) is not model

    def publish(self, model: HeldModel, *, deployed: bool) -> None:
        """From now on a model's name means it; those who use the one before are told.

        By one thread at a time.
        """
        with self._lock:
            before = self._published().get(model.name)
            count = 1 + max(each.published for each in self._models.values())
        published = model.published if before is model else count
        self._keeper.note(Facts(*_upload(model), published, deployed))  # first: a crash here changes nothing else
        with self._lock:
            model.published, model.deployed = published, deployed
            told = list(self._users.get(before.id, {}).values()) if before and before is not model else []
        for listener in told:
            listener(before or model)

    def undeploy(self, model: HeldModel) -> None:
        """It is not served without its owner any more."""
        self._keeper.note(Facts(*_upload(model), model.published, False))
        model.deployed = False

    # Who uses it

    def use(self, model: HeldModel, user: object, retired: Listener) -> None:
        """A connection knows this model: it stays, even retired, until `leave`.

        Raises:
            NoModelError: it has gone just now.
        """
        with self._lock:
            if self._models.get(model.id) is not model or model.ended:
                raise NoModelError("the model was taken away just now")
            self._users.setdefault(model.id, {})[user] = retired

    def leave(self, user: object) -> None:
        """A connection is over."""
        with self._lock:
            for id_ in [id_ for id_, users in self._users.items() if users.pop(user, None) and not users]:
                del self._users[id_]

    def users(self, id_: bytes) -> int:
        """Connections that know an upload."""
        with self._lock:
            return len(self._users.get(id_, ()))

    # Coming and going

    def reserve(self, upload: Reservation, wait: float = 0.0) -> None:
        """Set room aside for an upload, until `release`; wait for it so many seconds at most.

        Raises:
            RefusedError: there is none, or the id is in use.
        """
        with self._lock:
            if upload.id in self._models or upload.id in self._uploads:
                raise RefusedError("an upload of this id is here already; draw another one")
            if self._refusal(upload):
                self._freed.wait_for(lambda: not self._refusal(upload), wait)
            if refusal := self._refusal(upload):
                raise RefusedError(refusal)
            self._uploads[upload.id] = upload

    def release(self, id_: bytes) -> None:
        """An upload has ended, one way or the other."""
        with self._lock:
            self._uploads.pop(id_, None)
            self._freed.notify_all()

    @contextlib.contextmanager
    def uploading(self, upload: Reservation, wait: float = 0.0) -> Iterator[None]:
        """`reserve`, and `release` at the end. Raises as `reserve`."""
        self.reserve(upload, wait)
        try:
            yield
        finally:
            self.release(upload.id)

    def lacks_room(self, upload: Reservation) -> str:
        """Why there is no room for an upload, and what to do; empty: there is."""
        with self._lock:
            return self._refusal(upload)

    def _refusal(self, upload: Reservation) -> str:
        held: dict[str, int] = {}
        counts: dict[str, int] = {}
        here = {each.id: (each.owner, each.size) for each in self._models.values()}
        here |= {each.id: (each.owner, each.size) for each in self._uploads.values()}  # some are whole already
        for owner, size in here.values():
            held[owner] = held.get(owner, 0) + size
            counts[owner] = counts.get(owner, 0) + 1
        mine, count, limits = held.get(upload.owner, 0), counts.get(upload.owner, 0), self._limits
        if count >= OWNED or sum(counts.values()) >= MAX_MODELS:
            return (
                f"there are {count} models of {upload.owner} ({sum(counts.values())} in all), and may be {OWNED} "
                f"({MAX_MODELS}); stop one"
            )
        if mine + upload.size > limits.owner_bytes:
            return (
                f"this upload takes {_mb(upload.size)}, and {upload.owner} holds {_mb(mine)} of the "
                f"{_mb(limits.owner_bytes)} that an owner may (limits.owner_mb): {self._list(upload.owner)}; stop one "
                "first, or ask the operators for more"
            )
        if sum(held.values()) + upload.size > limits.models_bytes:
            owners = ", ".join(f"{owner} {_mb(size)}" for owner, size in sorted(held.items()))
            return (
                f"this upload takes {_mb(upload.size)}, and of the {_mb(limits.models_bytes)} for all models "
                f"(limits.models_mb) are taken: {owners}; ask them to stop one, or the operators for more"
            )
        return ""

    def _list(self, owner: str) -> str:
        mine = [f"'{each.name}' version {each.version} {_mb(each.size)}" for each in self._models.values()
                if each.owner == owner]  # fmt: skip
        mine += [f"'{each.name}' on its way {_mb(each.size)}" for each in self._uploads.values()
                 if each.owner == owner and each.id not in self._models]  # fmt: skip
        return ", ".join(mine)

    def put(self, model: HeldModel, contents: Contents) -> None:
        """Hold a model for which there is room. Raises as `Keeper.keep`."""
        self._keeper.keep(model.facts, contents)
        self.restore([model])

    @property
    def lasting(self) -> bool:
        """Whether models outlive the party's end."""
        return not isinstance(self._keeper, Nowhere)

    def restore(self, models: Iterable[HeldModel], missed: frozenset[bytes] = frozenset()) -> None:
        """Hold models that are kept already.

        Args:
            missed: those that are kept too, and could not be read.
        """
        with self._lock:
            self._models |= {model.id: model for model in models}
            self.missed |= missed
            self.changes += 1
        self._changed()

    def remove(self, id_: bytes, cause: Cause) -> bool:
        """Forget an upload; whether it was here.

        Args:
            cause: what clients are told that ask for it later.
        """
        with self._lock:
            model = self._models.pop(id_, None)
            self.missed -= {id_}
            self._gone.pop(id_, None)
            self._gone[id_] = cause
            while len(self._gone) > _REMEMBERED:
                del self._gone[next(iter(self._gone))]
            self._users.pop(id_, None)
            if model is not None:
                model.ended = cause
                self.changes += 1
            self._freed.notify_all()
        self._keeper.forget(id_)  # also what is kept and could not be restored
        if model is not None:
            self._changed()
        return model is not None


def _upload(model: HeldModel) -> tuple[bytes, str, int, str, str]:
    return model.id, model.name, model.version, model.owner, model.digest


def _mb(size: int) -> str:
    return f"{size / 2**20:.1f} MB"
