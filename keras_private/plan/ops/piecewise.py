"""Functions of one number, read from tables that each party makes for itself (`plan/spline/`)."""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan.cost import Cost
from keras_private.plan.interval import Interval
from keras_private.plan.ops.dealt import Dealt
from keras_private.plan.ops.kind import NUMBERS, Array, Attributes, describe, values
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import CONTRACT_BITS, Op, Plan, Shape, Tensor, Weight
from keras_private.plan.spline import cost as spline_cost
from keras_private.plan.spline import fit
from keras_private.plan.spline.functions import FUNCTIONS, Function, function
from keras_private.plan.spline.request import MAX_FRAC, MAX_GOAL, MIN_FRAC, MIN_GOAL, Request
from keras_private.plan.spline.table import Table

MAX_TABLES = 128  # different ones that a plan may ask for


class Spline(Dealt):
    """f(x), for the functions of `plan/spline/functions.py`, by name and with public parameters.

    Range: every |x| < 2^62, raw, whose result is below 2^62, raw, too; tails are followed as far as that. Largest
    error: 2^(-goal/2) in the function's measure; tables that parties could not come to in time are refused. Where a
    function is not defined it keeps the value at the end of its stretch, and the cells about an end may be off by more
    (`Fitted.anywhere`, which is what the interval is widened by). The result has `frac` fractional bits, whatever those
    of the input are: it takes a product before its truncation and is truncated with the next one.

    Rounds and bytes are those of the cheapest of three protocols, by `spline/cost.py`: a payload DPF (2 rounds); a bit
    DPF (3 rounds; a third of the bytes, a fifth of the work); or, for many values, one bit of many for the places about
    0, and comparisons for what lies beside them (5 rounds, half of those bytes). The first round brings the dealer's
    messages only, so that it begins while a product before it is opened.

    Sources: Boyle et al., *Function Secret Sharing for Mixed-Mode and Fixed-Point Secure Computation*, EUROCRYPT 2021
    (splines); Storrier et al., *Grotto*, CCS 2023 (tails by parities); cells without a carry: `spline/table.py`.
    """

    name = "spline"
    inputs = (1, 1)
    domains = NUMBERS
    attrs: ClassVar[Attributes] = {
        "function": lambda value: type(value) is str and value in FUNCTIONS,
        "parameters": lambda value: (
            type(value) is tuple
            and len(value) <= 4
            and all(type(each) is float and math.isfinite(each) for each in value)
        ),
        "goal": at.integer(MIN_GOAL, MAX_GOAL),
    }
    executable: ClassVar[Attributes | None] = {"frac": at.integer(MIN_FRAC, MAX_FRAC)}

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        _function(op)  # its parameters may not fit it
        return xs[0]

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        return int(op.attrs["frac"])

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return _function(op)(xs[0])

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        """From the lowest to the highest value between the ends of the input's."""
        (x,) = xs
        found = _function(op)
        alone = not found.turning
        return Interval(*found.reach(x.low, x.high), x.attained and alone, x.independent and alone)

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        least, most = _function(op).reach(np.array(-sizes[0]), np.array(sizes[0]))
        return float(max(abs(least), abs(most)))

    def part_cost(self, op: Op, plan: Plan, count: int) -> Cost:
        return spline_cost.spline(count, table_for(op, plan, count))

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.emit(op, xs, frac=frac_at_least(op, writer.target(op.output)))

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.BETTER

    def cost(self, op: Op, plan: Plan, batch: int) -> Cost:
        return self.part_cost(op, plan, values(op, plan, batch))

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        """With either form of its table: which is read depends on the batch."""
        return max(spline_cost.memory(count, fitted.table) for fitted in _tables(op, plan.tensors))

    def error(self, op: Op, plan: Plan) -> float:
        """Of either form of its table: which is read depends on the batch."""
        return math.ldexp(max(fitted.anywhere for fitted in _tables(op, plan.tensors)), op.attrs["frac"])


def frac_at_least(op: Op, target: int) -> int:
    """The fractional bits of what is read from a table, where so many are wanted: its goal may ask for more."""
    return min(max(target, fit.least_frac(_function(op), op.attrs["goal"])), MAX_FRAC)


def table_for(op: Op, plan: Plan, count: int) -> Table:
    """The table that `count` values of a spline are read from.

    Raises:
        PlanError: there is none; names the op.
    """
    return spline_cost.cheapest(count, [fitted.table for fitted in _tables(op, plan.tensors)])


def looked_up(op: Op, plan: Plan, x: Array, random: np.random.Generator) -> Array:
    """What the parties would read, in real numbers, for real x that are whole numbers of units."""
    raw = np.rint(np.ldexp(x, plan.tensors[op.inputs[0]].frac)).astype(np.int64)
    share = random.integers(0, 1 << 64, raw.shape, dtype=np.uint64)
    found: Array = np.ldexp(table_for(op, plan, x.size).value(raw, share).astype(np.float64), -op.attrs["frac"])
    return found


def check_tables(ops: Iterable[Op], tensors: Mapping[str, Tensor]) -> None:
    """Refuse a plan whose tables would take parties long to make.

    Raises:
        PlanError: there are more than MAX_TABLES different ones.
    """
    asked = {_request(op, tensors) for op in ops if op.kind == Spline.name}
    if len(asked) > MAX_TABLES:
        raise PlanError(f"the plan asks for {len(asked)} different tables of functions; the limit is {MAX_TABLES}")


def _function(op: Op) -> Function:
    try:
        return function(op.attrs["function"], op.attrs["parameters"])
    except PlanError as error:
        raise PlanError(f"{describe(op)}: {error}") from error


def _request(op: Op, tensors: Mapping[str, Tensor]) -> Request:
    given, attrs = tensors[op.inputs[0]], op.attrs
    bound = CONTRACT_BITS if given.bound is None else given.bound
    return Request(attrs["function"], attrs["parameters"], bound, given.frac, attrs["frac"], attrs["goal"])


def _tables(op: Op, tensors: Mapping[str, Tensor]) -> list[fit.Fitted]:
    """All forms that there are, those in cells of one width first."""
    request = _request(op, tensors)
    try:
        even = [fitted for fitted in (fit.uniform(request), fit.compared(request)) if fitted is not None]
        try:
            return [*even, fit.refined(request)]
        except PlanError:
            if not even:
                raise
            return even
    except PlanError as error:
        raise PlanError(f"{describe(op)}: {error}") from error
