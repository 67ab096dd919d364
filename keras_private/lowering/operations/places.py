"""Operations that move values, leave some out, repeat them or lay zeros between them, and do nothing else.

Theory of operation. What such an operation does is the same whatever the values are. So Keras itself is asked, once,
with the place of every value for the value: what comes back says which value goes where. Two rows are asked for, with
different numbers: the second one must come back as the first, or the operation moves or mixes rows of a batch, which is
refused. 0 stands for a zero that the operation lays somewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering.layout import keep, sizes
from keras_private.lowering.operation import Operand, Operation, operates
from keras_private.lowering.operations.values import BATCH, constant, is_tensor, numbers
from keras_private.lowering.registry import Refusal, array

Places = NDArray[np.int64]

MAX_PLACES = 1 << 20  # that a plan names one by one


def _tensors(value: Any) -> Iterator[Operand]:
    if isinstance(value, Operand):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _asked(op: Operation) -> list[Places] | Refusal:
    """For every result the places of its values among those of all operands in one sample, from 1 on; 0: zero."""
    shapes = {operand.number: operand.shape[1:] for operand in _tensors(op.operands)}
    total, numbered = sum(math.prod(size or 0 for size in shape) for shape in shapes.values()), {}
    if any(None in shape for shape in shapes.values()) or 2 * total >= 2**31:
        return Refusal("the sizes of what it takes are not known, or too large", "use fixed ones")
    at = 1
    for number, shape in shapes.items():
        one = np.arange(at, at + math.prod(size or 0 for size in shape)).reshape(1, *(size or 0 for size in shape))
        numbered[number] = np.concatenate([one, one + total]).astype(np.int32)
        at += one.size
    try:
        made = [result.astype(np.int64) for result in op.compute(numbered)]
    except Exception:  # noqa: BLE001  whatever Keras says to two rows of it
        return BATCH
    found = []
    for result, shape in zip(made, op.shapes, strict=True):
        if result.ndim != len(shape) or result.shape[0] != 2 or shape[0] is not None:
            return BATCH
        first, second = result
        if np.any(np.where(first > 0, first + total, 0) != second) or np.any(first > total) or np.any(first < 0):
            return BATCH
        found.append(first)
    return found


def _check(op: Operation, *operands: Any) -> Iterator[Refusal]:
    if op.kind == "Pad" and op["mode"] == "constant":
        fill = _fill(op, operands[1] if len(operands) > 1 else None)
        if isinstance(fill, Operand) or np.ndim(fill):
            yield Refusal("what it pads with is no number", "pad with a number")
        elif any(np.ravel(op["pad_width"][0])):
            yield BATCH
        return
    asked = _asked(op)
    if isinstance(asked, Refusal):
        yield asked
        return
    one = len(list(_tensors(op.operands))) == 1
    if any(places.size > MAX_PLACES and not (one and _by_axes(op, places)) for places in asked):
        yield Refusal(f"it moves more than {MAX_PLACES} values one by one", "move fewer, or along one axis")


def _by_axes(op: Operation, places: Places) -> list[list[int]] | None:
    """For every axis which of its places come, if there is no more to it than that, and no zero."""
    (operand,) = _tensors(op.operands)
    shape = tuple(int(size or 0) for size in operand.shape[1:])
    if places.ndim != len(shape) or not places.size or not np.all(places):
        return None
    whole = np.indices(shape).reshape(len(shape), -1)[:, places.reshape(-1) - 1].reshape(len(shape), *places.shape)
    chosen = [np.moveaxis(whole[axis], axis, 0).reshape(places.shape[axis], -1)[:, 0] for axis in range(len(shape))]
    same = all(
        np.array_equal(
            whole[axis], np.broadcast_to(chosen[axis].reshape(-1, *(1,) * (len(shape) - 1 - axis)), places.shape)
        )
        for axis in range(len(shape))
    )
    return [each.tolist() for each in chosen] if same else None


@operates(
    *("Roll", "Rot90", "Tile", "Fliplr", "Slice", "Tril", "Triu", "Diagonal"),
    *("Hstack", "Dstack", "Append", "Split", "ArraySplit", "Hsplit", "Dsplit", "Unstack"),
    *("TakeAlongAxis", "DepthToSpace", "SpaceToDepth", "Unfold", "ExtractPatches", "CropImages", "PadImages"),
    "ExtractSequences",
    check=_check,
)
def lower_moved(prot: Any, op: Operation, *given: Any) -> Any:
    asked = _asked(op)
    assert not isinstance(asked, Refusal), "checked before lowering"  # noqa: S101
    tensors = [numbers(prot, x) for x in _given(given)]
    operands = list(_tensors(op.operands))
    distinct: Mapping[int, Any] = {operand.number: x for operand, x in zip(operands, tensors, strict=True)}
    return [_placed(prot, op, list(distinct.values()), places) for places in asked]


def _given(value: Any) -> Iterator[Any]:
    if is_tensor(value):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _given(item)


def _placed(prot: Any, op: Operation, xs: list[Any], places: Places) -> Any:
    """The values at these places."""
    along = _by_axes(op, places) if len(xs) == 1 else None
    if along is not None:
        (x,) = xs
        for axis, chosen in enumerate(along, 1):
            x = keep(prot, x, axis, chosen)
        return x
    flat = [prot.reshape(x, [-1, math.prod(sizes(x))]) for x in xs]
    row = flat[0] if len(flat) == 1 else prot.concat(flat, axis=1)
    if not np.all(places):  # one zero, for all of them
        row = prot.pad(row, [[0, 0], [1, 0]])
        return prot.reshape(keep(prot, row, 1, places.reshape(-1).tolist()), [-1, *places.shape])
    return prot.reshape(keep(prot, row, 1, (places.reshape(-1) - 1).tolist()), [-1, *places.shape])


def _fill(op: Operation, value: Any) -> Any:
    """What is laid around a tensor."""
    found = op["constant_values"] if value is None else value
    return 0.0 if found is None else found


@operates("Pad", check=_check)
def lower_pad(prot: Any, op: Operation, x: Any, value: Any = None) -> Any:
    if op["mode"] != "constant":
        return lower_moved(prot, op, x)
    widths = [[int(each) for each in np.broadcast_to(pair, 2)] for pair in op["pad_width"]]
    x, fill = numbers(prot, x), float(array(_fill(op, value)))
    y = prot.pad(x, widths)
    if fill == 0:
        return y
    around = np.pad(np.zeros(sizes(x)), widths[1:], constant_values=fill)
    return prot.add(y, constant(prot, around))


def _check_trace(op: Operation, x: Operand) -> Iterator[Refusal]:
    axes = {int(op["axis1"]) % len(x.shape), int(op["axis2"]) % len(x.shape)}
    if 0 in axes:
        yield BATCH


@operates("Trace", check=_check_trace)
def lower_trace(prot: Any, op: Operation, x: Any) -> Any:
    """The sum of a diagonal, by a mask."""
    x, rank = numbers(prot, x), len(x.shape)
    first, second = int(op["axis1"]) % rank, int(op["axis2"]) % rank
    mask = np.eye(sizes(x)[first - 1], sizes(x)[second - 1], k=int(op["offset"]))
    mask = mask if first < second else mask.T
    shape = [size if axis in (first, second) else 1 for axis, size in enumerate(sizes(x), 1)]
    return prot.reduce_sum(prot.mul(x, prot.define_constant(mask.reshape(shape))), [first, second])
