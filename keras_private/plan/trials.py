"""The executable plan that is exact enough and not dearer than it must be: found by trying.

How much of an error a net amplifies nobody can tell from its layers. So a plan is run in the clear, rounding where the
parties round, on sample inputs; while its error is too large, others are tried: with finer tables of functions, further
bits for the values between layers, and weights of the inputs that are exact.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

from keras_private.errors import PlanError
from keras_private.plan import cost, schedule
from keras_private.plan.arrange import arranged
from keras_private.plan.fixed_point import fixed_point
from keras_private.plan.floors import floored
from keras_private.plan.fractions import Fractions
from keras_private.plan.measure import Measured
from keras_private.plan.ops import kind_of
from keras_private.plan.ops.piecewise import Spline
from keras_private.plan.plan import Accuracy, Draft, Plan
from keras_private.plan.saturate import saturated
from keras_private.plan.simulate import rehearsed
from keras_private.plan.summary import unproven

GOAL = 5e-4  # of the outputs' range: an error that is small enough
WORTH = 1.5  # a trial must make the error smaller by this, and by as much more as it is dearer
FINEST = 27  # half bits: more exact tables there are of few functions
FINER = 6  # half bits by which tables follow a precision above USUAL
USUAL = 16


class Trial(NamedTuple):
    """extra: further bits for every value between layers. exact: whether the inputs' weights must be. finer: half bits
    that tables are more exact by."""

    extra: int = 0
    exact: bool = False
    finer: int = 0


TRIALS = (Trial(exact=True, finer=4), Trial(5, True, 4), Trial(9, True, 6))


def best(draft: Draft, precision: int, measured: Measured, *, saturate: bool, floors: bool) -> Draft:
    """The executable plan of a draft that is recorded and simplified, with its error and the sizes of its values.

    Args:
        precision: fractional bits of values between layers at least.
        measured: of the draft, on the inputs that errors are measured on.
        saturate: whether values may be cut off for the sake of a proof.
        floors: whether every truncation is to be exact.

    Raises:
        PlanError: the weights or the declared range do not fit; names the layer and what to do.
    """
    write = partial(_tried, draft, precision, measured, saturate=saturate, floors=floors)
    finer = min(max(precision - USUAL, 0), FINER)
    try:
        found = write(Trial(finer=finer))
    except PlanError:  # there may be no table that is so exact
        if not finer:
            raise
        finer, found = 0, write(Trial())
    found = rehearsed(found, measured)
    for trial in TRIALS:
        error = _error(found)
        if error.relative <= GOAL or not error.span or not draft.plan.ranged:
            break
        try:
            done = write(trial._replace(finer=trial.finer + finer))
            if done.plan == found.plan:
                continue
            done = rehearsed(done, measured)
        except PlanError:  # no room for more; the first one had enough
            continue
        dearer = max(1.0, _price(done.plan) / _price(found.plan))
        if _error(done).error * WORTH * dearer < error.error and (unproven(found.plan) or not unproven(done.plan)):
            found = done
    return found


def _error(draft: Draft) -> Accuracy:
    assert draft.accuracy is not None, "rehearsed"  # noqa: S101
    return draft.accuracy


def _tried(draft: Draft, precision: int, measured: Measured, trial: Trial, *, saturate: bool, floors: bool) -> Draft:
    draft = _with_tables(draft, trial.finer)
    fractions = Fractions(draft, precision, trial.extra, measured)
    if saturate:
        cut, measured = saturated(draft, fractions, measured)
        fractions = fractions if cut is draft else Fractions(cut, precision, trial.extra, measured)
        draft = cut
    done = fixed_point(draft, fractions, exact=trial.exact)
    if not floors:
        return done
    plan = floored(done.plan)
    return replace(done, plan=replace(plan, ops=arranged(plan)))


def _with_tables(draft: Draft, finer: int) -> Draft:
    """The draft with tables that are more exact by so many half bits, as far as FINEST."""
    if not finer or not any(isinstance(kind_of(op), Spline) for op in draft.plan.ops):
        return draft
    ops = tuple(
        replace(op, attrs={**op.attrs, "goal": max(op.attrs["goal"], min(op.attrs["goal"] + finer, FINEST))})
        if isinstance(kind_of(op), Spline)
        else op
        for op in draft.plan.ops
    )
    return Draft(replace(draft.plan, ops=ops), draft.values)


def _price(plan: Plan) -> int:
    return max(1, cost.price(schedule.total(plan, 1)))
