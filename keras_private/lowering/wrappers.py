"""Layers that run other layers: Pipeline, one after the other; TimeDistributed, a layer or a whole model on every step.

Layer by layer over all steps, not step by step: so the products of all steps lie next to each other in the plan and are
opened in one round (`plan/schedule.py`). What works along the last axis, or value by value, takes all steps at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from keras_private.lowering.graph import Call, Graph, graph_of
from keras_private.lowering.layers import convolution, dense
from keras_private.lowering.layers.activation import (
    activate,
    lower_activation,
    lower_elu,
    lower_leaky_relu,
    lower_relu,
    name_of,
)
from keras_private.lowering.layers.cells import steps_of
from keras_private.lowering.layers.noise import lower_identity
from keras_private.lowering.model import lowered
from keras_private.lowering.registry import Lowering, Refusal, find, lowers
from keras_private.lowering.validate import call_problems

# What works value by value or along the last axis: any axes may stand before it.
_ALONG = (dense.lower_dense, lower_activation, lower_relu, lower_leaky_relu, lower_elu, lower_identity)


class _Linear:
    """A layer without its activation."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.activation = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


class _Steps:
    """A value of every step: as one tensor, or as one for each."""

    def __init__(self, prot: Any, *, whole: Any = None, parts: list[Any] | None = None) -> None:
        self._prot, self._whole, self._parts = prot, whole, parts

    @property
    def whole(self) -> Any:
        if self._whole is None:
            self._whole = self._prot.stack(self._parts, 1)
        return self._whole

    @property
    def parts(self) -> list[Any]:
        if self._parts is None:
            self._parts = steps_of(self._prot, self._whole)
        return self._parts


def _graph(inner: Any) -> Graph | None:
    """What is done in every step: one call of a layer that has a lowering, or a model's."""
    return graph_of(inner) if find(inner) is None else _row([inner])


def _row(layers: Sequence[Any]) -> Graph:
    """One layer after the other."""
    calls = [Call(layer.name, layer, (number,), (number + 1,)) for number, layer in enumerate(layers)]
    return Graph(tuple(calls), (0,), (len(calls),), ("",))


def _check(layer: Any, mask: Any = None) -> Iterator[Refusal]:
    inner = layer.layer
    graph = _graph(inner)
    if graph is None:
        yield from _problems(_row([inner]))
        return
    if mask is not None and "mask" in inspect.signature(inner.call).parameters:
        yield Refusal(f"it is called with a mask, which its {type(inner).__name__} would take", "pad without a mask")
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        yield Refusal("its model has several inputs or outputs", "use one of each, and Concatenate")
    yield from _problems(graph)


def _problems(graph: Graph) -> Iterator[Refusal]:
    for call in graph.calls:
        for why, instead in call_problems(call):
            yield Refusal(f"its {type(call.layer).__name__} {call.name}: {why}", instead)


@lowers("TimeDistributed", check=_check, arguments=("mask",))
def lower_time_distributed(prot: Any, layer: Any, x: Any, mask: Any = None) -> Any:
    """A mask is for its layer, and for layers behind it."""
    del mask
    graph = _graph(layer.layer)
    assert graph is not None, "checked before lowering"  # noqa: S101
    values = {graph.inputs[0]: _Steps(prot, whole=x)}
    for call in graph.calls:
        made = _called(prot, call, values)
        values.update(zip(call.outputs, made, strict=True))
    return values[graph.outputs[0]].whole


def _called(prot: Any, call: Call, values: dict[int, _Steps]) -> list[_Steps]:
    """The outputs of one layer in all steps."""
    lowering = None if call.operation is not None else find(call.layer)
    if lowering is not None and lowering.function in _ALONG:
        whole = lowered(call, prot, {number: values[number].whole for number in call.reads})
        return [_Steps(prot, whole=whole)]
    activation = getattr(call.layer, "activation", None)
    behind = lowering is not None and _ends_so(lowering) and name_of(activation) not in ("", "linear")
    if behind:
        call = Call(call.name, _Linear(call.layer), call.inputs, call.outputs, call.arguments, call.many)
    made = []
    for step in range(len(values[call.reads[0]].parts)):
        result = lowered(call, prot, {number: values[number].parts[step] for number in call.reads}, lowering)
        made.append(result if len(call.outputs) > 1 else [result])
    steps = [_Steps(prot, parts=list(parts)) for parts in zip(*made, strict=True)]
    return [_Steps(prot, whole=activate(prot, activation, steps[0].whole))] if behind else steps


def _ends_so(lowering: Lowering) -> bool:
    """Whether what its layers do last is their `activation`."""
    return lowering.function.__module__ in (convolution.__name__, dense.__name__)


def _check_pipeline(layer: Any) -> Iterator[Refusal]:
    yield from _problems(_row(layer.layers))


@lowers("Pipeline", check=_check_pipeline)
def lower_pipeline(prot: Any, layer: Any, x: Any) -> Any:
    for number, call in enumerate(_row(layer.layers).calls):
        x = lowered(call, prot, {number: x})
    return x
