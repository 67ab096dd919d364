"""Spans of a party's work, where somebody wants them (`tracing`): runs, and requests with what their time went into."""

from __future__ import annotations

import time
from collections.abc import Sequence

from keras_private import tracing
from keras_private.net.link import LinkStats
from keras_private.party.models import HeldModel
from keras_private.party.queue import Piece, Request


def ran(
    lane: int, model: HeldModel, pieces: Sequence[Piece], stats: LinkStats, seconds: float, error: str = ""
) -> None:
    """A run has ended just now, well or with this kind of error."""
    if not tracing.on():
        return
    ended = time.monotonic()
    context = tracing.emit(
        "run",
        ended - seconds,
        ended,
        error=error,
        lane=lane,
        model=model.name,
        version=model.version,
        digest=model.digest,
        requests=len(pieces),
        rows=sum(piece.rows for piece in pieces),
        rounds=stats.rounds,
        bytes=stats.sent_bytes,
    )
    for piece in pieces:
        piece.request.runs += (context,)


def answered(request: Request, ended: float) -> None:
    """A request whose last run ended then was answered just now."""
    if not tracing.on():
        return
    now, part = time.monotonic(), request.part is not None
    whole = tracing.emit("request", request.received, now, links=request.runs, rows=request.rows, evaluation=part)
    tracing.emit("take in", request.received, request.arrived, parent=whole)
    tracing.emit("queue", request.arrived, request.began, parent=whole)
    tracing.emit("runs", request.began, ended, parent=whole)
    tracing.emit("answer", ended, now, parent=whole)
