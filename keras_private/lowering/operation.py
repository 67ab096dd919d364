"""Operations between layers, `x + y` or `keras.ops.relu(x)`, as nodes of a functional model: read, and registered.

keras 3 keeps an object of a class of its own for each (`Add`, `GetItem`), with its settings as attributes. tf_keras
wraps TensorFlow's functions in layers; `_TENSORFLOW` says which of keras 3's operations such a call is. What each
computes is in `operations.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from keras_private.lowering.registry import Refusal

Function = Callable[..., Any]  # (prot, operation, *operands with the protocol's tensors)
Check = Callable[..., Iterable[Refusal]]  # (operation, *operands)


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor among an operation's arguments: its number in the graph and its shape, batch first."""

    number: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """kind: the class in keras 3. operands: Operands, lists of them, or constants. shape: of the result."""

    kind: str
    settings: Mapping[str, Any]
    operands: tuple[Any, ...]
    shape: tuple[int | None, ...]

    def __getitem__(self, setting: str) -> Any:
        return self.settings.get(setting)


_registered: dict[str, tuple[Function, Check]] = {}


def operates(*kinds: str, check: Check) -> Callable[[Function], Function]:
    """Register the decorated function as the lowering of these operations."""

    def register(function: Function) -> Function:
        _registered.update(dict.fromkeys(kinds, (function, check)))
        return function

    return register


def refusals(operation: Operation) -> Iterable[Refusal]:
    return _registered[operation.kind][1](operation, *operation.operands)


def lower_operation(prot: Any, operation: Operation, values: Mapping[int, Any]) -> Any:
    operands = [replaced(operand, lambda leaf: values[leaf.number], Operand) for operand in operation.operands]
    return _registered[operation.kind][0](prot, operation, *operands)


def is_operation(layer: Any) -> bool:
    return not hasattr(layer, "get_weights") or type(layer).__name__ in ("TFOpLambda", "SlicingOpLambda")


def read(
    layer: Any,
    positional: tuple[Any, ...],
    named: Mapping[str, Any],
    shape: tuple[int | None, ...],
    operand: Callable[[Any], Operand],
) -> Operation | None:
    """The operation of a node; None if it is none that can be lowered.

    Args:
        positional, named: what the node was called with, symbolic tensors among it.
        operand: names a symbolic tensor.
    """
    given = [replaced(value, operand, Symbolic) for value in positional]
    settings = {name: replaced(value, operand, Symbolic) for name, value in named.items() if value is not None}
    if hasattr(layer, "get_weights"):
        translate = _TENSORFLOW.get(str(getattr(layer, "symbol", "")))
        try:
            kind, settings, given = translate(*given, **settings) if translate else ("", {}, [])
        except TypeError:  # called with something other than is known here
            return None
    else:
        kind = type(layer).__name__ if type(layer).__module__.startswith(("keras.src.ops", "keras.src.activ")) else ""
        settings = {name: value for name, value in vars(layer).items() if not name.startswith("_")} | settings
    return Operation(kind, settings, tuple(given), shape) if kind in _registered else None


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
    return value


_Translated = tuple[str, dict[str, Any], list[Any]]


def _plain(kind: str, *settings: str) -> Callable[..., _Translated]:
    """A function of one tensor, or two, and these settings."""

    def translate(*given: Any, **named: Any) -> _Translated:
        tensors = 1 if settings else 2
        operands = [*given[:tensors], *(named.pop(name) for name in ("x", "y") if name in named)]
        found = dict(zip(settings, given[tensors:], strict=False)) | named
        found.pop("name", None)
        if set(found) - set(settings) or len(given) > tensors + len(settings):
            raise TypeError
        return kind, found, operands

    return translate


def _transpose(a: Any, perm: Any = None, name: Any = None, conjugate: bool = False) -> _Translated:
    del name, conjugate
    return "Transpose", {"axes": perm}, [a]


def _concat(values: Any, axis: Any, name: Any = None) -> _Translated:
    del name
    return "Concatenate", {"axis": axis}, [values]


def _reduce(kind: str) -> Callable[..., _Translated]:
    def translate(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None) -> _Translated:
        del name
        return kind, {"axis": axis, "keepdims": keepdims}, [input_tensor]

    return translate


def _leaky(features: Any, alpha: float = 0.2, name: Any = None) -> _Translated:
    del name
    return "LeakyRelu", {"negative_slope": alpha}, [features]


def _clip(t: Any, clip_value_min: Any, clip_value_max: Any, name: Any = None) -> _Translated:
    del name
    return "Clip", {"x_min": clip_value_min, "x_max": clip_value_max}, [t]


def _reshape(tensor: Any, shape: Any = None, name: Any = None) -> _Translated:
    del shape, name  # the symbolic result has it
    return "Reshape", {}, [tensor]


def _softmax(logits: Any, axis: int | None = None, name: Any = None) -> _Translated:
    del name
    return "Softmax", {"axis": -1 if axis is None else axis}, [logits]


def _get_item(tensor: Any, slice_spec: Any, var: Any = None) -> _Translated:
    del var

    def key(part: Any) -> Any:
        return slice(part["start"], part["stop"], part["step"]) if isinstance(part, dict) else part

    parts = slice_spec if isinstance(slice_spec, tuple | list) else [slice_spec]
    return "GetItem", {}, [tensor, tuple(map(key, parts))]


_TENSORFLOW: Mapping[str, Callable[..., _Translated]] = {
    **dict.fromkeys(("__operators__.add", "math.add"), _plain("Add")),
    "math.subtract": _plain("Subtract"),
    "math.multiply": _plain("Multiply"),
    **dict.fromkeys(("math.truediv", "math.divide"), _plain("TrueDivide")),
    "math.negative": _plain("Negative"),
    "math.square": _plain("Square"),
    "math.maximum": _plain("Maximum"),
    "math.minimum": _plain("Minimum"),
    "math.abs": _plain("Absolute"),
    "nn.relu": _plain("Relu"),
    "nn.relu6": _plain("Relu6"),
    "nn.leaky_relu": _leaky,
    "clip_by_value": _clip,
    **dict.fromkeys(("reshape", "expand_dims", "compat.v1.expand_dims", "squeeze", "compat.v1.squeeze"), _reshape),
    **dict.fromkeys(("transpose", "compat.v1.transpose"), _transpose),
    "concat": _concat,
    "math.reduce_mean": _reduce("Mean"),
    "math.reduce_sum": _reduce("Sum"),
    "linalg.matmul": _plain("Matmul"),
    "__operators__.getitem": _get_item,
    **dict.fromkeys(("nn.softmax", "compat.v1.nn.softmax"), _softmax),
    **dict.fromkeys(("math.sigmoid", "nn.sigmoid"), _plain("Sigmoid")),
    **dict.fromkeys(("math.tanh", "nn.tanh"), _plain("Tanh")),
}
