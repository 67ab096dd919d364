"""A lane: one thread, one set of links to the two other parties, one batch at a time.

Theory of operation. The leader decides when a lane is built: it draws a random *epoch* and tells both followers
(`OpenLane`, over their control connections). Each party dials those with a lower number and waits for those with a
higher one; connections of another epoch belong to an older attempt and are hung up. On the new links the parties agree
on new keys, so no mask outlives a connection. Then the leader announces batch after batch (`Run`), and each is run in
lockstep.

Whatever goes wrong in a lane, at whichever party, ends it: that party hangs up, which the two others notice. Followers
tell the leader why (`LaneFailed`). The leader finds out who began it (`_verdict`), gives that answer to everybody who
waits for the batch, and opens the lane anew as soon as both followers are there.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from keras_private.config import PARTY_NAMES
from keras_private.errors import KerasPrivateError, LinkError, LinkTimeoutError, PartyError
from keras_private.net.link import Link
from keras_private.party.causes import SHARED_AGAIN, STOPPED, Cause, broken, gone
from keras_private.party.control import Followers, LeaderLine
from keras_private.party.dial import call
from keras_private.party.leader_queue import FOLLOWERS, LeaderQueue
from keras_private.party.messages import ID_BYTES, REFUSED, LaneFailed, OpenLane, Run, decode, encode
from keras_private.party.models import HeldModel
from keras_private.party.network import Channel
from keras_private.party.node import Backoff, Node
from keras_private.party.queue import Piece, Request
from keras_private.sharing.share import Share

if TYPE_CHECKING:
    from keras_private.mpc.party import Party

Settle = Callable[[float], list[Request]]
"""Takes what a run has finished out of the queue; called with the seconds that it took."""

LANES = 1
IDLE_S = 3600.0  # an idle follower looks up this often; whatever matters interrupts it
_EVIDENCE_S = 1.0  # how long the leader waits for the others' side of the story
_SETTLE_S = 2.0  # how long a follower waits for the leader's verdict before it gives its own
_TWO_COPIES = "the parties were sent different copies of the same share; send each of them what the others get"
_ARROW = re.compile(r"(server[012]) [←→↔] (server[012])")


class Lane:
    """What leader and followers have in common: building the links, and running a batch."""

    def __init__(self, number: int, node: Node) -> None:
        self.number = number
        self._node = node
        self._changed = threading.Condition()
        self._offers: dict[int, tuple[bytes, Channel]] = {}
        self._epoch = b""
        self._link: Link | None = None
        self._up = False
        self._complaint = ""  # why it cannot be built, as it was logged last
        self._thread = threading.Thread(target=self._live, name=f"{node.name} lane {number}", daemon=True)

    @property
    def up(self) -> bool:
        return self._up

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
                raise _CalledOffError(f"{node.name}, opening lane {self.number}: called off")
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
                    raise _CalledOffError(f"{self._node.name} ← {name}, opening lane {self.number}: called off")
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise LinkTimeoutError(f"{self._node.name} ← {name}, opening lane {self.number}: it did not call")
                self._changed.wait(remaining)

    def _forget_link(self) -> None:
        with self._changed:
            link, self._link, self._up = self._link, None, False
        if link is not None:
            link.close()

    def _log_failure(self, error: Exception, cause: str, *, was_up: bool, running: bool) -> None:
        """A failed run is an error, a lane that cannot be built a warning, said once; one that breaks is built anew."""
        log = self._node.log
        if not isinstance(error, KerasPrivateError):  # a defect shows its traceback
            log.error("lane failed", lane=self.number, cause=cause, exc_info=error)
        elif running:
            log.error("run failed", lane=self.number, cause=cause)
        elif was_up or cause == self._complaint:
            log.info("lane failed", lane=self.number, cause=cause)
        else:
            self._complaint = cause
            log.warning("lane failed", lane=self.number, cause=cause)

    # Running

    def _run(self, party: Party, model: HeldModel, pieces: list[Piece], settle: Settle) -> None:
        """Run rows of requests and answer those that are over; `settle` says which of these still wait for it."""
        from keras_private.mpc.copies import compare_copies
        from keras_private.mpc.rounds import together

        link, log, started = party.link, self._node.log, time.perf_counter()
        link.stats.reset()
        link.phase = "running a query"
        shares, rows = [piece.share for piece in pieces], sum(piece.rows for piece in pieces)
        self._node.run_bytes = max(self._node.run_bytes, rows * model.room.row_bytes)
        try:
            computing = model.program.protocol(party, _join(shares))
            output, honest = party.run(together(computing, compare_copies(shares)))
        except Exception:
            log.info("run stopped", lane=self.number, layer=party.layer)
            raise
        link.phase = "idle"
        _hand_out(pieces, output, honest)
        seconds = time.perf_counter() - started
        self._node.served += sum(piece.request.over for piece in pieces)
        self._answer(settle(seconds))
        log.info(
            "run done",
            lane=self.number,
            requests=len(pieces),
            rows=rows,
            rounds=link.stats.rounds,
            bytes=link.stats.sent_bytes,
            ms=round(1000 * seconds, 3),
        )

    def _answer(self, requests: list[Request]) -> None:
        """Give each client its output. What goes wrong with one client is not another one's business."""
        for request in requests:
            try:
                if request.honest:
                    request.answer(request.id, request.output)
                else:
                    self._node.log.warning("refused", peer=request.client, request="query", cause=_TWO_COPIES)
                    request.refuse(request.id, REFUSED, _TWO_COPIES)
            except Exception as error:
                self._node.log.error("answer failed", lane=self.number, peer=request.client, exc_info=error)
                with contextlib.suppress(Exception):  # nobody else will settle it
                    request.refuse(request.id, *broken(self._node.name, _cause(error)))


class LeaderLane(Lane):
    """The lane at server0."""

    def __init__(self, number: int, node: Node, queue: LeaderQueue, followers: Followers) -> None:
        super().__init__(number, node)
        self._queue = queue
        self._followers = followers
        self._reports: dict[int, LaneFailed] = {}
        self.trouble = ""
        """Why the parties are not connected with each other; empty while they are, or are about to be."""

    def failed(self, index: int, report: LaneFailed) -> None:
        """A follower tore the lane down."""
        with self._changed:
            if report.epoch != self._epoch:
                return
            self._reports[index] = report
            self._changed.notify_all()
        self._wake_taker()

    def interrupt(self) -> None:
        super().interrupt()
        self._wake_taker()

    def _wake_taker(self) -> None:
        with self._queue.changed:
            self._queue.changed.notify_all()

    def _expects(self, epoch: bytes) -> bool:
        return epoch == self._epoch and not self._up

    def _outdated(self, epoch: bytes) -> bool:  # noqa: ARG002  the leader itself draws the epochs
        return bool(self._reports) or not self._followers.complete

    def _broken(self) -> bool:
        return self._node.closing.is_set() or self._outdated(self._epoch)

    def _live(self) -> None:
        node, backoff = self._node, Backoff(self._node.closing)
        while self._followers.wait_complete():
            with self._changed:
                self._reports.clear()
                self._epoch = os.urandom(ID_BYTES)
            for index in FOLLOWERS:
                self._followers.send(index, OpenLane(self.number, self._epoch))
            up = False
            run: list[Piece] = []
            try:
                _, party = self._build(self._epoch)
                up, self.trouble = True, ""
                self._queue.lane_is(up=True)
                backoff.reset()
                while run := self._queue.take(self._room, self._broken):
                    self._lead(party, run)
                    run = []
            except Exception as error:  # noqa: BLE001  whatever it is, the lane's thread must live on
                self._fail(error, run)
            finally:
                self._forget_link()
                if up:
                    self._queue.lane_is(up=False)
                    node.log.warning("lane down", lane=self.number)
            backoff.wait()

    def _room(self) -> int:
        """Rows that the next run may have."""
        model = self._node.shelf.model
        return model.room.run_rows if model else 1  # without a model the run will be refused

    def _lead(self, party: Party, run: list[Piece]) -> None:
        ids = [piece.request.id for piece in run]
        model = self._node.shelf.model
        if model is None or model.id != run[0].request.model:
            self._refuse(ids, SHARED_AGAIN if model else STOPPED)
            return
        party.link.phase = "announcing a run"
        rows = tuple(piece.rows for piece in run)
        announcement = encode(Run(model.id, model.digest, tuple(ids), rows))
        for index in FOLLOWERS:
            party.link.send_control(index, announcement)
        self._run(
            party,
            model,
            run,
            lambda seconds: self._queue.finish(ids, served=True, seconds=seconds, rows=sum(rows)),
        )

    def _fail(self, error: Exception, run: list[Piece]) -> None:
        was_up = self._up
        self._forget_link()  # first of all: the others must not go on waiting
        if self._node.closing.is_set():
            verdict = gone(self._node.name)
        else:
            verdict, detail = self._verdict(error, "the run" if run else "the lane between the parties")
            self._log_failure(error, detail, was_up=was_up, running=bool(run))
            if not was_up:
                self.trouble = detail
        if run:
            self._refuse([piece.request.id for piece in run], verdict)

    def _refuse(self, ids: list[bytes], cause: Cause) -> None:
        for request in self._queue.finish(ids, served=False):
            request.refuse(request.id, *cause)
        self._followers.discard(ids, *cause)

    def _verdict(self, error: Exception, what: str) -> tuple[Cause, str]:
        """Who began it, and why: for clients, and for the log and the owner.

        Who noticed first often blames somebody who had only noticed before him.
        """
        suspect, text = _suspect(error, self._node.index), _cause(error)
        deadline = time.monotonic() + _EVIDENCE_S
        heard = {self._node.index}
        if isinstance(error, _CalledOffError):  # we only reacted: whoever reported first knows more
            with self._changed:
                for index, first in list(self._reports.items())[:1]:
                    heard.add(index)
                    suspect, text = first.suspect % len(PARTY_NAMES), first.cause
        while True:
            report = self._testimony(suspect, deadline) if suspect not in heard else None
            away = [PARTY_NAMES[index] for index in FOLLOWERS if not self._followers.is_here(index)]
            if away:
                return gone(away[0]), f"{what} failed because {away[0]} is gone ({text})"
            if report is None:
                return broken(PARTY_NAMES[suspect], text), f"{what} failed at {PARTY_NAMES[suspect]}: {text}"
            heard.add(suspect)
            suspect, text = report.suspect % len(PARTY_NAMES), report.cause

    def _testimony(self, index: int, deadline: float) -> LaneFailed | None:
        """What follower `index` says; None if it says nothing until the deadline, or a follower is gone."""
        with self._changed:
            self._changed.wait_for(
                lambda: index in self._reports or not self._followers.complete, max(0.0, deadline - time.monotonic())
            )
            return self._reports.get(index)


class FollowerLane(Lane):
    """The lane at server1 and server2."""

    def __init__(self, number: int, node: Node, leader: LeaderLine) -> None:
        super().__init__(number, node)
        self._leader = leader

    def open(self, epoch: bytes | None) -> None:
        """The leader wants the lane built with this epoch; None: the leader is gone."""
        with self._changed:
            self._epoch = epoch or b""
        self.interrupt()

    def _expects(self, epoch: bytes) -> bool:  # noqa: ARG002  server2's call may come before the leader's word
        return not self._node.closing.is_set()

    def _outdated(self, epoch: bytes) -> bool:
        return self._epoch != epoch

    def _live(self) -> None:
        node, done = self._node, b""
        while True:
            with self._changed:
                if node.closing.is_set():
                    return
                if self._epoch in (b"", done):
                    self._changed.wait(IDLE_S)
                    continue
                done = epoch = self._epoch
            try:
                link, party = self._build(epoch)
                while not self._outdated(epoch):
                    link.phase = "idle"
                    try:
                        announcement = link.receive_control(0, IDLE_S)
                    except LinkTimeoutError:
                        continue
                    self._follow(party, announcement)
            except Exception as error:  # noqa: BLE001  whatever it is, the lane's thread must live on
                self._fail(error, epoch)
            finally:
                self._forget_link()

    def _follow(self, party: Party, announcement: bytes) -> None:
        run, node = decode(announcement), self._node
        if not isinstance(run, Run):
            raise PartyError(f"server0 announced a {run.kind} in a lane")
        try:
            model = node.shelf.model
            if model is None or (model.id, model.digest) != (run.model, run.digest):
                held = f"plan {model.digest}" if model else "no model"
                raise PartyError(
                    f"no run: {node.name} holds {held}, server0 wants to run plan {run.digest}; "
                    "the owner must share the model again"
                )
            requests = node.queue.peek(run.requests)
            if len(requests) != len(run.requests):
                raise PartyError(f"{node.name} was not sent {len(run.requests) - len(requests)} of the run's requests")
            pieces = _pieces(node.name, requests, run.rows, model.room.run_rows)
            self._run(party, model, pieces, lambda _: node.queue.pick([r.id for r in requests if r.over]))
        except Exception as error:
            raise _RunFailedError(run.requests, error) from error

    def _fail(self, error: Exception, epoch: bytes) -> None:
        ids: tuple[bytes, ...] = ()
        if isinstance(error, _RunFailedError):
            ids, error = error.ids, error.error
        node = self._node
        cause = _cause(error)
        if not (node.closing.is_set() or self._outdated(epoch)):
            self._log_failure(error, cause, was_up=self._up, running=bool(ids))
            self._leader.send(LaneFailed(self.number, epoch, _suspect(error, node.index), cause[:2000]))
        self._forget_link()
        node.queue.wait_gone(ids, _SETTLE_S)
        node.queue.refuse(ids, *broken(node.name, cause))


class _CalledOffError(LinkError):
    """Building the lane makes no sense any more, because of what another party said or did."""


class _RunFailedError(Exception):
    """Carries, to where a lane's failure is handled, which requests were in the run."""

    def __init__(self, ids: tuple[bytes, ...], error: Exception) -> None:
        super().__init__(str(error))
        self.ids = ids
        self.error = error


def _join(shares: list[Share]) -> Share:
    """One batch from several, in order."""
    if len(shares) == 1:
        return shares[0]
    return Share(np.concatenate([share.mine for share in shares]), np.concatenate([share.next for share in shares]))


def _hand_out(pieces: list[Piece], output: Share, honest: list[bool]) -> None:
    """Give each request the rows of a run's output that are its own."""
    end = 0
    for piece, agree in zip(pieces, honest, strict=True):
        start, end = end, end + piece.rows
        part = Share(output.mine[start:end], output.next[start:end])
        if piece.rows < piece.request.rows:  # it waits for the rest, and must not keep the others' rows so long
            part = Share(part.mine.copy(), part.next.copy())
        piece.request.collect(part, agree)


def _pieces(name: str, requests: list[Request], rows: tuple[int, ...], room: int) -> list[Piece]:
    """What the leader announced, if it can be.

    Raises:
        PartyError: a request has not so many rows left, or the run is larger than this party's limits allow.
    """
    if len(rows) != len(requests) or any(
        not 1 <= count <= request.rows - request.done for request, count in zip(requests, rows, strict=True)
    ):
        raise PartyError(f"server0 announced a run of rows that {name} does not hold")
    if sum(rows) > room:
        raise PartyError(
            f"server0 announced a run of {sum(rows)} rows, the limits of {name} allow {room}; limits.memory_mb and "
            "limits.max_batch must be the same in all three parties' files"
        )
    return [Piece(request, count) for request, count in zip(requests, rows, strict=True)]


def _suspect(error: Exception, own: int) -> int:
    """The party at which an error seems to have begun: the far side of the last connection that it names."""
    sides = _ARROW.findall(str(error)) if isinstance(error, LinkError) else []
    return PARTY_NAMES.index(sides[-1][1]) if sides else own


def _cause(error: Exception) -> str:
    """What others may hear of an error: a defect's own words could hold anything."""
    return str(error) if isinstance(error, KerasPrivateError) else f"{type(error).__name__}, see that party's log"
