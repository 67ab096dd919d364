"""What every call of the recorder needs: the plan that is being written, and the layer that is being lowered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from keras_private.lowering import tfe
from keras_private.lowering.tensors import PlanConstant, PlanTensor, PlanWeight
from keras_private.plan.builder import PlanBuilder

_Protocol: Any = tfe.load().protocol.Protocol


class Recording(_Protocol):  # type: ignore[misc]  # untyped base
    """Writes ops down. The calls that lowerings make are in the classes made of it."""

    def __init__(self, builder: PlanBuilder, precision: int) -> None:
        self._builder = builder
        self._layer = ""
        self.fixedpoint_config = SimpleNamespace(precision_fractional=precision, scaling_factor=2**precision)

    @contextmanager
    def layer(self, name: str) -> Iterator[None]:
        """Ops and weights recorded inside belong to the layer of this name."""
        outer, self._layer = self._layer, name
        try:
            yield
        finally:
            self._layer = outer

    def define_private_variable(
        self, initial_value: Any, apply_scaling: bool = True, name: str | None = None
    ) -> PlanWeight:
        """A secret constant, known to the owner alone."""
        del apply_scaling  # every value here is a real number; the optimiser decides on fixed point
        return PlanWeight(np.array(initial_value, dtype=np.float64), name or "weight")

    def define_constant(self, value: Any, apply_scaling: bool = True, name: str | None = None) -> PlanConstant:
        """A public constant."""
        del apply_scaling, name
        return PlanConstant(np.array(value, dtype=np.float64))

    def reach(self, x: PlanTensor) -> tuple[float, float]:
        """The lowest and the highest value that a tensor of numbers is proven to have, for inputs in their ranges."""
        return self._builder.reach(x.name)

    def _weight(self, weight: PlanWeight, rank: int | None = None) -> str:
        value = weight.value if rank is None else per_sample(weight.value, rank)
        return self._builder.weight(value, f"{self._layer}/{weight.name}" if self._layer else weight.name)

    def _record(self, kind: str, *inputs: PlanTensor, weights: str | tuple[str, ...] = (), **attrs: Any) -> PlanTensor:
        names = [x.name for x in inputs]
        return self._tensor(self._builder.op(kind, names, weights=weights, layer=self._layer, **attrs))

    def _tensor(self, name: str) -> PlanTensor:
        return PlanTensor(self, name, (None, *self._builder.shape(name)), bit=self._builder.is_bits(name))


def per_sample(value: np.ndarray[Any, Any], rank: int) -> np.ndarray[Any, Any]:
    """A constant for tensors of `rank` axes behind the batch: without the leading 1 that stands for the batch."""
    return value[0] if value.ndim == rank + 1 and value.shape[0] == 1 else value
