"""How large the values of a recorded plan are on sample inputs, and what it then answers.

A proven interval says what can happen, and after a few layers that is thousands of times what does happen. Where it is
too wide to be of use, fractional bits follow these sizes, with a wide margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan.evaluate import fused_relu
from keras_private.plan.ops import Bilinear, Product, describe, kind_of, rectified
from keras_private.plan.plan import Draft

Array = NDArray[np.float64]

_PIECE = 200_000_000  # multiplications that are done at once, which bounds the memory
_WORK = 10_000_000_000  # and that an owner's data may take
_FEWEST, _MOST = 8, 4096  # of its rows


@dataclass(frozen=True, slots=True, repr=False)
class Measured:
    """What a draft did with `inputs`.

    sizes: for each tensor the largest magnitude to reckon with: seen, or, for a product, what inputs as large as those
        seen make of weights that size (a unit that stayed silent has a size too). Before a ReLU, not after it.
    seen: for each tensor the largest magnitude that it had. Of a product of two values that never are large together,
        as a row and one over its size, it is far less.
    held: the same after a ReLU of its op.
    outputs: float64, (count, *output shape) each, in the plan's order.
    """

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    sizes: dict[str, float]
    seen: dict[str, float]
    held: dict[str, float]


def measure(draft: Draft, inputs: tuple[Array, ...]) -> Measured:
    """Run a draft of either form on these inputs, (count, *input shape) each, in the plan's order.

    Raises:
        PlanError: values outgrow float64; names the layer.
    """
    plan = draft.plan
    last_use = {name: index for index, op in enumerate(plan.ops) for name in op.inputs}
    values = {given.tensor: x for given, x in zip(plan.inputs, inputs, strict=True)}
    seen = {name: float(np.max(np.abs(x))) for name, x in values.items()}
    sizes, held = dict(seen), dict(seen)
    for index, op in enumerate(plan.ops):
        weights = [draft.values[name] for name in op.weights]
        kind = kind_of(op)
        result = kind.plain(op, [values[name] for name in op.inputs], weights)
        values[op.output] = fused_relu(op, result)
        held[op.output] = float(np.max(np.abs(values[op.output])))
        largest = float(np.max(np.abs(result)))
        if not np.isfinite(largest):
            raise PlanError(f"{describe(op)}: its values outgrow every number format; rescale the layer's weights")
        before = rectified(op) and not isinstance(kind, Product)  # of a product, `result` is before its ReLU
        seen[op.output] = max(largest, seen[op.inputs[0]]) if before else largest
        reckoned = kind.reckoned(op, seen[op.inputs[0]], [sizes[name] for name in op.inputs], weights)
        sizes[op.output] = max(seen[op.output], reckoned)
        for name in {*op.inputs, op.output} - plan.ends:
            if last_use.get(name, -1) <= index:
                del values[name]
    return Measured(inputs, tuple(values[made.tensor] for made in plan.outputs), sizes, seen, held)


def calibrated(draft: Draft, inputs: Sequence[NDArray[Any]]) -> Measured:
    """The same of an owner's data, of which there may be much: taken in pieces, and evenly from all over it as many
    rows as can be tried in reasonable time; and outputs of some of these."""
    count, each = len(inputs[0]), 1 + work(draft)
    chosen = _evenly(count, max(_FEWEST, min(_MOST, _WORK // each)))
    rows = max(1, _PIECE // each)
    sizes: dict[str, float] = {}
    seen: dict[str, float] = {}
    held: dict[str, float] = {}
    for start in range(0, len(chosen), rows):
        piece = measure(draft, _rows(inputs, chosen[start : start + rows]))
        for whole, part in ((sizes, piece.sizes), (seen, piece.seen), (held, piece.held)):
            whole.update((name, max(size, whole.get(name, 0.0))) for name, size in part.items())
    few = _evenly(count, few_of(each))
    found = measure(draft, _rows(inputs, few))
    return replace(found, sizes=sizes, seen=seen, held=held)


def with_largest(few: tuple[Array, ...], inputs: Sequence[NDArray[Any]]) -> tuple[Array, ...]:
    """Few rows of an owner's data, and with them those in which an input is largest."""
    rows = np.unique([int(np.argmax(np.abs(x.reshape(len(x), -1)).max(axis=1))) for x in inputs])
    return tuple(np.concatenate(pair) for pair in zip(few, _rows(inputs, rows), strict=True))


def _rows(inputs: Sequence[NDArray[Any]], places: NDArray[np.int64]) -> tuple[Array, ...]:
    return tuple(x[places].astype(np.float64) for x in inputs)


def few_of(each: int) -> int:
    """How many rows to run again and again, of so many multiplications each."""
    return max(2, min(8, _PIECE // each))


def _evenly(count: int, most: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def work(draft: Draft) -> int:
    """Multiplications for one sample, about."""
    plan, count = draft.plan, 0
    for op in plan.ops:
        outputs = int(np.prod(plan.tensors[op.output].shape))
        count += outputs
        kind = kind_of(op)
        if isinstance(kind, Bilinear):
            left, right = plan.tensors[op.inputs[0]], plan.tensors[op.inputs[-1]]
            second = plan.weights[op.weights[0]].shape if op.weights else right.shape
            count += outputs * kind.fan_in(op, left.shape, second)
    return count
