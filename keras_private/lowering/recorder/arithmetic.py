"""Sums and products, place by place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from keras_private.lowering.recorder.base import Recording, per_sample
from keras_private.lowering.tensors import PlanConstant, PlanTensor, PlanWeight


class Arithmetic(Recording):
    """Calls for sums and products."""

    def add(self, x: Any, y: Any) -> PlanTensor:
        if not isinstance(x, PlanTensor):
            x, y = y, x
        return self._sum("add", x, y)

    def add_n(self, tensors: Sequence[PlanTensor]) -> PlanTensor:
        return reduce(self.add, tensors)

    def sub(self, x: Any, y: Any) -> PlanTensor:
        if not isinstance(x, PlanTensor):
            return self.add(self.negative(y), x)
        return self._sum("sub", x, y)

    def mul(self, x: Any, y: Any) -> PlanTensor:
        """Elementwise by another tensor, a secret weight or a public constant."""
        if not isinstance(x, PlanTensor):
            x, y = y, x
        if isinstance(y, PlanTensor):
            return self._record("mul", x, y)
        if isinstance(y, PlanWeight):
            return self._record("mul", x, weights=self._weight(y, len(x.shape) - 1))
        factor = np.asarray(y.value if isinstance(y, PlanConstant) else y, dtype=np.float64)
        factor = per_sample(factor, len(x.shape) - 1)
        if factor.size == 1:
            return self._record("scale", x, factor=float(factor.reshape(())))
        return self._record("scale", x, factor=(factor.shape, tuple(factor.reshape(-1).tolist())))

    def div(self, x: PlanTensor, y: Any) -> PlanTensor:
        return self.mul(x, 1.0 / np.asarray(y.value if isinstance(y, PlanConstant) else y, dtype=np.float64))

    def negative(self, x: PlanTensor) -> PlanTensor:
        return self.mul(x, -1.0)

    def square(self, x: PlanTensor) -> PlanTensor:
        return self._record("square", x)

    def _sum(self, kind: str, x: PlanTensor, y: Any) -> PlanTensor:
        if isinstance(y, PlanTensor):
            return self._record(kind, x, y)
        if not isinstance(y, PlanWeight):
            value = np.asarray(y.value if isinstance(y, PlanConstant) else y, dtype=np.float64)
            y = PlanWeight(value, "constant")
        return self._record(kind, x, weights=self._weight(y, len(x.shape) - 1))
