"""A follower's end of a lane: built when the leader says so; runs what the leader announces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_private.config import LEADER
from keras_private.errors import LinkTimeoutError, PartyError
from keras_private.party.batch import run_batch
from keras_private.party.causes import broken
from keras_private.party.failure import cause_of, suspect_of
from keras_private.party.follower.line import LeaderLine
from keras_private.party.lane import Lane
from keras_private.party.messages import LaneFailed, Run
from keras_private.party.node import Node
from keras_private.party.queue import Piece, Request, RequestQueue
from keras_private.party.wire import decode

if TYPE_CHECKING:
    from keras_private.mpc.party import Party

IDLE_S = 3600.0  # an idle follower looks up this often; whatever matters interrupts it
_SETTLE_S = 2.0  # how long a follower waits for the leader's verdict before it gives its own


class FollowerLane(Lane):
    """The lane at server1 and server2."""

    def __init__(self, number: int, node: Node, queue: RequestQueue, leader: LeaderLine) -> None:
        super().__init__(number, node)
        self._queue = queue
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
                        announcement = link.receive_control(LEADER, IDLE_S)
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
            model = node.shelf.get(run.model)
            if model is None or model.digest != run.digest:
                held = f"plan {model.digest}" if model else "no such model"
                raise PartyError(
                    f"no run: {node.name} holds {held}, server0 wants to run plan {run.digest}; "
                    "the owner must share the model again"
                )
            requests = self._queue.peek(run.requests)
            if len(requests) != len(run.requests):
                raise PartyError(f"{node.name} was not sent {len(run.requests) - len(requests)} of the run's requests")
            if len(requests) > 1 and any(request.part for request in requests):
                raise PartyError("server0 announced a part of an evaluation beside another request")
            room = model.what_runs(requests[0].part).room if requests else model.room
            pieces = _pieces(node.name, requests, run.rows, room.run_rows)
            taken = sum(run.rows) * room.row_bytes
            node.runs.take(taken, node.timeout)
            try:
                run_batch(
                    node,
                    self.number,
                    party,
                    model,
                    self.tallies,
                    pieces,
                    lambda _: self._queue.pick([r.id for r in requests if r.over]),
                )
            finally:
                node.runs.give_back(taken)
        except Exception as error:
            raise _RunFailedError(run.requests, error) from error

    def _fail(self, error: Exception, epoch: bytes) -> None:
        ids: tuple[bytes, ...] = ()
        if isinstance(error, _RunFailedError):
            ids, error = error.ids, error.error
        node = self._node
        cause = cause_of(error)
        if not (node.closing.is_set() or self._outdated(epoch)):
            self._log_failure(error, cause, was_up=self._up, running=bool(ids))
            self._leader.send(LaneFailed(self.number, epoch, suspect_of(error, node.index), cause[:2000]))
        self._forget_link()
        self._queue.wait_gone(ids, _SETTLE_S)
        self._queue.refuse(ids, *broken(node.name, cause))


class _RunFailedError(Exception):
    """Carries, to where a lane's failure is handled, which requests were in the run."""

    def __init__(self, ids: tuple[bytes, ...], error: Exception) -> None:
        super().__init__(str(error))
        self.ids = ids
        self.error = error


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
