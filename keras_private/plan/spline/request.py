"""What a table of a function is asked for."""

from __future__ import annotations

from typing import NamedTuple

from keras_private.errors import PlanError
from keras_private.plan.plan import CONTRACT_BITS

MIN_GOAL, MAX_GOAL = 12, 30
MIN_FRAC, MAX_FRAC = 16, 40  # fractional bits of the values


class Request(NamedTuple):
    """What a table is of, and for.

    Args:
        name: of the function.
        parameters: its own.
        bound: |x| < 2^bound, raw.
        x_frac: fractional bits of x.
        frac: fractional bits of the values.
        goal: half bits: the largest error is below 2^(-goal/2), in the function's measure.
    """

    name: str
    parameters: tuple[float, ...]
    bound: int
    x_frac: int
    frac: int
    goal: int

    def check(self) -> None:
        """Raise PlanError for numbers that no table can have."""
        for what, value, low, high in (
            ("bound", self.bound, 1, CONTRACT_BITS),
            ("fractional bits of the input", self.x_frac, 0, CONTRACT_BITS),
            ("fractional bits", self.frac, MIN_FRAC, MAX_FRAC),
            ("goal", self.goal, MIN_GOAL, MAX_GOAL),
        ):
            if type(value) is not int or not low <= value <= high:
                raise PlanError(f"the {what} of a table must be from {low} to {high}, not {str(value)[:20]}")
