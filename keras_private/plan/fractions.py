"""How many fractional bits each value and each weight of a plan gets.

Theory of operation. A raw value has 62 bits to fill. Where a value ends between layers it keeps `precision` bits
behind the point, more if the model amplifies what is lost there (`extra`, found by trial in `optimise.py`), and more
again if it is small: bits follow the values, so that a layer of tiny activations is as exact as any. What comes out of
a table keeps more of them: it is not truncated before the next product.

A weight gets

    at least    `precision` bits, and where its largest element is small as many as give that one some 20 significant;
    and then    as many as the truncation behind it drops for the same message: 16 or 32 bits in all;
    and more    if the rounding of the weights would still show in a unit of the result;
    or just     those of the result if the inputs are whole numbers, and these will do: then nothing is truncated;
    at most     what leaves the product, and all that is added up before its truncation, below 2^61.

What the product may reach is proven where an input range was declared. Worst cases grow by a factor of ten a layer,
and where the proof leaves no room for the least, the sizes measured on sample inputs decide, with a margin of a
thousand. Without an input range that would be a guess about inputs too; the largest element then gets f significant
bits, so that the product is as safe as if it were weighted by numbers up to one. What inputs may then be as large as is
in `contract.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan import bounds
from keras_private.plan.interval import Interval
from keras_private.plan.measure import Measured
from keras_private.plan.ops import CONTRACT_BITS, Bilinear, describe, kind_of
from keras_private.plan.ops.piecewise import Spline
from keras_private.plan.plan import REAL, Draft, Op

Array = NDArray[np.float64]

SAFE_BITS = 61  # one below the contract: room for one more addition
GUARD_BITS = 4  # significant bits of a layer's largest weight beyond the precision
FAIR_BITS = 2  # that a proof may take from a layer's weights: a third of the cuts, and no loss that was found
EXTRA_BITS = 12  # a weight's fractional bits beyond the precision, for the sake of its largest element alone
TINY_BITS = 24  # a value's fractional bits beyond the precision, at most, because it is small
LOST_BITS = 4  # of an output that is small, but not tiny: 16 fractional bits of a probability do
TABLE_BITS = 26  # of a value that comes out of a table, which has them for nothing
TABLE_REACH = 36  # bits of such a value, at most: room for the product that takes it
INPUT_BITS = 40  # of an input that has more fractional bits than the precision
MARGIN_BITS = 10  # values may exceed the measured ones by so much where nothing is proven
ROW_BITS = 13  # significant bits that every input channel's weights shall have
FREE_DROPS = (16, 32)  # a truncation's messages have words of 2, 4 or 8 bytes
MAX_PRODUCT = 60  # fractional bits of a product
ROUNDED = 1.01  # what rounding adds to a proven size
_UNRANGED_INPUT = 2.0**15  # reckoned with when channels are compared, of an ordinary large size


class Until(Protocol):
    """The largest magnitude of several tensors: proven (or infinite), and reckoned with; and a `limit` of their
    fractional bits."""

    @property
    def proven(self) -> float: ...
    @property
    def seen(self) -> float: ...
    @property
    def limit(self) -> int: ...


class Fractions:
    """Decides for one draft.

    Args:
        draft: recorded.
        precision: fractional bits of the output, and of other values at least.
        extra: further bits for every value between layers.
        measured: of the same draft.
    """

    def __init__(self, draft: Draft, precision: int, extra: int, measured: Measured) -> None:
        self.draft = draft
        self.precision = precision
        self.working = precision + extra
        self.sizes = measured.sizes
        self.ranged = draft.plan.ranged
        self.proven = _proven_sizes(draft)
        self._targets = self._decide()

    def target(self, tensor: str) -> int:
        """Fractional bits that a recorded tensor has when it has been truncated."""
        return self._targets[tensor]

    def output(self, tensor: str) -> int:
        """Fractional bits that a recorded tensor has as an output: the precision, and where it is tiny as many as make
        up for that but for LOST_BITS."""
        size = self.sizes[tensor]
        tiny = -math.frexp(size)[1] if size else 0
        return self.precision + min(max(tiny - LOST_BITS, 0), TINY_BITS)

    def _decide(self) -> dict[str, int]:
        """Every recorded tensor's target, from the last to the first: none is finer than the sums that it goes into."""
        plan = self.draft.plan
        users: dict[str, list[Op]] = {}
        for op in plan.ops:
            for name in op.inputs:
                users.setdefault(name, []).append(op)
        tables = {op.output for op in plan.ops if isinstance(kind_of(op), Spline)}
        found: dict[str, int] = {}
        starts = {given.tensor: given for given in plan.inputs}
        for name in (*(op.output for op in reversed(plan.ops)), *starts):
            size = self.sizes[name]
            tiny = -math.frexp(size)[1] if size else 0
            found[name] = self.working + min(max(tiny, 0), TINY_BITS)
            if name in tables:
                found[name] = max(found[name], min(TABLE_BITS, TABLE_REACH - math.frexp(size)[1]))
            if name in plan.ends:
                found[name] = max(found[name], self.output(name)) if name in users else self.output(name)
            elif all(kind_of(user).carries for user in users[name]):
                found[name] = min(found[name], max(found[user.output] for user in users[name]))
        for name, given in starts.items():
            room = INPUT_BITS - math.frexp(self.proven[name])[1] if name in self.proven else 0
            found[name] = max(self.precision, min(found[name], room)) if given.kind == REAL else 0
        return found

    def weight(self, op: Op, frac: int, until: Until, needed: int | None) -> int:
        """Fractional bits of the weight of a product.

        Args:
            frac: those of the input.
            until: what the product becomes before it is truncated, and what it meets.
            needed: of a product of inputs, whose weight gets a second part for what it lacks of these bits.
        """
        weight, given = self.draft.values[op.weights[0]], self.draft.plan.tensors[op.inputs[0]].shape
        least = self.working if needed is None else self.precision
        small = _small(weight)
        if not np.any(weight):
            return least
        if not self.ranged:
            return least + min(max(small, 0), TINY_BITS)
        target = self.target(op.output)
        if not frac and needed is not None and needed <= target:
            return target
        wanted = least + min(max(small + GUARD_BITS, 0), EXTRA_BITS)
        reach = self.sizes[op.inputs[0]] * math.sqrt(_product(op).fan_in(op, given, weight.shape))
        wanted = max(wanted, target + math.frexp(reach)[1] - 2)
        wanted = wanted if needed is None else max(wanted, needed)
        drop = frac + wanted - target
        wanted += next((free - drop for free in FREE_DROPS if drop <= free), 0)
        room = min(self._room(until.proven, until.seen, least + frac), until.limit) - frac
        return max(min(wanted, room), least)

    def fair(self, op: Op) -> int:
        """Fractional bits that do for the weight of a product: its largest element has FAIR_BITS significant ones less
        than values have."""
        return self.working + min(max(_small(self.draft.values[op.weights[0]]) - FAIR_BITS, 0), EXTRA_BITS)

    def exact(self, op: Op, interval: Interval) -> int:
        """Fractional bits of the weight that would leave no trace in a unit of the result, for inputs in `interval`."""
        largest = np.maximum(np.abs(interval.low), np.abs(interval.high))
        reach = _product(op).reach(op, largest, self.draft.values[op.weights[0]])
        return self.target(op.output) + math.frexp(reach)[1] - 1

    def every_row(self, op: Op, interval: Interval | None) -> int:
        """Fractional bits that give the weights of every input channel ROW_BITS significant ones.

        Channels that cannot reach a unit of the result do not count.
        """
        rows = _product(op).rows(op, np.abs(self.draft.values[op.weights[0]]))
        unit = 2.0 ** -self.target(op.output)
        matters = rows * (interval.size if interval is not None else _UNRANGED_INPUT) > unit
        return ROW_BITS + _small(rows[matters].min(initial=1.0))

    def may_carry(self, tensor: str, frac: int) -> bool:
        """Whether an unproven value may be written with `frac` fractional bits."""
        if self.ranged:
            return frac <= SAFE_BITS - MARGIN_BITS - math.frexp(self.sizes[tensor])[1]
        return frac <= 2 * self.precision + EXTRA_BITS + self.target(tensor) - self.working

    def _room(self, proven: float, seen: float, least: int) -> int:
        """Fractional bits that values of these sizes can all have before truncation; proven if that is the `least`."""
        bits = SAFE_BITS - math.frexp(proven * ROUNDED)[1] if proven < math.inf else 0
        if bits + 1 >= least:
            return min(bits, MAX_PRODUCT)
        return min(SAFE_BITS - MARGIN_BITS - math.frexp(seen)[1], MAX_PRODUCT)


def _product(op: Op) -> Bilinear:
    kind = kind_of(op)
    if not isinstance(kind, Bilinear) or not op.weights:
        raise PlanError(f"{describe(op)} has no weight to give fractional bits to")
    return kind


def _small(weight: Array | float) -> int:
    """Zero bits behind the point before the largest element's first; negative for those before it."""
    largest = float(np.max(np.abs(weight)))
    return 0 if largest == 0 else math.floor(-math.log2(largest))


def _proven_sizes(draft: Draft) -> Mapping[str, float]:
    """The largest magnitude proven for each tensor, in real numbers; those beyond the contract are left out."""
    plan = draft.plan
    last_use = {name: index for index, op in enumerate(plan.ops) for name in op.inputs}
    intervals = {given.tensor: bounds.of_input(given, plan.shape(given), CONTRACT_BITS) for given in plan.inputs}
    sizes = {name: interval.size for name, interval in intervals.items() if interval is not None}
    for index, op in enumerate(plan.ops):
        weights = [draft.values[name] for name in op.weights]
        found = bounds.propagate(op, [intervals[name] for name in op.inputs], weights)
        if found is not None:
            if found.size < 2.0**CONTRACT_BITS:
                sizes[op.output] = found.size
                found = bounds.after_product(op, found, 0.0)
            else:
                found = None
        intervals[op.output] = found
        for name in op.inputs:
            if last_use[name] == index:
                intervals.pop(name, None)
    return sizes
