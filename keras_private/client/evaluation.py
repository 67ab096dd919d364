"""Evaluation at the client: data and targets go to the parties in parts, and one number may come back.

A part that a busy party refuses is sent again, in new shares: the parties take it if it begins where they are. Whatever
else goes wrong ends the evaluation at the parties, and it begins anew from its first row, under a new id.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_private.client.answer import share_of
from keras_private.client.checks import check_data, check_part, rows_of_size
from keras_private.client.query import Query
from keras_private.client.session import Session
from keras_private.config import PARTY_NAMES
from keras_private.errors import InputError, RefusedError
from keras_private.party.fields import ID_BYTES
from keras_private.party.messages import Answer, EvaluationPort, Part
from keras_private.plan.scoring import ERRORS
from keras_private.sharing import fixed
from keras_private.sharing.share import Share, reconstruct

_MOST_ROWS = 1 << 32


@dataclass(frozen=True, slots=True)
class Score:
    """What an evaluation came to.

    Attributes:
        metric, rows: what was evaluated.
        total: of right answers, or of errors, over all values of all rows; None: the owner is told, not the client.
        value: the total's mean, as Keras' metric of this name has it; None as the total. `float(score)` is the same.
        client: of an evaluation that the owner is told of: whose data it was.
        unanswered: rows without an answer, which a query would be told by a `RangeError`. No answer of theirs is right,
            and means of errors leave them out.
    """

    metric: str
    rows: int
    total: float | None
    value: float | None
    client: str | None = None
    unanswered: int = 0

    @classmethod
    def of(cls, metric: str, rows: int, counts: int, told: Sequence[float], client: str | None = None) -> Score:
        """Of rows with so many scores each, and what the parties tell: the total, and the rows without an answer for
        each notice; or nothing."""
        if not told:
            return cls(metric, rows, None, None, client)
        total, unanswered = told[0], int(sum(told[1:]))
        answered = rows - unanswered if metric in ERRORS else rows
        return cls(metric, rows, total, total / (answered * counts) if answered else math.nan, client, unanswered)

    def __float__(self) -> float:
        if self.value is None:
            raise InputError("the result of this evaluation is told to the model's owner, not to the client")
        return self.value

    def __str__(self) -> str:
        told = "told to the owner" if self.value is None else f"{self.value:.6g}"
        whose = f" of {self.client}" if self.client else ""
        without = f", {self.unanswered} of them without an answer" if self.unanswered else ""
        return f"{self.metric} of {self.rows} rows{whose}{without}: {told}"


def evaluate(
    session: Session,
    query: Query,
    metric: str,
    recipient: str,
    batch: int | None,
    limit: int,
    pause: Callable[[float], None],
    given_up: Callable[[], bool],
) -> Score:
    """One attempt. Raises as `Client.evaluate_model`.

    Args:
        query: its data are inputs and targets.
        recipient: who may be told.
        batch: rows of a part; None: as many as the parties take.
        limit: bytes that a message may have.
        pause: waits so many seconds, before a part is sent again.
        given_up: whether nobody wants it any more.
    """
    model, (x, y) = session.model, query.data
    port = _port_of(model.evaluations, metric)
    if recipient != port.recipient:
        raise InputError(
            f"evaluations by {metric} are told to the {port.recipient}, as the owner chose, not to {recipient!r}; if "
            f"that is wanted, say recipient={port.recipient!r}"
        )
    most = min(port.most, _MOST_ROWS)
    values = check_data(x, model, most)
    targets = check_part(_targets_of(y, port), port.target, f"targets for {metric}: ", most)
    rows = len(targets)
    if rows != len(values[0]):
        raise InputError(f"x has {len(values[0])} rows and y has {rows}")
    if rows < port.fewest:
        raise InputError(f"the model's owner allows an evaluation from {port.fewest} rows on; the data has {rows}")
    values, ports = [*values, targets], (*model.inputs, port.target)
    size = min(port.batch, rows_of_size(sum(math.prod(each.shape) for each in ports), limit))
    if not size or batch == 0:
        raise InputError("not even one row may be sent at once: batch is 1 or more, and so must request_mb allow")
    size = min(size, batch or size)
    evaluation = os.urandom(ID_BYTES)
    answers: Mapping[int, Answer] = {}
    try:
        start = 0
        while start < rows:
            part = Part(evaluation, metric, start, start + size >= rows)
            try:
                rows_of_part = [each[start : start + size] for each in values]
                request = session.send(rows_of_part, ports, part, deadline=query.deadline, given_up=given_up)
                answers = session.answers(request, query.deadline, given_up)
                start += size
            except RefusedError as error:
                if not session.usable:
                    raise
                pause(query.pause_after(error))
    except BaseException:  # Ctrl-C too
        session.give_up(evaluation)
        raise
    told: list[float] = []
    if port.recipient == "client":
        shape = (1 + port.notices,)
        told = told_of([share_of(answers[index], shape, index) for index in range(len(PARTY_NAMES))], port.frac)
    return Score.of(metric, rows, port.counts, told)


def told_of(shares: list[Share], frac: int) -> list[float]:
    """What three parties' shares mean: the total of scores with so many fractional bits, exact up to 2^53 units, and
    those of notices.

    Raises:
        IntegrityError: the copies of a summand disagree.
    """
    raw = reconstruct(shares)
    return [float(fixed.decode(raw[:1], frac)[0]), *map(float, raw[1:].view(np.int64))]


def _port_of(allowed: tuple[EvaluationPort, ...], metric: str) -> EvaluationPort:
    for port in allowed:
        if port.metric == metric:
            return port
    names = f"but by {', '.join(port.metric for port in allowed)}" if allowed else "nor by any other metric"
    raise InputError(f"the model's owner allows no evaluation by {metric!r}, {names}; share(evaluation=…) says which")


def _targets_of(y: Any, port: EvaluationPort) -> Any:
    """As the parties take them: of classes their numbers; with the axes of the output where that has one of size 1."""
    try:
        targets: np.ndarray[Any, Any] = np.asarray(y)
    except (TypeError, ValueError):
        raise InputError("the targets are not a rectangular array of numbers") from None
    shape, given = port.target.shape, targets.shape[1:]
    if given == shape or targets.ndim == 0:
        return targets
    if port.metric in ("accuracy", "top5") and given[:-1] == shape:
        classes = int(port.target.range[1]) + 1 if port.target.range else 0
        if given[-1] == classes:
            return np.argmax(targets, axis=-1)
    if math.prod(given) == math.prod(shape) and tuple(s for s in given if s > 1) == tuple(s for s in shape if s > 1):
        return targets.reshape(len(targets), *shape)
    return targets
