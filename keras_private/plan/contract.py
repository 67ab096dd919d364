"""How large the inputs without a declared range may be: beyond, its values could outgrow the ring and wrap.

Theory of operation. Every raw value before its truncation must stay below 2^62 in magnitude. Two numbers say how large
inputs may be for that, and the larger one is taken:

- *proven*: intervals for inputs up to one in size, then scaled. Inputs c times as large make values at most c times as
  large (c >= 1; biases, roundings and inputs with a range do not grow), so what is left up to 2^62 is left for c.
- *measured*: the same with the values that sample inputs made, and a margin. In a deep net worst cases of one layer are
  multiplied with those of the next, and a proof would leave room for nothing.

The plan holds the power of two below it, one for all its inputs without a range, and clients refuse what is larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keras_private.plan import bounds
from keras_private.plan.interval import Interval
from keras_private.plan.measure import measure
from keras_private.plan.ops import CONTRACT_BITS, dropped
from keras_private.plan.plan import Draft, Op
from keras_private.plan.simulate import rounded

MARGIN_BITS = 6  # by which values may exceed those measured


def limited(draft: Draft, xs: Sequence[NDArray[np.float64]]) -> Draft:
    """An executable draft in which every input without a range has its limit.

    Args:
        xs: sample inputs, float64 (count, *input shape) each.
    """
    plan = draft.plan
    if plan.ranged:
        return draft
    bits = max(_proven(draft), _measured(draft, xs), -CONTRACT_BITS)
    frac = max(plan.tensors[given.tensor].frac for given in plan.inputs if given.range is None)
    limit = math.ldexp(1.0, int(min(bits, CONTRACT_BITS - 1 - frac)))
    inputs = tuple(given if given.range else replace(given, limit=limit) for given in plan.inputs)
    return replace(draft, plan=replace(plan, inputs=inputs))


def _proven(draft: Draft) -> float:
    plan = draft.plan
    intervals: dict[str, Interval | None] = {}
    for given in plan.inputs:
        size = (
            max(map(abs, given.range)) if given.range else 1.0
        )  # around 0, so that scaling never leaves any of it out
        around = replace(given, range=(-size, size))
        intervals[given.tensor] = bounds.of_input(around, plan.shape(given), plan.tensors[given.tensor].frac)
    room = math.inf
    for op in plan.ops:
        weights = [rounded(draft.values[name], plan.weights[name].frac) for name in op.weights]
        product = bounds.propagate(op, [intervals[name] for name in op.inputs], weights)
        if product is None or not math.isfinite(product.size):
            return -math.inf
        room = min(room, CONTRACT_BITS - bounds.needed_bits(product, _raw_frac(op, draft)))
        intervals[op.output] = bounds.after_product(op, product, bounds.error(op, plan))
    return room if room >= 0 else -math.inf  # biases do not shrink with the inputs


def _measured(draft: Draft, xs: Sequence[NDArray[np.float64]]) -> float:
    free = [x for given, x in zip(draft.plan.inputs, xs, strict=True) if given.range is None]
    if not all(map(np.any, free)):
        return -math.inf
    sizes = measure(draft, tuple(xs)).sizes
    largest = min(math.frexp(float(np.max(np.abs(x))))[1] for x in free) - 1  # values belong to inputs of this size
    room = math.inf
    for op in draft.plan.ops:
        room = min(room, CONTRACT_BITS - MARGIN_BITS - math.frexp(sizes[op.output])[1] - _raw_frac(op, draft))
    return room + largest


def _raw_frac(op: Op, draft: Draft) -> int:
    """Fractional bits before the op's truncation."""
    return draft.plan.tensors[op.output].frac + dropped(op)
