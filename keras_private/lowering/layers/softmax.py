"""Softmax, over one axis or several, and its logarithm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from keras_private.lowering.layout import sizes, together
from keras_private.lowering.registry import Refusal, lowers
from keras_private.lowering.rows import largest

_DIGITS = 10  # of what a power is exact to at most, relative to the largest


def softmax(prot: Any, x: Any, axes: Sequence[int]) -> Any:
    """e^x over its sum along these axes, batch first, none of them the batch."""
    last, back = together(prot, x, axes)
    return back(prot.softmax(last, -1))


def log_softmax(prot: Any, x: Any, axis: int = -1) -> Any:
    """x - log(sum(e^x)) along an axis."""
    last, back = together(prot, x, [axis])
    _, below, logarithm = _summed(prot, last)
    return back(prot.sub(below, logarithm))


def logsumexp(prot: Any, row: Any) -> Any:
    """log(sum(e^x)) along the last axis."""
    largest, _, logarithm = _summed(prot, row)
    return prot.reshape(prot.add(largest, logarithm), [-1, *sizes(row)[:-1]])


def _summed(prot: Any, row: Any) -> tuple[Any, Any, Any]:
    """The largest number along the last axis, all of them less that, and log(sum(e^x)) of these: the sum lies between 1
    and its length."""
    *lead, count = sizes(row)
    high = prot.reshape(largest(prot, row), [-1, *lead, 1])
    below = prot.sub(row, high)
    digits = math.ceil(math.log2(count))
    powers = prot.spline(below, "exp", 0.5, 2.0 ** -min(digits, _DIGITS))  # of a sum that is 1 at least
    total = prot.reduce_sum(powers, [-1], keepdims=True)
    return high, below, prot.spline(total, "log", 0.5, 2.0 ** (digits + 1))


def _check(layer: Any) -> Iterable[Refusal]:
    if 0 in _axes(layer):
        yield Refusal("its axes include the batch", "take it over other axes")


def _axes(layer: Any) -> list[int]:
    return [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)


@lowers("Softmax", check=_check)
def lower_softmax(prot: Any, layer: Any, x: Any) -> Any:
    return softmax(prot, x, _axes(layer))
