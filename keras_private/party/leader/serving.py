"""An owner's connection to the leader. While it lasts, their model may be served; over it they hear how far that is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from keras_private.errors import LinkError, NoModelError, RefusedError
from keras_private.party.access import MODEL
from keras_private.party.fields import NUMBERS
from keras_private.party.leader.followers import Followers
from keras_private.party.leader.queue import LeaderQueue, Serving
from keras_private.party.messages import (
    Error,
    Progress,
    Serve,
    Status,
    Stop,
    Stopped,
)
from keras_private.party.network import Channel
from keras_private.party.node import IDLE_S, Node
from keras_private.party.owner_session import OwnerSession
from keras_private.party.wire import encode

_REPORTS_S = 2.0  # for what the followers report about their models to arrive
_LOOK_UP_S = 0.5  # how often it is looked for trouble while a model is served
_GATHER_S = 0.05  # progress is told at most this often: an owner that redraws a bar costs queries their processor


class ServingSession(OwnerSession):
    """What the leader does for an owner.

    Args:
        status: what this party says about itself.
        trouble: why no query can be run now, in words for the owner; empty: nothing is wrong.
    """

    def __init__(
        self,
        node: Node,
        channel: Channel,
        status: Callable[[], Status],
        queue: LeaderQueue,
        followers: Followers,
        trouble: Callable[[], str],
    ) -> None:
        super().__init__(node, channel, status)
        self._queue = queue
        self._followers = followers
        self._trouble = trouble
        self._serving: Serving | None = None

    def run(self) -> None:
        """As `OwnerSession.run`. If the owner was serving the model, serving pauses when they go: queries wait."""
        try:
            super().run()
        finally:
            if self._queue.stop_serving(self._serving, "the owner's connection ended"):
                self._node.log.info("serving paused", owner=self._owner)

    def _check_free(self) -> None:
        super()._check_free()
        if self._queue.serving:
            raise RefusedError("the model here is being served; stop it before sharing another")

    def _stop(self, stop: Stop) -> Stopped:
        serving = self._queue.current  # before the look at whose model it is
        if self._node.shelf.owned(stop.model, self._owner):
            self._queue.stop_serving(serving)
        return super()._stop(stop)

    def _serve(self, serve: Serve) -> None:
        queue, followers = self._queue, self._followers
        self._node.access.check_owner(self._owner, MODEL)
        if self._node.shelf.model is None:
            raise NoModelError("it holds no model (it was restarted)")
        if self._node.shelf.owned(serve.model, self._owner) is None:
            raise RefusedError("server0 holds another model by now; share this one again")
        patience = min(_REPORTS_S, self._node.timeout)
        if before := queue.current:  # perhaps an owner's whose end is not noticed yet
            queue.wait_progress(before, NUMBERS, patience)
        if queue.serving:
            raise RefusedError("the model is being served already")
        if obstacle := followers.wait_agreed(patience):
            raise obstacle
        self._serving = serving = queue.start_serving(serve.num_requests)
        self._node.log.info("serving", owner=self._owner, requests=serve.num_requests)
        threading.Thread(target=self._report, args=(serving,), name=f"{self._node.name} progress", daemon=True).start()

    def _report(self, serving: Serving) -> None:
        """Tell the owner how far serving has come and what keeps it from going on, until it ends."""
        log, queue, trouble, done, because = self._node.log, self._queue, self._trouble(), False, ""
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
                trouble = self._trouble()
                if trouble != told.trouble:
                    log.warning("serving stalled", cause=trouble) if trouble else log.info("serving resumed")
                now = Progress(served, queue.waiting, done, trouble)
                if (now.served, now.done, now.trouble) != (told.served, told.done, told.trouble) or (
                    time.monotonic() - told_at > IDLE_S
                ):
                    self._channel.send(encode(now))
                    told, told_at = now, time.monotonic()
            if because:
                self._channel.send(encode(Error(serving.code, because, None, None)))
            log.info("serving ended", served=serving.served, cause=because or "done")
        except LinkError:
            pass  # the session notices too, and pauses serving
        except Exception as error:  # the owner must not wait for what nobody tells them
            log.error("session failed", peer=self._owner, exc_info=error)
            self._channel.close("serving cannot be reported")
