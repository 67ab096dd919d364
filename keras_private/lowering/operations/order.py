"""Sorting, and the largest few."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_private.lowering.layout import keep, sizes, together
from keras_private.lowering.operation import Operand, Operation, operates
from keras_private.lowering.operations.values import BATCH, axes_of, numbers, with_axes
from keras_private.lowering.registry import Refusal
from keras_private.lowering.rows import at_the_end, descending
from keras_private.plan.ops.order import MAX_RANKED

_TOO_MANY = Refusal(f"it sorts more than {MAX_RANKED} values", "sort fewer, or use keras.ops.max")


def _check_top(op: Operation, x: Operand) -> Iterator[Refusal]:
    del op
    if len(x.shape) < 2:
        yield BATCH
    elif (x.shape[-1] or 0) > MAX_RANKED:
        yield _TOO_MANY


@operates("TopK", check=_check_top)
def lower_top(prot: Any, op: Operation, x: Any) -> Any:
    """Values and places; a plan keeps what something depends on."""
    x = numbers(prot, x)
    if sizes(x)[-1] == 1:
        return [x, prot.mul(x, 0.0)]
    return [prot.top_k(x, int(op["k"]), places=places) for places in (False, True)]


def _check_sort(op: Operation, x: Operand) -> Iterator[Refusal]:
    if not isinstance(op["axis"], int) or op["axis"] % len(x.shape) == 0:
        yield BATCH
    elif (x.shape[op["axis"]] or 0) > MAX_RANKED:
        yield _TOO_MANY


@operates("Sort", "Argsort", check=_check_sort)
def lower_sort(prot: Any, op: Operation, x: Any) -> Any:
    """The smallest first: the largest of -x."""
    x, back = at_the_end(prot, numbers(prot, x), op["axis"])
    count = sizes(x)[-1]
    if op.kind == "Argsort":
        return back(prot.top_k(prot.negative(x), count, places=True) if count > 1 else prot.mul(x, 0.0))
    return back(keep(prot, descending(prot, x, count), len(x.shape) - 1, range(count)[::-1]))


def _check_median(op: Operation, x: Operand) -> Iterator[Refusal]:
    axes, count = axes_of(op["axis"], len(x.shape)), 1
    for axis in axes:
        count *= x.shape[axis] or 1
    if 0 in axes:
        yield BATCH
    elif count > MAX_RANKED:
        yield _TOO_MANY


@operates("Median", check=_check_median)
def lower_median(prot: Any, op: Operation, x: Any) -> Any:
    """The one in the middle, or the mean of two."""
    x = numbers(prot, x)
    row, _ = together(prot, x, axes_of(op["axis"], len(x.shape)))
    count, last = sizes(row)[-1], len(row.shape) - 1
    middle = keep(prot, descending(prot, row, count // 2 + 1), last, range((count - 1) // 2, count // 2 + 1))
    return with_axes(prot, op, prot.mul(prot.reduce_sum(middle, [last]), 0.5 + 0.5 * (count % 2)))
