"""From real numbers to fixed point: fractional bits for every tensor and weight, and as few truncations as possible.

Theory of operation. One pass in execution order. A secret product of an input with p fractional bits and a weight
with q makes a value with p + q. The truncation back to what such a value keeps is fused into the product, or put off to
what follows (`truncations.py`). So at most one truncation is paid for per linear layer. How many bits each value keeps
and each weight gets is decided in `fractions.py`.

The operands of a product of two tensors may have any fractional bits, as long as the product is proven to fit: no more
of them are truncated first than it takes for that. Where it would not fit even so, they are truncated further: samples
say little of how large a product gets, as that of two vectors that are alike.

Columns of very different scale meet in the first product: one weight is large, another tiny but for large inputs, and
the range of the inputs leaves no room for bits that would do for both. Then what the weight loses in rounding becomes
a weight of its own, W = W' + R: x·R is truncated to the fractional bits of x·W' and added before the layer's
truncation. One more product, and only where it is needed.

Where both sides of an addition have different fractional bits, the coarser is shifted left, which is local and exact,
if its bound allows or it has none; otherwise the finer is truncated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan import bounds
from keras_private.plan.arrange import arranged
from keras_private.plan.emitter import Emitter, Value
from keras_private.plan.fractions import EXTRA_BITS, FREE_DROPS, MARGIN_BITS, SAFE_BITS, Fractions
from keras_private.plan.interval import Interval
from keras_private.plan.ops import CONTRACT_BITS, Later, describe, kind_of
from keras_private.plan.plan import BIT, REAL, Draft, Op, Plan
from keras_private.plan.ports import check_ports
from keras_private.plan.simulate import rounded
from keras_private.plan.truncations import Truncations

Array = NDArray[np.float64]

FEWEST_BITS = 6  # fractional bits of an operand that is truncated for the sake of a product


def fixed_point(draft: Draft, fractions: Fractions, *, exact: bool = False) -> Draft:
    """The executable plan of a recorded one in NHWC.

    Args:
        exact: a weight of the inputs whose rounding shows in a unit of the result gets a second part, even if every
            channel has some significant bits.

    Raises:
        PlanError: a weight or a proven value does not fit; the message names the layer and what to do.
    """
    writer = _Writer(draft, fractions, exact)
    for op in draft.plan.ops:
        writer.write(op)
    return writer.finish()


class _Writer(Emitter):
    def __init__(self, draft: Draft, fractions: Fractions, exact: bool) -> None:
        super().__init__(draft, fractions)
        self.exact = exact
        self.truncations = Truncations(draft, fractions)
        self.raw = set(self.values)  # recorded tensors that hold inputs, at most moved, scaled and shifted
        self.fused: set[str] = set()

    def finish(self) -> Draft:
        plan = self.draft.plan
        inputs = tuple(replace(given, tensor=self.values[given.tensor].name) for given in plan.inputs)
        ends = {name: self.end(name) for name in dict.fromkeys(made.tensor for made in plan.outputs)}
        outputs = tuple(replace(made, tensor=ends[made.tensor].name) for made in plan.outputs)
        ops, forms = tuple(self.ops), (plan.takes, plan.gives)
        done = Plan(self.precision, inputs, outputs, self.tensors, self.encoded, ops, *forms)
        done = replace(done, ops=arranged(done))
        check_ports(done)
        return Draft(done, self.weights)

    def end(self, recorded: str) -> Value:
        """An output of the plan: real numbers with the fractional bits that they are given with, others with none."""
        value = self.values[recorded]
        ports = [made for made in self.draft.plan.outputs if made.tensor == recorded]
        for made in ports:
            held = value.interval
            if made.kind == BIT and (held is None or held.low.min() < 0 or held.high.max() > 1):
                raise PlanError(f"output {made.name!r}: it is to be bits, and may be other numbers than 0 and 1")
        if all(made.kind != REAL for made in ports):
            return value
        layer = next((op.layer for op in self.ops if op.output == value.name), "")
        frac = self.fractions.output(recorded)
        return self.shifted(self.truncated(value, frac, layer), frac, layer)

    # --- one recorded op

    def write(self, op: Op) -> None:
        if op.output in self.fused:
            return
        xs = [self.values[name] for name in op.inputs]
        kind = kind_of(op)
        if len(xs) == 1 and xs[0].recorded in self.raw and kind.public_linear:
            self.raw.add(op.output)
        self.values[op.output] = kind.write(op, xs, self)

    def product(self, op: Op, xs: Sequence[Value]) -> Value:
        """A secret product, with its truncation and a ReLU that follows."""
        if op.weights:
            return self.by_weight(op, self.settled(xs[0], op.layer))
        xs = self.operands(op, xs)
        raw = sum(x.frac for x in _factors(xs))
        relu = self.fusible(op)
        carried = self.truncations.carried(op.output)
        later = relu is None and self.truncations.put_off(op.output) and raw <= carried.limit
        result = self.emit(op, xs, **self.ending(op, 0 if later else raw, relu))
        return self.rectified(result, relu)

    def by_weight(self, op: Op, x: Value) -> Value:
        weight = self.draft.values[op.weights[0]]
        needed = self.needed(op, x)
        frac = self.fractions.weight(op, x.frac, self.truncations.carried(op.output), needed)
        more = self.more(op, x, frac, needed)
        relu = None if more else self.fusible(op)
        main = rounded(weight, frac) if more else weight
        names = [self.encode(op, op.weights[0], frac, main)]
        if len(op.weights) == 2:
            names.append(self.encode(op, op.weights[1], x.frac + frac, self.draft.values[op.weights[1]]))
        later = bool(more) or (relu is None and self.truncations.put_off(op.output))
        attrs = self.ending(op, 0 if later else x.frac + frac, relu)
        result = self.emit(op, [x], names, **attrs)
        if more:
            names = [self.encode(op, op.weights[0], frac + more, weight - main)]
            rest = self.emit(op, [x], names, **{**attrs, "drop": more})
            return self.emit(Op("add", (), (), op.output, {}, op.layer), [result, rest])
        return self.rectified(result, relu)

    def fusible(self, op: Op) -> Op | None:
        """The ReLU that a product takes along."""
        return self.truncations.only_relu(op) if "relu" in (kind_of(op).executable or {}) else None

    def ending(self, op: Op, raw: int, relu: Op | None) -> dict[str, Any]:
        """The attributes that say how a product of `raw` fractional bits ends; 0: it is not truncated yet."""
        attrs: dict[str, Any] = {"drop": max(0, raw - self.target(op.output))}
        if "relu" in (kind_of(op).executable or {}):
            attrs["relu"] = relu is not None
        return attrs

    def rectified(self, result: Value, relu: Op | None) -> Value:
        """A product, and what its ReLU makes of it if that was fused."""
        if relu is not None:
            self.fused.add(relu.output)
            self.values[relu.output] = replace(result, recorded=relu.output)
        return result

    def operands(self, op: Op, xs: Sequence[Value]) -> list[Value]:
        """The tensors of a product, those truncated first without which it is not proven to fit, or dearer."""
        if not kind_of(op).any_ranks:
            rank = max(len(x.tensor.shape) for x in xs)
            xs = [self.grown(x, rank, op.layer) for x in xs]
        xs = [self.settled_before(x) for x in xs]
        fine = {x.name: x for x in xs if x.frac > self.kept(x)}
        product = bounds.propagate(op, [x.interval for x in xs], [])
        best, least = list(fine), math.inf
        for names in ([], *([name] for name in fine), list(fine)):
            raw = sum(self.kept(x) if x.name in names else x.frac for x in _factors(xs))
            if product is None or bounds.needed_bits(product, raw) > SAFE_BITS:
                continue
            truncated = ((fine[name].recorded, fine[name].frac - self.kept(fine[name])) for name in names)
            price = sum(starmap(self.truncations.price, (*truncated, (op.output, raw - self.target(op.output)))))
            if price < least:
                best, least = names, price
        xs = [self.settled(x, op.layer) if x.name in best else x for x in xs]
        return xs if least < math.inf else self.coarser(op, product, xs)

    def coarser(self, op: Op, product: Interval | None, xs: list[Value]) -> list[Value]:
        """The operands of a product that has no room with the bits that they keep: with so few that it has, for all
        that is proven. If that leaves them less than values keep, and less is reckoned with, then for that; but not
        below FEWEST_BITS."""
        raw, fewest = sum(x.frac for x in _factors(xs)), self.fractions.working
        size = math.inf if product is None else product.size
        if not size < 2.0 ** (SAFE_BITS - sum(min(x.frac, fewest) for x in _factors(xs))):
            size, fewest = min(self.reckoned(op.output), size), FEWEST_BITS
        excess = math.frexp(size)[1] + raw - SAFE_BITS
        if excess <= 0 or (product is not None and bounds.needed_bits(product, raw) <= CONTRACT_BITS):
            return xs
        spare = {x.name: max(0, x.frac - fewest) for x in xs}
        finest = max(xs, key=lambda x: x.frac)
        cut = {name: min(bits, -(-excess // 2)) for name, bits in spare.items()}
        cut[finest.name] = min(spare[finest.name], max(cut[finest.name], excess - min(cut.values())))
        return [self.truncated(x, x.frac - cut[x.name], op.layer) for x in xs]

    def needed(self, op: Op, x: Value) -> int | None:
        """Fractional bits that the weight of a product of inputs cannot do without; None: it is of other values."""
        if op.inputs[0] not in self.raw:
            return None
        rows = self.fractions.every_row(op, x.interval)
        if x.interval is None:
            return rows
        exact = self.fractions.exact(op, x.interval)
        return exact if self.exact else min(rows, exact)

    def more(self, op: Op, x: Value, frac: int, needed: int | None) -> int:
        """Fractional bits that a second part of the weight has beyond the `frac` of the first; 0: there is none."""
        weight = self.draft.values[op.weights[0]]
        rest = weight - rounded(weight, frac)
        if needed is None or needed <= frac or not np.any(rest):
            return 0
        product = bounds.propagate(op, [x.interval], [rest])
        if product is None:
            return FREE_DROPS[0]
        more = FREE_DROPS[0] if needed <= frac + FREE_DROPS[0] else FREE_DROPS[1]
        return max(0, min(more, SAFE_BITS - bounds.needed_bits(product, x.frac + frac)))

    def whole(self, op: Op, x: Value, factor: Array) -> tuple[Value, NDArray[np.int64], int]:
        """A public factor that met no linear op, or a matrix: integers and a shift."""
        working = self.fractions.working
        shift = _shift(factor, working)
        scaled = bounds.propagate(op, [x.interval], [])
        raw = x.frac + shift
        if raw > 2 * working and (scaled is None or bounds.needed_bits(scaled, raw) > SAFE_BITS):
            x = self.settled(x, op.layer)
            raw = x.frac + shift
            if raw > 2 * working and (scaled is None or bounds.needed_bits(scaled, raw) > SAFE_BITS):
                shift = working
        multiplier = np.rint(np.ldexp(factor, shift))
        if np.any(np.abs(multiplier) >= 2.0 ** (SAFE_BITS - 1)):
            raise PlanError(f"{describe(op)}: a factor is too large for {self.precision} fractional bits")
        return x, multiplier.astype(np.int64), shift

    def table(self, op: Op, x: Value) -> Value:
        """What is looked up in a secret table, which has the fractional bits that the result keeps."""
        (name,) = op.weights
        return self.emit(op, [x], [self.encode(op, name, self.target(op.output), self.draft.values[name])])

    def join(self, op: Op, xs: Sequence[Value]) -> Value:
        """add, concat, select, …: numbers must have the same fractional bits, and what meets the same rank."""
        if op.weights:
            weight = self.draft.values[op.weights[0]]
            if xs[0].frac > self.kept(xs[0]) and not self.fits(op, xs):
                xs = [self.settled(xs[0], op.layer)]
            xs = [self.raised(xs[0], weight, op.layer)]
            return self.emit(op, xs, [self.encode(op, op.weights[0], xs[0].frac, weight)])
        xs = self.level(op, xs)
        if any(x.frac > self.kept(x) for x in xs) and not self.fits(op, xs):
            xs = [self.settled(x, op.layer) for x in xs]
        if kind_of(op).elementwise:
            rank = max(len(x.tensor.shape) for x in xs)
            xs = [self.grown(x, rank, op.layer) for x in xs]
        return self.emit(op, xs)

    def level(self, op: Op, xs: Sequence[Value]) -> list[Value]:
        """The same values with equal fractional bits: the most any has, or, where that does not fit, the fewest. Bits
        have none and keep none."""
        fracs = [x.frac for x in xs if not x.tensor.bit] or [0]
        finest, coarsest = max(fracs), min(fracs)

        def may_shift(x: Value) -> bool:
            if x.frac == finest or x.tensor.bit:
                return True
            if x.interval is None:
                return self.fractions.may_carry(x.recorded, finest)
            return bounds.needed_bits(x.interval, finest) <= SAFE_BITS

        if all(map(may_shift, xs)):
            return [x if x.tensor.bit else self.shifted(x, finest, op.layer) for x in xs]
        return [self.truncated(x, coarsest, op.layer) for x in xs]

    def local(self, op: Op, x: Value) -> Value:
        """An op that keeps the fractional bits of its input, unless they do not fit."""
        widens = self.truncations.later(op) is Later.WORSE
        if x.frac > self.kept(x) and (widens or not self.fits(op, [x])):
            x = self.settled(x, op.layer)
        return self.emit(op, [x])

    # --- decisions

    def reckoned(self, tensor: str) -> float:
        """The largest magnitude to reckon with in a recorded tensor of which nothing is proven: seen, with a margin."""
        return math.ldexp(self.fractions.sizes[tensor], MARGIN_BITS)

    def fits(self, op: Op, xs: Sequence[Value]) -> bool:
        """Whether the result of a local op is within the contract while it carries more than `precision` bits."""
        weights = [self.draft.values[name] for name in op.weights]
        result = bounds.propagate(op, [x.interval for x in xs], weights)
        if result is None:
            return True
        return bounds.needed_bits(result, xs[0].frac) <= SAFE_BITS


def _factors(xs: Sequence[Value]) -> Sequence[Value]:
    """Both factors of a product of these tensors, one of which is a square."""
    return xs if len(xs) == 2 else [*xs, *xs]


def _shift(factor: Array, precision: int) -> int:
    """Bits to scale a factor by: as few as make it whole, else enough for `precision` significant bits."""
    for shift in range(precision + 1):
        scaled = np.ldexp(factor, shift)
        if np.all(scaled == np.rint(scaled)):
            return shift
    smallest = float(np.min(np.abs(factor[factor != 0])))
    return precision + min(max(math.floor(-math.log2(smallest)), 0), EXTRA_BITS)
