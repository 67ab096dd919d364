"""What names mean: the leader's map from names to uploads, which is the one truth of a cluster.

Theory of operation. An owner uploads to all three parties, and then has the leader *publish* the upload. In that moment
the name means it, for whoever asks from then on; nothing else has to happen at once, so the switch is atomic. A name
belongs to the owner of what it means. It has one serving, whichever version requests are for.

The version that a name meant before is *retired*: it goes on being answered, and goes when no connection that knows
it is left and no request of it waits, or when its owner's memory is needed, oldest first.

Followers hold what they were sent, and report it. They never decide that an upload is of no use: what the leader does
not hold, or has on its way, it tells them to forget, whenever it hears of it. So whatever breaks in between leaves
nothing behind: an upload that did not reach all three goes with its owner's connection to the leader; a leader that
comes back empty has its followers emptied; a follower that was away when a model was taken away is told when it comes.
Where models outlive a restart, a leader that came back without them may have been started with the wrong folder or
key: then it waits for `STRAY_S` before it has the others' shares shredded, and for ever if it only cannot read its own.

No model goes while a run of it goes on: a follower that forgot it too early would have to break the lane.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from keras_private.config import PARTY_NAMES
from keras_private.errors import NoModelError, RefusedError
from keras_private.party.causes import NOT_HELD, SHARED_AGAIN, STOPPED, Cause
from keras_private.party.dial import code_of
from keras_private.party.leader.followers import Followers
from keras_private.party.leader.queue import LeaderQueue, Serving
from keras_private.party.messages import Holdings, Load
from keras_private.party.models import HeldModel
from keras_private.party.node import Node
from keras_private.party.shelf import Reservation

STRAY_S = 3600.0
"""How long followers keep what a leader with a storage does not know."""
REPORTS_S = 2.0
"""For what the followers report about their models to arrive, at most."""
_MEETING_S = 10.0  # right after a start the parties are still looking for each other
_VERSIONS = 4096  # names whose last version is known, whoever had them


class Names:
    """Thread-safe."""

    def __init__(self, node: Node, queue: LeaderQueue, followers: Followers) -> None:
        self._node = node
        self._shelf = node.shelf
        self._queue = queue
        self._followers = followers
        self._changing = threading.RLock()  # around what looks at several models and then changes one
        self._versions: dict[tuple[str, str], tuple[int, int]] = {}  # the last one and when it was made, by owner, name
        self._stray = threading.Lock()  # around what follows
        self._strays: dict[tuple[int, bytes], float] = {}  # what followers hold and we do not know, and since when
        self._incomplete: set[bytes] = set()  # what followers lack, as it was logged

    def start(self) -> None:
        """Serve what is deployed, of the models that were kept; retired ones are of no use any more."""
        for model in self._shelf.models:
            if not model.published or self._shelf.retired(model):
                self._shelf.remove(model.id, SHARED_AGAIN)
            elif model.deployed:
                self._queue.start_serving(model.id, standing=True)

    # Uploads

    @contextmanager
    def claimed(self, load: Load, owner: str, size: int) -> Iterator[int]:
        """While an upload is taken in: its name is its owner's, and its room is set aside. Gives its version.

        Raises:
            RefusedError: the name is somebody else's, another upload of it is on its way, a newer version was shared,
                or there is no room.
        """
        upload = Reservation(load.model, load.name, owner, size)
        with self._changing:
            version = self._next_version(load, owner)
            self._make_room(upload)
            self._shelf.reserve(upload)
        try:
            yield version
        finally:
            self._shelf.release(upload.id)

    def _next_version(self, load: Load, owner: str) -> int:
        self._check_owner(load.name, owner)
        on_their_way = {each.name: each.owner for each in self._shelf.models if not each.published}
        on_their_way |= {each.name: each.owner for each in self._shelf.uploads}
        if by := on_their_way.get(load.name):
            raise RefusedError(f"another upload of '{load.name}', by {by}, is on its way; try again").again()
        latest, made = self._latest(load.name, owner)
        if load.version and (load.made < made if made else load.version < latest):
            raise RefusedError(
                f"'{load.name}' has version {latest} by now, and this is version {load.version}, which was shared "
                "before; share it anew if it is meant all the same"
            )
        # In new shares a version keeps its number, unless a leader that had forgotten it has given that to another one.
        again = load.version > latest or (0 < load.version == latest and made in (0, load.made))
        return load.version if again else latest + 1

    def _latest(self, name: str, owner: str) -> tuple[int, int]:
        """The last version of a name, and when it was made; that is 0 for one from before this party's start."""
        ours = [
            each.version for each in self._shelf.models if each.published and (each.name, each.owner) == (name, owner)
        ]
        version, made = self._versions.get((owner, name), (0, 0))
        return max([*ours, version]), made

    def _check_owner(self, name: str, owner: str) -> None:
        model = self._shelf.published.get(name)
        if model is not None and model.owner != owner:
            raise RefusedError(
                f"the name '{name}' belongs to {model.owner}, and only they can share under it; choose another one, as "
                'in model.share(cluster, name="digits")'
            )

    def _make_room(self, upload: Reservation) -> None:
        """Let this owner's retired versions go, oldest first, as far as needed."""
        retired = [each for each in self._shelf.models if each.owner == upload.owner and self._shelf.retired(each)]
        for model in sorted(retired, key=lambda each: each.published):
            if not self._shelf.lacks_room(upload):
                return
            self._let_go(model, SHARED_AGAIN)

    def abandon(self, id_: bytes) -> None:
        """An upload's owner went away; if it was not published, it goes too."""
        model = self._shelf.get(id_)
        if model is not None and not model.published:
            self._shelf.remove(id_, STOPPED)
        if id_ and not self._shelf.holds(id_):
            self._shelf.remove(id_, STOPPED)  # whoever reports it later hears so at once
            self._followers.forget([id_], NOT_HELD)

    # Owners

    def publish(self, id_: bytes, owner: str, *, deploy: bool) -> int:
        """From now on the name of an upload means it. Gives its version.

        Args:
            deploy: it is served until `undeploy`.

        Raises:
            NoModelError: this party, or another one, does not hold it.
            RefusedError: it is not this owner's, or the name is not.
        """
        shelf, queue = self._shelf, self._queue
        model = shelf.owned(id_, owner)
        if model is None:
            raise NoModelError("it does not hold this upload; share the model again")
        if obstacle := self._followers.wait_agreed(model, min(_MEETING_S, self._node.timeout / 2)):
            raise obstacle
        if away := self._followers.away():
            raise RefusedError(f"a model is published when all three parties hold it, and {away}; try again").again()
        with self._changing:
            self._check_owner(model.name, owner)
            if model.ended or shelf.retired(model):
                raise RefusedError(f"there is a newer version of '{model.name}' by now, or it was stopped")
            before = shelf.published.get(model.name)
            if before is not None and before is not model:
                queue.cover(before.id, model.id)  # first: nobody can have asked for the new one
            deploy = deploy or (before is not None and before.deployed)
            shelf.publish(model, deployed=deploy)
            self._versions.pop((owner, model.name), None)
            self._versions[owner, model.name] = model.version, model.made
            while len(self._versions) > _VERSIONS:
                del self._versions[next(iter(self._versions))]
            if deploy:
                self._serve_standing(model)
        self._node.log.info(
            "model published", owner=owner, model=model.name, version=model.version, deployed=model.deployed
        )
        self.tidy()
        return model.version

    def _serve_standing(self, model: HeldModel) -> None:
        serving = self._queue.serving_of(model.id)
        if serving is not None and not serving.standing:
            self._queue.stop_serving(serving, "it was deployed: the parties serve it without its owner from now on")
        if serving is None or not serving.standing:
            self.start_serving(model, standing=True)

    def start_serving(self, model: HeldModel, total: int | None = None, *, standing: bool = False) -> Serving:
        """Serve what a name means, and the versions of it that are retired; as `LeaderQueue.start_serving`."""
        with self._changing:
            serving = self._queue.start_serving(model.id, total, standing=standing)
            for each in self._versions_of(model.name):
                self._queue.cover(model.id, each.id)
            return serving

    def _versions_of(self, name: str) -> list[HeldModel]:
        """The published ones of a name, the latest first."""
        found = [each for each in self._shelf.models if each.name == name and each.published and not each.ended]
        return sorted(found, key=lambda each: -each.published)

    def newest(self, serving: Serving) -> int:
        """The newest version that is served under a serving; 0: it has ended."""
        served = (each for each in self._shelf.models if self._queue.serving_of(each.id) is serving)
        return max((each.version for each in served), default=0)

    def undeploy(self, name: str, owner: str, *, keep: bool) -> None:
        """Do not serve a model any more, and forget it, unless `keep`.

        Raises:
            NoModelError: there is none of this name.
            RefusedError: it is somebody else's, or not deployed.
        """
        with self._changing:
            model = self._shelf.published.get(name)
            if model is None:
                raise NoModelError(f"holds no model '{name}'")
            self._shelf.owned(model.id, owner)
            if not model.deployed:
                raise RefusedError(f"{model} is not deployed; whoever serves it can stop it")
            if keep:
                self._shelf.undeploy(model)
                self._queue.stop_serving(self._queue.serving_of(model.id))
        self._node.log.info("model undeployed", owner=owner, model=name, version=model.version, kept=keep)
        if not keep:
            self.stop(model.id, owner)

    def stop(self, id_: bytes, owner: str) -> None:
        """Forget an upload; if it is what its name means, all versions of it.

        Raises:
            RefusedError: it is somebody else's.
        """
        with self._changing:
            model = self._shelf.owned(id_, owner)
            if model is None:
                return
            serving = self._queue.serving_of(id_)
            if not model.published or self._shelf.retired(model):
                going = [model]
                if serving is not None and serving.model == id_ and not serving.standing:
                    self._queue.stop_serving(serving)
            else:
                going = self._versions_of(model.name)
                self._queue.stop_serving(serving)
            for each in going:
                each.ended = STOPPED
        for each in going:
            self._let_go(each, STOPPED)
            self._node.log.info("model stopped", owner=owner, model=each.name, version=each.version)

    # Going

    def tidy(self) -> None:
        """Let retired versions go that nobody needs any more, and strays. Called again and again."""
        late = time.monotonic() - STRAY_S
        with self._stray:
            over = [key for key, since in self._strays.items() if since < late and key[1] not in self._shelf.missed]
            for key in over:
                del self._strays[key]
        for index, id_ in over:
            self._followers.forget([id_], NOT_HELD, index=index)
        with self._changing:
            for model in self._shelf.models:
                if (
                    self._shelf.retired(model)
                    and not self._shelf.users(model.id)
                    and not self._queue.waiting_for(model.id)
                ):
                    self._let_go(model, SHARED_AGAIN)
                    self._node.log.info("model retired", owner=model.owner, model=model.name, version=model.version)

    def _let_go(self, model: HeldModel, cause: Cause) -> None:
        model.ended = cause  # from here on nobody is let in
        self._queue.uncover(model.id)
        self._queue.discard_model(model.id, cause)
        self._queue.wait_idle(model.id, self._node.timeout)
        self._shelf.remove(model.id, cause)
        self._followers.forget([model.id], cause)

    # Followers

    def reconcile(self, index: int, report: Holdings) -> None:
        """A follower says what it holds. What is unknown here it forgets; what it lacks cannot be served."""
        peer, log = PARTY_NAMES[index], self._node.log
        unknown = [each for each in report.models if not self._shelf.holds(each.model)]
        stray = {}
        for each in unknown:
            if self._shelf.gone(each.model) is None:
                stray[index, each.model] = self._strays.get((index, each.model), time.monotonic())
                if (index, each.model) in self._strays:
                    continue
                log.warning(
                    "model lost",
                    owner=each.owner,
                    model=each.name,
                    version=each.version,
                    cause=f"{peer} holds its share, and server0 none (it was restarted); the owner must share it again",
                )
        if not self._shelf.lasting:
            stray = {}
        with self._stray:
            self._strays = {key: since for key, since in self._strays.items() if key[0] != index} | stray
        known = [each.model for each in unknown if (index, each.model) not in stray]
        self._followers.forget(known, NOT_HELD, index=index)
        for model in self._shelf.published.values():
            obstacle = self._followers.obstacle(model)
            if obstacle is None:
                self._incomplete.discard(model.id)
                if model.deployed and self._queue.serving_of(model.id) is None:
                    with self._changing:
                        if model.deployed and not model.ended:
                            self._serve_standing(model)
                continue
            if model.id not in self._incomplete:
                self._incomplete.add(model.id)
                log.warning(
                    "model incomplete", owner=model.owner, model=model.name, version=model.version, cause=str(obstacle)
                )
            serving = self._queue.serving_of(model.id)
            absent = isinstance(obstacle, NoModelError)
            if not absent:  # somebody brought that follower an upload of theirs under this one's id: nothing may run
                self._followers.forget([model.id], NOT_HELD, index=index)
            if serving is not None and not (absent and serving.standing):
                self._queue.stop_serving(serving, str(obstacle), code_of(obstacle))
        self._incomplete &= {model.id for model in self._shelf.models}

    def state(self, model: HeldModel) -> str:
        """In a word, see `ModelStatus`."""
        serving = self._queue.serving_of(model.id)
        if not model.published:
            return "loading"
        if self._shelf.retired(model):
            return "retired"
        if self._followers.obstacle(model):
            return "incomplete"
        if serving is None:
            return "paused"
        return "deployed" if serving.standing else "serving"
