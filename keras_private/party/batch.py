"""One run of a lane: rows of several requests as one batch, and what each of them gets of the result."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from keras_private.party import spans
from keras_private.party.causes import broken
from keras_private.party.failure import cause_of
from keras_private.party.messages import REFUSED, Part
from keras_private.party.models import HeldModel
from keras_private.party.node import Node
from keras_private.party.queue import Piece, Request
from keras_private.party.tally import Result, Tallies, Tally
from keras_private.sharing.share import Share

if TYPE_CHECKING:
    from keras_private.mpc.party import Party

Settle = Callable[[float], list[Request]]
"""Takes what a run has finished out of the queue; called with the seconds that it took."""

_NOTHING = Share(np.empty(0, np.uint64), np.empty(0, np.uint64))
_TWO_COPIES = "the parties were sent different copies of the same share; send each of them what the others get"


def run_batch(
    node: Node, lane: int, party: Party, model: HeldModel, tallies: Tallies, pieces: list[Piece], settle: Settle
) -> None:
    """Run rows of requests and answer those that are over; `settle` says which of these still wait for it.

    Args:
        tallies: of this lane.
        pieces: of queries, or one of one part of an evaluation.
    """
    from keras_private.mpc.copies import compare_copies  # numba comes with it: a party listens before it is there
    from keras_private.mpc.rounds import together

    link, log, started = party.link, node.log, time.perf_counter()
    fresh, now = [piece.request for piece in pieces if not piece.request.done], time.monotonic()
    for request in fresh:
        request.began = now
    node.metrics.began(now - request.arrived for request in fresh)
    link.stats.reset()
    link.phase = "running a query"
    shares, rows = [piece.share for piece in pieces], sum(piece.rows for piece in pieces)
    running = model.what_runs(pieces[0].request.part)
    try:
        computing = running.program.protocol(party, _join(shares))
        output, honest = party.run(together(computing, compare_copies(shares)))
    except Exception as error:
        node.metrics.run_failed()
        spans.ran(lane, model, pieces, link.stats, time.perf_counter() - started, type(error).__name__)
        log.info("run stopped", lane=lane, layer=party.layer)
        raise
    link.phase = "idle"
    _hand_out(pieces, output, honest)
    for piece in pieces:
        if piece.request.part and piece.request.over and piece.request.honest:
            _add_up(piece.request, piece.request.part, model, tallies)
    seconds = time.perf_counter() - started
    served = sum(piece.request.over and piece.request.counts for piece in pieces)
    with node.counting:
        node.served += served
        model.served += served
    spans.ran(lane, model, pieces, link.stats, seconds)
    node.metrics.ran(rows=rows, rounds=link.stats.rounds, sent_bytes=link.stats.sent_bytes, seconds=seconds)
    answer(node, lane, settle(seconds))
    log.info(
        "run done",
        lane=lane,
        requests=len(pieces),
        rows=rows,
        rounds=link.stats.rounds,
        bytes=link.stats.sent_bytes,
        ms=round(1000 * seconds, 3),
    )


def _add_up(request: Request, part: Part, model: HeldModel, tallies: Tallies) -> None:
    """Instead of the scores of a part its client is told of the total, or of nothing; or that it was not added."""
    scorer = model.scorers[part.metric]
    tally = tallies.add(part, model.id, request.client, request.output, scorer.scoring.counts)
    request.outputs = [_NOTHING]
    if not isinstance(tally, Tally):
        request.refused = tally
        return
    if part.last and tally.share is not None:
        if scorer.allowed.recipient == "client":
            request.outputs = [tally.share]
        else:
            model.results.add(Result(part.evaluation, request.client, part.metric, tally.rows, tally.share))


def answer(node: Node, lane: int, requests: list[Request]) -> None:
    """Give each client its output. What goes wrong with one client is not another one's business."""
    ran = time.monotonic()
    for request in requests:
        try:
            if request.refused:
                request.refuse(request.id, *request.refused)
            elif request.honest:
                request.answer(request.id, request.output)
                node.metrics.answered(request.part, request.arrived, ran)
                spans.answered(request, ran)
            else:
                node.log.warning("refused", peer=request.client, request="query", cause=_TWO_COPIES)
                request.refuse(request.id, REFUSED, _TWO_COPIES)
        except Exception as error:
            node.log.error("answer failed", lane=lane, peer=request.client, exc_info=error)
            with contextlib.suppress(Exception):  # nobody else will settle it
                request.refuse(request.id, *broken(node.name, cause_of(error)))


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
