"""What the conformance suite needs to know of a kind: ops of it that are run, looked at and counted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_private.plan.ops import KINDS, infer
from keras_private.plan.plan import Op, Plan, Shape, Tensor, Weight
from tests.plans import plan_of

FRAC, BOUND = 8, 20  # of inputs, unless a sample says otherwise


@dataclass(frozen=True)
class Sample:
    """One op. Inputs are below 2^bound in magnitude, and weights so small that float64 holds every sum exactly.

    inputs, weights: shapes. fracs: fractional bits of the weights. bits: which inputs are bits. whole: and which are
    whole numbers.
    """

    inputs: tuple[Shape, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    weights: tuple[Shape, ...] = ()
    fracs: tuple[int, ...] = ()
    bound: int = BOUND
    bits: tuple[int, ...] = ()
    whole: tuple[int, ...] = ()

    def op(self, kind: str) -> Op:
        inputs = tuple(f"x{i}" for i in range(len(self.inputs)))
        return Op(kind, inputs, tuple(f"w{i}" for i in range(len(self.weights))), "y", self.attrs, "layer")

    def plan(self, kind: str) -> Plan:
        """A plan of this op alone, of several inputs maybe: not for a party to parse."""
        op = self.op(kind)
        executable = KINDS[kind].executable is not None
        frac = FRAC if executable else 0
        tensors = {
            name: Tensor(shape, 0, None, bit=True)
            if at in self.bits
            else Tensor(shape, 0 if at in self.whole else frac, self.bound)
            for at, (name, shape) in enumerate(zip(op.inputs, self.inputs, strict=True))
        }
        fracs = self.fracs if executable else (0,) * len(self.weights)
        weights = {name: Weight(shape, bits) for name, shape, bits in zip(op.weights, self.weights, fracs, strict=True)}
        tensors["y"] = infer(op, list(tensors.values()), list(weights.values()), frac)
        return plan_of(frac, op.inputs, ["y"], tensors, [op], weights=weights)

    def outputs(self, kind: str) -> int:
        """Values of output a row."""
        return math.prod(self.plan(kind).tensors["y"].shape)

    def raw_inputs(self, random: np.random.Generator, batch: int) -> list[np.ndarray]:
        """int64, a third of them at an edge of what is allowed; bits are uint8."""
        high = 2**self.bound - 1
        found = []
        for at, shape in enumerate(self.inputs):
            size = (batch, *shape)
            if at in self.bits:
                found.append(random.integers(0, 2, size, np.uint8))
                continue
            edges = random.choice([0, 1, -1, high, -high], size)
            found.append(np.where(random.random(size) < 0.3, edges, random.integers(-high, high, size)))
        return found

    def dtype(self, position: int) -> type[np.unsignedinteger]:
        """Of the summands of an input."""
        return np.uint8 if position in self.bits else np.uint64

    def ends(self, random: np.random.Generator, size: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """Lowest and highest value of each input, of one row."""
        found = []
        for at, shape in enumerate(self.inputs):
            low, high = np.sort(random.normal(size=(2, 1, *shape)) * size, axis=0)
            found.append((np.zeros_like(low), np.ones_like(high)) if at in self.bits else (low, high))
        return found

    def raw_weights(self, random: np.random.Generator) -> list[np.ndarray]:
        return [random.integers(-(2**10), 2**10, shape) for shape in self.weights]
