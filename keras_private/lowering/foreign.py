"""Lowerings that are not ours: their mistakes get a name, and `check` compares what they record with their layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_private.errors import PlanError
from keras_private.lowering.graph import Call
from keras_private.lowering.layout import sizes
from keras_private.lowering.registry import Lowering
from keras_private.plan.evaluate import evaluate

TOLERANCE = 1e-3  # of the largest output: beyond that a lowering does not say what its layer does
_OURS = __name__.rpartition(".")[0] + "."
_ROWS = 8
_REACH = 2.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """A lowering beside its layer, on random inputs.

    difference: the largest of any output value; infinite if shapes differ or one is no number. largest: the largest
    magnitude of the layer's outputs.
    """

    layer: str
    lowering: str
    difference: float
    largest: float

    @property
    def agrees(self) -> bool:
        return self.difference <= TOLERANCE * max(self.largest, 1.0)

    def __str__(self) -> str:
        verdict = "agrees with" if self.agrees else "DIFFERS from"
        return (
            f"layer {self.layer!r}: its lowering {self.lowering} {verdict} it: largest difference "
            f"{self.difference:.2g}, values up to {self.largest:.2g} (random inputs from -{_REACH:g} to {_REACH:g})"
        )


def is_foreign(lowering: Lowering) -> bool:
    return not lowering.function.__module__.startswith(_OURS)


def run_lowering(lowering: Lowering, prot: Any, call: Call, given: Any, arguments: Mapping[str, Any]) -> Any:
    """What the lowering makes of `given`, a tensor or a list of them, and of what else it takes of the call.

    Raises:
        PlanError: a foreign lowering failed, or returned something other than a tensor of its layer's output shape.
    """
    if not is_foreign(lowering):
        return lowering.function(prot, call.layer, given, **arguments)
    who = f"layer {call.name!r}: its lowering {_name(lowering)}"
    try:
        result = lowering.function(prot, call.layer, given, **arguments)
    except Exception as error:  # whatever code of others raises, the message must say whose it is
        raise PlanError(f"{who} failed: {type(error).__name__}: {error}") from error
    if len(call.outputs) > 1:
        if isinstance(result, list | tuple) and len(result) == len(call.outputs) and all(map(_is_tensor, result)):
            return result
        raise PlanError(f"{who} did not return a list of {len(call.outputs)} tensors, one for each output")
    if not _is_tensor(result):
        what = "None; it must return the output" if result is None else f"{type(result).__name__}, not a tensor"
        raise PlanError(f"{who} returned {what} (what prot.add, prot.relu and so on return)")
    expected = _expected(call, given)
    if expected is not None and sizes(result) != expected:
        raise PlanError(
            f"{who} returned a tensor of shape {('batch', *sizes(result))}, but the layer's output has shape "
            f"{('batch', *expected)}"
        )
    return result


def compare(lowering: Lowering, call: Call, shapes: Sequence[tuple[int, ...]], new: Callable[..., Any]) -> Comparison:
    """Record the lowering alone, evaluate that in plain numbers, and hold it against the layer.

    Args:
        shapes: per sample, of the layer's inputs.
        new: makes a Recorder for an input of some shape.
    """
    random = np.random.default_rng(17)
    xs = [random.uniform(-_REACH, _REACH, (_ROWS, *shape)).astype(np.float32) for shape in shapes]
    prot = new((sum(math.prod(shape) for shape in shapes),))
    parts = list(_parts(prot, shapes))
    draft = prot.finish(run_lowering(lowering, prot, call, parts if call.many else parts[0], {}))
    got = evaluate(draft, np.concatenate([x.reshape(_ROWS, -1) for x in xs], axis=1))
    expected = np.asarray(call.layer(xs if call.many else xs[0])).astype(np.float64)
    same = got.shape == expected.shape
    difference = float(np.max(np.abs(got - expected), initial=0.0)) if same else math.inf
    largest = float(np.max(np.abs(expected), initial=0.0))
    return Comparison(call.name, _name(lowering), math.inf if math.isnan(difference) else difference, largest)


def _parts(prot: Any, shapes: Sequence[tuple[int, ...]]) -> Iterator[Any]:
    """The inputs of a layer, side by side in the one input that a plan has."""
    at = 0
    for shape in shapes:
        size = math.prod(shape)
        yield prot.reshape(prot.gather(prot.input, range(at, at + size), 1), [-1, *shape])
        at += size


def _expected(call: Call, given: Any) -> tuple[int, ...] | None:
    """The layer's output shape per sample, from the graph or from the layer; None if neither knows."""
    shapes = [(None, *sizes(x)) for x in given] if call.many else (None, *sizes(given))
    for ask in (
        lambda: call.shape,
        lambda: call.layer.output.shape,  # if it was called once
        lambda: call.layer.compute_output_shape(shapes),
    ):
        try:
            shape = ask()
        except Exception:  # noqa: BLE001, S112  a layer of somebody's own need not know, and may say so in any way
            continue
        if shape is not None:
            return None if None in tuple(shape)[1:] else tuple(int(size) for size in tuple(shape)[1:])
    return None


def _is_tensor(result: Any) -> bool:
    return hasattr(result, "prot") and hasattr(result, "shape")


def _name(lowering: Lowering) -> str:
    function = lowering.function
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"
