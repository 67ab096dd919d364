"""The leader's end of a lane: opens it, announces the runs, and finds out why it failed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from keras_private.config import FOLLOWERS, PARTY_NAMES
from keras_private.errors import RefusedError
from keras_private.party.batch import run_batch
from keras_private.party.causes import STOPPED, Cause, broken, gone
from keras_private.party.failure import cause_of, suspect_of
from keras_private.party.fields import ID_BYTES
from keras_private.party.lane import CalledOffError, Lane
from keras_private.party.leader.followers import Followers
from keras_private.party.leader.queue import LeaderQueue
from keras_private.party.messages import (
    LaneFailed,
    OpenLane,
    Run,
)
from keras_private.party.node import Backoff, Node
from keras_private.party.queue import Piece, Request
from keras_private.party.tally import crowded
from keras_private.party.wire import encode
from keras_private.plan.memory import Room

if TYPE_CHECKING:
    from keras_private.mpc.party import Party

_EVIDENCE_S = 1.0  # how long the leader waits for the others' side of the story


class LeaderLane(Lane):
    """The lane at server0."""

    def __init__(
        self, number: int, node: Node, queue: LeaderQueue, followers: Followers, all_lanes: Sequence[Lane]
    ) -> None:
        super().__init__(number, node)
        self._all_lanes = all_lanes  # a client's evaluations count together
        self._queue = queue
        self._followers = followers
        self._reports: dict[int, LaneFailed] = {}
        self._taken = 0  # of the memory for runs
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
                self._queue.lane_is(self.number, up=True)
                backoff.reset()
                while run := self._queue.take(self.number, self._room, self._reserve, self._broken):
                    try:
                        self._lead(party, run)
                    finally:
                        self._give_back()
                    run = []
            except Exception as error:  # noqa: BLE001  whatever it is, the lane's thread must live on
                self._fail(error, run)
            finally:
                self._forget_link()
                if up:
                    self._queue.lane_is(self.number, up=False)
                    node.log.warning("lane down", lane=self.number)
            backoff.wait()

    def _room(self, first: Request) -> int:
        """Rows that a run may have that begins with this request; 0: other lanes' runs leave no memory for one."""
        if (room := self._room_of(first)) is None:  # the run will be refused
            return 1
        return min(room.run_rows, max(self._node.runs.free // room.row_bytes, int(not self._node.runs.used)))

    def _reserve(self, run: list[Piece]) -> None:
        """Take memory for a run that was chosen, before another lane chooses one."""
        room = self._room_of(run[0].request)
        self._taken = sum(piece.rows for piece in run) * room.row_bytes if room else 0
        self._node.runs.take(self._taken)

    def _give_back(self) -> None:
        self._node.runs.give_back(self._taken)
        self._taken = 0
        self._wake_taker()  # there may be room for what another lane found none for

    def _room_of(self, request: Request) -> Room | None:
        """What its run takes; None: its model is gone, or allows no such evaluation."""
        model = self._node.shelf.get(request.model)
        try:
            return model.what_runs(request.part).room if model else None
        except RefusedError:
            return None

    def _lead(self, party: Party, run: list[Piece]) -> None:
        ids = [piece.request.id for piece in run]
        shelf, wanted = self._node.shelf, run[0].request.model
        model = shelf.get(wanted)
        if model is None:
            self._refuse(ids, shelf.gone(wanted) or STOPPED)
            return
        if cause := self._obstacle(run[0].request):
            self._refuse(ids, cause)
            return
        party.link.phase = "announcing a run"
        rows = tuple(piece.rows for piece in run)
        announcement = encode(Run(model.id, model.digest, tuple(ids), rows))
        for index in FOLLOWERS:
            party.link.send_control(index, announcement)
        run_batch(
            self._node,
            self.number,
            party,
            model,
            self.tallies,
            run,
            lambda seconds: self._queue.finish(ids, served=True, seconds=seconds, rows=sum(rows)),
        )

    def _obstacle(self, request: Request) -> Cause | None:
        """Why a part of an evaluation cannot run, or nothing."""
        if request.part is None:
            return None
        if cause := self.tallies.obstacle(request.part, request.model, request.client):
            return cause
        if request.part.start:
            return None
        return crowded(
            sum(lane.tallies.count(request.model, request.client) for lane in self._all_lanes), request.client
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
        self._queue.discard(ids, *cause)

    def _verdict(self, error: Exception, what: str) -> tuple[Cause, str]:
        """Who began it, and why: for clients, and for the log and the owner.

        Who noticed first often blames somebody who had only noticed before him.
        """
        suspect, text = suspect_of(error, self._node.index), cause_of(error)
        deadline = time.monotonic() + _EVIDENCE_S
        heard = {self._node.index}
        if isinstance(error, CalledOffError):  # we only reacted: whoever reported first knows more
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
