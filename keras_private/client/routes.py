"""The ways from a client to its model: one for each triple of parties that serves it.

Theory of operation. Triples know nothing of each other, and a session is with the three parties of one: shares of one
query never go to two. A query takes the way that has the fewest on it. A way that fails, or falls silent (`pulse`),
rests, longer each time; while others are open it is opened again by a thread that nobody waits for, when its rest is
over and somebody asks. Only where no way is open does a query wait for one. With a single triple all this comes to: one
thread connects, the others take what it got.

When the owner shares the same plan again, the parties say so, and go on answering the version that a session is for. A
thread that nobody waits for opens a session with the new one, to which queries go from then on. If that is not to be
had, because it is another plan, say, they stay with the old one for as long as the parties do.
"""

from __future__ import annotations

import copy
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial

from msgspec.structs import replace

from keras_private.client.errands import Errands
from keras_private.client.session import Session
from keras_private.client.target import Target, closed
from keras_private.client.watch import GLANCE_S
from keras_private.errors import FrameError, KerasPrivateError, LinkError, LinkTimeoutError, PartyError, TrustError
from keras_private.net.roles import Role
from keras_private.party.causes import LEAVING_S, gone
from keras_private.party.messages import Description

_FIRST_REST_S, _LONGEST_REST_S = 0.5, 30.0
_LINGER_S = 1.0  # some thread may be about to send a query in the session that was left
_FORGIVEN_S = 10.0  # after so long without a failure the next rest is a short one again


class Route:
    """The way to one triple. Thread-safe."""

    def __init__(self, role: Role, target: Target, number: int, changed: threading.Condition) -> None:
        self.target = target
        self._role = role
        self._changed = changed  # notified when it is open, or has failed
        self._connecting = threading.Lock()  # held by the one thread that connects
        self._session: Session | None = None
        self._before: weakref.WeakSet[Session] = weakref.WeakSet()  # some may still wait for answers in these
        self.failed: tuple[float, KerasPrivateError] | None = None  # when connecting failed last, and why
        self._rests_until = 0.0
        self._failures = 0
        self._errands = Errands(f"replica {number}")
        self._opening = False
        self.elsewhere: Callable[[], bool] | None = None  # whether another way is open
        self._moved: Session | None = None  # from where it was tried to go over to a newer version

    @property
    def session(self) -> Session | None:
        """The last one that there was."""
        return self._session

    @property
    def sessions(self) -> list[Session]:
        """All in which somebody may wait for an answer."""
        with self._changed:
            return [*self._before, *([self._session] if self._session else [])]

    @property
    def usable(self) -> Session | None:
        session = self._session
        return session if session and session.usable else None

    @property
    def resting(self) -> bool:
        return time.monotonic() < self._rests_until

    def open(self, deadline: float) -> Session:
        """A session that may be used; a new one if there is none. Raises as `Target.open`."""
        began = time.monotonic()
        if (session := self.usable) is not None:
            self.keep_up()
            return session
        with self._connecting:
            if (session := self.usable) is not None:
                return session
            if self._session is not None:
                self._session.leave()
            if self.failed and self.failed[0] >= began:
                raise copy.copy(self.failed[1])
            seconds = min(self.target.cluster.config.limits.timeout_s, max(0.1, deadline - time.monotonic()))
            try:
                session = self.target.open(self._role, seconds)
                self._install(session)
            except KerasPrivateError as error:
                self.failed = time.monotonic(), error
                raise
            return session

    def _install(self, session: Session) -> None:
        try:
            with self._changed:
                if self.target.closed.is_set():
                    raise closed()
                self.target.check(session.model)  # another triple's may have been pinned meanwhile
                if self._session is not None:
                    self._before.add(self._session)
                session.elsewhere = self.elsewhere
                self._session, self._failures = session, 0
                self._changed.notify_all()
        except KerasPrivateError as error:
            session.close(closed())
            raise error

    def open_soon(self) -> None:
        """Open it, in a thread that nobody waits for."""
        with self._changed:
            if self._opening:
                return
            self._opening = True
        self._errands.put(self._open)

    def _open(self) -> None:
        try:
            self.open(time.monotonic() + self.target.cluster.config.limits.timeout_s)
        except KerasPrivateError as error:
            self.rest(error)
        finally:
            with self._changed:
                self._opening = False
                self._changed.notify_all()

    def keep_up(self) -> None:
        """Go over to a newer version, if there is one, in a thread that nobody waits for; it is tried once."""
        session = self._session
        if session is None or not session.superseded:
            return
        with self._changed:
            if self._moved is session:
                return
            self._moved = session
        self._errands.put(partial(self._go_over, session))

    def _go_over(self, old: Session) -> None:
        try:
            with self._connecting:
                if self.usable is not old:
                    return
                self._install(self.target.open(self._role, self.target.cluster.config.limits.timeout_s))
        except KerasPrivateError:
            return
        self.target.closed.wait(_LINGER_S)
        old.retire()

    def rest(self, error: KerasPrivateError) -> None:
        """It failed; leave it alone for a while, if there are others."""
        with self._changed:
            now = time.monotonic()
            if self.resting:  # this was on its way beside what failed before
                self._rests_until = max(self._rests_until, now + (error.after or 0.0))
                return
            if now - self._rests_until > _FORGIVEN_S:
                self._failures = 0
            pause = min(_LONGEST_REST_S, _FIRST_REST_S * 2**self._failures)
            self._rests_until = now + max(pause, error.after or 0.0)
            self._failures += 1

    def close(self) -> None:
        for session in self.sessions:
            session.close(closed())
        self._session = None


class Routes:
    """All ways to a model. Thread-safe.

    Args:
        targets: the model at each triple.
    """

    def __init__(self, role: Role, targets: Sequence[Target]) -> None:
        self._changed = threading.Condition()  # around the fields below and those of the routes
        self._routes = [Route(role, target, number, self._changed) for number, target in enumerate(targets)]
        if len(self._routes) > 1:
            for route in self._routes:
                route.elsewhere = partial(self._another_than, route)

    @property
    def target(self) -> Target:
        return self._routes[0].target

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(route.target for route in self._routes)

    @property
    def session(self) -> Session | None:
        """One that may be used; else one that could be, if there was any."""
        sessions = [route.usable for route in self._routes] + [route.session for route in self._routes]
        return next((session for session in sessions if session is not None), None)

    def fewest_rows(self, model: Description) -> Description:
        """This model, taking as many rows at once as every way takes that is open: a batch may go any of them."""
        most = [session.model.max_batch for route in self._routes if (session := route.usable) is not None]
        return replace(model, max_batch=min([model.max_batch, *most]))

    def connect(self, deadline: float) -> None:
        """Open a first way, and hold all others to the same plan of the same owner. Raises as `Target.open`."""
        _, session = self._take(deadline)
        with self._changed:
            for route in self._routes:
                route.target = route.target.pinned(session.model)
        for route in self._routes:  # one may have been as quick
            if route.usable is not None and not route.target.fits(route.usable.model):
                route.close()

    def take(self, deadline: float) -> tuple[Target, Session]:
        """The way for a query.

        Raises:
            PartyError: no triple can be reached.
            KerasPrivateError: as `Target.open`.
        """
        try:
            return self._take(deadline)
        except (TrustError, FrameError):
            raise
        except LinkError as error:  # it was there before, and may come back
            raise PartyError(gone(error.party or "a party")[1]).again(LEAVING_S) from error

    def _take(self, deadline: float) -> tuple[Target, Session]:
        if len(self._routes) == 1:
            (route,) = self._routes
            return route.target, route.open(deadline)
        began = time.monotonic()
        while True:
            if self.target.closed.is_set():
                raise closed()
            found = self._best()
            for route in self._routes:
                route.keep_up()
                if route.usable is None and not (found and route.resting) and not _failed_since(route, began):
                    route.open_soon()
            if found is not None:
                return found
            failures = [route.failed[1] for route in self._routes if route.failed and route.failed[0] >= began]
            if len(failures) == len(self._routes):
                raise copy.copy(min(failures, key=lambda failure: not failure.transient))
            if time.monotonic() >= deadline:
                raise LinkTimeoutError("no triple of parties could be reached in time")
            with self._changed:
                self._changed.wait(GLANCE_S)

    def _best(self) -> tuple[Target, Session] | None:
        """Of the open ways that do not rest, or of all open ones, the one with the fewest queries on it; of several
        such the one that was taken least recently."""
        open_ones = [(route, session) for route in self._routes if (session := route.usable) is not None]
        awake = [each for each in open_ones if not each[0].resting] or open_ones
        if not awake:
            return None
        route, session = min(awake, key=lambda each: (each[1].load, each[1].latest))
        return route.target, session

    def failed(self, session: Session | None, error: KerasPrivateError) -> bool:
        """A query failed in passing. Whether another way is open, so that there is nothing to wait for."""
        for route in self._routes:
            if route.session is session and len(self._routes) > 1:
                route.rest(error)
        return any(route.session is not session and _awake(route) for route in self._routes)

    def _another_than(self, route: Route) -> bool:
        return any(other is not route and _awake(other) for other in self._routes)

    def wake(self) -> None:
        for route in self._routes:
            for session in route.sessions:
                session.wake()

    def close(self) -> None:
        """Leave the parties. Waits for nobody."""
        self.target.closed.set()
        for route in self._routes:
            route.close()
        with self._changed:
            self._changed.notify_all()


def _awake(route: Route) -> bool:
    return route.usable is not None and not route.resting


def _failed_since(route: Route, began: float) -> bool:
    return route.failed is not None and route.failed[0] >= began
