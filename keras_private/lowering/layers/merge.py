"""Layers with several inputs: Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate, Dot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Any

from keras_private.lowering import functions as fn
from keras_private.lowering.layout import sizes
from keras_private.lowering.registry import Refusal, lowers

_LEAST = 1e-9  # what a mean of squares is raised by, lest rows of zeros be divided by 0


def _aligned(prot: Any, xs: Any) -> list[Any]:
    """All with as many axes: Keras puts those that are missing behind the batch."""
    rank = max(len(x.shape) for x in xs)
    return [x if len(x.shape) == rank else prot.reshape(x, [-1, *(1,) * (rank - len(x.shape)), *sizes(x)]) for x in xs]


def _joined(prot: Any, xs: Any, join: Callable[[Any, Any], Any]) -> Any:
    return reduce(join, _aligned(prot, xs))


@lowers("Add")
def lower_add(prot: Any, layer: Any, xs: Any) -> Any:
    del layer
    return _joined(prot, xs, prot.add)


@lowers("Subtract")
def lower_subtract(prot: Any, layer: Any, xs: Any) -> Any:
    del layer
    return _joined(prot, xs, prot.sub)


@lowers("Multiply")
def lower_multiply(prot: Any, layer: Any, xs: Any) -> Any:
    del layer
    return _joined(prot, xs, lambda x, y: fn.multiply(prot, x, y))


@lowers("Average")
def lower_average(prot: Any, layer: Any, xs: Any) -> Any:
    del layer
    return prot.mul(_joined(prot, xs, prot.add), 1.0 / len(xs))


@lowers("Maximum")
def lower_maximum(prot: Any, layer: Any, xs: Any) -> Any:
    del layer
    return _joined(prot, xs, lambda x, y: fn.maximum(prot, x, y))


@lowers("Minimum")
def lower_minimum(prot: Any, layer: Any, xs: Any) -> Any:
    del layer
    return _joined(prot, xs, lambda x, y: fn.minimum(prot, x, y))


def _check_concatenate(layer: Any) -> Iterable[Refusal]:
    if layer.axis == 0:
        yield Refusal("axis 0 is the batch", "join along another axis")


@lowers("Concatenate", check=_check_concatenate)
def lower_concatenate(prot: Any, layer: Any, xs: Any) -> Any:
    return prot.concat(xs, axis=layer.axis % len(xs[0].shape))


def _check_dot(layer: Any) -> Iterator[Refusal]:
    axes = [layer.axes] if isinstance(layer.axes, int) else list(layer.axes)
    if 0 in axes:
        yield Refusal("it would multiply the rows of a batch with each other", "use other axes")


@lowers("Dot", check=_check_dot)
def lower_dot(prot: Any, layer: Any, xs: Any) -> Any:
    """The sum over one axis of each; the others of both stay, those of the first in front."""
    x, y = xs
    first, second = (layer.axes, layer.axes) if isinstance(layer.axes, int) else layer.axes
    first, second = first % len(x.shape), second % len(y.shape)
    if layer.normalize:
        x, y = unit(prot, x, first), unit(prot, y, second)
    left = "b" + "cdefg"[: len(x.shape) - 1]
    right = "b" + "tuvwxyz"[: len(y.shape) - 1]
    right = right.replace(right[second], left[first])
    kept = "".join(label for label in (*left[1:], *right[1:]) if label != left[first])
    made = prot.einsum(f"{left},{right}->b{kept}", x, y)
    return made if kept else prot.reshape(made, [-1, 1])


def unit(prot: Any, x: Any, axis: int) -> Any:
    """Rows along an axis divided by their Euclidean norms."""
    count = sizes(x)[axis % len(x.shape) - 1]
    return prot.mul(prot.normalise(x, [axis], _LEAST, centre=False), count**-0.5)
