"""TensorFlow's functions in models of tf_keras: which of keras 3's operations each is.

Arguments are read by the names that TensorFlow gives them. One that has no counterpart must have its default.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Translated = tuple[str, dict[str, Any], list[Any]]  # the kind, its settings, its operands
NOTHING: Translated = ("", {}, [])


class _Same(NamedTuple):
    """An operation of keras 3: the parameters that are its operands, and those that are its settings by their names."""

    kind: str
    operands: Sequence[str]
    settings: Mapping[str, str]


def translated(layer: Any, positional: Sequence[Any], named: Mapping[str, Any]) -> Translated:
    """The call of a function as one of an operation; NOTHING if there is none, or it was called in a way not known."""
    symbol = str(getattr(layer, "symbol", ""))
    if symbol == "__operators__.getitem":
        return _item(*positional, **named)
    same = _FUNCTIONS.get(symbol)
    if same is None:
        return NOTHING
    try:
        function: Any = layer.function
        signature = inspect.signature(function)
        given = signature.bind(*positional, **named)
    except (TypeError, ValueError):
        return NOTHING
    said = {name: value for name, value in given.arguments.items() if name not in ("name", *_HARMLESS)}
    if any(
        name not in (*same.operands, *same.settings) and _means(signature, name, value) for name, value in said.items()
    ):
        return NOTHING
    settings = {
        ours: said.get(theirs, _default(signature, theirs))
        for theirs, ours in same.settings.items()
        if theirs in signature.parameters
    }
    adjust = _ADJUSTED.get(symbol)
    operands: list[Any] = []
    for name in same.operands:
        if name in said:
            several = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            operands += said[name] if several else [said[name]]
    return same.kind, adjust(settings) if adjust else settings, operands


_HARMLESS = ("validate_indices", "use_cudnn_on_gpu", "conjugate", "index_type", "output_type")


def _default(signature: inspect.Signature, name: str) -> Any:
    default = signature.parameters[name].default
    return None if default is inspect.Parameter.empty else default


def _means(signature: inspect.Signature, name: str, value: Any) -> bool:
    """Whether an argument without a counterpart says something."""
    return value is not None and value is not False and value != _default(signature, name)


def _item(tensor: Any, slice_spec: Any, var: Any = None) -> Translated:
    del var

    def key(part: Any) -> Any:
        return slice(part["start"], part["stop"], part["step"]) if isinstance(part, dict) else part

    parts = slice_spec if isinstance(slice_spec, tuple | list) else [slice_spec]
    return "GetItem", {}, [tensor, tuple(map(key, parts))]


def _of(kind: str, *operands: str, **settings: str) -> _Same:
    return _Same(kind, operands, settings)


def _reduction(kind: str, **settings: str) -> _Same:
    return _of(kind, "input_tensor", axis="axis", keepdims="keepdims", **settings)


_X, _XY = ("x",), ("x", "y")
_UNARY: Mapping[str, str] = {
    "negative": "Negative",
    "square": "Square",
    "abs": "Absolute",
    "sign": "Sign",
    "exp": "Exp",
    "expm1": "Expm1",
    "sqrt": "Sqrt",
    "rsqrt": "Rsqrt",
    "log": "Log",
    "log1p": "Log1p",
    "erf": "Erf",
    "erfc": "Erfc",
    "reciprocal": "Reciprocal",
    "floor": "Floor",
    "ceil": "Ceil",
    "sigmoid": "Sigmoid",
    "log_sigmoid": "LogSigmoid",
    "tanh": "Tanh",
    "logical_not": "LogicalNot",
}
_BINARY: Mapping[str, str] = {
    "add": "Add",
    "subtract": "Subtract",
    "multiply": "Multiply",
    "truediv": "TrueDivide",
    "pow": "Power",
    "maximum": "Maximum",
    "minimum": "Minimum",
    "squared_difference": "SquaredDifference",
    "floormod": "Mod",
    "greater": "Greater",
    "greater_equal": "GreaterEqual",
    "less": "Less",
    "less_equal": "LessEqual",
    "equal": "Equal",
    "not_equal": "NotEqual",
    "logical_and": "LogicalAnd",
    "logical_or": "LogicalOr",
}
_FUNCTIONS: Mapping[str, _Same] = {
    **{f"math.{name}": _of(kind, *_X) for name, kind in _UNARY.items()},
    **{f"math.{name}": _of(kind, *_XY) for name, kind in _BINARY.items()},
    "__operators__.add": _of("Add", *_XY),
    "__operators__.eq": _of("Equal", "self", "other"),
    "__operators__.ne": _of("NotEqual", "self", "other"),
    "compat.v1.floor_div": _of("FloorDivide", *_XY),
    "math.add_n": _of("AddN", "inputs"),
    "nn.bias_add": _of("Add", "value", "bias"),
    "nn.relu": _of("Relu", "features"),
    "nn.relu6": _of("Relu6", "features"),
    "nn.leaky_relu": _of("LeakyRelu", "features", alpha="negative_slope"),
    "nn.elu": _of("Elu", "features"),
    "nn.selu": _of("Selu", "features"),
    "nn.gelu": _of("Gelu", "features", approximate="approximate"),
    "nn.silu": _of("Silu", "features"),
    "nn.softsign": _of("Softsign", "features"),
    "math.softplus": _of("Softplus", "features"),
    **dict.fromkeys(("nn.softmax", "compat.v1.nn.softmax"), _of("Softmax", "logits", axis="axis")),
    **dict.fromkeys(("nn.log_softmax", "compat.v1.nn.log_softmax"), _of("LogSoftmax", "logits", axis="axis")),
    "clip_by_value": _of("Clip", "t", clip_value_min="x_min", clip_value_max="x_max"),
    "cast": _of("Cast", "x", dtype="dtype"),
    "where": _of("Where", "condition", "x", "y"),
    "one_hot": _of("OneHot", "indices", depth="num_classes", axis="axis"),
    # along axes
    "math.reduce_mean": _reduction("Mean"),
    "math.reduce_sum": _reduction("Sum"),
    "math.reduce_max": _reduction("Max"),
    "math.reduce_min": _reduction("Min"),
    "math.reduce_prod": _reduction("Prod"),
    "math.reduce_any": _reduction("Any"),
    "math.reduce_all": _reduction("All"),
    "math.reduce_variance": _reduction("Var"),
    "math.reduce_std": _reduction("Std"),
    "math.reduce_logsumexp": _reduction("Logsumexp"),
    "compat.v1.norm": _of("Norm", "tensor", ord="ord", axis="axis", keepdims="keepdims"),
    "math.l2_normalize": _of("L2Normalize", "x", axis="axis", epsilon="epsilon"),
    "math.argmax": _of("Argmax", "input", axis="axis"),
    "math.argmin": _of("Argmin", "input", axis="axis"),
    "math.top_k": _of("TopK", "input", k="k", sorted="sorted"),
    "sort": _of("Sort", "values", axis="axis"),
    "math.cumsum": _of("Cumsum", "x", axis="axis"),
    # products
    "linalg.matmul": _of("Matmul", "a", "b", transpose_a="transpose_a", transpose_b="transpose_b"),
    "einsum": _Same("Einsum", ("inputs",), {"equation": "subscripts"}),
    "tensordot": _of("Tensordot", "a", "b", axes="axes"),
    # moves
    "reshape": _of("Reshape", "tensor", shape="newshape"),
    "expand_dims": _of("ExpandDims", "input", axis="axis"),
    "compat.v1.squeeze": _of("Squeeze", "input", axis="axis", squeeze_dims="dims"),
    "compat.v1.transpose": _of("Transpose", "a", perm="axes"),
    "concat": _of("Concatenate", "values", axis="axis"),
    "stack": _of("Stack", "values", axis="axis"),
    "split": _of("Split", "value", num_or_size_splits="sizes", axis="axis", num="num"),
    "unstack": _of("Unstack", "value", axis="axis", num="num"),
    "tile": _of("Tile", "input", multiples="repeats"),
    "roll": _of("Roll", "input", shift="shift", axis="axis"),
    "reverse": _of("Flip", "tensor", axis="axis"),
    "repeat": _of("Repeat", "input", repeats="repeats", axis="axis"),
    "slice": _of("Slice", "input_", begin="begin", size="size"),
    "compat.v1.gather": _of("Take", "params", "indices", axis="axis"),
    "compat.v1.pad": _of("Pad", "tensor", paddings="pad_width", mode="mode", constant_values="constant_values"),
    "linalg.band_part": _of("Tril", "input", num_lower="lower", num_upper="upper"),
    "nn.depth_to_space": _of("DepthToSpace", "input", block_size="block_size", data_format="data_format"),
    "nn.space_to_depth": _of("SpaceToDepth", "input", block_size="block_size", data_format="data_format"),
    **dict.fromkeys(("identity", "stop_gradient"), _of("StopGradient", "input")),
}


def _lowercase(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "mode": str(settings["mode"]).lower()}


def _axis(otherwise: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Of functions that take something else than all axes where none is given."""
    return lambda settings: {**settings, "axis": otherwise if settings["axis"] is None else settings["axis"]}


def _euclidean(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "ord": None if settings["ord"] == "euclidean" else settings["ord"]}


def _typed(settings: dict[str, Any]) -> dict[str, Any]:
    return {"dtype": str(getattr(settings["dtype"], "name", settings["dtype"]))}


_ADJUSTED: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "cast": _typed,
    "compat.v1.pad": _lowercase,
    "compat.v1.norm": _euclidean,
    **dict.fromkeys(
        ("nn.softmax", "compat.v1.nn.softmax", "nn.log_softmax", "compat.v1.nn.log_softmax", "one_hot"), _axis(-1)
    ),
    **dict.fromkeys(("math.argmax", "math.argmin", "compat.v1.gather"), _axis(0)),
}


def known_functions() -> frozenset[str]:
    """The functions of TensorFlow that are an operation of keras 3, by the names that tf_keras knows them by."""
    return frozenset({*_FUNCTIONS, "__operators__.getitem"})
