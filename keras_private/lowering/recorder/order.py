"""The largest, the smallest, and where they are."""

from __future__ import annotations

from typing import Any

from keras_private.lowering.recorder.arithmetic import Arithmetic
from keras_private.lowering.recorder.functions import Functions
from keras_private.lowering.tensors import PlanTensor


class Order(Arithmetic, Functions):
    """Calls that put numbers in order."""

    def maximum(self, x: PlanTensor, y: Any) -> PlanTensor:
        """Place by place; of a tensor and a constant by a ReLU, which is cheaper."""
        if isinstance(y, PlanTensor):
            return self._record("maximum", x, y)
        return self.add(self.relu(self.sub(x, y)), y)

    def minimum(self, x: PlanTensor, y: Any) -> PlanTensor:
        """Place by place; of a tensor and a constant by a ReLU, which is cheaper."""
        if isinstance(y, PlanTensor):
            return self._record("minimum", x, y)
        return self.sub(x, self.relu(self.sub(x, y)))

    def reduce_max(self, x: PlanTensor, axis: int) -> PlanTensor:
        """Along one axis, which then is gone; not the batch."""
        return self._record("reduce_max", x, axis=axis % len(x.shape) - 1)

    def reduce_min(self, x: PlanTensor, axis: int) -> PlanTensor:
        """Along one axis, which then is gone; not the batch."""
        return self._record("reduce_min", x, axis=axis % len(x.shape) - 1)

    def argmax(self, x: PlanTensor, axis: int) -> PlanTensor:
        """The place of the largest along one axis, a whole number; of equal ones the first."""
        return self._record("argmax", x, axis=axis % len(x.shape) - 1)

    def argmin(self, x: PlanTensor, axis: int) -> PlanTensor:
        """The place of the smallest along one axis, a whole number; of equal ones the first."""
        return self._record("argmin", x, axis=axis % len(x.shape) - 1)

    def top_k(self, x: PlanTensor, k: int, *, places: bool) -> PlanTensor:
        """The k largest along the last axis, the largest first; or where they stand."""
        return self._record("top_k", x, k=int(k), places=places)
