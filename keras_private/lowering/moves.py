"""Operations between layers that move values about, join them or add them up along axes.

Axis 0 is the batch: what moves, joins or mixes it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_private.lowering.layout import keep, sizes
from keras_private.lowering.operation import Operand, Operation, operates
from keras_private.lowering.registry import Refusal

_BATCH = Refusal("it moves or mixes the batch axis", "leave axis 0 as it is")


def _check_elements(op: Operation, x: Operand) -> Iterator[Refusal]:
    """The result must have the same values in each sample."""
    if op.shape[0] is not None or None in op.shape[1:] or math.prod(_known(op.shape)) != math.prod(_known(x.shape)):
        yield _BATCH


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
        yield _BATCH


@operates("Transpose", "Swapaxes", "Moveaxis", check=_check_order)
def lower_transpose(prot: Any, op: Operation, x: Any) -> Any:
    return prot.transpose(x, _permutation(op, len(x.shape)))


def _check_join(op: Operation, xs: Any) -> Iterator[Refusal]:
    if not all(isinstance(x, Operand) for x in xs):
        yield Refusal("a constant is among its inputs", "join tensors only")
    elif op["axis"] % len(op.shape) == 0:
        yield _BATCH


@operates("Concatenate", "Stack", check=_check_join)
def lower_join(prot: Any, op: Operation, xs: Any) -> Any:
    axis = op["axis"] % len(op.shape)
    return prot.stack(xs, axis=axis) if op.kind == "Stack" else prot.concat(xs, axis=axis)


def _check_axis(op: Operation, x: Operand, indices: Any = 0) -> Iterator[Refusal]:
    if not isinstance(op["axis"], int) or op["axis"] % len(x.shape) == 0:
        yield _BATCH
    elif isinstance(indices, Operand):
        yield Refusal("the places it takes are computed", "take fixed places")
    elif op.kind == "Repeat" and not isinstance(op["repeats"], int):
        yield Refusal("it repeats every place another number of times", "repeat all of them equally")


@operates("Flip", "Repeat", "Take", check=_check_axis)
def lower_choice(prot: Any, op: Operation, x: Any, indices: Any = ()) -> Any:
    axis = op["axis"] % len(x.shape)
    places = list(range(sizes(x)[axis - 1]))
    chosen = {
        "Flip": lambda: places[::-1],
        "Repeat": lambda: [place for place in places for _ in range(op["repeats"])],
        "Take": lambda: [places[int(index)] for index in np.ravel(indices)],
    }
    y = keep(prot, x, axis, chosen[op.kind]())
    if op.kind != "Take" or np.ndim(indices) == 1:
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
        yield Refusal("it takes something other than numbers and slices", "use fixed numbers and slices")
    elif parts[0] != slice(None):
        yield _BATCH


@operates("GetItem", check=_check_item)
def lower_item(prot: Any, op: Operation, x: Any, key: Any) -> Any:
    del op
    parts = _slices(key, len(x.shape)) or []
    for axis, part in enumerate(parts[1:], 1):
        places = range(sizes(x)[axis - 1])
        x = keep(prot, x, axis, list(places[part]) if isinstance(part, slice) else [places[part]])
    left = [size for size, part in zip(sizes(x), parts[1:], strict=True) if isinstance(part, slice)]
    return prot.reshape(x, [-1, *left])


def _check_pad(op: Operation, x: Any, value: Any = None) -> Iterator[Refusal]:
    del x
    if op["mode"] != "constant" or any(each is not None and np.any(each) for each in (value, op["constant_values"])):
        yield Refusal("it pads with something other than zeros", "pad with zeros and train again")
    elif any(op["pad_width"][0]):
        yield _BATCH


@operates("Pad", check=_check_pad)
def lower_pad(prot: Any, op: Operation, x: Any, value: Any = None) -> Any:
    del value
    return prot.pad(x, [list(pair) for pair in op["pad_width"]])


def _reduced(op: Operation, rank: int) -> list[int]:
    axis = op["axis"]
    given = range(rank) if axis is None else [axis] if isinstance(axis, int) else axis
    return sorted(each % rank for each in given)


def _check_reduce(op: Operation, x: Operand) -> Iterator[Refusal]:
    if 0 in _reduced(op, len(x.shape)):
        yield _BATCH


@operates("Mean", "Sum", check=_check_reduce)
def lower_reduce(prot: Any, op: Operation, x: Any) -> Any:
    axes = _reduced(op, len(x.shape))
    y = prot.reduce_sum(x, axes, bool(op["keepdims"]))
    return y if op.kind == "Sum" else prot.mul(y, 1.0 / math.prod(sizes(x)[axis - 1] for axis in axes))
