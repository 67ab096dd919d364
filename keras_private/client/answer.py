"""Three parties' shares of an output, as the numbers that they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.config import PARTY_NAMES
from keras_private.errors import PartyError
from keras_private.party.messages import Answer, Description, OutputPort
from keras_private.plan.plan import BIT, INTEGER
from keras_private.sharing import fixed
from keras_private.sharing.share import Share, reconstruct

Reals = NDArray[np.float64]


def combine(answers: Mapping[int, Answer], rows: int, model: Description) -> list[NDArray[Any]]:
    """The model's outputs in its order: float32, int64 or bool, shape (rows, *output shape) each.

    Args:
        answers: of the parties 0, 1, 2.

    Raises:
        PartyError: a share has the wrong size.
        IntegrityError: the copies of a summand disagree.
    """
    shape = (rows, model.output_words)
    shares = [share_of(answers[index], shape, index) for index in range(len(PARTY_NAMES))]
    raw, end, found = reconstruct(shares), 0, []
    for port in model.outputs:
        start, end = end, end + math.prod(port.shape)
        found.append(_decoded(raw[:, start:end].reshape(rows, *port.shape), port))
    return found


def _decoded(raw: NDArray[np.uint64], port: OutputPort) -> NDArray[Any]:
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
