"""All passes in order: from what the lowering recorded to what the parties execute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan import samples
from keras_private.plan.checks.choice import checked
from keras_private.plan.contract import limited
from keras_private.plan.measure import calibrated, few_of, measure, with_largest, work
from keras_private.plan.origins import origins
from keras_private.plan.passes.fold import fold
from keras_private.plan.passes.identities import identities
from keras_private.plan.passes.layout import layout
from keras_private.plan.passes.max_pooling import max_pooling
from keras_private.plan.passes.pooling import average_pooling
from keras_private.plan.plan import Draft
from keras_private.plan.serialise import MAX_PRECISION
from keras_private.plan.trials import best

PASSES: tuple[Callable[[Draft], Draft], ...] = (layout, identities, fold, max_pooling, average_pooling)
_ROUNDS = 8  # one pass may open the way for another; two rounds are usual


def simplify(draft: Draft) -> Draft:
    """The recorded plan after all rewrites, still in real numbers."""
    for _ in range(_ROUNDS):
        before = draft.plan.ops
        for run in PASSES:
            draft = run(draft)
        if draft.plan.ops == before:
            break
    return draft


def optimise(
    draft: Draft,
    *,
    precision: float = 16,
    calibration: Sequence[NDArray[Any]] | None = None,
    saturate: bool = True,
    guard: bool | None = False,
    enforce_range: bool = False,
    exact_truncation: bool = False,
) -> Draft:
    """The executable plan of a recorded one: rewritten, bounded, in fixed point.

    Args:
        draft: recorded, with the weights in plain; not changed.
        precision: fractional bits of every value between layers at least, a whole number from 1 to 24.
        calibration: the owner's data, numbers of (count, *input shape) for each input in the plan's order: what values
            are to be expected. None: random inputs in the declared ranges.
        saturate: with calibration data and ranges, values are cut off where else nothing would be proven.
        guard, enforce_range: the checks that it is given, see `checks/choice.py`.
        exact_truncation: every truncation is the floor, see `floors.py`.

    Returns:
        The executable draft, with the error to expect of its answers. Its weights are still real numbers, to be encoded
        with `plan.weights[name].frac` bits.

    Raises:
        PlanError: the weights or the declared range do not fit; the message names the layer and what to do.
    """
    bits = _whole(precision)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite afterwards is refused by name
        simple = simplify(draft)
        if calibration is None:
            measured = measure(simple, samples.inputs(draft, few_of(1 + work(simple))))
        else:
            measured = calibrated(simple, calibration)
        saturate = saturate and calibration is not None and simple.plan.ranged
        found = best(simple, bits, measured, saturate=saturate, floors=exact_truncation)
        found = limited(found, measured.inputs)
        xs = measured.inputs if calibration is None else with_largest(measured.inputs, calibration)
        found = checked(found, xs, guard=guard, enforce_range=enforce_range)
    error = replace(found.accuracy, calibrated=calibration is not None) if found.accuracy else None
    return replace(found, accuracy=error, origins=origins(found.plan, calibrated=calibration is not None))


def _whole(precision: float) -> int:
    try:
        bits = int(precision)
    except (TypeError, ValueError, OverflowError):
        bits = 0
    if isinstance(precision, bool) or bits != precision or not 1 <= bits <= MAX_PRECISION:
        raise PlanError(f"precision_fractional must be a whole number from 1 to {MAX_PRECISION}, not {precision!r}")
    return bits
