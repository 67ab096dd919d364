"""Sums and maxima over windows of each channel of an image. `pads` are (top, bottom, left, right)."""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan import cost, tournament, working
from keras_private.plan.interval import Interval, combined
from keras_private.plan.ops.kind import (
    MAX_ELEMENTS,
    NUMBERS,
    Array,
    Attributes,
    Kind,
    Local,
    describe,
    equal_frac,
    values,
)
from keras_private.plan.ops.windows import LAYOUT, PADS, PAIR, as_recorded, image, shape_of_windows, windows_of
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import Op, Plan, Shape, Tensor, Weight

MAX_PLACES = 1 << 18  # of a maximum's window


class Pool(Kind, abstract=True):
    inputs = (1, 1)
    weights = (0, 0)
    attrs: ClassVar[Attributes] = {"pool": PAIR, "strides": PAIR, "pads": PADS}
    domains = NUMBERS
    any_ranks = False
    elementwise = False

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        _, _, channels = image(op, xs[0])
        pool = op.attrs["pool"]
        self.check_pool(op, pool, op.attrs["pads"])
        shape = shape_of_windows(op, xs[0], channels, pool, (1, 1))
        if math.prod(pool) * math.prod(shape) > MAX_ELEMENTS:
            raise PlanError(f"{describe(op)}: all windows of {pool} together hold more than {MAX_ELEMENTS} values")
        return shape

    @abstractmethod
    def check_pool(self, op: Op, pool: tuple[int, int], pads: tuple[int, int, int, int]) -> None:
        """Refuse windows that cannot be."""

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return combined(self.plain, op, xs, ws)

    def does_nothing(self, op: Op, given: Shape) -> bool:
        attrs = op.attrs
        return attrs["pool"] == (1, 1) == attrs["strides"] and not any(attrs["pads"]) and not attrs.get("relu")

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return None


class SumPool2d(Pool, Local):
    """`pads` are zeros."""

    name = "sum_pool2d"
    recorded: ClassVar[Attributes | None] = LAYOUT
    executable: ClassVar[Attributes | None] = {}
    public_linear = True
    carries = True
    pads_zeros = True

    def check_pool(self, op: Op, pool: tuple[int, int], pads: tuple[int, int, int, int]) -> None:
        return

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        windows = windows_of(op, xs[0], op.attrs["pool"], (1, 1), 0.0)
        return as_recorded(op, _reduced(windows, np.add))

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return factor if factor.shape[:2] == (1, 1) else None

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return max(sizes)

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.local(op, xs[0])

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.BETTER


class MaxPool2d(Pool):
    """Places in the padding do not count."""

    name = "max_pool2d"
    recorded: ClassVar[Attributes | None] = {**LAYOUT, "relu": at.boolean}
    executable: ClassVar[Attributes | None] = {"relu": at.boolean}
    optional = frozenset()
    rowwise = True
    interactive = True
    public_linear = False
    carries = False
    pads_zeros = False
    rectifies = False

    def check_pool(self, op: Op, pool: tuple[int, int], pads: tuple[int, int, int, int]) -> None:
        if max(pads[:2]) >= pool[0] or max(pads[2:]) >= pool[1]:
            raise PlanError(f"{describe(op)}: padding {pads} must be smaller than the pool {pool}")
        if math.prod(pool) > MAX_PLACES:  # parties lay out a copy of the output for each place
            raise PlanError(f"{describe(op)}: a pool of {pool} has more than {MAX_PLACES} places")

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        return equal_frac(op, xs, ws)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        windows = windows_of(op, xs[0], op.attrs["pool"], (1, 1), -np.inf)
        return as_recorded(op, _reduced(windows, np.maximum))

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return factor if factor.shape[:2] == (1, 1) and public and np.all(factor > 0) else None

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.emit(op, [writer.settled(xs[0], op.layer)])

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.WORSE

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return max(sizes)

    def opens(self, op: Op) -> bool:
        return False

    def deals_first(self, op: Op) -> bool:
        return math.prod(op.attrs["pool"]) > 1 or bool(op.attrs["relu"])

    def part_cost(self, op: Op, plan: Plan, count: int) -> cost.Cost | None:
        return None

    def cost(self, op: Op, plan: Plan, batch: int) -> cost.Cost:
        bound, relu_bound = cost.difference_bound(op, plan), cost.maximum_bound(op, plan)
        return tournament.maximum(values(op, plan, batch), math.prod(op.attrs["pool"]), bound, relu_bound)

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        bound, relu_bound = cost.difference_bound(op, plan), cost.maximum_bound(op, plan)
        return working.maximum(count, math.prod(op.attrs["pool"]), bound, relu_bound)

    def error(self, op: Op, plan: Plan) -> float:
        return 0.0


def _reduced(windows: Array, combine: np.ufunc) -> Array:
    """Place by place, so that no copy of all windows is made."""
    result: Array | None = None
    for i in range(windows.shape[-2]):
        for j in range(windows.shape[-1]):
            part = windows[..., i, j]
            result = part.copy() if result is None else combine(result, part)
    assert result is not None  # noqa: S101 - a pool has at least one cell
    return result
