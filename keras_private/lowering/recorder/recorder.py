"""Recorder: a protocol object of TF Encrypted's kind that computes nothing and writes down what it was asked.

Theory of operation. A lowering calls `prot.conv2d(x, w, strides, padding)` as it would on TF Encrypted's own protocols,
with the same names, layouts (NCHW, kernels HWIO) and shapes (batch first). Here `x` is a name in a plan and the call
appends one op to a PlanBuilder. TF Encrypted tells private from public values by type, and so does this:

- secret times secret-constant: `mul`, `matmul`, `conv2d` with a `define_private_variable`;
- secret times public constant: `scale`, which costs no communication beyond a truncation;
- an added constant is always recorded as a weight: adding one is free either way, and this tells the parties less.

What goes beyond TF Encrypted's ABY3: `conv2d` takes `dilations`, and there is a call for every kind of op that it has
not: `depthwise_conv2d`, `einsum`, `lookup`, `clip`, `spline`, `softmax`, …, and comparisons, whose results are bits.
The padding of `maxpool2d` never wins, as in Keras; TF Encrypted pads with zeros that can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_private.lowering.recorder.arithmetic import Arithmetic
from keras_private.lowering.recorder.base import Recording
from keras_private.lowering.recorder.comparisons import Comparisons
from keras_private.lowering.recorder.functions import Functions
from keras_private.lowering.recorder.linear import Linear
from keras_private.lowering.recorder.order import Order
from keras_private.lowering.recorder.shape import Shape
from keras_private.lowering.recorder.window import Window
from keras_private.lowering.tensors import PlanTensor
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.plan import REAL, Draft, Output

FAMILIES = (Recording, Arithmetic, Functions, Comparisons, Order, Linear, Window, Shape)


class Recorder(Order, Comparisons, Linear, Window, Shape):
    """Records the calls of a lowering.

    Args:
        input_shape: of a plan with one input of real numbers: per sample, without the batch. None: inputs are added one
            by one.
        input_range: (low, high) that every value of that input lies in, if known.
        precision: fractional bits that the plan will run with. Few lowerings need to know.
    """

    def __init__(
        self, input_shape: Sequence[int] | None = None, input_range: Sequence[float] | None = None, precision: int = 16
    ) -> None:
        super().__init__(PlanBuilder(input_shape, input_range), precision)

    @property
    def input(self) -> PlanTensor:
        """The first input."""
        return self._tensor(self._builder.input)

    def add_input(
        self, name: str, shape: Sequence[int], kind: str = REAL, input_range: Sequence[float] | None = None
    ) -> PlanTensor:
        """Another input; see `PlanBuilder.add_input`."""
        return self._tensor(self._builder.add_input(name, shape, kind=kind, range=input_range))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        there = sorted(each for family in FAMILIES for each in vars(family) if each[0] != "_" and each != "layer")
        raise AttributeError(f"there is no {name!r} to call; what can be recorded is {', '.join(there)}")

    def finish(
        self, output: PlanTensor | Sequence[Output], takes: str | None = None, gives: str | None = None
    ) -> Draft:
        """The plan that computes one tensor, or these outputs; see `PlanBuilder.finish`."""
        outputs = output.name if isinstance(output, PlanTensor) else output
        return self._builder.finish(outputs, takes=takes, gives=gives)
