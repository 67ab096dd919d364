"""Activations: given by name or function, and as layers of their own.

A comparison is dear and everything else here is free, so each function is written with as few ReLUs as it can be:
leaky_relu(x) = a·x + (1 - a)·relu(x), one ReLU. What is cut off at both ends is one `clip` of the recorder's, whose
range is known exactly; TF Encrypted's protocols have none, and take a difference of two ReLUs. Curves are read from
tables (`spline` of the recorder's), which no protocol of TF Encrypted's has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from keras_private.lowering.layers.softmax import log_softmax, softmax
from keras_private.lowering.registry import Refusal, array, find, lowers, secret
from keras_private.plan.spline.functions import MAX_PARAMETER

_AT_THE_CLIENT = "if it ends the model, leave it out and apply it to what query_model returns"
_OTHERS = f"use relu, sigmoid, tanh, gelu, silu or another of the README's list and train again; {_AT_THE_CLIENT}"


def leaky_relu(prot: Any, x: Any, slope: float) -> Any:
    """x where positive, slope·x elsewhere."""
    if slope == 0:
        return prot.relu(x)
    if slope == 1:
        return x
    return prot.add(prot.mul(x, slope), prot.mul(prot.relu(x), 1.0 - slope))


def relu(prot: Any, x: Any, slope: float = 0.0, ceiling: float | None = None, threshold: float = 0.0) -> Any:
    """Keras' ReLU: x above the threshold and 0 below, cut off at the ceiling; plus slope·(x - threshold) below."""
    if threshold == 0:
        if ceiling is None:
            return leaky_relu(prot, x, slope)
        if slope == 0:
            return clip(prot, x, 0.0, ceiling)
        positive = prot.relu(x)
        y = prot.sub(positive, prot.relu(prot.add(x, -ceiling)))  # from x, so that both ReLUs run at once
    else:
        x = prot.add(x, -threshold)  # Keras allows no negative threshold
        positive, y = _jump(prot, x, threshold)
        if ceiling is not None:
            y = prot.sub(y, prot.relu(prot.add(y, -ceiling)))
    if slope == 0:
        return y
    return prot.add(y, prot.mul(prot.sub(x, positive), slope))  # x - relu(x) is min(x, 0)


def clip(prot: Any, x: Any, low: float, high: float) -> Any:
    """x where between low and high, else the nearer of the two."""
    if hasattr(prot, "clip") and low <= high:
        return prot.clip(x, low, high)
    raised = prot.add(x, -low)
    return prot.add(prot.sub(prot.relu(raised), prot.relu(prot.add(raised, low - high))), low)


def _jump(prot: Any, x: Any, height: float) -> tuple[Any, Any]:
    """relu(x), and the same raised by `height` where x > 0.

    A protocol's ReLU is exact on fixed-point values, and on those "x > 0" is the same as "x ≥ e" with e the smallest of
    them. So relu(x) - relu(x - e) is e above 0 and 0 elsewhere, a step. Both ReLUs must see the same fixed-point value,
    whatever x was rounded from: relu(x + 1), minus 1, is one, because the output of a ReLU is rounded already.
    """
    smallest = 1.0 / prot.fixedpoint_config.scaling_factor
    rounded = prot.relu(prot.add(x, 1.0))
    positive = prot.relu(prot.add(rounded, -1.0))
    shifted = prot.relu(prot.add(rounded, -1.0 - smallest))
    return positive, prot.add(positive, prot.mul(prot.sub(positive, shifted), height / smallest))


def _curve(name: str, *parameters: float) -> Callable[[Any, Any], Any]:
    return lambda prot, x: prot.spline(x, name, *parameters)


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # of Klambauer et al., 2017, as Keras has them

_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "linear": lambda _, x: x,
    "relu": lambda prot, x: prot.relu(x),
    "relu6": lambda prot, x: relu(prot, x, ceiling=6.0),
    "leaky_relu": lambda prot, x: leaky_relu(prot, x, 0.2),
    "hard_sigmoid": lambda prot, x: clip(prot, prot.add(prot.mul(x, 1 / 6), 0.5), 0.0, 1.0),
    "tf_keras.hard_sigmoid": lambda prot, x: clip(prot, prot.add(prot.mul(x, 0.2), 0.5), 0.0, 1.0),
    "hard_tanh": lambda prot, x: clip(prot, x, -1.0, 1.0),
    "sigmoid": _curve("sigmoid"),
    "tanh": _curve("tanh"),
    "gelu": _curve("gelu"),
    "silu": _curve("silu"),
    "swish": _curve("silu"),
    "mish": _curve("mish"),
    "softplus": _curve("softplus"),
    "softsign": _curve("softsign"),
    "elu": _curve("elu", 1.0),
    "celu": _curve("elu", 1.0),
    "selu": lambda prot, x: prot.mul(prot.spline(x, "elu", _SELU_ALPHA), _SELU_SCALE),
    "squareplus": _curve("squareplus", 4.0),
    "sparse_plus": _curve("sparse_plus"),
    "log_sigmoid": lambda prot, x: prot.negative(prot.spline(prot.negative(x), "softplus")),
    "softmax": lambda prot, x: softmax(prot, x, [-1]),
    "log_softmax": log_softmax,
    "tanh_shrink": lambda prot, x: prot.sub(x, prot.spline(x, "tanh")),
}


def activate(prot: Any, activation: Any, x: Any) -> Any:
    """Apply a layer's `activation` argument: None, a name, one of Keras' functions, or a layer."""
    name = name_of(activation)
    if name in _FUNCTIONS:
        return _FUNCTIONS[name](prot, x)
    lowering = find(activation)
    assert lowering is not None, "checked before lowering"  # noqa: S101
    return lowering.function(prot, activation, x)


def check_activation(activation: Any) -> Iterable[Refusal]:
    """Refusals of an `activation` argument."""
    name = name_of(activation)
    if name in _FUNCTIONS:
        return
    lowering = find(activation)
    if lowering is not None:
        yield from lowering.check(activation)
    else:
        yield Refusal(f"activation {name or type(activation).__name__} is not supported", _OTHERS)


def name_of(activation: Any) -> str:
    """Name of one of Keras' or TensorFlow's own functions; "" for anything else, whatever it calls itself.

    One name means two things: tf_keras' hard_sigmoid is steeper, and has a prefix here.
    """
    if activation is None:
        return "linear"
    if isinstance(activation, str):
        return activation
    module = str(getattr(activation, "__module__", "")).partition(".")[0]
    if isinstance(activation, type) or module not in ("keras", "tf_keras", "tensorflow"):
        return ""
    name = str(getattr(activation, "__name__", ""))
    return f"{module}.{name}" if (module, name) == ("tf_keras", "hard_sigmoid") else name


def _check(layer: Any) -> Iterable[Refusal]:
    return check_activation(layer.activation)


@lowers("Activation", check=_check)
def lower_activation(prot: Any, layer: Any, x: Any) -> Any:
    return activate(prot, layer.activation, x)


@lowers("ReLU")
def lower_relu(prot: Any, layer: Any, x: Any) -> Any:
    ceiling = None if layer.max_value is None else float(array(layer.max_value))
    return relu(prot, x, float(array(layer.negative_slope)), ceiling, float(array(layer.threshold)))


@lowers("PReLU")
def lower_prelu(prot: Any, layer: Any, x: Any) -> Any:
    positive = prot.relu(x)
    return prot.add(positive, prot.mul(prot.sub(x, positive), secret(prot, layer.alpha, "alpha")))


def _check_elu(layer: Any) -> Iterable[Refusal]:
    if not 0 < float(array(layer.alpha)) <= MAX_PARAMETER:
        yield Refusal(
            f"alpha {float(array(layer.alpha))} is not supported", f"use one above 0, {MAX_PARAMETER:g} at most"
        )


@lowers("ELU", check=_check_elu)
def lower_elu(prot: Any, layer: Any, x: Any) -> Any:
    return prot.spline(x, "elu", float(array(layer.alpha)))


@lowers("LeakyReLU")
def lower_leaky_relu(prot: Any, layer: Any, x: Any) -> Any:
    slope = layer.negative_slope if hasattr(layer, "negative_slope") else layer.alpha  # alpha: tf_keras
    return leaky_relu(prot, x, float(array(slope)))
