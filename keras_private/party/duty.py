"""What a party server asks of its duty: the same of the leader and of a follower, who do different things then.

The server knows how to listen, to greet and to stop; it never asks which of the two it is.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence

from keras_private.party.causes import Cause
from keras_private.party.lane import Lane
from keras_private.party.messages import Describe, Status
from keras_private.party.models import HeldModel
from keras_private.party.network import Channel
from keras_private.party.owner_session import OwnerSession
from keras_private.party.queue import Request, RequestQueue


class Duty(abc.ABC):
    """`Leader` or `Follower`.

    Attributes:
        queue: the requests that this party was sent.
        lanes: this party's ends of them, by number.
    """

    queue: RequestQueue
    lanes: Sequence[Lane]

    def start(self) -> None:
        """Find the other parties. Returns at once."""
        for lane in self.lanes:
            lane.start()

    def close(self) -> None:
        """After `node.closing` was set: end the lanes."""
        for lane in self.lanes:
            lane.close()

    def join(self, timeout: float) -> None:
        """After `close`: wait for each thread's end, so many seconds at most."""
        for lane in self.lanes:
            lane.join(timeout)

    @property
    @abc.abstractmethod
    def peers(self) -> tuple[str, ...]:
        """Names of the parties with which there is control at the moment."""

    # Clients' requests

    @abc.abstractmethod
    def take_in(self, request: Request) -> None:
        """A client sent this one.

        Raises:
            RefusedError: the queue is full, the client has its share of it, or the id is in use.
            PartyError: the leader is away.
        """

    @property
    def ready(self) -> bool:
        """Whether `take_in` would not have to wait for another party."""
        return True

    def taken_in(self) -> None:  # noqa: B027  the leader has nobody to tell
        """After some `take_in`, by whoever called it: tell the leader of all of them at once."""

    @abc.abstractmethod
    def drop(self, id_: bytes, cause: Cause) -> None:
        """A client does not want this request any more."""

    def expire(self) -> None:  # noqa: B027  only the leader knows what comes too late
        """Discard what has waited for too long. Called again and again."""

    @abc.abstractmethod
    def leave(self) -> None:
        """After `node.leaving` was set: see to it that what runs is finished and nothing new begins."""

    # The models

    @abc.abstractmethod
    def models_changed(self) -> None:
        """This party holds other models now."""

    @abc.abstractmethod
    def state(self, model: HeldModel) -> tuple[str, int]:
        """Of a model that is held, what `ModelStatus` says in a word; and how many of its requests wait."""

    @abc.abstractmethod
    def find(self, asked: Describe, may: Callable[[str], bool]) -> HeldModel:
        """The model that a client means; `may`: whether it may know of one of that name.

        Raises:
            NoModelError: it is not here.
            RefusedError: it is not clear which.
        """

    # Callers

    @abc.abstractmethod
    def owner_session(self, channel: Channel, status: Callable[[], Status]) -> OwnerSession:
        """What looks after an owner's connection."""

    @abc.abstractmethod
    def control_session(self, index: int, channel: Channel) -> Callable[[], None]:
        """What looks after follower `index`'s control connection, and returns when it is over.

        Raises:
            RefusedError: control is the leader's.
        """
