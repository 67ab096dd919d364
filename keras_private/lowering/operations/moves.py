"""What moves values about and joins them, by the recorder's own calls. Axis 0 is the batch: what moves it is refused.

What only moves values in ways that are seldom asked for is in `places.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_private.lowering.layout import keep, sizes
from keras_private.lowering.operation import Operand, Operation, operates
from keras_private.lowering.operations.values import BATCH, is_bits, numbers, truth
from keras_private.lowering.registry import Refusal, secret


def _check_elements(op: Operation, x: Operand) -> Iterator[Refusal]:
    """The result must have the same values in each sample."""
    if op.shape[0] is not None or None in op.shape[1:] or math.prod(_known(op.shape)) != math.prod(_known(x.shape)):
        yield BATCH


@operates("Reshape", "Squeeze", "ExpandDims", check=_check_elements)
def lower_reshape(prot: Any, op: Operation, x: Any) -> Any:
    return prot.reshape(x, [-1, *_known(op.shape)])


def _known(shape: Sequence[int | None]) -> list[int]:
    return [size or 0 for size in shape[1:]]


def _permutation(op: Operation, rank: int) -> list[int]:
    order = list(range(rank))
    if op.kind == "Transpose":
        axes = op["axes"]
        return order[::-1] if axes is None else [int(axis) % rank for axis in axes]
    if op.kind == "Swapaxes":
        first, second = op["axis1"] % rank, op["axis2"] % rank
        order[first], order[second] = order[second], order[first]
        return order
    sources, ends = ([int(axis) % rank for axis in np.atleast_1d(op[name])] for name in ("source", "destination"))
    order = [axis for axis in order if axis not in sources]
    for end, source in sorted(zip(ends, sources, strict=True)):
        order.insert(end, source)
    return order


def _check_order(op: Operation, x: Operand) -> Iterator[Refusal]:
    if _permutation(op, len(x.shape))[0] != 0:
        yield BATCH


@operates("Transpose", "Swapaxes", "Moveaxis", check=_check_order)
def lower_transpose(prot: Any, op: Operation, x: Any) -> Any:
    return prot.transpose(x, _permutation(op, len(x.shape)))


def _check_join(op: Operation, xs: Any) -> Iterator[Refusal]:
    if not all(isinstance(x, Operand) for x in xs):
        yield Refusal("a constant is among its inputs", "join tensors only")
    elif op["axis"] % len(op.shape) == 0:
        yield BATCH


@operates("Concatenate", "Stack", check=_check_join)
def lower_join(prot: Any, op: Operation, xs: Any) -> Any:
    axis = op["axis"] % len(op.shape)
    if any(map(is_bits, xs)):  # all of them bits, or all numbers
        of_bits = op.dtype == "bool"
        xs = [
            truth(prot, x, operand) if of_bits else numbers(prot, x)
            for x, operand in zip(xs, op.operands[0], strict=True)
        ]
    return prot.stack(xs, axis=axis) if op.kind == "Stack" else prot.concat(xs, axis=axis)


def _check_axis(op: Operation, x: Any) -> Iterator[Refusal]:
    if op["axis"] is None or 0 in {int(axis) % len(x.shape) for axis in np.atleast_1d(op["axis"])}:
        yield BATCH
    elif op.kind == "Repeat" and not isinstance(op["repeats"], int):
        yield Refusal("it repeats every place another number of times", "repeat all of them equally")


@operates("Flip", "Repeat", check=_check_axis)
def lower_choice(prot: Any, op: Operation, x: Any) -> Any:
    for axis in sorted({int(axis) % len(x.shape) for axis in np.atleast_1d(op["axis"])}):
        places = list(range(sizes(x)[axis - 1]))
        turned = op.kind == "Flip"
        x = keep(prot, x, axis, places[::-1] if turned else [at for at in places for _ in range(op["repeats"])])
    return x


# --- some of the places


def _check_take(op: Operation, x: Any, indices: Any) -> Iterator[Refusal]:
    if not isinstance(x, Operand):
        if op["axis"] != 0 or np.ndim(x) < 1 or "int" not in indices.dtype:
            yield Refusal("it takes of a constant by other than whole numbers along its first axis", "use Embedding")
    elif isinstance(indices, Operand):
        yield Refusal("the places it takes are computed", "take fixed places")
    elif not isinstance(op["axis"], int) or op["axis"] % len(x.shape) == 0:
        yield BATCH


@operates("Take", check=_check_take)
def lower_take(prot: Any, op: Operation, x: Any, indices: Any) -> Any:
    """Fixed places of a tensor; or, of a secret table, the rows at whole numbers that nobody learns."""
    if not hasattr(x, "prot"):
        return prot.lookup(indices, secret(prot, x, "table"))
    axis = op["axis"] % len(x.shape)
    places = list(range(sizes(x)[axis - 1]))
    y = keep(prot, x, axis, [places[int(index)] for index in np.ravel(indices)])
    if np.ndim(indices) == 1:
        return y
    return prot.reshape(y, [-1, *sizes(x)[: axis - 1], *np.shape(indices), *sizes(x)[axis:]])


def _slices(key: Any, rank: int) -> list[Any] | None:
    """One int or slice for every axis; None for anything else."""
    parts = list(key) if isinstance(key, tuple | list) else [key]
    if parts.count(Ellipsis) > 1 or not all(isinstance(part, int | slice) or part is Ellipsis for part in parts):
        return None
    at = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
    parts[at : at + 1] = [slice(None)] * (rank - len(parts) + (Ellipsis in parts))
    return parts


def _check_item(op: Operation, x: Operand, key: Any) -> Iterator[Refusal]:
    del op
    parts = _slices(key, len(x.shape))
    if parts is None:
        yield Refusal("it takes something other than numbers and slices", "use these, and keras.ops.expand_dims")
    elif parts[0] != slice(None):
        yield BATCH


@operates("GetItem", check=_check_item)
def lower_item(prot: Any, op: Operation, x: Any, key: Any) -> Any:
    del op
    parts = _slices(key, len(x.shape)) or []
    for axis, part in enumerate(parts[1:], 1):
        places = range(sizes(x)[axis - 1])
        x = keep(prot, x, axis, list(places[part]) if isinstance(part, slice) else [places[part]])
    left = [size for size, part in zip(sizes(x), parts[1:], strict=True) if isinstance(part, slice)]
    return prot.reshape(x, [-1, *left])
