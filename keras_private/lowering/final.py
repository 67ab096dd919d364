"""The softmax or sigmoid at an output's end: not lowered, but left to the client, who applies it to what it decoded.

Little is lost by that: a client who gets the probabilities could work the logits out from them, a softmax's up to one
number that is the same for all classes. The plan names the function (`Output.final_activation`), the parties pass the
name on, and the client library applies it. It is not lowered either where only a label is told, which is the same
without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keras_private.lowering.foreign import is_foreign
from keras_private.lowering.graph import Call, Graph, matters
from keras_private.lowering.layers.activation import lower_activation, name_of
from keras_private.lowering.layers.noise import lower_identity
from keras_private.lowering.registry import find, is_keras


def without_final_activations(graph: Graph, ranks: Sequence[int], kept: Sequence[bool]) -> Graph:
    """The graph without the softmax or sigmoid at the end of each output, which its `final_activations` then names.

    One that something inside the model depends on too stays.

    Args:
        ranks: axes of the model's outputs, batch included.
        kept: outputs whose activation stays. One that such an output shares with another stays for both.
    """
    for place, rank in enumerate(ranks):
        if not graph.final_activations[place] and not kept[place]:
            graph = _without(graph, place, rank, kept)
    return graph


def _without(graph: Graph, place: int, rank: int, kept: Sequence[bool]) -> Graph:
    made = {number: index for index, call in enumerate(graph.calls) for number in call.outputs}

    def root(number: int) -> int:
        while number in made and _does_nothing(graph.calls[made[number]]):
            number = graph.calls[made[number]].inputs[0]
        return number

    at = root(graph.outputs[place])
    inside = {number for call in graph.calls if not _does_nothing(call) for number in call.reads}
    inside.update(number for number, stays in zip(graph.outputs, kept, strict=True) if stays)
    if at not in made or at in {root(number) for number in inside}:
        return graph
    call = graph.calls[made[at]]
    name = _final_of(call, rank)
    if not name:
        return graph
    pairs = zip(graph.outputs, graph.final_activations, strict=True)
    names = tuple(name if root(number) == at else before for number, before in pairs)
    calls = list(graph.calls)
    if hasattr(call.layer, "activation") and not _is_activation(call.layer):
        calls[made[at]] = replace(call, layer=_without_activation(call.layer))
        return replace(graph, calls=tuple(calls), final_activations=names)
    del calls[made[at]]
    return _renumbered(replace(graph, calls=tuple(calls), final_activations=names), at, call.inputs[0])


def _final_of(call: Call, rank: int) -> str:
    """ "softmax" or "sigmoid", if that is what this call ends with."""
    layer = call.layer
    if len(call.inputs) != 1 or any(matters(value) for value in call.arguments.values()):
        return ""
    if call.operation is not None:
        whole = call.operation.kind == "Sigmoid" or call.operation["axis"] in (-1, rank - 1)
        return call.operation.kind.lower() if call.operation.kind in ("Softmax", "Sigmoid") and whole else ""
    if _is_softmax(layer, rank):
        return "softmax"
    lowering = find(layer)
    # Every lowering of ours applies the layer's `activation` last; of a foreign one nobody knows.
    if lowering is None or is_foreign(lowering) or not hasattr(layer, "activation"):
        return ""
    if _is_softmax(layer.activation, rank):
        return "softmax"
    name = name_of(layer.activation)
    return name if name in ("softmax", "sigmoid") else ""


def _is_softmax(layer: Any, rank: int) -> bool:
    """A Softmax layer over the last axis."""
    if type(layer).__name__ != "Softmax" or not is_keras(type(layer)) or not hasattr(layer, "axis"):
        return False
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    return len(axes) == 1 and axes[0] in (-1, rank - 1)


def _does_nothing(call: Call) -> bool:
    lowering = find(call.layer)
    if lowering is None or any(matters(value) for value in call.arguments.values()):
        return False
    linear = lowering.function is lower_activation and name_of(call.layer.activation) == "linear"
    return lowering.function is lower_identity or linear


def _is_activation(layer: Any) -> bool:
    lowering = find(layer)
    return lowering is not None and lowering.function is lower_activation


def _without_activation(layer: Any) -> Any:
    """A shallow copy of a layer, its weights shared, whose activation does nothing. Keras' own copy would make a new
    layer, and the original must stay as it is."""
    copy = object.__new__(type(layer))
    vars(copy).update(vars(layer))
    vars(copy)["activation"] = None
    return copy


def _renumbered(graph: Graph, gone: int, instead: int) -> Graph:
    def number(old: int) -> int:
        return instead if old == gone else old

    # No operation's operands need that: nothing follows but what does nothing.
    calls = tuple(replace(call, inputs=tuple(map(number, call.inputs))) for call in graph.calls)
    return replace(graph, calls=calls, outputs=tuple(map(number, graph.outputs)))
