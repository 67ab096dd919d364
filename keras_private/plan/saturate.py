"""Where values are cut off so that all of them are proven to fit: calibrate, then saturate.

Theory of operation. Worst cases grow by two to five bits a layer, because they are sums of magnitudes; what data does
hardly grows at all. After five or six layers no proof fits the ring, however good the net. So the largest values that
the owner's data makes are measured, and where the proof would pass the ring `clip(x, -2^k, 2^k)` is laid into its way,
with 2^k eight times what was measured at least. From there on the proof starts anew, and it holds for *every* input in
range: an outlier saturates, and never wraps around.

Intervals are carried along op by op. Where one passes its limit, the tensors since the last cut are the candidates,
and what a cut at each of them would leave is estimated with what each op was seen to widen its input by. The one is
taken that gains most bits for its price; what it costs is what its kind declares. A ReLU becomes clip(x, 0, 2^k), which
takes its place, its truncation and its rounds, so it is usually one of these. Then the intervals are carried on from
there, exactly: the estimate chooses a place and proves nothing.

The limits leave each product room for its weights' significant bits, so that what is proven is as exact as what is not.
What even a cut of all that it reads cannot make fit stays unproven.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from keras_private.plan import bounds, cost
from keras_private.plan.fractions import FREE_DROPS, ROUNDED, SAFE_BITS, Fractions
from keras_private.plan.interval import Interval
from keras_private.plan.measure import Measured
from keras_private.plan.ops import Bilinear, kind_of
from keras_private.plan.ops.elementwise import Additive
from keras_private.plan.ops.product import Square
from keras_private.plan.ops.quotient import SQUARE_BITS, Normalise, summed
from keras_private.plan.passes.graph import Graph
from keras_private.plan.plan import CONTRACT_BITS, Draft, Op

ROOM_BITS = 3  # from the power of two above what was measured to where values are cut off
LEAST_GAIN = 2.0  # by what factor a cut must make values smaller
WINDOW = 256  # ops that are gone back by at most


def saturated(draft: Draft, fractions: Fractions, measured: Measured) -> tuple[Draft, Measured]:
    """The recorded draft with the cuts that its proof needs, and what was measured, for its tensors too.

    Args:
        draft: recorded and simplified; all its inputs have ranges.
        fractions: of it.
        measured: of it, on data by which values may be cut off.
    """
    found = _Search(draft, fractions, measured).run()
    return _written(draft, found, measured) if found else (draft, measured)


class _Search:
    """Finds the tensors to cut off, and where."""

    def __init__(self, draft: Draft, fractions: Fractions, measured: Measured) -> None:
        self._draft = draft
        self._ops = draft.plan.ops
        self._fractions = fractions
        self._measured = measured
        self._users: dict[str, list[Op]] = {}
        for op in self._ops:
            for name in op.inputs:
                self._users.setdefault(name, []).append(op)
        self._last_use = {name: index for index, op in enumerate(self._ops) for name in op.inputs}
        self._limits = self._all_limits()
        self._cuts: dict[str, float] = {}
        self._sizes: dict[str, float] = {}  # proven, of tensors as they are made
        self._intervals: dict[str, Interval | None] = {}  # of those that are still read, or were in the window

    def run(self) -> dict[str, float]:
        """By tensor, what its values shall not exceed in size."""
        plan = self._draft.plan
        for given in plan.inputs:
            self._take(given.tensor, bounds.of_input(given, plan.shape(given), self._fractions.target(given.tensor)))
        since = at = 0
        while at < len(self._ops):
            op = self._ops[at]
            weights = [self._draft.values[name] for name in op.weights]
            found = bounds.propagate(op, [self._read(name) for name in op.inputs], weights)
            self._sizes[op.output] = math.inf if found is None else found.size
            if found is not None and self._excess(op, {}) > 1:
                place = self._best(op, since, at)
                if place is not None:
                    name = self._ops[place].output
                    self._cuts[name] = self._end(name)
                    since, at = place + 1, place + 1
                    self._forget(since)
                    continue
                beside = [name for name in op.inputs if self._gain(name) >= LEAST_GAIN]
                if beside:  # made before the last cut: what lies between stays as large as it was found
                    self._cuts.update((name, self._end(name)) for name in beside)
                    continue
                found = found if found.size < 2.0**CONTRACT_BITS else None
            self._take(op.output, bounds.after_product(op, found, 0.0))
            at += 1
            if at - since > WINDOW:
                since = at - WINDOW
                self._forget(since)
        return self._cuts

    def _take(self, name: str, interval: Interval | None) -> None:
        self._intervals[name] = interval
        self._sizes[name] = math.inf if interval is None else interval.size

    def _read(self, name: str) -> Interval | None:
        """The interval of a tensor as it is read: cut off."""
        interval, end = self._intervals[name], self._cuts.get(name)
        return interval if interval is None or end is None else bounds.narrowed(interval, (-end, end), ())

    def _forget(self, since: int) -> None:
        """Intervals that no op from the position `since` on reads."""
        for name in [name for name in self._intervals if self._last_use.get(name, -1) < since]:
            del self._intervals[name]

    # --- how large values may be

    def _all_limits(self) -> dict[str, float]:
        """For each tensor the size that its proof must stay below; what is carried with a product has the product's."""
        found = {given.tensor: math.inf for given in self._draft.plan.inputs}
        for op in self._ops:
            found[op.output] = math.ldexp(1.0, SAFE_BITS - self._raw_frac(op)) / ROUNDED
            if kind_of(op).carries:
                found[op.output] = min(found[op.output], *(found[name] for name in op.inputs))
        return found

    def _raw_frac(self, op: Op) -> int:
        """Fractional bits of the result before it is truncated, with which it is exact."""
        kind, target, working = kind_of(op), self._fractions.target, self._fractions.working
        if isinstance(kind, Bilinear) and op.weights:
            return target(op.inputs[0]) + self._fractions.fair(op)
        if isinstance(kind, Bilinear | Square):
            factors = op.inputs if len(op.inputs) == 2 else op.inputs * 2
            return sum(min(target(name), working) for name in factors)
        return target(op.output) if kind.interactive or kind.carries else 2 * working

    def _excess(self, op: Op, sizes: Mapping[str, float]) -> float:
        """The factor by which `op` exceeds what its result, and what it reads, may come to.

        Args:
            sizes: of tensors whose size is another than the one found.
        """
        found = self._size(op.output, sizes) / self._limits[op.output]
        if isinstance(kind_of(op), Normalise):
            (name,) = op.inputs
            count = summed(op, self._draft.plan.tensors[name].shape)
            most = math.ldexp(1.0, SQUARE_BITS // 2 - 1 - self._fractions.working) / math.sqrt(count)
            found = max(found, self._size(name, sizes) / most)
        return found

    def _size(self, name: str, sizes: Mapping[str, float]) -> float:
        """Of a tensor as it is read."""
        return min(sizes.get(name, self._sizes[name]), self._cuts.get(name, math.inf))

    # --- where to cut

    def _end(self, name: str) -> float:
        """Where the values of a tensor are cut off: a power of two."""
        largest = self._measured.held[name] or self._measured.sizes[name]
        return math.ldexp(1.0, (math.frexp(largest)[1] if largest else 0) + ROOM_BITS)

    def _gain(self, name: str) -> float:
        """By what factor a cut makes a tensor smaller."""
        if name in self._draft.plan.ends or name not in self._limits or not math.isfinite(self._sizes[name]):
            return 1.0
        return self._size(name, {}) / self._end(name)

    def _best(self, failed: Op, since: int, at: int) -> int | None:
        """The position of the op whose result is best cut off, for the sake of one that follows; None: it is none."""
        before, best, most = self._excess(failed, {}), None, (False, 0.0)
        for place in range(since, at):
            op = self._ops[place]
            name = op.output
            if self._gain(name) < LEAST_GAIN or self._only_rectified(name):
                continue
            left = self._excess(failed, self._estimated(place, at))
            worth = (left <= 1, math.log2(before / max(left, before * 1e-300)) / self._price(op))
            if left * LEAST_GAIN <= before and worth > most:
                best, most = place, worth
        return best

    def _only_rectified(self, name: str) -> bool:
        """Whether a ReLU alone reads it, at which a cut is cheaper."""
        users = self._users.get(name, [])
        return len(users) == 1 and users[0].kind == "relu"

    def _estimated(self, place: int, at: int) -> dict[str, float]:
        """The sizes of all tensors up to the position `at` that a cut of what is made at `place` would change."""
        name = self._ops[place].output
        found = {name: self._end(name)}
        for op in self._ops[place + 1 : at + 1]:
            if not any(each in found for each in op.inputs):
                continue
            now = [self._size(each, found) for each in op.inputs]
            was = [self._size(each, {}) for each in op.inputs]
            kind = kind_of(op)
            combined = math.prod if isinstance(kind, Bilinear) else sum if isinstance(kind, Additive) else max
            part = combined(now) / combined(was) if combined(was) else 1.0
            least = min(self._measured.sizes[op.output], self._sizes[op.output])
            found[op.output] = max(self._sizes[op.output] * min(part, 1.0), least)
        return found

    def _price(self, op: Op) -> int:
        """What a cut of the result costs, for one row."""
        count = math.prod(self._draft.plan.tensors[op.output].shape)
        whole = cost.price(cost.clip(count, None, FREE_DROPS[0]))
        return whole - cost.price(cost.relu(count, None, FREE_DROPS[0])) if op.kind == "relu" else whole


def _written(draft: Draft, cuts: Mapping[str, float], measured: Measured) -> tuple[Draft, Measured]:
    graph = Graph(draft)
    sizes, seen, held = dict(measured.sizes), dict(measured.seen), dict(measured.held)
    for op in draft.plan.ops:
        if op.output not in cuts:
            continue
        end = cuts[op.output]
        if op.kind == "relu":
            graph.replace(op, graph.new("clip", op.inputs, op, low=0.0, high=end, cut=True))
        else:
            made = graph.new(op.kind, op.inputs, op, weights=op.weights, **op.attrs)
            for each in (sizes, seen, held):
                each[made.output] = each[op.output]
            graph.replace(op, made, graph.new("clip", made.output, op, low=-end, high=end, cut=True))
        sizes[op.output] = min(sizes[op.output], end)
    return graph.finish(), replace(measured, sizes=sizes, seen=seen, held=held)
