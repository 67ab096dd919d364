"""Operations between layers, `x + y` or `keras.ops.relu(x)`, as nodes of a functional model: read, and registered.

keras 3 keeps an object of a class of its own for each (`Add`, `GetItem`), with its settings as attributes. tf_keras
wraps TensorFlow's functions in layers; `tensorflow.py` says which of keras 3's operations such a call is. What each
computes is in `operations/`, one file a family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_private.lowering.registry import Refusal
from keras_private.lowering.tensorflow import translated

Function = Callable[..., Any]  # (prot, operation, *operands with the protocol's tensors)
Check = Callable[..., Iterable[Refusal]]  # (operation, *operands)
Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor among an operation's arguments: its number in the graph, its shape, batch first, and its type's name."""

    number: int
    shape: Shape
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call.

    kind: the class in keras 3. operands: Operands, lists of them, or constants. shapes: of the results. dtype: of the
    first. compute: what Keras itself makes of arrays for the operands, by their numbers; a list of results.
    """

    kind: str
    settings: Mapping[str, Any]
    operands: tuple[Any, ...]
    shapes: tuple[Shape, ...]
    dtype: str
    compute: Callable[[Mapping[int, np.ndarray[Any, Any]]], list[np.ndarray[Any, Any]]]

    def __getitem__(self, setting: str) -> Any:
        return self.settings.get(setting)

    @property
    def shape(self) -> Shape:
        """Of the first result."""
        return self.shapes[0]


_registered: dict[str, tuple[Function, Check]] = {}


def operates(*kinds: str, check: Check) -> Callable[[Function], Function]:
    """Register the decorated function as the lowering of these operations. It returns a tensor, or a list of as many
    as the operation has results."""

    def register(function: Function) -> Function:
        _registered.update(dict.fromkeys(kinds, (function, check)))
        return function

    return register


def anything(op: Operation, *operands: Any) -> Iterable[Refusal]:
    """The check of an operation that can be lowered whatever it is given."""
    del op, operands
    return ()


def known_operations() -> frozenset[str]:
    """The classes in keras 3 that have a lowering."""
    return frozenset(_registered)


def refusals(operation: Operation) -> Iterable[Refusal]:
    return _registered[operation.kind][1](operation, *operation.operands)


def lower_operation(prot: Any, operation: Operation, values: Mapping[int, Any]) -> Any:
    """The result, or a list of as many as there are."""
    operands = [replaced(operand, lambda leaf: values[leaf.number], Operand) for operand in operation.operands]
    made = _registered[operation.kind][0](prot, operation, *operands)
    return made[0] if isinstance(made, list | tuple) and len(operation.shapes) == 1 else made


def is_operation(layer: Any) -> bool:
    return not hasattr(layer, "get_weights") or type(layer).__name__ in ("TFOpLambda", "SlicingOpLambda")


def read(
    layer: Any,
    positional: tuple[Any, ...],
    named: Mapping[str, Any],
    results: Sequence[Any],
    operand: Callable[[Any], Operand],
) -> Operation | None:
    """The operation of a node; None if it is none that can be lowered.

    Args:
        positional, named: what the node was called with, symbolic tensors among it.
        results: its symbolic results.
        operand: names a symbolic tensor.
    """
    given = tuple(replaced(value, operand, Symbolic) for value in positional)
    settings = {name: replaced(value, operand, Symbolic) for name, value in named.items()}

    def compute(arrays: Mapping[int, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        args, kwargs = (replaced(each, lambda leaf: arrays[leaf.number], Operand) for each in (given, settings))
        made = (layer.function if hasattr(layer, "function") else layer.call)(*args, **kwargs)
        return [np.asarray(each) for each in (made if isinstance(made, list | tuple) else [made])]

    kind, operands, said = "", list(given), {name: value for name, value in settings.items() if value is not None}
    if hasattr(layer, "get_weights"):
        kind, said, operands = translated(layer, given, said)
    elif type(layer).__module__.startswith(("keras.src.ops", "keras.src.activ")):
        kind = type(layer).__name__
        said = {name: value for name, value in vars(layer).items() if not name.startswith("_")} | said
    if kind not in _registered:
        return None
    shapes = tuple(tuple(result.shape) for result in results)
    return Operation(kind, said, tuple(operands), shapes, type_of(results[0]), compute)


def type_of(tensor: Any) -> str:
    """The name of a symbolic tensor's type: keras has texts, tf_keras TensorFlow's types."""
    return str(getattr(tensor.dtype, "name", tensor.dtype))


class _SymbolicType(type):
    def __instancecheck__(cls, value: object) -> bool:
        return hasattr(value, "_keras_history")


class Symbolic(metaclass=_SymbolicType):
    """Whatever Keras calls a symbolic tensor."""


def replaced(value: Any, new: Callable[[Any], Any], kind: type) -> Any:
    """`value` with every leaf of this kind replaced."""
    if isinstance(value, kind):
        return new(value)
    if isinstance(value, list | tuple):
        return type(value)(replaced(item, new, kind) for item in value)
    if isinstance(value, dict):
        return {name: replaced(item, new, kind) for name, item in value.items()}
    return value
