"""Run a plan in plain float64 by its kinds' meaning: the reference that passes and protocols are tested against.

Both forms of a plan are understood. In an executable one no rounding happens: `truncate` and the shifts only change how
a real number is written, so they are the identity here, and `scale_int` multiplies by multiplier / 2^shift.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_private.errors import InputError
from keras_private.plan.ops import kind_of
from keras_private.plan.plan import Draft, Op

Array = NDArray[np.float64]


def evaluate(draft: Draft, x: ArrayLike) -> Array:
    """The plan's output, float64 (batch, *output shape), for x of (batch, *input shape).

    Raises:
        InputError: x has another shape.
    """
    plan = draft.plan
    last_use = {name: index for index, op in enumerate(plan.ops) for name in op.inputs}
    tensors = {plan.input: _input(draft, x)}
    for index, op in enumerate(plan.ops):
        tensors[op.output] = apply(
            op, [tensors[name] for name in op.inputs], [draft.values[name] for name in op.weights]
        )
        for name in {*op.inputs, op.output}:
            if last_use.get(name, -1) <= index and name != plan.output:
                del tensors[name]
    return tensors[plan.output]


def trace(draft: Draft, x: ArrayLike) -> dict[str, Array]:
    """Every tensor of the run, by name."""
    tensors = {draft.plan.input: _input(draft, x)}
    for op in draft.plan.ops:
        tensors[op.output] = apply(
            op, [tensors[name] for name in op.inputs], [draft.values[name] for name in op.weights]
        )
    return tensors


def apply(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    """One op on batches `xs` with weights `ws`; `relu` of a fused op included.

    Raises:
        PlanError: the op's kind is unknown.
    """
    return fused_relu(op, kind_of(op).plain(op, xs, ws))


def fused_relu(op: Op, result: Array) -> Array:
    """What `op` makes of its kind's `plain` result."""
    return np.maximum(result, 0.0) if op.attrs.get("relu") else result


def _input(draft: Draft, x: ArrayLike) -> Array:
    array = np.asarray(x, dtype=np.float64)
    if array.ndim == 0 or array.shape[1:] != draft.plan.input_shape:
        raise InputError(f"expected a batch of inputs of shape {draft.plan.input_shape}, got an array of {array.shape}")
    return array
