"""How large the values of a recorded plan are on sample inputs, and what it then answers.

A proven interval says what can happen, and after a few layers that is thousands of times what does happen. Where it is
too wide to be of use, fractional bits follow these sizes, with a wide margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan.attributes import constant_array
from keras_private.plan.evaluate import apply
from keras_private.plan.ops import LINEAR, PRODUCTS, describe
from keras_private.plan.plan import Draft, Op

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, repr=False)
class Measured:
    """What a recorded draft did with `inputs`.

    sizes: for each tensor the largest magnitude to reckon with: seen, or, for a product, what inputs as large as those
        seen make of weights that size (a unit that stayed silent has a size too). Before a ReLU, not after it.
    outputs: float64, (count, *output shape).
    """

    inputs: Array
    outputs: Array
    sizes: dict[str, float]


def measure(draft: Draft, x: Array) -> Measured:
    """Run a recorded draft on `x`.

    Raises:
        PlanError: values outgrow float64; names the layer.
    """
    plan = draft.plan
    last_use = {name: index for index, op in enumerate(plan.ops) for name in op.inputs}
    values = {plan.input: x}
    seen = {plan.input: float(np.max(np.abs(x)))}
    sizes = dict(seen)
    for index, op in enumerate(plan.ops):
        weights = [draft.values[name] for name in op.weights]
        result = values[op.output] = apply(op, [values[name] for name in op.inputs], weights)
        largest = float(np.max(np.abs(result)))
        if not np.isfinite(largest):
            raise PlanError(f"{describe(op)}: its values outgrow every number format; rescale the layer's weights")
        signed = op.kind == "relu" or (op.kind == "max_pool2d" and op.attrs["relu"])
        seen[op.output] = max(largest, seen[op.inputs[0]]) if signed else largest
        sizes[op.output] = max(seen[op.output], _expected(op, seen, sizes, weights))
        for name in {*op.inputs, op.output}:
            if last_use.get(name, -1) <= index and name != plan.output:
                del values[name]
    return Measured(x, values[plan.output], sizes)


def work(draft: Draft) -> int:
    """Multiplications for one sample, about."""
    plan, count = draft.plan, 0
    for op in plan.ops:
        outputs = int(np.prod(plan.tensors[op.output].shape))
        count += outputs
        if op.kind in LINEAR:
            count += outputs * fan_in(op, draft.values[op.weights[0]])
    return count


def fan_in(op: Op, weight: Array) -> int:
    """How many products one output of a linear op adds up."""
    return weight.size // _outputs(op, weight) if op.kind in LINEAR else 1


def _outputs(op: Op, weight: Array) -> int:
    """How many outputs a linear op has at one place."""
    outputs = weight.shape[2] * weight.shape[3] if op.kind == "depthwise_conv2d" else weight.shape[-1]
    return int(outputs)


def _expected(op: Op, seen: dict[str, float], sizes: dict[str, float], weights: Sequence[Array]) -> float:
    if op.kind == "scale":
        return sizes[op.inputs[0]] * float(np.max(np.abs(constant_array(op.attrs["factor"]))))
    if op.kind not in PRODUCTS:
        return max(sizes[name] for name in op.inputs)
    weight = weights[0]
    if op.kind == "mul":
        gain = float(np.max(np.abs(weight)))
    else:
        flat = weight.reshape(-1, _outputs(op, weight))
        gain = float(np.sqrt(np.max(np.einsum("ij,ij->j", flat, flat))))
    bias = float(np.max(np.abs(weights[1]))) if len(weights) == 2 else 0.0
    return seen[op.inputs[0]] * gain + bias
