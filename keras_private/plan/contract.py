"""How large the inputs without a declared range may be: beyond, its values could outgrow the ring and wrap.

Theory of operation. Every raw value before its truncation must stay below 2^62 in magnitude. How values grow with the
inputs no rule of three tells: a product of two of them grows with their square, and a unit that is silent for inputs of
one size speaks for larger ones. So a size is tried, in one of two ways, and the largest power of two is taken that
passes either:

- *proven*: intervals, from inputs up to that size on, stay within the contract at every op;
- *measured*: so do the values that sample inputs make, stretched until they are 2^MARGIN_BITS times as large as that
  size. In a deep net worst cases of one layer are multiplied with those of the next, and no proof would pass.

The plan holds that power of two, one for all its inputs without a range, and clients refuse what is larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan import bounds
from keras_private.plan.interval import Interval
from keras_private.plan.measure import Measured, measure
from keras_private.plan.ops import CONTRACT_BITS, dropped
from keras_private.plan.plan import Draft, Op
from keras_private.plan.simulate import rounded

_ABSURD = 2.0**900  # larger than what any number format takes here
MARGIN_BITS = 6  # by which sample inputs are larger than what they stand for


def limited(draft: Draft, xs: Sequence[NDArray[np.float64]]) -> Draft:
    """An executable draft in which every input without a range has its limit.

    Args:
        xs: sample inputs, float64 (count, *input shape) each.
    """
    plan = draft.plan
    if plan.ranged:
        return draft
    frac = max(plan.tensors[given.tensor].frac for given in plan.inputs if given.range is None)
    most = CONTRACT_BITS - 1 - frac
    bits = -CONTRACT_BITS
    if all(np.any(x) for given, x in zip(plan.inputs, xs, strict=True) if given.range is None):
        guess = _room(draft, xs, 0) - MARGIN_BITS  # right if values grow as the inputs do
        bits = _largest(lambda size: _room(draft, xs, size + MARGIN_BITS) >= 0, guess, bits, most)
    bits = _largest(lambda size: _proven(draft, size), bits + 1, bits + 1, most)
    inputs = tuple(given if given.range else replace(given, limit=math.ldexp(1.0, bits)) for given in plan.inputs)
    return replace(draft, plan=replace(plan, inputs=inputs))


def _largest(fits: Callable[[int], bool], guess: int, low: int, high: int) -> int:
    """The largest whole number from `low` to `high` that fits, `low` - 1 if none does; few are tried near the guess."""
    good, bad, step = low - 1, high + 1, 1
    while bad - good > 1:
        tried = min(max(guess, good + 1), bad - 1)
        if fits(tried):
            good = tried
        else:
            bad = tried
        between = (good + bad) // 2
        guess = between if low <= good and bad <= high else tried + step if good == tried else tried - step
        step *= 2
    return good


def _proven(draft: Draft, bits: int) -> bool:
    """Whether inputs up to 2^bits in size provably stay within the contract."""
    plan, size = draft.plan, math.ldexp(1.0, bits)
    intervals: dict[str, Interval | None] = {}
    for given in plan.inputs:
        declared = given if given.range else replace(given, range=(-size, size))
        intervals[given.tensor] = bounds.of_input(declared, plan.shape(given), plan.tensors[given.tensor].frac)
    for op in plan.ops:
        weights = [rounded(draft.values[name], plan.weights[name].frac) for name in op.weights]
        product = bounds.propagate(op, [intervals[name] for name in op.inputs], weights)
        if product is None or bounds.needed_bits(product, _raw_frac(op, draft)) > CONTRACT_BITS:
            return False
        intervals[op.output] = bounds.after_product(op, product, bounds.error(op, plan))
    return True


def _room(draft: Draft, xs: Sequence[NDArray[np.float64]], bits: int) -> int:
    """By how many bits the values that the samples make could be larger, if those inputs are stretched to 2^bits or
    more; negative if they are too large."""
    plan = draft.plan
    stretched = []
    for given, x in zip(plan.inputs, xs, strict=True):
        up = 0 if given.range else bits + 1 - math.frexp(float(np.max(np.abs(x))))[1]
        stretched.append(np.ldexp(x, up))
    try:
        measured = measure(draft, tuple(stretched))
    except PlanError:  # they outgrow even float64
        return -CONTRACT_BITS
    raw = (math.frexp(min(_size(measured, op.output), _ABSURD))[1] + _raw_frac(op, draft) for op in plan.ops)
    return CONTRACT_BITS - max(raw, default=0)


def _size(measured: Measured, tensor: str) -> float:
    """What is reckoned with, but no more than 2^MARGIN_BITS of what was seen, if anything was."""
    seen, reckoned = measured.seen[tensor], measured.sizes[tensor]
    return min(reckoned, math.ldexp(seen, MARGIN_BITS)) if seen else reckoned


def _raw_frac(op: Op, draft: Draft) -> int:
    """Fractional bits before the op's truncation."""
    return draft.plan.tensors[op.output].frac + dropped(op)
