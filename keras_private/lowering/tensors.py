"""What Recorder hands out: names in a plan that is being written, in the clothes of TF Encrypted tensors."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering import tfe

_PrivateTensor: Any = tfe.load().protocol.TFEPrivateTensor
_PrivateVariable: Any = tfe.load().protocol.TFEPrivateVariable
_PublicTensor: Any = tfe.load().protocol.TFEPublicTensor


class Arithmetic(Protocol):
    """What a tensor asks of the `Recorder` that records it."""

    def add(self, x: Any, y: Any) -> PlanTensor: ...
    def sub(self, x: Any, y: Any) -> PlanTensor: ...
    def mul(self, x: Any, y: Any) -> PlanTensor: ...
    def div(self, x: Any, y: Any) -> PlanTensor: ...
    def negative(self, x: Any) -> PlanTensor: ...


class PlanTensor(_PrivateTensor):  # type: ignore[misc]  # untyped base
    """A secret value that depends on the input: the output of a recorded op.

    shape: per sample, with None for the batch in front, as Keras writes it. bit: it is bits, not numbers.
    """

    dispatch_id = "private"

    def __init__(self, prot: Arithmetic, name: str, shape: tuple[int | None, ...], *, bit: bool = False) -> None:
        self.prot = prot
        self.name = name
        self.shape = shape
        self.bit = bit

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, shape={self.shape})"

    def __add__(self, other: Any) -> PlanTensor:
        return self.prot.add(self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> PlanTensor:
        return self.prot.sub(self, other)

    def __rsub__(self, other: Any) -> PlanTensor:
        return self.prot.add(self.prot.negative(self), other)

    def __mul__(self, other: Any) -> PlanTensor:
        return self.prot.mul(self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> PlanTensor:
        return self.prot.div(self, other)

    def __neg__(self) -> PlanTensor:
        return self.prot.negative(self)


class PlanWeight(_PrivateVariable):  # type: ignore[misc]  # untyped base
    """A secret constant of the model. Enters the plan when an op first uses it; its repr hides the value."""

    dispatch_id = "private"

    def __init__(self, value: NDArray[np.float64], name: str) -> None:
        self.value = value
        self.name = name
        self.shape = value.shape

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, shape={self.shape})"


class PlanConstant(_PublicTensor):  # type: ignore[misc]  # untyped base
    """A public constant, part of the architecture: a divisor, a threshold."""

    dispatch_id = "public"

    def __init__(self, value: NDArray[np.float64]) -> None:
        self.value = value
        self.shape = value.shape
