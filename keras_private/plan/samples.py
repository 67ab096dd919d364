"""Random inputs of the kind a model was made for, to try it on before anybody queries it.

Theory of operation. Rounding matters where values are small and where a layer amplifies them, and both depend on what
comes in. The owner's data is not asked for, so inputs are drawn: smooth along space with varied contrast, since noise
drawn anew for each pixel averages out in a deep net as no picture does; within the declared range; and where the
model begins by normalising with statistics of its own, spread around those, each column on its own scale.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keras_private.plan.passes.graph import full_rank
from keras_private.plan.plan import REAL, Draft, Input

Array = NDArray[np.float64]

_GRID = 5  # random corners along each axis of space, interpolated between
_NOISE = 0.05  # beside what is smooth
_SEED = 20  # any: two plans of one model must be equal


def inputs(draft: Draft, count: int) -> tuple[Array, ...]:
    """`count` rows of every input of a recorded draft, in the plan's order: float64, (count, *input shape) each.

    Always the same, in the declared ranges; whole numbers and bits are drawn evenly.
    """
    random = np.random.default_rng(_SEED)
    return tuple(_of_input(draft, given, count, random) for given in draft.plan.inputs)


def _of_input(draft: Draft, given: Input, count: int, random: np.random.Generator) -> Array:
    shape = draft.plan.shape(given)
    low, high = given.range or (-np.inf, np.inf)
    if given.kind != REAL:
        return random.integers(int(low), int(high), (count, *shape), endpoint=True).astype(np.float64)
    drawn = _smooth(shape, count, random)  # mean 0, standard deviation about 1
    statistics = _statistics(draft, given)
    if statistics is not None:
        mean, deviation = statistics
        return np.clip(mean + deviation * drawn, low, high)
    if given.range is None:
        return drawn
    spread = np.clip(0.5 + drawn / 4, 0.0, 1.0)
    return low + (high - low) * spread


def _smooth(shape: tuple[int, ...], count: int, random: np.random.Generator) -> Array:
    """Normal values, smooth along every axis but the last, with a brightness and a contrast of each sample's own."""
    if len(shape) < 2:
        return random.normal(size=(count, *shape))
    space = shape[:-1]
    value = random.normal(size=(count, *(min(size, _GRID) for size in space), shape[-1]))
    for axis, size in enumerate(space, start=1):
        at = np.linspace(0, value.shape[axis] - 1, size)
        below = np.minimum(at.astype(int), max(value.shape[axis] - 2, 0))
        above = np.minimum(below + 1, value.shape[axis] - 1)
        part = (at - below).reshape(-1, *(1,) * (value.ndim - axis - 1))
        value = np.take(value, below, axis) * (1 - part) + np.take(value, above, axis) * part
    each = (count, *(1,) * (value.ndim - 1))
    value = value * random.uniform(0.5, 1.5, size=each) + random.normal(size=each) / 2
    return value + _NOISE * random.normal(size=value.shape)


def _statistics(draft: Draft, given: Input) -> tuple[Array, Array] | None:
    """Mean and deviation of an input, if the first thing that happens to it is `x · secret + secret`."""
    rank = len(draft.plan.shape(given))
    users = [op for op in draft.plan.ops if given.tensor in op.inputs]
    if len(users) != 1 or users[0].kind != "mul" or not users[0].weights:
        return None
    (mul,) = users
    shift = [op for op in draft.plan.ops if mul.output in op.inputs]
    scale = full_rank(draft.values[mul.weights[0]], rank)
    offset = np.zeros_like(scale)
    if len(shift) == 1 and shift[0].kind == "add" and shift[0].weights:
        offset = full_rank(draft.values[shift[0].weights[0]], rank)
    deviation = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
    return -offset * deviation, np.abs(deviation)
