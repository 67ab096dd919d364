"""A row travels as one vector: all inputs, flattened, one behind the other in the plan's order, and so all outputs.

Queues, lanes and clients' sessions then handle one array of (rows, values), however many parts it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_private.plan.plan import Plan
from keras_private.sharing.share import Share


def apart(plan: Plan, x: Share) -> dict[str, Share]:
    """The inputs of a batch, each in its own shape, by tensor.

    Args:
        x: shape (batch, plan.input_words).
    """
    found, end = {}, 0
    for given in plan.inputs:
        shape = plan.shape(given)
        start, end = end, end + math.prod(shape)
        mine, following = (part[:, start:end].reshape(x.shape[0], *shape) for part in (x.mine, x.next))
        found[given.tensor] = Share(mine, following)
    return found


def side_by_side(outputs: Sequence[Share]) -> Share:
    """Outputs of (batch, …) each as one vector a row."""
    shapes = [(made.shape[0], math.prod(made.shape[1:])) for made in outputs]
    rows = [Share(made.mine.reshape(size), made.next.reshape(size)) for made, size in zip(outputs, shapes, strict=True)]
    if len(rows) == 1:
        return rows[0]
    return Share(np.concatenate([part.mine for part in rows], 1), np.concatenate([part.next for part in rows], 1))
