"""Comparisons, which make bits; and what can be done with bits."""

from __future__ import annotations

from typing import Any

from keras_private.lowering.recorder.base import Recording
from keras_private.lowering.tensors import PlanTensor


class Comparisons(Recording):
    """Calls that make or take bits. Bits are PlanTensors too; the plan knows which tensors are bits."""

    def less(self, x: PlanTensor, y: PlanTensor) -> PlanTensor:
        """[x < y]."""
        return self._record("less", x, y)

    def below(self, x: PlanTensor, threshold: float) -> PlanTensor:
        """[x < threshold], a public number."""
        return self._record("below", x, threshold=float(threshold))

    def above(self, x: PlanTensor, threshold: float) -> PlanTensor:
        """[x > threshold], a public number."""
        return self._record("above", x, threshold=float(threshold))

    def equal(self, x: PlanTensor, y: PlanTensor) -> PlanTensor:
        """[x = y]."""
        return self._record("equal", x, y)

    def equal_to(self, x: PlanTensor, value: float) -> PlanTensor:
        """[x = value], a public number."""
        return self._record("equal_to", x, value=float(value))

    def logical_not(self, x: PlanTensor) -> PlanTensor:
        return self._record("not", x)

    def logical_and(self, x: PlanTensor, y: PlanTensor) -> PlanTensor:
        return self._record("and", x, y)

    def logical_xor(self, x: PlanTensor, y: PlanTensor) -> PlanTensor:
        return self._record("xor", x, y)

    def logical_or(self, x: PlanTensor, y: PlanTensor) -> PlanTensor:
        return self.logical_not(self.logical_and(self.logical_not(x), self.logical_not(y)))

    def to_number(self, x: PlanTensor) -> PlanTensor:
        """The numbers 0 and 1."""
        return self._record("to_number", x)

    def select(self, condition: PlanTensor, x: PlanTensor, y: Any) -> PlanTensor:
        """x where the bit is 1, else y."""
        return self._record("select", condition, x, y)
