"""An owner's connection to the leader: over it they publish models, and hear how far serving them is.

What one connection loaded and did not publish goes with it; what it serves is paused then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import structs

from keras_private.errors import LinkError, NoModelError, RefusedError
from keras_private.party.fields import NUMBERS, Message
from keras_private.party.leader.followers import Followers
from keras_private.party.leader.names import REPORTS_S, Names
from keras_private.party.leader.queue import LeaderQueue, Serving
from keras_private.party.messages import (
    Error,
    Load,
    Progress,
    Publish,
    Published,
    Serve,
    Status,
    Stop,
    Stopped,
    Undeploy,
)
from keras_private.party.network import Channel
from keras_private.party.node import IDLE_S, Node
from keras_private.party.owner_session import OwnerSession
from keras_private.party.wire import encode

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
        names: Names,
        trouble: Callable[[], str],
    ) -> None:
        super().__init__(node, channel, status)
        self._queue = queue
        self._followers = followers
        self._names = names
        self._trouble = trouble
        self._serving: Serving | None = None
        self._loaded = b""  # an upload that is not published

    def run(self) -> None:
        """As `OwnerSession.run`. If the owner was serving the model, serving pauses when they go: queries wait."""
        try:
            super().run()
        finally:
            if self._queue.stop_serving(self._serving, "the owner's connection ended"):
                self._node.log.info("serving paused", owner=self._owner)
            self._names.abandon(self._loaded)

    @contextmanager
    def _admitted(self, load: Load, size: int) -> Iterator[int]:
        self._names.abandon(self._loaded)
        self._loaded = load.model
        with self._names.claimed(load, self._owner, size) as version:
            yield version

    def _change(self, asked: Publish | Undeploy) -> Message:
        if isinstance(asked, Undeploy):
            self._names.undeploy(asked.name, self._owner, keep=asked.keep)
            return Stopped()
        model = self._node.shelf.owned(asked.model, self._owner)
        if model is not None:  # the rules may have changed since it was loaded
            self._node.access.check_owner(self._owner, model.name)
        return Published(self._names.publish(asked.model, self._owner, deploy=asked.deploy))

    def _stop(self, stop: Stop) -> Stopped:
        self._names.stop(stop.model, self._owner)
        return Stopped()

    def _serve(self, serve: Serve) -> None:
        queue, followers, shelf = self._queue, self._followers, self._node.shelf
        model = shelf.owned(serve.model, self._owner)
        if model is not None:
            self._node.access.check_owner(self._owner, model.name)
        if model is None and not shelf.gone(serve.model):
            raise NoModelError("it holds no such model (it was restarted)")
        if model is None or model.ended or shelf.retired(model):
            raise RefusedError("server0 holds a newer version of this model by now, or none; share this one again")
        if self._serving and not self._serving.over:
            raise RefusedError("this connection serves a model already; open another one")
        if not model.published:
            raise RefusedError("this upload is not published; share the model again")
        patience = min(REPORTS_S, self._node.timeout)
        if before := queue.serving_of(model.id):  # perhaps an owner's whose end is not noticed yet
            if before.standing:
                raise RefusedError(
                    f"'{model.name}' is deployed: the parties serve it without its owner; undeploy it to serve it here"
                )
            if before.model == model.id:
                queue.wait_progress(before, NUMBERS, patience)
        if obstacle := followers.wait_agreed(model, patience):
            raise obstacle
        if before and before.model != model.id:  # who serves an older version would only bring that one back
            queue.stop_serving(before, f"{model} was shared since, and is served now")
        self._serving = serving = self._names.start_serving(model, serve.num_requests)
        self._node.log.info(
            "serving", owner=self._owner, model=model.name, version=model.version, requests=serve.num_requests
        )
        threading.Thread(target=self._report, args=(serving,), name=f"{self._node.name} progress", daemon=True).start()

    def _report(self, serving: Serving) -> None:
        """Tell the owner how far serving has come and what keeps it from going on, until it ends."""
        log, queue, trouble, done, because = self._node.log, self._queue, self._trouble(), False, ""
        told = Progress(0, queue.waiting_under(serving), False, trouble, self._names.newest(serving))
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
                now = Progress(served, queue.waiting_under(serving), done, trouble, self._names.newest(serving))
                if structs.replace(now, waiting=told.waiting) != told or time.monotonic() - told_at > IDLE_S:
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
