"""Arrays of any length: which rows travel together, and how answers and errors are put together again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_private.client.answer import out_of_range
from keras_private.client.checks import batch_rows, check_whole, held_bytes
from keras_private.client.parts import Prediction, taken_apart
from keras_private.client.query import Query
from keras_private.client.request import Request
from keras_private.client.session import Session
from keras_private.client.window import memory_of_one
from keras_private.config import Limits
from keras_private.errors import RangeError
from keras_private.party.messages import Description

AT_ONCE = 3
"""Batches of one array that are on their way at a time: one runs, one waits for its turn, one travels."""


@dataclass(slots=True, eq=False)
class Batch:
    """Rows of an array that travel as one query.

    Attributes:
        query: what is asked; its attempts are this batch's own.
        start, rows: which row of the array is its first, and how many it has.
        attempt: where it is on its way at the moment.
        outcome: the answer, or why rows of it have none.
    """

    query: Query
    start: int = 0
    rows: int = 0
    attempt: tuple[Session, Request] | None = None
    outcome: Prediction | RangeError | None = field(default=None, repr=False)


def divided(query: Query, model: Description, limits: Limits) -> list[Batch]:
    """A query in batches that the parties take. Each has the whole query's deadline, and retries of its own.

    What fits into one query stays one. Otherwise batches are small enough that several of them may be on their way.

    Raises:
        InputError: some of the data may not be sent.
    """
    most = batch_rows(model, limits)
    if all(_length(part) <= most for part in taken_apart(query.data, model)):
        return [Batch(query)]  # is checked when it is sent
    parts = check_whole(query.data, model)
    rows, each = len(parts[0]), held_bytes(1, model.input_words, model.output_words)
    size = max(1, min(most, memory_of_one(limits) // AT_ONCE // each))
    names = [port.name for port in model.inputs]
    return [
        Batch(Query(_rows(names, parts, start, stop), query.deadline, query.retries), start, stop - start)
        for start, stop in spans(rows, size)
    ]


def spans(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """(first row, the one behind the last) of each batch, in order; all but the last have `size` rows."""
    return ((start, min(start + size, rows)) for start in range(0, rows, size))


def _length(part: Any) -> int:
    try:
        return len(part)
    except TypeError:  # no array, which is said when it is looked at
        return 0


def _rows(names: Sequence[str], parts: Sequence[np.ndarray[Any, Any]], start: int, stop: int) -> Any:
    return {name: part[start:stop] for name, part in zip(names, parts, strict=True)}


def joined(batches: Sequence[Batch]) -> Prediction:
    """The answer to all, in order.

    Raises:
        RangeError: rows have no answer; all of them, as they are numbered in the whole array.
    """
    if len(batches) == 1:
        (batch,) = batches
        if isinstance(batch.outcome, RangeError):
            raise batch.outcome
        return batch.outcome
    noticed: dict[str, list[int]] = {}
    for batch in batches:
        if isinstance(batch.outcome, RangeError):
            for name, rows in batch.outcome.causes.items():
                noticed.setdefault(name, []).extend(batch.start + row for row in rows)
    if noticed:
        raise out_of_range(noticed)
    return _concatenated([batch.outcome for batch in batches])


def _concatenated(answers: Sequence[Prediction]) -> Prediction:
    first = answers[0]
    if isinstance(first, Mapping):
        return {name: np.concatenate([answer[name] for answer in answers]) for name in first}
    if isinstance(first, list | tuple):
        return type(first)(np.concatenate(parts) for parts in zip(*answers, strict=True))
    return np.concatenate(answers)
