"""An owner's connection to a party: load, serve, stop, status."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

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
from keras_private.party.dial import code_of
from keras_private.party.leader.followers import Followers
from keras_private.party.leader.queue import LeaderQueue, Serving
from keras_private.party.messages import (
    CONTROL_BYTES,
    Accepted,
    AskStatus,
    Error,
    Load,
    Loaded,
    Message,
    Progress,
    Serve,
    Status,
    Stop,
    Stopped,
    Weight,
)
from keras_private.party.models import Upload
from keras_private.party.network import Channel
from keras_private.party.node import Node
from keras_private.party.wire import decode, encode
from keras_private.plan.serialise import MAX_BYTES as MAX_PLAN_BYTES

IDLE_S = 60.0
PIECE_BYTES = 4 << 20
"""Weights travel in pieces of at most this size."""
_MESSAGE_BYTES = max(MAX_PLAN_BYTES, PIECE_BYTES) + CONTROL_BYTES
_REPORTS_S = 2.0  # for what the followers report about their models to arrive
_LOOK_UP_S = 0.5  # how often it is looked for trouble while a model is served
_ENDLESS = 1 << 62
_GATHER_S = 0.05  # progress is told at most this often: an owner that redraws a bar costs queries their processor
_WARM_UP_S = 300.0  # compiling the kernels, on a slow machine, for the first time


class OwnerSession:
    """Runs in the connection's own thread.

    Args:
        leading: the leader's queue and followers; None at a follower.
        status: what this party says about itself.
    """

    def __init__(
        self,
        node: Node,
        channel: Channel,
        leading: tuple[LeaderQueue, Followers] | None,
        status: Callable[[], Status],
    ) -> None:
        self._node = node
        self._channel = channel
        self._owner = str(channel.peer)
        self._leading = leading
        self._status = status
        self._serving: Serving | None = None

    def run(self) -> None:
        """Serve the owner until they go away. If they were serving the model, serving pauses: queries wait.

        Raises:
            FrameError: they sent something that no owner sends.
            LinkError: the connection broke.
        """
        try:
            while True:
                self._handle(self._receive())
        finally:
            if self._leading and self._leading[0].stop_serving(self._serving, "the owner's connection ended"):
                self._node.log.info("serving paused", owner=self._owner)

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
            elif isinstance(message, AskStatus):
                answer = self._status()
            else:
                raise FrameError(f"an owner may not send a {message.kind} message here")
        except LinkError:
            raise
        except KerasPrivateError as error:
            node.log.warning("refused", peer=self._owner, request=message.kind, cause=str(error))
            answer = Error(code_of(error), str(error), None)
        self._channel.send(encode(answer))

    def _load(self, load: Load) -> Loaded:
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
        self._node.shelf.check_owner(self._owner)
        if self._leading and self._leading[0].serving:
            raise RefusedError("the model here is being served; stop it before sharing another")

    def _stop(self, stop: Stop) -> Stopped:
        shelf = self._node.shelf
        serving = self._leading[0].current if self._leading else None  # before the look at whose model it is
        if self._leading and shelf.owned(stop.model, self._owner):
            self._leading[0].stop_serving(serving)
        if shelf.remove(stop.model, self._owner):
            self._node.log.info("model stopped", owner=self._owner)
        return Stopped()

    # Serving

    def _serve(self, serve: Serve) -> None:
        if self._leading is None:
            raise RefusedError("the leader, server0, serves; ask it")
        queue, followers = self._leading
        if self._node.shelf.model is None:
            raise NoModelError("it holds no model (it was restarted)")
        if self._node.shelf.owned(serve.model, self._owner) is None:
            raise RefusedError("server0 holds another model by now; share this one again")
        patience = min(_REPORTS_S, self._node.timeout)
        if before := queue.current:  # perhaps an owner's whose end is not noticed yet
            queue.wait_progress(before, _ENDLESS, patience)
        if queue.serving:
            raise RefusedError("the model is being served already")
        if obstacle := followers.wait_agreed(patience):
            raise obstacle
        self._serving = serving = queue.start_serving(serve.num_requests)
        self._node.log.info("serving", owner=self._owner, requests=serve.num_requests)
        threading.Thread(
            target=self._report, args=(queue, serving, followers), name="server0 progress", daemon=True
        ).start()

    def _report(self, queue: LeaderQueue, serving: Serving, followers: Followers) -> None:
        """Tell the owner how far serving has come and what keeps it from going on, until it ends."""
        log, trouble, done, because = self._node.log, followers.trouble(), False, ""
        told = Progress(0, queue.waiting, False, trouble)
        told_at = time.monotonic()
        try:
            if trouble:
                log.warning("serving stalled", cause=trouble)
            self._channel.send(encode(told))
            while not done:
                served, done, because = queue.wait_progress(serving, told.served, _LOOK_UP_S, _GATHER_S)
                if because:
                    break
                trouble = followers.trouble()
                if trouble != told.trouble:
                    log.warning("serving stalled", cause=trouble) if trouble else log.info("serving resumed")
                now = Progress(served, queue.waiting, done, trouble)
                if (now.served, now.done, now.trouble) != (told.served, told.done, told.trouble) or (
                    time.monotonic() - told_at > IDLE_S
                ):
                    self._channel.send(encode(now))
                    told, told_at = now, time.monotonic()
            if because:
                self._channel.send(encode(Error(serving.code, because, None)))
            log.info("serving ended", served=serving.served, cause=because or "done")
        except LinkError:
            pass  # the session notices too, and pauses serving
