"""What operations between layers are given: tensors, bits among them, and constants.

A constant is public if it is a single number in the model's code, as in `x * 0.5`, and secret if it is an array or a
variable.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_private.lowering.layout import sizes
from keras_private.lowering.operation import Operand, Operation
from keras_private.lowering.registry import Refusal, array, secret

BATCH = Refusal("it moves or mixes the batch axis", "leave axis 0 as it is")


def is_public(value: Any) -> bool:
    """A number that was written down, not trained: a variable, of whatever shape, counts as a weight."""
    return np.ndim(value) == 0 and not hasattr(value, "assign")


def constant(prot: Any, value: Any) -> Any:
    return float(array(value)) if is_public(value) else secret(prot, value, "constant")


def is_tensor(x: Any) -> bool:
    """Whether an operand is a protocol's tensor, and no constant of the model."""
    return hasattr(x, "prot")


def is_bits(x: Any) -> bool:
    """Whether a protocol's tensor is what a comparison made."""
    return bool(getattr(x, "bit", False))


def numbers(prot: Any, x: Any) -> Any:
    """A tensor as numbers, which of bits are 0 and 1."""
    return prot.to_number(x) if is_bits(x) else x


def truth(prot: Any, x: Any, operand: Operand) -> Any:
    """A tensor as bits: whether it is not 0."""
    if is_bits(x):
        return x
    return prot.above(x, 0.5) if operand.dtype == "bool" else prot.logical_not(prot.equal_to(x, 0.0))


def filled(prot: Any, x: Any, value: Any, shape: tuple[int, ...]) -> Any:
    """A tensor of this shape per sample that holds a constant; `x`: of which it takes the batch, of any shape."""
    one = prot.mul(prot.reshape(x, [-1, *sizes(x)]), 0.0)
    if sizes(x) != shape:
        one = prot.reduce_sum(one, range(1, len(x.shape))) if sizes(x) else one
        one = spread(prot, prot.reshape(one, [-1, *(1,) * len(shape)]), shape)
    return prot.add(one, constant(prot, value))


def spread(prot: Any, x: Any, shape: tuple[int | None, ...]) -> Any:
    """A tensor broadcast to a shape per sample with as many axes."""
    for axis, (size, wanted) in enumerate(zip(sizes(x), shape, strict=True), 1):
        if size == 1 != wanted:
            x = prot.gather(x, [0] * int(wanted or 1), axis)
    return x


def both(prot: Any, op: Operation, x: Any, y: Any) -> tuple[Any, Any]:
    """Two operands: first a tensor of numbers, as large as the result if it is alone; then another, or a constant."""
    x, y = (x, y) if is_tensor(x) else (y, x)
    x = numbers(prot, x)
    return (x, numbers(prot, y)) if is_tensor(y) else (spread(prot, x, op.shape[1:]), y)


def check_pair(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    """Two tensors of one rank, or a tensor and a constant that enlarges none of its samples but by broadcasting."""
    tensors = [operand for operand in (x, y) if isinstance(operand, Operand)]
    if len({len(tensor.shape) for tensor in tensors}) > 1:
        yield Refusal("its tensors have different ranks, and the batch of one would meet another axis", "use Reshape")
    if len(tensors) == 2:
        return
    given = np.shape(array(y if tensors[0] is x else x))
    shape = tensors[0].shape
    beyond = len(op.shape) != len(shape) or op.shape[0] is not None or None in op.shape[1:]
    if beyond or (len(given) == len(shape) and given[0] != 1):
        yield Refusal(f"a constant of shape {given} does not fit {shape}", "use one that fits every sample")


def axes_of(axis: Any, rank: int) -> list[int]:
    """Axes, the batch's among them, as Keras' arguments have them: None for all, one, or several."""
    given = range(rank) if axis is None else [axis] if np.ndim(axis) == 0 else axis
    return sorted({int(each) % rank for each in given})


def check_axes(op: Operation, x: Operand) -> Iterator[Refusal]:
    """Of `axis`: not the batch."""
    if 0 in axes_of(op["axis"], len(x.shape)):
        yield BATCH


def with_axes(prot: Any, op: Operation, y: Any) -> Any:
    """The result of a reduction, with the axes of size one that `keepdims` keeps."""
    return prot.reshape(y, [-1, *op.shape[1:]]) if op["keepdims"] else y
