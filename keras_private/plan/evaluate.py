"""Run a plan in plain float64 by its kinds' meaning: the reference that passes and protocols are tested against.

Both forms of a plan are understood. In an executable one no rounding happens: `truncate` and the shifts only change how
a real number is written, so they are the identity here, and `scale_int` multiplies by multiplier / 2^shift.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_private.errors import InputError, PlanError
from keras_private.plan.ops import kind_of
from keras_private.plan.plan import Draft, Op

Array = NDArray[np.float64]


def evaluate(draft: Draft, x: ArrayLike) -> Array:
    """The output of a plan with one input and one output, float64 (batch, *output shape), for (batch, *input shape).

    Raises:
        PlanError: the plan has several.
        InputError: x has another shape.
    """
    if len(draft.plan.inputs) + len(draft.plan.outputs) > 2:
        raise PlanError("the plan has several inputs or outputs: evaluate_all takes and gives them")
    return evaluate_all(draft, [x])[0]


def evaluate_all(draft: Draft, xs: Sequence[ArrayLike]) -> tuple[Array, ...]:
    """All outputs in the plan's order, float64 (batch, *output shape), for all inputs, (batch, *input shape) each.

    Raises:
        InputError: an input is missing or has another shape.
    """
    plan = draft.plan
    last_use = {name: index for index, op in enumerate(plan.ops) for name in op.inputs}
    tensors = _start(draft, xs)
    for index, op in enumerate(plan.ops):
        tensors[op.output] = apply(
            op, [tensors[name] for name in op.inputs], [draft.values[name] for name in op.weights]
        )
        for name in {*op.inputs, op.output} - plan.ends:
            if last_use.get(name, -1) <= index:
                del tensors[name]
    return tuple(tensors[made.tensor] for made in plan.outputs)


def trace(draft: Draft, *xs: ArrayLike) -> dict[str, Array]:
    """Every tensor of the run, by name."""
    tensors = _start(draft, xs)
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


def _start(draft: Draft, xs: Sequence[ArrayLike]) -> dict[str, Array]:
    plan = draft.plan
    if len(xs) != len(plan.inputs):
        raise InputError(f"expected {len(plan.inputs)} inputs, got {len(xs)}")
    found = {}
    for given, x in zip(plan.inputs, xs, strict=True):
        array = np.asarray(x, dtype=np.float64)
        if array.ndim == 0 or array.shape[1:] != plan.shape(given):
            raise InputError(
                f"expected a batch of inputs of shape {plan.shape(given)} for {given.name!r}, got an array of "
                f"{array.shape}"
            )
        found[given.tensor] = array
    if len({len(array) for array in found.values()}) > 1:
        raise InputError(f"the inputs have {[len(array) for array in found.values()]} rows")
    return found
