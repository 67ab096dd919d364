"""The guard: a notice for every row in which some value may have left the range that numbers are right in.

Theory of operation. Where intervals prove nothing, a value may wrap around 2^64, and nobody would see it by the value.
It is seen by what it is made of. The plan is walked through with *conditional* intervals: where values lie if all
inputs are as clients check them and no check before this one failed. As long as they prove that an op stays below 2^62,
nothing has to be looked at. Where they do not, values that the op reads are *looked at*: compared with a public limit,
a power of two, so small that the op must fit for all values up to it; from there on the interval is no wider than the
limit. By induction over the ops: if no check fails, every value of the run is the one that was meant, or else a check
fails. What is conditional serves nothing but this; the windows of comparisons stay as wide as they were, since they
must be right for whatever a client sends.

A tensor is looked at in one of two ways:

- *value by value*, both ends of each, or the upper one alone where it cannot be negative. This is exact.
- *by signs*: its values, in blocks of up to BLOCK, are added up with SIGNS rows of public signs, without a message
  (`ops/public.py: Project`), and the sums are looked at instead. If some value is |x| > limit, and < 2^62, then of any
  two rows of signs that differ in its sign alone, the sums differ by 2x, which is more than 2·limit in size modulo 2^64
  too, so that one of them is beyond the limit: half of all rows of signs notice, and all SIGNS miss it with
  2^-SIGNS. Sums may wrap as they like. It takes a limit of some sqrt(block) times as large, so room for that.

Tables of functions that have no end (`ENDLESS`) have one: beyond it a root counts as that of the end, which wraps
nothing around and is wrong all the same. Where an input may be beyond, its limit is that end, and it is looked at
value by value.

The limit of any other tensor is 2^6 times what samples make of it, or less where the op would not fit: an input whose
values are much larger than any sample's gets a notice, even if its answer is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan import bounds
from keras_private.plan.checks.addition import Addition
from keras_private.plan.evaluate import apply
from keras_private.plan.interval import ROUNDING, Interval
from keras_private.plan.ops import CONTRACT_BITS, Convolution, Product, describe, dropped, kind_of
from keras_private.plan.ops.order import Clip
from keras_private.plan.plan import CHECKS, Draft, Op, Plan, Shape
from keras_private.plan.ports import check_ports
from keras_private.plan.schedule import stages
from keras_private.plan.simulate import rounded

Array = NDArray[np.float64]

SIGNS = 40
WAYS = ((4096, 6), (512, 6), (4096, 3), (512, 3), (128, 3), (1, 6), (1, 4), (1, 2), (1, 1))
"""Ways to look at a tensor, the best ones first: how many values are added up (1: value by value), and by how many bits
one may exceed what samples show. Sums are as good as free beside comparing all values."""
SPREAD = 8.0  # sums by signs are this many times the root of the sum of squares at most, but for 1 in 10^13
ENDLESS = frozenset({"rsqrt", "sqrt", "log"})
"""Functions with parameters (low, high, …) whose tables are meant to reach as far as their inputs do. Of quotients the
ends are part of what is meant, and what is small counts as `low` in all of them."""
ROUGHLY = 1.01  # fixed point may pass an end that is proven in real numbers by this, with hardly an error

_LAYER = CHECKS[0]
_BITS = CONTRACT_BITS - 1  # one below the contract: float64 rounds


@dataclass(frozen=True)
class Look:
    """How a tensor is looked at: in blocks of so many values, up to a limit (of raw values) of 2^bits; `twice`: from
    below too."""

    block: int
    bits: int
    twice: bool


def guarded(draft: Draft, xs: Sequence[Array], *, cuts: bool = False) -> Draft:
    """The executable draft with a notice for rows in which a value may have wrapped around. Without a value that could,
    as it is.

    Args:
        xs: sample inputs, float64 (count, *input shape) each, by which the limits are chosen.
        cuts: rows in which a value was cut off (`saturate.py`) get the notice too: they did not wrap around, but are no
            answers of the model's.

    Raises:
        PlanError: an op that has no room for even twice as much as the samples make of its inputs; names the layer.
    """
    plan = draft.plan
    looks = _Walk(draft, xs).looks()
    ends = _cut_off(plan) if cuts else {}
    if not looks and not ends:
        return draft
    addition = Addition(draft, _LAYER, "guard")
    last = {op.output: stage.last for stage in stages(plan) for op in plan.ops[stage.first : stage.last + 1]}
    due: dict[int, list[str]] = {}  # by the position that they follow; an input's come first
    for name in (*looks, *ends):
        due.setdefault(last.get(name, -1), []).append(name)
    ops: list[Op] = []
    margins: list[str] = []
    for position in range(-1, len(plan.ops)):
        ops += plan.ops[position : position + 1] if position >= 0 else ()
        for name in due.get(position, ()):
            if name in ends:
                margins.append(addition.margins(_anew(addition, name), *ends.pop(name)))
            else:
                margins.append(_margins(addition, name, looks[name]))
            ops += addition.taken()
    failed = addition.op("not", addition.none_negative(margins), bound=1)
    notice = addition.notice("guard", addition.number(failed))
    done = addition.finished([*ops, *addition.taken()], [*plan.outputs, notice])
    check_ports(done.plan)
    return done


def _cut_off(plan: Plan) -> dict[str, tuple[int | None, int]]:
    """What is cut off, and between which raw values it lies if nothing was cut."""
    found: dict[str, tuple[int | None, int]] = {}
    for op in plan.ops:
        if op.attrs.get("cut"):
            low, high = Clip.ends(op, plan.tensors[op.output].frac)
            found[op.output] = None if low == 0 else -_below(-low), _below(high)  # from 0 on, it is a ReLU too
    return found


def _below(end: int) -> int:
    """The next smaller whole number that a weight holds, which is a float64: above 2^53 that is not the one before."""
    return math.floor(math.nextafter(end, -math.inf))


def _anew(addition: Addition, name: str) -> str:
    """The same values, of which nothing is proven, so that no bound narrows the comparison of what becomes of them."""
    return addition.flat(addition.op("scale_int", name, multiplier=1, shift=0))


def _margins(addition: Addition, name: str, look: Look) -> str:
    seen = _anew(addition, name)
    if look.block > 1:
        (count,) = addition.shape(seen)
        blocks = -(-count // look.block)
        if blocks * look.block > count:
            seen = addition.op("pad", seen, paddings=((0, blocks * look.block - count),))
        seen = addition.op("reshape", seen, shape=(blocks, look.block))
        seen = addition.flat(addition.op("project", seen, signs=SIGNS))
    return addition.margins(seen, -(1 << look.bits) if look.twice else None, 1 << look.bits)


class _Walk:
    """Through a plan with conditional intervals and the samples' values side by side."""

    def __init__(self, draft: Draft, xs: Sequence[Array]) -> None:
        plan = draft.plan
        self._draft, self._plan = draft, plan
        self._looks: dict[str, Look] = {}
        self._values = {given.tensor: rounded(x, plan.frac(given)) for given, x in zip(plan.inputs, xs, strict=True)}
        self._intervals: dict[str, Interval] = {}
        for given in plan.inputs:
            found = bounds.of_input(given, plan.shape(given), plan.frac(given))
            if found is None and given.limit is not None:
                ends = np.full((1, *plan.shape(given)), given.limit)
                found = Interval(-ends, ends)
            if found is None:
                raise PlanError(f"input {given.name!r} has neither a range nor a limit")
            self._intervals[given.tensor] = found

    def looks(self) -> dict[str, Look]:
        """The tensors to look at, each with how, in the order in which they are found."""
        plan, draft = self._plan, self._draft
        last_use = {name: index for index, op in enumerate(plan.ops) for name in op.inputs}
        for index, op in enumerate(plan.ops):
            weights = [rounded(draft.values[name], plan.weights[name].frac) for name in op.weights]
            product = self._product(op, weights)
            if not self._fits(op, product):
                product = self._narrowed(op, weights)
            self._look_for_end(op)
            made = bounds.after_product(op, product, bounds.error(op, plan))
            self._intervals[op.output] = _within(made, plan.tensors[op.output].bound, plan.tensors[op.output].frac)
            self._values[op.output] = apply(op, [self._values[name] for name in op.inputs], weights)
            for name in op.inputs:
                if last_use[name] == index:
                    self._intervals.pop(name, None)
                    self._values.pop(name, None)
        return self._looks

    def _product(self, op: Op, weights: Sequence[Array]) -> Interval:
        """Where the op's value lies before its truncation, given the intervals so far."""
        given = [self._intervals[name] for name in op.inputs]
        kind = kind_of(op)
        if weights and isinstance(kind, Convolution):
            found: Interval | None = _by_channels(op, kind, given[0], weights, self._plan.tensors[op.output].shape)
        else:
            found = bounds.propagate(op, given, weights)
        return _within(found, _proven(op, self._plan), _raw_frac(op, self._plan))

    def _fits(self, op: Op, product: Interval) -> bool:
        return bounds.needed_bits(product, _raw_frac(op, self._plan)) <= _BITS or _proven(op, self._plan) is not None

    def _narrowed(self, op: Op, weights: Sequence[Array]) -> Interval:
        """The same after looks at what the op reads that make it fit; cheap ones if there is room."""
        names = [name for name in dict.fromkeys(op.inputs) if not self._plan.tensors[name].bit]
        before = {name: self._intervals[name] for name in names}
        excess = 0  # bits by which the limits are estimated to be too large
        tried = 0  # bits of the limits together, when they were tried last
        for looks in (self._ways(names, block, room) for block, room in WAYS):
            bits = sum(look.bits for look in looks.values())
            if excess and tried - bits < excess:
                continue  # values grow with their limits, about
            for name in names:
                self._intervals[name] = _clipped(before[name], self._limit(name, looks[name]))
            product = self._product(op, weights)
            if self._fits(op, product):
                for name in names:
                    if before[name].size > self._limit(name, looks[name]):
                        self._looks[name] = looks[name]
                return product
            tried, excess = bits, bounds.needed_bits(product, _raw_frac(op, self._plan)) - _BITS
        limit = CONTRACT_BITS - _raw_frac(op, self._plan)
        raise PlanError(
            f"{describe(op)}: no range of its inputs that ordinary ones keep to proves that its values stay below "
            f"2^{limit}, so an overflow could not be noticed (guard=True); lower precision_fractional, rescale the "
            "layer, or share with calibration"
        )

    def _look_for_end(self, op: Op) -> None:
        """Looks at the input of a table that it may be beyond."""
        if op.attrs.get("function") not in ENDLESS:
            return
        (name,), end = op.inputs, float(op.attrs["parameters"][1])
        given = self._intervals[name]
        bits = math.frexp(end)[1] - 1 + self._plan.tensors[name].frac
        if float(given.high.max()) > ROUGHLY * end and bits <= _BITS:
            self._looks[name] = Look(1, bits, bool(np.any(given.low < 0)))
            self._intervals[name] = _clipped(given, end)

    def _limit(self, name: str, look: Look) -> float:
        return math.ldexp(1.0, look.bits - self._plan.tensors[name].frac)

    def _ways(self, names: Sequence[str], block: int, room: int) -> Mapping[str, Look]:
        return {name: self._look(name, block, room) for name in names}

    def _look(self, name: str, block: int, room: int) -> Look:
        frac, count = self._plan.tensors[name].frac, math.prod(self._plan.tensors[name].shape)
        values = np.abs(self._values[name]).reshape(-1, count)
        block = min(block, count)
        if block <= SIGNS:
            largest, block = float(values.max(initial=0.0)), 1
        else:
            padded = np.pad(values, ((0, 0), (0, -count % block)))
            squares = np.square(padded).reshape(len(values), -1, block).sum(axis=-1)
            largest = SPREAD * math.sqrt(float(squares.max(initial=0.0)))
        bits = max(0, math.frexp(math.ldexp(largest, frac) + 1.0)[1] + room)
        twice = block > 1 or bool(np.any(self._intervals[name].low < 0))
        return Look(block, min(bits, _BITS), twice)


def _by_channels(op: Op, kind: Convolution, x: Interval, weights: Sequence[Array], shape: Shape) -> Interval:
    """Of a convolution: the same at every place of a channel, as if all places of the image were as wide as the widest.
    Intervals hardly differ but at the edges, and a convolution of each of them is what takes time."""
    places = tuple(range(x.low.ndim - 1))
    low, high = x.low.min(axis=places), x.high.max(axis=places)
    if any(op.attrs["pads"]):
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    up, down = np.maximum(weights[0], 0.0), np.minimum(weights[0], 0.0)
    bias = weights[1] if len(weights) == 2 else 0.0
    slack = ROUNDING * kind.of_constant(up - down, np.maximum(np.abs(low), np.abs(high)))
    lowest = kind.of_constant(up, low) + kind.of_constant(down, high) + bias - slack
    highest = kind.of_constant(up, high) + kind.of_constant(down, low) + bias + slack
    whole = (1, *shape)
    return Interval(np.broadcast_to(lowest, whole), np.broadcast_to(highest, whole))


def _proven(op: Op, plan: Plan) -> int | None:
    """The bound of the op's value before its truncation that the plan proves for every input."""
    if isinstance(kind_of(op), Product):
        stated = int(op.attrs.get("bound", CONTRACT_BITS))
        return stated if stated < CONTRACT_BITS else None
    bound = plan.tensors[op.output].bound
    return None if bound is None else bound + dropped(op)


def _raw_frac(op: Op, plan: Plan) -> int:
    """Fractional bits before the op's truncation."""
    return plan.tensors[op.output].frac + dropped(op)


def _within(interval: Interval | None, bound: int | None, frac: int) -> Interval:
    """An interval, no wider than a bound of raw values."""
    if interval is None:
        raise PlanError("a kind of op says nothing of where its values lie")
    return interval if bound is None else _clipped(interval, math.ldexp(1.0, bound - frac))


def _clipped(interval: Interval, limit: float) -> Interval:
    return Interval(np.clip(interval.low, -limit, limit), np.clip(interval.high, -limit, limit))
