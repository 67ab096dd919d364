"""The plan: a list of typed ops over named tensors with static shapes.

Theory of operation. A plan says *what* is computed and never holds a weight or an input: weights appear as names with
shapes. All shapes are per sample; the batch is an implicit first axis. It exists in two forms:

- *recorded* (`precision == 0`): real-valued, as the lowering wrote it down, together with its weights a `Draft`;
- *executable* (`precision > 0`): fixed point. Every tensor states the fractional bits of its raw value and, where it
  could be proved, a bound; truncations are explicit. This is what the parties load, check and run.

Ops are in execution order and every tensor is assigned once. The kinds and their attributes are in `ops/`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.sharing.fixed import CONTRACT_BITS as CONTRACT_BITS

Shape = tuple[int, ...]

REAL, INTEGER, BIT = "real", "integer", "bit"  # what numbers an input or output holds
FINAL_ACTIVATIONS = ("", "softmax", "sigmoid")  # what clients may be told to apply to the decoded output
NOTICES = ("guard", "range")  # what is revealed of a query beside the model's outputs: see `ports.py`
CHECKS = ("(guard)", "(range check)")  # layers of the ops that make notices
IDENTIFIER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./:-]{0,63}")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value during the run: numbers, or bits.

    frac: fractional bits of the raw value. bound: proven |raw| < 2^bound; None = only the contract |raw| < 2^62.
    bit: every element is 0 or 1, shared by exclusive or instead of by addition; `frac` is 0.
    """

    shape: Shape
    frac: int = 0
    bound: int | None = None
    bit: bool = False


@dataclass(frozen=True, slots=True)
class Weight:
    """A secret constant, known to the parties as shares only."""

    shape: Shape
    frac: int = 0


@dataclass(frozen=True, slots=True)
class Op:
    """One step: `output` = kind(inputs; weights). `layer` is the Keras layer it came from, for people."""

    kind: str
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    output: str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    layer: str = ""


@dataclass(frozen=True, slots=True)
class Input:
    """What a client gives: one array, under the name that it has in Keras.

    kind: "real"; "integer", whole numbers; "bit", 0 or 1. In the ring an integer is a number without fractional bits,
        and a bit is the integer 0 or 1: the kind says what clients check and how they encode.
    range: (lowest, highest) value. An integer has one, of whole numbers; a bit's is (0, 1).
    limit: of an executable plan's real input without a range; a power of two that it must stay below in size
        (`contract.py`).
    """

    name: str
    tensor: str
    kind: str = REAL
    range: tuple[float, float] | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What a client is given: one array, under the name that it has in Keras.

    kind: as of an input; clients make float32, int64 or bool of it.
    final_activation: one of FINAL_ACTIVATIONS. The parties do not compute it: the client applies it to the output that
        it decoded, softmax along the last axis. "": the output is the result.
    reveal: one of REVEALS (`ports.py`): what is told of the model's output.
    recipient: who is told: one of RECIPIENTS.
    """

    name: str
    tensor: str
    kind: str = REAL
    final_activation: str = ""
    reveal: str = "values"
    recipient: str = "client"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A metric that the parties compute of a client's data and targets, and of which only the total is told.

    metric: one of METRICS (`scoring.py`). recipient: who is told: one of EVALUATORS. fewest: rows that an evaluation
        has at least.
    """

    metric: str
    recipient: str
    fewest: int


@dataclass(frozen=True)
class Plan:
    """A whole program from input tensors to output tensors.

    evaluations: what else may be asked for; none but these.

    takes, gives: "array", "list", "tuple" or "dict": how the model takes its inputs and gives its outputs. The arrays
        of a list are in the order of `inputs` or `outputs`, those of a dict under their names.

    During a run a row is one vector: all inputs, each flattened, one behind the other; and likewise all outputs.
    """

    precision: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    tensors: Mapping[str, Tensor]
    weights: Mapping[str, Weight]
    ops: tuple[Op, ...]
    takes: str = "array"
    gives: str = "array"
    evaluations: tuple[Evaluation, ...] = ()

    @property
    def executable(self) -> bool:
        return self.precision > 0

    @property
    def ranged(self) -> bool:
        """Whether every input has a range."""
        return all(given.range is not None for given in self.inputs)

    @property
    def input_words(self) -> int:
        """Values that all inputs of a row have together."""
        return sum(math.prod(self.shape(given)) for given in self.inputs)

    @property
    def output_words(self) -> int:
        """Values that all outputs of a row have together."""
        return sum(math.prod(self.shape(made)) for made in self.outputs)

    @property
    def results(self) -> tuple[Output, ...]:
        """The outputs that are the model's; the others are notices."""
        return tuple(made for made in self.outputs if made.reveal not in NOTICES)

    @cached_property
    def ends(self) -> frozenset[str]:
        """The tensors that are outputs."""
        return frozenset(made.tensor for made in self.outputs)

    def shape(self, port: Input | Output) -> Shape:
        """The shape of an input or output, without the batch."""
        return self.tensors[port.tensor].shape

    def frac(self, port: Input | Output) -> int:
        """The fractional bits that an input or output has in an executable plan."""
        return self.tensors[port.tensor].frac


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far private answers are off, as measured at the owner (`simulate.py`); no bound.

    error: largest difference to expect of any output value. span: from the lowest to the highest output value seen.
    Of several outputs both are the least exact one's, in parts of its range. count: inputs that it was measured on.
    calibrated: these were the owner's data, not random.
    """

    error: float
    span: float
    count: int
    calibrated: bool = False

    @property
    def relative(self) -> float:
        """The error as a part of the outputs' range."""
        if not self.error:
            return 0.0
        return self.error / self.span if self.span else math.inf


@dataclass(repr=False)
class Draft:
    """A plan with its weights in plain numbers (float64). The owner's alone: it never leaves the owner's process.

    accuracy: of an executable draft. origins: of its tensors, where it is known from how large they get: "proved",
        "measured" or "guessed" (`origins.py`). sizes: of its tensors, the largest magnitude in a run in the clear.
    """

    plan: Plan
    values: dict[str, NDArray[np.float64]]
    accuracy: Accuracy | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Draft({len(self.plan.ops)} ops, {len(self.values)} weights hidden)"


def identifier(text: str) -> str:
    """The nearest thing to `text` that may be a name in a plan."""
    cleaned = re.sub(r"[^A-Za-z0-9_./:-]", "_", text)[:48]
    return cleaned if IDENTIFIER.fullmatch(cleaned) else f"_{cleaned}"
