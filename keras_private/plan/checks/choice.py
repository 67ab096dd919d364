"""Which checks an owner has: chosen by `share`, applied to the executable plan as the last thing of all."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan.arrange import arranged
from keras_private.plan.checks.enforce import enforced
from keras_private.plan.checks.guard import guarded
from keras_private.plan.plan import Draft


def checked(
    draft: Draft, xs: Sequence[NDArray[np.float64]], *, guard: bool | None = None, enforce_range: bool = False
) -> Draft:
    """An executable draft with its checks.

    Args:
        xs: sample inputs, float64 (count, *input shape) each.
        guard: whether rows get a notice in which a value may have left its range, or was cut off (`guard.py`). None:
            where values may leave it (or a table), if there is a way to notice it; the summary says which it is.
        enforce_range: whether rows with an input out of range get no answer (`enforce.py`).

    Raises:
        PlanError: a check that was asked for cannot be.
    """
    done = draft
    if guard:
        done = guarded(done, xs, cuts=True)
    elif guard is None:
        with contextlib.suppress(PlanError):
            done = guarded(done, xs)
    if enforce_range:
        done = enforced(done)
    # Inputs are compared in the rounds of the first layers, if that is little.
    return draft if done is draft else replace(done, plan=replace(done.plan, ops=arranged(done.plan)))
