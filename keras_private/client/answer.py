"""Three parties' shares of an output, as the numbers that they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.config import PARTY_NAMES
from keras_private.errors import PartyError, RangeError
from keras_private.party.messages import Answer, Description, OutputPort
from keras_private.plan.plan import BIT, INTEGER, NOTICES
from keras_private.sharing import fixed
from keras_private.sharing.share import Share, reconstruct

Reals = NDArray[np.float64]

_NOTICES = {
    "range": "the parties gave no answer to {which}: an input lies outside the range that the model was shared for; "
    "scale the data as for training, or have the owner share it with a wider input_range",
    "guard": "there is no answer to {which}: inside the model a value left the range where its numbers are right, or "
    "came near its end; such inputs are far from what the owner reckoned with. Ask without them, or have the owner "
    "share the model with calibration data like these, a narrower input_range, or fewer precision_fractional bits",
}
"""What each of the NOTICES means to a client. A row that is refused has no other notice."""


def combine(answers: Mapping[int, Answer], rows: int, model: Description) -> list[NDArray[Any]]:
    """The model's outputs in its order: float32, int64 or bool, shape (rows, *output shape) each.

    Args:
        answers: of the parties 0, 1, 2.

    Raises:
        PartyError: a share has the wrong size.
        IntegrityError: the copies of a summand disagree.
        RangeError: a row has no answer, because its input or a value of the run is out of range.
    """
    shape = (rows, model.output_words)
    shares = [share_of(answers[index], shape, index) for index in range(len(PARTY_NAMES))]
    raw, end, found, notices = reconstruct(shares), 0, [], {}
    for port in model.outputs:
        start, end = end, end + math.prod(port.shape)
        part = decoded(raw[:, start:end].reshape(rows, *port.shape), port)
        if port.reveal in NOTICES:
            notices[port.reveal] = part
        else:
            found.append(part)
    _heed(notices)
    return found


def _heed(notices: Mapping[str, NDArray[np.bool_]]) -> None:
    """Raise what the parties' notices say; nothing if no row has one."""
    noticed = {name: np.flatnonzero(notices[name]).tolist() for name in _NOTICES if name in notices}
    if any(noticed.values()):
        raise out_of_range(noticed)


def out_of_range(noticed: Mapping[str, Sequence[int]]) -> RangeError:
    """The error for rows that have no answer: which, by the notice that each has."""
    told = {name: tuple(noticed[name]) for name in _NOTICES if noticed.get(name)}
    text = ". ".join(_NOTICES[name].format(which=_which(rows)) for name, rows in told.items())
    return RangeError(text, tuple(sorted({row for rows in told.values() for row in rows})), told)


def _which(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:10])) + (f" and {len(rows) - 10} more" if len(rows) > 10 else "")
    return f"row {shown}" if len(rows) == 1 else f"rows {shown}"


def decoded(raw: NDArray[np.uint64], port: OutputPort) -> NDArray[Any]:
    """An output as clients are given it: float32 behind its final activation, int64 or bool."""
    if port.kind == BIT:
        return raw.astype(np.bool_)
    if port.kind == INTEGER:
        return np.ascontiguousarray(raw).view(np.int64)
    return _activated(fixed.decode(raw, port.frac), port.final_activation).astype(np.float32)


def share_of(answer: Answer, shape: tuple[int, ...], index: int) -> Share:
    """Party `index`'s share of numbers of this shape.

    Raises:
        PartyError: it has the wrong size.
    """
    size = 8 * math.prod(shape)
    if len(answer.mine) != size or len(answer.next) != size:
        raise PartyError(
            f"{PARTY_NAMES[index]} answered with a share of the wrong size; do its software and model fit?"
        )
    mine, following = (np.frombuffer(part, "<u8").astype(np.uint64, copy=False) for part in (answer.mine, answer.next))
    return Share(mine.reshape(shape), following.reshape(shape))


def _activated(values: Reals, name: str) -> Reals:
    """What the plan leaves to the client: a monotone function of its own output, for which no party is needed."""
    if name == "softmax":
        exponentials = np.exp(values - values.max(axis=-1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))
    if name == "sigmoid":
        small = np.exp(-np.abs(values))  # never overflows
        return np.asarray(np.where(values >= 0, 1.0, small) / (1.0 + small))
    if name:
        raise PartyError(f"the model ends in {name!r}, which this client does not know; install the parties' release")
    return values
