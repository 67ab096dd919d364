"""An owner's connection to a party: load, stop, status; names and serving are the leader's (`leader.serving`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keras_private.config import LEADER, PARTY_NAMES
from keras_private.errors import (
    FrameError,
    KerasPrivateError,
    LinkError,
    LinkTimeoutError,
    NoModelError,
    PartyError,
    PlanError,
    RefusedError,
)
from keras_private.net.roles import Role
from keras_private.party.causes import LEAVING_S, STOPPED, leaving
from keras_private.party.dial import message_of
from keras_private.party.fields import Message
from keras_private.party.intake import Upload
from keras_private.party.messages import (
    CONTROL_BYTES,
    PIECE_BYTES,
    Accepted,
    AskEvaluations,
    AskStatus,
    AskTiming,
    Evaluations,
    Load,
    Loaded,
    Publish,
    Serve,
    Status,
    Stop,
    Stopped,
    Timing,
    Undeploy,
    Weight,
)
from keras_private.party.network import Channel
from keras_private.party.node import IDLE_S, Node
from keras_private.party.shelf import Contents, Reservation
from keras_private.party.wire import decode, encode
from keras_private.plan.serialise import MAX_BYTES as MAX_PLAN_BYTES

_MESSAGE_BYTES = max(MAX_PLAN_BYTES, PIECE_BYTES) + CONTROL_BYTES
_ROOM_S = 2.0  # what the leader lets go to make room, followers hear of at about the same time
_WARM_UP_S = 300.0  # compiling the kernels, on a slow machine, for the first time


class OwnerSession:
    """What every party does for an owner. Runs in the connection's own thread.

    Args:
        status: what this party says about itself.
    """

    def __init__(self, node: Node, channel: Channel, status: Callable[[], Status]) -> None:
        self._node = node
        self._channel = channel
        self._owner = str(channel.peer)
        self._status = status

    def run(self) -> None:
        """Do what the owner asks until they go away.

        Raises:
            FrameError: they sent something that no owner sends.
            LinkError: the connection broke.
        """
        while True:
            self._handle(self._receive())

    def _receive(self) -> Message:
        while True:
            try:
                return decode(self._channel.receive(IDLE_S, _MESSAGE_BYTES))
            except LinkTimeoutError:
                if self._channel.closed:
                    raise

    def _handle(self, message: Message) -> None:
        node = self._node
        try:
            if node.leaving.is_set() and isinstance(message, Load | Serve | Publish | Undeploy):
                raise PartyError(leaving(node.name).text).again(LEAVING_S)
            if isinstance(message, Load):
                answer: Message = self._load(message)
            elif isinstance(message, Serve):
                self._serve(message)
                return
            elif isinstance(message, Publish | Undeploy):
                answer = self._change(message)
            elif isinstance(message, Stop):
                answer = self._stop(message)
            elif isinstance(message, AskEvaluations):
                answer = self._evaluations(message)
            elif isinstance(message, AskStatus):
                answer = self._status()
            elif isinstance(message, AskTiming):
                answer = self._timing(message)
            else:
                raise FrameError(f"an owner may not send a {message.kind} message here")
        except LinkError:
            raise
        except KerasPrivateError as error:
            node.log.warning("refused", peer=self._owner, request=message.kind, cause=str(error))
            answer = message_of(error)
        self._channel.send(encode(answer))

    def _load(self, load: Load) -> Loaded:
        self._node.access.check_owner(self._owner, load.name)
        node = self._node
        upload = Upload(load, self._owner, node.config.limits)
        with self._admitted(load, upload.fitted.size) as version:
            self._channel.send(encode(Accepted(version)))
            self._receive_weights(upload)
            if not node.warm.wait(_WARM_UP_S):
                raise PartyError(f"{node.name} is still compiling its kernels; try again in a minute")
            model = upload.finish(version)
            node.shelf.put(model, Contents(upload.data, upload.shares))
        node.log.info(
            "model loaded",
            owner=self._owner,
            model=model.name,
            version=version,
            digest=model.digest,
            ops=len(model.plan.ops),
        )
        return Loaded(model.digest)

    @contextmanager
    def _admitted(self, load: Load, size: int) -> Iterator[int]:
        """While an upload is taken in: its room is set aside. Gives its version.

        Raises:
            RefusedError: there is no room, or the name is not this owner's.
        """
        with self._node.shelf.uploading(Reservation(load.model, load.name, self._owner, size), _ROOM_S):
            yield load.version

    def _receive_weights(self, upload: Upload) -> None:
        """Take the weights in. What is wrong is said at the end, when the owner listens."""
        failure: PlanError | None = None
        parts = upload.parts
        while parts:
            piece = decode(self._channel.receive(self._node.timeout, _MESSAGE_BYTES))
            if not isinstance(piece, Weight):
                raise FrameError(f"expected a weight, got a {piece.kind} message")
            parts -= piece.last
            if failure is None:
                try:
                    upload.add(piece)
                except PlanError as error:
                    failure = error
        if failure is not None:
            raise failure

    def _stop(self, stop: Stop) -> Stopped:
        model = self._node.shelf.owned(stop.model, self._owner)
        if model is not None and self._node.shelf.remove(model.id, STOPPED):
            self._node.log.info("model stopped", owner=self._owner, model=model.name, version=model.version)
        return Stopped()

    def _change(self, asked: Publish | Undeploy) -> Message:  # noqa: ARG002
        raise RefusedError(f"names are the leader's, {PARTY_NAMES[LEADER]}; ask it")

    def _timing(self, asked: AskTiming) -> Timing:
        model = self._node.shelf.owned(asked.model, self._owner)
        if model is None:
            raise RefusedError(f"{self._node.name} does not hold this upload of the model any more")
        found = model.program.timing
        if found is None:
            return Timing(0, ())
        return Timing(found.rows, tuple(round(1e6 * seconds) for seconds in found.seconds))

    def _evaluations(self, asked: AskEvaluations) -> Evaluations:
        model = self._node.shelf.owned(asked.model, self._owner)
        if model is None:
            raise NoModelError("it does not hold this upload of the model any more, nor what came of its evaluations")
        results = model.results.all()
        return Evaluations(
            tuple(result.evaluation for result in results),
            tuple(Role.parse(result.client).name for result in results),
            tuple(result.metric for result in results),
            tuple(result.rows for result in results),
            b"".join(result.share.mine.astype("<u8").tobytes() for result in results),
            b"".join(result.share.next.astype("<u8").tobytes() for result in results),
        )

    def _serve(self, serve: Serve) -> None:  # noqa: ARG002
        raise RefusedError(f"the leader, {PARTY_NAMES[LEADER]}, serves; ask it")
