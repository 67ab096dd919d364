"""Activations: given by name or function, and as layers of their own.

What they compute is in `lowering/functions.py` and, of functions of whole rows, in `rows.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from keras_private.lowering.functions import (
    clip,
    curve,
    exp,
    hard_shrink,
    hard_sigmoid,
    leaky_relu,
    relu,
    soft_shrink,
)
from keras_private.lowering.layers.softmax import log_softmax, softmax
from keras_private.lowering.registry import Refusal, array, find, lowers, secret
from keras_private.lowering.rows import sparsemax
from keras_private.plan.spline.functions import MAX_PARAMETER

_AT_THE_CLIENT = "if it ends the model, leave it out and apply it to what query_model returns"
_OTHERS = f"use relu, sigmoid, tanh, gelu, silu or another of the README's list and train again; {_AT_THE_CLIENT}"


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # of Klambauer et al., 2017, as Keras has them

_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "linear": lambda _, x: x,
    # pieces of lines
    "relu": lambda prot, x: prot.relu(x),
    "relu6": lambda prot, x: relu(prot, x, ceiling=6.0),
    "leaky_relu": lambda prot, x: leaky_relu(prot, x, 0.2),
    "hard_sigmoid": hard_sigmoid,
    "tf_keras.hard_sigmoid": lambda prot, x: clip(prot, prot.add(prot.mul(x, 0.2), 0.5), 0.0, 1.0),
    "hard_tanh": lambda prot, x: clip(prot, x, -1.0, 1.0),
    "sparse_sigmoid": lambda prot, x: prot.mul(prot.add(clip(prot, x, -1.0, 1.0), 1.0), 0.5),
    "hard_silu": lambda prot, x: prot.mul(x, hard_sigmoid(prot, x)),
    "hard_swish": lambda prot, x: prot.mul(x, hard_sigmoid(prot, x)),
    "hard_shrink": lambda prot, x: hard_shrink(prot, x, 0.5),
    "soft_shrink": lambda prot, x: soft_shrink(prot, x, 0.5),
    # curves
    "exponential": exp,
    "sigmoid": curve("sigmoid"),
    "tanh": curve("tanh"),
    "gelu": curve("gelu"),
    "keras.ops.gelu": curve("gelu_tanh"),
    "silu": curve("silu"),
    "swish": curve("silu"),
    "mish": curve("mish"),
    "softplus": curve("softplus"),
    "softsign": curve("softsign"),
    "elu": curve("elu", 1.0),
    "celu": curve("elu", 1.0),
    "selu": lambda prot, x: prot.mul(prot.spline(x, "elu", _SELU_ALPHA), _SELU_SCALE),
    "squareplus": curve("squareplus", 4.0),
    "sparse_plus": curve("sparse_plus"),
    "log_sigmoid": lambda prot, x: prot.negative(prot.spline(prot.negative(x), "softplus")),
    "tanh_shrink": lambda prot, x: prot.sub(x, prot.spline(x, "tanh")),
    # of rows
    "softmax": lambda prot, x: softmax(prot, x, [-1]),
    "log_softmax": log_softmax,
    "sparsemax": sparsemax,
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
    if name == "glu":
        yield Refusal("activation glu halves what Keras takes for the shape", "use keras.ops.glu(x) between layers")
        return
    lowering = find(activation)
    if lowering is not None:
        yield from lowering.check(activation)
    else:
        yield Refusal(f"activation {name or type(activation).__name__} is not supported", _OTHERS)


def name_of(activation: Any) -> str:
    """Name of one of Keras' or TensorFlow's own functions; "" for anything else, whatever it calls itself.

    Two names mean two things, and have a prefix here: tf_keras' hard_sigmoid is steeper, and keras.ops' gelu the
    approximation by a tanh.
    """
    if activation is None:
        return "linear"
    if isinstance(activation, str):
        return activation
    folders = str(getattr(activation, "__module__", "")).split(".")
    if isinstance(activation, type) or folders[0] not in ("keras", "tf_keras", "tensorflow"):
        return ""
    name = str(getattr(activation, "__name__", ""))
    if (folders[0], name) == ("tf_keras", "hard_sigmoid"):
        return "tf_keras.hard_sigmoid"
    return "keras.ops.gelu" if folders[0] == "keras" and "ops" in folders and name == "gelu" else name


def _check(layer: Any) -> Iterable[Refusal]:
    return check_activation(layer.activation)


@lowers("Activation", check=_check)
def lower_activation(prot: Any, layer: Any, x: Any) -> Any:
    return activate(prot, layer.activation, x)


@lowers("ReLU")
def lower_relu(prot: Any, layer: Any, x: Any) -> Any:
    ceiling = None if layer.max_value is None else float(array(layer.max_value))
    return relu(prot, x, float(array(layer.negative_slope)), ceiling, float(array(layer.threshold)))


@lowers("ThresholdedReLU")
def lower_thresholded_relu(prot: Any, layer: Any, x: Any) -> Any:
    return relu(prot, x, threshold=float(array(layer.theta)))


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
