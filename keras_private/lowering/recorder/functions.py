"""Functions of one number, and of rows of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering.recorder.base import Recording
from keras_private.lowering.tensors import PlanTensor
from keras_private.plan.attributes import matrix


class Functions(Recording):
    """Calls for functions that have a kind of their own."""

    def relu(self, x: PlanTensor) -> PlanTensor:
        return self._record("relu", x)

    def abs(self, x: PlanTensor) -> PlanTensor:
        return self._record("abs", x)

    def clip(self, x: PlanTensor, low: float, high: float) -> PlanTensor:
        return self._record("clip", x, low=float(low), high=float(high))

    def spline(self, x: PlanTensor, function: str, *parameters: float, goal: int = 21) -> PlanTensor:
        """A function of one number that parties read from a table (`plan/spline/functions.py`): by name, with public
        parameters. goal: half bits: its largest error is 2^(-goal/2)."""
        return self._record("spline", x, function=function, parameters=tuple(map(float, parameters)), goal=goal)

    def softmax(self, x: PlanTensor, axis: int = -1, kept: NDArray[np.bool_] | None = None) -> PlanTensor:
        """e^x over its sum along an axis, which is not the batch. kept: a public mask of the shape of the last axes, of
        which `axis` is the last; numbers where it is False count for nothing and become 0."""
        attrs = {} if kept is None or np.all(kept) else {"kept": matrix(np.asarray(kept, np.int64))}
        return self._record("softmax", x, axis=axis % len(x.shape) - 1, **attrs)

    def divide(self, x: PlanTensor, y: PlanTensor, low: float, high: float) -> PlanTensor:
        """x / y for y between two positive numbers, powers of two are best; a y beyond them counts as the nearer."""
        return self._record("divide", x, y, low=float(low), high=float(high))

    def normalise(self, x: PlanTensor, axes: Sequence[int], epsilon: float, *, centre: bool) -> PlanTensor:
        """x / sqrt(mean(x²) + epsilon) over these axes, `centre`: of x less its mean."""
        own = tuple(sorted(axis % len(x.shape) - 1 for axis in axes))
        return self._record("normalise", x, axes=own, epsilon=float(epsilon), centre=centre)
