"""All passes in order: from what the lowering recorded to what the parties execute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan import samples
from keras_private.plan.checks.choice import checked
from keras_private.plan.contract import limited
from keras_private.plan.fixed_point import fixed_point
from keras_private.plan.floors import floored
from keras_private.plan.fractions import Fractions
from keras_private.plan.measure import Measured, calibrated, few_of, measure, work
from keras_private.plan.origins import origins
from keras_private.plan.passes.fold import fold
from keras_private.plan.passes.identities import identities
from keras_private.plan.passes.layout import layout
from keras_private.plan.passes.max_pooling import max_pooling
from keras_private.plan.passes.pooling import average_pooling
from keras_private.plan.plan import Draft
from keras_private.plan.saturate import saturated
from keras_private.plan.serialise import MAX_PRECISION
from keras_private.plan.simulate import accuracy
from keras_private.plan.summary import unproven

PASSES: tuple[Callable[[Draft], Draft], ...] = (layout, identities, fold, max_pooling, average_pooling)
_ROUNDS = 8  # one pass may open the way for another; two rounds are usual

# What is tried in turn until the measured error is small, as a part of the outputs' range: further bits for values
# between layers, and whether the inputs' weights must be exact.
_TRIALS = ((0, False), (0, True), (5, True), (9, True))
_GOAL = 5e-4
_WORTH = 1.5  # a trial must make the error smaller by this, for what it may cost


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
        write = partial(_trial, simple, bits, measured, saturate=saturate, floors=exact_truncation)
        best = write(*_TRIALS[0])
        error = accuracy(best, measured)
        for trial in _TRIALS[1:]:
            if error.relative <= _GOAL or not simple.plan.ranged:
                break
            try:
                done = write(*trial)
                smaller = error if done.plan == best.plan else accuracy(done, measured)
            except PlanError:  # no room for more; the first one had enough
                break
            if smaller.error * _WORTH < error.error and (unproven(best.plan) or not unproven(done.plan)):
                best, error = done, smaller
        best = limited(best, measured.inputs)
        best = checked(best, measured.inputs, guard=guard, enforce_range=enforce_range)
    error = replace(error, calibrated=calibration is not None)
    return replace(best, accuracy=error, origins=origins(best.plan, calibrated=error.calibrated))


def _trial(
    draft: Draft, precision: int, measured: Measured, extra: int, exact: bool, *, saturate: bool, floors: bool
) -> Draft:
    fractions = Fractions(draft, precision, extra, measured)
    if saturate:
        cut, measured = saturated(draft, fractions, measured)
        fractions = fractions if cut is draft else Fractions(cut, precision, extra, measured)
        draft = cut
    done = fixed_point(draft, fractions, exact=exact)
    return replace(done, plan=floored(done.plan)) if floors else done


def _whole(precision: float) -> int:
    try:
        bits = int(precision)
    except (TypeError, ValueError, OverflowError):
        bits = 0
    if isinstance(precision, bool) or bits != precision or not 1 <= bits <= MAX_PRECISION:
        raise PlanError(f"precision_fractional must be a whole number from 1 to {MAX_PRECISION}, not {precision!r}")
    return bits
