"""What operations between layers compute: arithmetic, ReLUs, and whatever moves values about.

A constant is public if it is a single number in the model's code, as in `x * 0.5`, and secret if it is an array or a
variable. Axis 0 is the batch: what moves, joins or mixes it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_private.errors import PlanError
from keras_private.lowering.layers import activation as act
from keras_private.lowering.layers import merge
from keras_private.lowering.layout import keep, sizes
from keras_private.lowering.operation import Operand, Operation, operates
from keras_private.lowering.registry import Refusal, array, secret
from keras_private.plan.ops.equation import without_batch

_BATCH = Refusal("it moves or mixes the batch axis", "leave axis 0 as it is")


def _nothing(op: Operation, *operands: Any) -> Iterable[Refusal]:
    del op, operands
    return ()


# --- arithmetic


def _is_public(value: Any) -> bool:
    """A number that was written down, not trained: a variable, of whatever shape, counts as a weight."""
    return np.ndim(value) == 0 and not hasattr(value, "assign")


def _constant(prot: Any, value: Any) -> Any:
    return float(array(value)) if _is_public(value) else secret(prot, value, "constant")


def _check_pair(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    """Two tensors of one rank, or a tensor and a constant that does not enlarge it."""
    tensors = [operand for operand in (x, y) if isinstance(operand, Operand)]
    if len({len(tensor.shape) for tensor in tensors}) > 1:
        yield Refusal("its tensors have different ranks, and the batch of one would meet another axis", "use Reshape")
    if len(tensors) == 2:
        return
    constant = np.shape(array(y if tensors[0] is x else x))
    shape = tensors[0].shape
    if op.shape != shape or (len(constant) == len(shape) and constant[0] != 1):
        yield Refusal(f"a constant of shape {constant} does not fit {shape}", "use one that fits every sample")


def _check_product(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    if op.kind in ("Divide", "TrueDivide") and isinstance(y, Operand):
        yield Refusal("it divides by a value that depends on the input", "use a constant divisor and train again")
    elif op.kind in ("Divide", "TrueDivide") and not np.all(array(y)):
        yield Refusal("it divides by zero", "use another divisor")
    else:
        yield from _check_pair(op, x, y)


def _is_tensor(x: Any) -> bool:
    """Whether an operand is a protocol's tensor, and no constant of the model."""
    return hasattr(x, "prot")


@operates("Add", check=_check_pair)
def lower_add(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    del op
    x, y = (x, y) if _is_tensor(x) else (y, x)
    return prot.add(x, y if _is_tensor(y) else _constant(prot, y))


@operates("Subtract", check=_check_pair)
def lower_subtract(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    del op
    if not _is_tensor(x):
        return prot.add(prot.negative(y), _constant(prot, x))
    return prot.sub(x, y if _is_tensor(y) else _constant(prot, y))


@operates("Multiply", check=_check_product)
def lower_multiply(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    del op
    x, y = (x, y) if _is_tensor(x) else (y, x)
    return prot.mul(x, y if _is_tensor(y) else _constant(prot, y))


@operates("Divide", "TrueDivide", check=_check_product)
def lower_divide(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    del op
    return prot.mul(x, 1.0 / float(array(y)) if _is_public(y) else secret(prot, 1.0 / array(y), "constant"))


@operates("Negative", check=_nothing)
def lower_negative(prot: Any, op: Operation, x: Any) -> Any:
    del op
    return prot.negative(x)


@operates("Maximum", "Minimum", check=_check_pair)
def lower_extreme(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    x, y = (x, y) if _is_tensor(x) else (y, x)
    return (merge.maximum if op.kind == "Maximum" else merge.minimum)(
        prot, x, y if _is_tensor(y) else _constant(prot, y)
    )


def _check_matmul(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    del op
    if isinstance(x, Operand) and isinstance(y, Operand):
        if len(x.shape) != len(y.shape) or len(x.shape) < 3:
            yield Refusal("it would multiply the rows of a batch with each other", "give both tensors the same axes")
    elif not isinstance(x, Operand) or np.ndim(array(y)) != 2:
        yield Refusal("only a tensor times a tensor or a fixed matrix is possible", "use Dense or einsum")


@operates("Matmul", check=_check_matmul)
def lower_matmul(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    del op
    return prot.matmul(x, y if _is_tensor(y) else secret(prot, y, "matrix"))


def _check_einsum(op: Operation, *operands: Any) -> Iterator[Refusal]:
    tensors = [isinstance(each, Operand) for each in operands]
    if len(operands) != 2 or not any(tensors):
        yield Refusal("only two factors are possible, one of which is a tensor", "take two at a time")
        return
    ranks = [len(each.shape) if isinstance(each, Operand) else np.ndim(array(each)) for each in operands]
    try:
        without_batch(op["subscripts"], ranks, tensors)
    except PlanError as error:
        yield Refusal(str(error), "keep the batch where it is")


@operates("Einsum", check=_check_einsum)
def lower_einsum(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    return prot.einsum(
        op["subscripts"], *(each if _is_tensor(each) else secret(prot, each, "factor") for each in (x, y))
    )


@operates("Square", check=_nothing)
def lower_square(prot: Any, op: Operation, x: Any) -> Any:
    del op
    return prot.mul(x, x)


# --- activations


def _check_clip(op: Operation, x: Any) -> Iterator[Refusal]:
    del x
    if not (_is_public(op["x_min"]) and _is_public(op["x_max"])):
        yield Refusal("its limits are no numbers", "clip at two numbers")


@operates("Clip", check=_check_clip)
def lower_clip(prot: Any, op: Operation, x: Any) -> Any:
    return act.clip(prot, x, float(array(op["x_min"])), float(array(op["x_max"])))


_NAMED = {
    "Relu": "relu",
    "Relu6": "relu6",
    "HardSigmoid": "hard_sigmoid",
    "HardTanh": "hard_tanh",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Silu": "silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Selu": "selu",
    "SparsePlus": "sparse_plus",
    "LogSigmoid": "log_sigmoid",
    "TanhShrink": "tanh_shrink",
}


@operates(*_NAMED, check=_nothing)
def lower_named(prot: Any, op: Operation, x: Any) -> Any:
    """Those without arguments."""
    return act.activate(prot, _NAMED[op.kind], x)


@operates("LeakyRelu", check=_nothing)
def lower_leaky_relu(prot: Any, op: Operation, x: Any) -> Any:
    return act.leaky_relu(prot, x, float(op["negative_slope"]))


@operates("ReLU", check=_nothing)
def lower_relu(prot: Any, op: Operation, x: Any) -> Any:
    """keras.activations.relu with its arguments."""
    ceiling = None if op["max_value"] is None else float(op["max_value"])
    return act.relu(prot, x, float(op["negative_slope"]), ceiling, float(op["threshold"]))


@operates("Abs", "Absolute", check=_nothing)
def lower_absolute(prot: Any, op: Operation, x: Any) -> Any:
    del op
    return prot.sub(prot.mul(prot.relu(x), 2.0), x)


def _check_softmax(op: Operation, x: Any) -> Iterator[Refusal]:
    del op, x
    yield Refusal("softmax inside a model is not supported", act.hint_for("softmax"))


@operates("Softmax", check=_check_softmax)
def lower_softmax(prot: Any, op: Operation, x: Any) -> Any:  # only ever taken off the end of a model, see final.py
    raise NotImplementedError(op.kind)


def _check_cast(op: Operation, x: Any) -> Iterator[Refusal]:
    del x
    if "float" not in str(op["dtype"]):
        yield Refusal(f"it casts to {op['dtype']}", "keep float values")


@operates("Cast", check=_check_cast)
def lower_cast(prot: Any, op: Operation, x: Any) -> Any:
    del prot, op
    return x


# --- moving values


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
