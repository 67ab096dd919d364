"""Three parties' shares of an output, as the numbers that they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keras_private.config import PARTY_NAMES
from keras_private.errors import PartyError
from keras_private.party.messages import Answer, Description
from keras_private.sharing import fixed
from keras_private.sharing.share import Share, reconstruct

Reals = NDArray[np.float64]


def combine(answers: Mapping[int, Answer], rows: int, model: Description) -> NDArray[np.float32]:
    """The model's output, float32, shape (rows, *output shape).

    Args:
        answers: of the parties 0, 1, 2.

    Raises:
        PartyError: a share has the wrong size.
        IntegrityError: the copies of a summand disagree.
    """
    shape = (rows, *model.output_shape)
    shares = [_share(answers[index], shape, index) for index in range(len(PARTY_NAMES))]
    values = fixed.decode(reconstruct(shares), model.precision)
    return _activated(values, model.final_activation).astype(np.float32)


def _share(answer: Answer, shape: tuple[int, ...], index: int) -> Share:
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
