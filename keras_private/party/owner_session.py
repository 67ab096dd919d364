"""An owner's connection to a party: load, stop, status; serving is the leader's (`leader.serving`)."""

from __future__ import annotations

from collections.abc import Callable

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
from keras_private.party.access import MODEL
from keras_private.party.dial import message_of
from keras_private.party.fields import Message
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
    Serve,
    Status,
    Stop,
    Stopped,
    Timing,
    Weight,
)
from keras_private.party.models import Upload
from keras_private.party.network import Channel
from keras_private.party.node import IDLE_S, Node
from keras_private.party.wire import decode, encode
from keras_private.plan.serialise import MAX_BYTES as MAX_PLAN_BYTES

_MESSAGE_BYTES = max(MAX_PLAN_BYTES, PIECE_BYTES) + CONTROL_BYTES
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
            if isinstance(message, Load):
                answer: Message = self._load(message)
            elif isinstance(message, Serve):
                self._serve(message)
                return
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
        self._node.access.check_owner(self._owner, MODEL)
        self._check_free()
        with self._node.shelf.uploading():
            return self._take_in(load)

    def _take_in(self, load: Load) -> Loaded:
        node = self._node
        upload = Upload(load, self._owner, node.config.limits)
        self._channel.send(encode(Accepted()))
        self._receive_weights(upload)
        if not node.warm.wait(_WARM_UP_S):
            raise PartyError(f"{node.name} is still compiling its kernels; try again in a minute")
        model = upload.finish()
        self._check_free()
        node.shelf.put(model)
        node.log.info("model loaded", owner=self._owner, digest=model.digest, ops=len(model.plan.ops))
        return Loaded(model.digest)

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

    def _check_free(self) -> None:
        """Raises:
        RefusedError: no other model may be put here now.
        """
        self._node.shelf.check_owner(self._owner)

    def _stop(self, stop: Stop) -> Stopped:
        if self._node.shelf.remove(stop.model, self._owner):
            self._node.log.info("model stopped", owner=self._owner)
        return Stopped()

    def _timing(self, asked: AskTiming) -> Timing:
        model = self._node.shelf.owned(asked.model, self._owner)
        if model is None:
            raise RefusedError(f"{self._node.name} holds another model by now, or none")
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
