"""How large the inputs of a plan without a declared range may be: beyond, its values could outgrow the ring and wrap.

Theory of operation. Every raw value before its truncation must stay below 2^62 in magnitude. Two numbers say how large
inputs may be for that, and the larger one is taken:

- *proven*: intervals for inputs up to one in size, then scaled. Inputs c times as large make values at most c times as
  large (c >= 1; biases and roundings do not grow), so what is left up to 2^62 is left for c.
- *measured*: the same with the values that sample inputs made, and a margin. In a deep net worst cases of one layer are
  multiplied with those of the next, and a proof would leave room for nothing.

The plan holds the power of two below it, and clients refuse what is larger.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from keras_private.plan import bounds
from keras_private.plan.interval import Interval
from keras_private.plan.measure import measure
from keras_private.plan.ops import CONTRACT_BITS, dropped
from keras_private.plan.plan import Draft, Op
from keras_private.plan.simulate import rounded

MARGIN_BITS = 6  # by which values may exceed those measured


def input_limit(draft: Draft, x: NDArray[np.float64]) -> float:
    """The power of two that the inputs of an executable draft must stay below in size.

    Args:
        x: sample inputs, float64 (count, *input shape).
    """
    bits = max(_proven(draft), _measured(draft, x), -CONTRACT_BITS)
    return math.ldexp(1.0, int(min(bits, CONTRACT_BITS - 1 - draft.plan.input_frac)))


def _proven(draft: Draft) -> float:
    plan = draft.plan
    start = bounds.of_input(plan.input_shape, (-1.0, 1.0), plan.input_frac)
    intervals: dict[str, Interval | None] = {plan.input: start}
    room = math.inf
    for op in plan.ops:
        weights = [rounded(draft.values[name], plan.weights[name].frac) for name in op.weights]
        product = bounds.propagate(op, [intervals[name] for name in op.inputs], weights)
        if product is None or not math.isfinite(product.size):
            return -math.inf
        room = min(room, CONTRACT_BITS - bounds.needed_bits(product, _raw_frac(op, draft)))
        intervals[op.output] = bounds.after_product(op, product, bounds.error(op, plan))
    return room if room >= 0 else -math.inf  # biases do not shrink with the inputs


def _measured(draft: Draft, x: NDArray[np.float64]) -> float:
    if not np.any(x):
        return -math.inf
    sizes = measure(draft, x).sizes
    largest = math.frexp(float(np.max(np.abs(x))))[1] - 1  # values belong to inputs of this size at least
    room = math.inf
    for op in draft.plan.ops:
        room = min(room, CONTRACT_BITS - MARGIN_BITS - math.frexp(sizes[op.output])[1] - _raw_frac(op, draft))
    return room + largest


def _raw_frac(op: Op, draft: Draft) -> int:
    """Fractional bits before the op's truncation."""
    return draft.plan.tensors[op.output].frac + dropped(op)
