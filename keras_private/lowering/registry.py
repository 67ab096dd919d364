"""Which function lowers which Keras layer.

A *lowering* takes a TF Encrypted protocol, the layer and its input, and computes the layer's output with calls on the
protocol:

    from keras_private.lowering import lowers, secret

    @lowers(Offset)                                        # your class, or the name of one of Keras' own layers
    def lower_offset(prot, layer, x):                      # x.shape: batch first; a list of tensors for merging layers
        return prot.add(x, secret(prot, layer.offset, "offset"))

Weights go in through `secret`, numbers that everybody may know (part of the architecture) as plain floats. What the
protocol can do is listed in `recorder.Recorder`; `examples/custom_layer.py` is a whole example.

What else a layer's call was given, a mask or a second tensor, its lowering gets by name if it says that it takes it:

    @lowers(Blend, arguments=("other",))                   # called as Blend()(x, other=y)
    def lower_blend(prot, layer, x, other): ...

Keras' own layers are registered by name, so that one lowering serves `keras` and `tf_keras`. A subclass inherits the
lowering of its base unless it has a `call` of its own: what that does, nobody here can know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Refusal(NamedTuple):
    """Why a layer, or one argument of it, cannot be lowered, and what to use instead."""

    why: str
    instead: str


Function = Callable[..., Any]  # (prot, layer, x, **arguments)
Check = Callable[..., Iterable[Refusal]]  # (layer, **arguments)
Takes = Callable[[Any], tuple[float, float] | None]


@dataclass(frozen=True, slots=True)
class Lowering:
    """function(prot, layer, x) computes the layer; check(layer) finds arguments that it cannot honour; takes(layer) is
    the range of the whole numbers that it takes, or None. arguments and several: see `lowers`."""

    function: Function
    check: Check
    takes: Takes
    arguments: frozenset[str]
    several: bool


_by_name: dict[str, Lowering] = {}
_by_class: dict[type, Lowering] = {}
_KERAS = frozenset({"keras", "tf_keras"})


def _nothing(layer: Any, **arguments: Any) -> Iterable[Refusal]:
    del layer, arguments
    return ()


def _anything(layer: Any) -> None:
    del layer


def lowers(
    *layers: str | type,
    check: Check = _nothing,
    takes: Takes = _anything,
    arguments: Iterable[str] = (),
    several: bool = False,
) -> Callable[[Function], Function]:
    """Register the decorated function as the lowering of these layers.

    Args:
        layers: names of Keras' own layers ("Dense"), or classes. The last registration wins.
        check: yields a Refusal for every argument of a layer that the lowering does not support; all of them end up
            in one UnsupportedModelError.
        takes: the (lowest, highest) whole number that a layer can take, if it takes no others: what is reckoned with
            where it reads an input of the model of which no range was declared.
        arguments: parameters of the layer's `call` behind the first that the function can honour. It gets those that
            were given (None and False are as good as not given) as keyword arguments, tensors as the protocol's; so
            does `check`, with an `Operand` (its shape, batch first) for every tensor. Any other is refused.
        several: the function returns a list of tensors if the layer's call had several results.

    Raises:
        TypeError: something other than a name or a class was given.
    """

    def register(function: Function) -> Function:
        lowering = Lowering(function, check, takes, frozenset(arguments), several)
        for layer in layers:
            if isinstance(layer, str):
                _by_name[layer] = lowering
            elif isinstance(layer, type):
                _by_class[layer] = lowering
            else:
                raise TypeError(f"lowers() takes names of Keras layers or classes, not {layer!r}")
        return function

    return register


def find(layer: Any) -> Lowering | None:
    """The lowering of this layer, or None."""
    return find_class(type(layer))


def find_class(layer: type) -> Lowering | None:
    """The lowering of layers of this class, or None."""
    for cls in layer.__mro__:
        if cls in _by_class:
            return _by_class[cls]
        if _is_layer(cls) and cls.__name__ in _by_name:
            return _by_name[cls.__name__]
        if "call" in vars(cls):  # it computes something of its own, so no base speaks for it
            return None
    return None


def _is_layer(cls: type) -> bool:
    """Whether the class is among Keras' layers: operations between layers have the same names."""
    folders = cls.__module__.split(".")
    among = not {"layers", "applications"}.isdisjoint(folders)
    return is_keras(cls) and (among or cls.__name__ == "InputLayer")  # which tf_keras keeps elsewhere


def is_keras(cls: type) -> bool:
    """Whether the class comes with Keras (either of them)."""
    return cls.__module__.partition(".")[0] in _KERAS


def known() -> list[str]:
    """Names of Keras' layers that can be lowered."""
    return sorted(_by_name)


def array(variable: Any) -> NDArray[np.float64]:
    """A Keras variable, tensor or number as float64."""
    value = variable.numpy() if hasattr(variable, "numpy") else variable
    return np.asarray(value).astype(np.float64)


def secret(prot: Any, variable: Any, name: str) -> Any:
    """A weight of the model, which the parties only get shares of."""
    return prot.define_private_variable(array(variable), name=name)


def pair(value: Any) -> tuple[int, int]:
    """2 or (2, 3) as Keras' arguments have it."""
    if isinstance(value, int):
        return value, value
    first, second = value
    return int(first), int(second)
