"""Layers with several inputs: Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

from keras_private.lowering.registry import Refusal, lowers


@lowers("Add")
def lower_add(prot: Any, layer: Any, xs: Any) -> Any:
    del layer
    return reduce(prot.add, xs)


@lowers("Subtract")
def lower_subtract(prot: Any, layer: Any, xs: Any) -> Any:
    del layer
    return prot.sub(xs[0], xs[1])


@lowers("Multiply")
def lower_multiply(prot: Any, layer: Any, xs: Any) -> Any:
    del layer
    return reduce(prot.mul, xs)


@lowers("Average")
def lower_average(prot: Any, layer: Any, xs: Any) -> Any:
    del layer
    return prot.mul(reduce(prot.add, xs), 1.0 / len(xs))


@lowers("Maximum")
def lower_maximum(prot: Any, layer: Any, xs: Any) -> Any:
    del layer
    return reduce(lambda x, y: maximum(prot, x, y), xs)


@lowers("Minimum")
def lower_minimum(prot: Any, layer: Any, xs: Any) -> Any:
    del layer
    return reduce(lambda x, y: minimum(prot, x, y), xs)


def maximum(prot: Any, x: Any, y: Any) -> Any:
    return prot.add(prot.relu(prot.sub(x, y)), y)


def minimum(prot: Any, x: Any, y: Any) -> Any:
    return prot.sub(x, prot.relu(prot.sub(x, y)))


def _check_concatenate(layer: Any) -> Iterable[Refusal]:
    if layer.axis == 0:
        yield Refusal("axis 0 is the batch", "join along another axis")


@lowers("Concatenate", check=_check_concatenate)
def lower_concatenate(prot: Any, layer: Any, xs: Any) -> Any:
    return prot.concat(xs, axis=layer.axis % len(xs[0].shape))
