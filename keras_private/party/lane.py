"""A lane: one thread, one set of links to the two other parties, one batch at a time. Lanes run side by side.

Theory of operation. The leader decides when a lane is built: it draws a random *epoch* and tells both followers
(`OpenLane`, over their control connections). Each party dials those with a lower number and waits for those with a
higher one; connections of another epoch belong to an older attempt and are hung up. On the new links the parties agree
on new keys, so no mask outlives a connection. Then the leader announces batch after batch (`Run`), and each is run in
lockstep.

Whatever goes wrong in a lane, at whichever party, ends it: that party hangs up, which the two others notice. Followers
tell the leader why (`LaneFailed`). The leader finds out who began it (`LeaderLane`), gives that answer to everybody
who waits for the batch, and opens the lane anew as soon as both followers are there. Other lanes go on: each has its
own links, keys and masks, its own tallies, and its own thread; they share the models, which running does not change.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from keras_private.config import PARTY_NAMES
from keras_private.errors import KerasPrivateError, LinkError, LinkTimeoutError
from keras_private.net.link import Link
from keras_private.party.dial import call
from keras_private.party.network import Channel
from keras_private.party.node import Node
from keras_private.party.tally import Tallies

if TYPE_CHECKING:
    from keras_private.mpc.party import Party


class CalledOffError(LinkError):
    """Building the lane makes no sense any more, because of what another party said or did."""


class Lane:
    """What the leader's end and a follower's have in common: how the links are built and given up.

    Attributes:
        tallies: of the evaluations that go on in it.
    """

    def __init__(self, number: int, node: Node) -> None:
        self.number = number
        self._node = node
        self._changed = threading.Condition()
        self._offers: dict[int, tuple[bytes, Channel]] = {}
        self._epoch = b""
        self._link: Link | None = None
        self._up = False
        self.tallies = Tallies()
        self._complaint = ""  # why it cannot be built, as it was logged last
        self._thread = threading.Thread(target=self._live, name=f"{node.name} lane {number}", daemon=True)

    @property
    def up(self) -> bool:
        return self._up

    @property
    def ended(self) -> bool:
        """Whether its thread is gone, as it should be only when the server stops."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def offer(self, peer: int, epoch: bytes, channel: Channel) -> None:
        """Party `peer` dialled us for this lane; takes the connection over."""
        with self._changed:
            useless: tuple[bytes, Channel] | None = (epoch, channel)
            if self._expects(epoch):
                useless = self._offers.pop(peer, None)
                self._offers[peer] = (epoch, channel)
                self._changed.notify_all()
        if useless:
            useless[1].close("of another attempt to build the lane")

    def interrupt(self) -> None:
        """End whatever the lane's thread is waiting for; it starts over. From any thread."""
        with self._changed:
            link = self._link
            self._changed.notify_all()
        if link is not None:
            link.close()

    def close(self) -> None:
        """After `node.closing` was set: end the lane."""
        self.interrupt()
        with self._changed:
            offers, self._offers = self._offers, {}
        for _, channel in offers.values():
            channel.close()

    # To be provided

    def _live(self) -> None:
        raise NotImplementedError

    def _expects(self, epoch: bytes) -> bool:
        """Whether a connection of this epoch may be of use."""
        raise NotImplementedError

    def _outdated(self, epoch: bytes) -> bool:
        """Whether building the lane with this epoch makes no sense any more."""
        raise NotImplementedError

    # Building

    def _build(self, epoch: bytes) -> tuple[Link, Party]:
        from keras_private.mpc.masks import agree_masks  # numba comes with it: a party listens before it is there
        from keras_private.mpc.party import Party

        node, index = self._node, self._node.index
        deadline = time.monotonic() + node.timeout
        channels: dict[int, Channel] = {}
        try:
            for peer in range(len(PARTY_NAMES)):
                if peer < index:
                    hello = node.hello("lane", self.number, epoch)
                    channels[peer] = call(node.network, peer, hello, max(0.1, deadline - time.monotonic()))
                elif peer > index:
                    channels[peer] = self._await_offer(peer, epoch, deadline)
            neighbours = channels[(index + 1) % 3], channels[(index - 1) % 3]
            link = node.network.link(index, self.number, epoch, neighbours, node.timeout)
        except BaseException:
            for channel in channels.values():
                channel.close()
            raise
        with self._changed:
            self._link = link
        try:
            if self._node.closing.is_set() or self._outdated(epoch):  # an `interrupt` that came before there was a link
                raise CalledOffError(f"{node.name}, opening lane {self.number}: called off")
            context = b"%s/%d/%s" % (node.config.cluster.encode(), self.number, epoch)
            party = Party(link, agree_masks(link, context))
        except BaseException:
            link.close()
            raise
        self._up, self._complaint = True, ""
        self._node.log.info("lane up", lane=self.number)
        return link, party

    def _await_offer(self, peer: int, epoch: bytes, deadline: float) -> Channel:
        name = PARTY_NAMES[peer]
        with self._changed:
            while True:
                offered, channel = self._offers.get(peer, (b"", None))
                if channel is not None and offered == epoch:
                    del self._offers[peer]
                    return channel
                if self._node.closing.is_set() or self._outdated(epoch):
                    raise CalledOffError(f"{self._node.name} ← {name}, opening lane {self.number}: called off", name)
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise LinkTimeoutError(
                        f"{self._node.name} ← {name}, opening lane {self.number}: it did not call", name
                    )
                self._changed.wait(remaining)

    def _forget_link(self) -> None:
        with self._changed:
            link, self._link, self._up = self._link, None, False
        self.tallies.clear()
        if link is not None:
            link.close()

    def _log_failure(self, error: Exception, cause: str, *, was_up: bool, running: bool) -> None:
        """A failed run is an error, a lane that cannot be built a warning, said once; one that breaks is built anew."""
        log = self._node.log
        self._node.metrics.lane_failed()
        if not isinstance(error, KerasPrivateError):  # a defect shows its traceback
            log.error("lane failed", lane=self.number, cause=cause, exc_info=error)
        elif running:
            log.error("run failed", lane=self.number, cause=cause)
        elif was_up or cause == self._complaint:
            log.info("lane failed", lane=self.number, cause=cause)
        else:
            self._complaint = cause
            log.warning("lane failed", lane=self.number, cause=cause)
