"""How far the values of a plan that is being recorded reach: what its tables of 1/x, roots and logarithms are made for.

An input without a declared range counts as what any value in the ring may be, and so does whatever would reach further:
what is beyond that is outside the contract of every op anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keras_private.plan import bounds
from keras_private.plan.interval import Interval
from keras_private.plan.plan import CONTRACT_BITS, Input, Op, Shape

FRAC = 16  # fractional bits that are reckoned with
FURTHEST = 2.0 ** (CONTRACT_BITS - FRAC)


class Reach:
    """The interval of every tensor that somebody asked for, and of all that it depends on; each is found once."""

    def __init__(self) -> None:
        self._known: dict[str, Interval] = {}

    def of(
        self,
        tensor: str,
        inputs: Sequence[tuple[Input, Shape]],
        ops: Sequence[Op],
        values: Mapping[str, NDArray[np.float64]],
    ) -> tuple[float, float]:
        """The lowest and the highest value of any element.

        Args:
            inputs, ops, values: all that has been recorded so far: inputs and their shapes, ops in order, weights.
        """
        for given, shape in inputs:
            if given.tensor not in self._known:
                ends = replace(given, range=given.range or (-FURTHEST, FURTHEST))
                found = bounds.of_input(ends, shape, FRAC)
                assert found is not None, "it has a range"  # noqa: S101
                self._known[given.tensor] = found
        needed = {tensor}
        for op in reversed(ops):
            if op.output in needed and op.output not in self._known:
                needed.update(op.inputs)
        for op in ops:
            if op.output in needed and op.output not in self._known:
                with np.errstate(all="ignore"):  # what is not finite is cut off
                    made = bounds.propagate(
                        op, [self._known[name] for name in op.inputs], [values[name] for name in op.weights]
                    )
                assert made is not None, "all inputs have one"  # noqa: S101
                self._known[op.output] = _cut(made)
        found = self._known[tensor]
        return float(np.min(found.low)), float(np.max(found.high))


def _cut(found: Interval) -> Interval:
    low = np.nan_to_num(found.low, nan=-FURTHEST, posinf=FURTHEST, neginf=-FURTHEST)
    high = np.nan_to_num(found.high, nan=FURTHEST, posinf=FURTHEST, neginf=-FURTHEST)
    return Interval(np.clip(low, -FURTHEST, FURTHEST), np.clip(high, -FURTHEST, FURTHEST))
