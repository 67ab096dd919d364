"""One look over the whole model before anything is lowered: everything that cannot be, with a reason and a way out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_private.errors import UnsupportedModelError
from keras_private.lowering.final import without_final_activations
from keras_private.lowering.graph import (
    Call,
    Graph,
    graph_class,
    graph_of,
    honoured,
    matters,
    shape_of,
    symbolic,
)
from keras_private.lowering.hints import REGISTER, hint_for_layer
from keras_private.lowering.layers.image import WITHOUT_TRAINING
from keras_private.lowering.layers.noise import AUGMENTATION
from keras_private.lowering.operation import is_operation
from keras_private.lowering.operation import refusals as operation_refusals
from keras_private.lowering.ports import ports_of
from keras_private.lowering.registry import Refusal, find, is_keras, known
from keras_private.lowering.reveal import PROBABILITIES, check_reveal, reveals_of

_NAMED = 3  # layers of one problem that are named


def validate(model: Any, reveal: Any = PROBABILITIES) -> Graph:
    """The model's graph, if all of it can be lowered.

    Args:
        reveal: what clients are told of each output (`reveal.py`): but for probabilities, a last softmax or sigmoid is
            taken off the graph.

    Raises:
        ConfigError: reveal is nothing of that.
        UnsupportedModelError: lists every layer and argument that cannot, why, and what to use instead.
    """
    check_reveal(reveal)
    graph = graph_of(model)
    gives = ports_of(model, "outputs") if graph is not None else None
    if graph is not None and gives is not None:
        told, ends = reveals_of(reveal, gives), symbolic(model, "outputs")
        computed = {id(port.tensor) for port in gives.ports if told[port.name] == PROBABILITIES}
        kept = [id(end) in computed for end in ends]
        graph = without_final_activations(graph, [len(shape_of(end)) for end in ends], kept)
    problems = [(model.name, _kind(model), refusal) for refusal in _model_problems(model, graph)]
    for call in graph.calls if graph else ():
        problems += [(call.name, _kind(call.layer), refusal) for refusal in call_problems(call)]
    if problems or graph is None:
        lines = tuple(_lines(problems))
        many = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        listed = "".join(f"\n  - {line}" for line in lines)
        raise UnsupportedModelError(f"model {model.name!r} cannot be shared, {many}:{listed}", lines)
    return graph


def _lines(problems: Iterable[tuple[str, str, Refusal]]) -> Iterator[str]:
    """One line for each kind of layer and reason, however many layers have it."""
    groups: dict[tuple[str, Refusal], dict[str, None]] = {}
    for name, kind, refusal in problems:
        groups.setdefault((kind, refusal), {})[name] = None  # a shared layer is called more than once
    for (kind, refusal), names in groups.items():
        shown, more = list(names)[:_NAMED], len(names) - _NAMED
        which = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
        yield f"{which} ({kind}): {refusal.why}; {refusal.instead}"


def _model_problems(model: Any, graph: Graph | None) -> Iterator[Refusal]:
    if graph is None:
        if graph_class(model) == "Sequential":
            yield Refusal("its input shape is not known yet", "start it with Input(shape=…), or call its build()")
        else:
            yield Refusal("its call() is Python code, not a graph of layers", "build it with the functional API")
        return
    for what in ("inputs", "outputs"):
        if ports_of(model, what) is None:
            yield Refusal(f"its {what} are nested", f"give Model(…) one list or one dict of {what}")
    needed = set(graph.outputs)
    for call in reversed(graph.calls):
        needed.update(call.reads if needed.intersection(call.outputs) else ())
    for number, tensor in zip(graph.inputs, symbolic(model, "inputs"), strict=True):
        shape = shape_of(tensor)
        if None in shape[1:]:
            yield Refusal(f"its input shape {shape} is not fixed", "give every size but the batch in Input(shape=…)")
        if number not in needed:
            yield Refusal(f"no output depends on its input {tensor.name!r}", "leave that input out of Model(…)")


def call_problems(call: Call) -> Iterator[Refusal]:
    """Why one call cannot be lowered."""
    layer = call.layer
    if any(shape is not None and 0 in shape[1:] for shape in _shapes(call)):
        yield Refusal("what it gives has no values", "leave it out")
        return
    if call.operation is not None:
        yield from operation_refusals(call.operation)
        return
    lowering = find(layer)
    if lowering is None and call.outputs:  # without outputs it is a nested model, here for its arguments only
        yield _unknown(layer)
        return
    taken = honoured(lowering, call.arguments) if lowering else {}
    for name, value in call.arguments.items():
        if matters(value) and name not in taken and not (name == "training" and _ignores_training(layer)):
            yield _argument(name)
    if lowering is None:
        return
    if len(call.outputs) != 1 and not lowering.several:
        yield Refusal(f"it has {len(call.outputs)} outputs", "only layers with one output are supported")
    yield from _state_problems(layer)
    yield from lowering.check(layer, **taken)


def _shapes(call: Call) -> Iterable[tuple[int | None, ...] | None]:
    """Of its results, batch first, as far as the graph knows them."""
    return (call.shape,) if call.operation is None else call.operation.shapes


def _ignores_training(layer: Any) -> bool:
    """keras 3 writes training=True into every call of a layer of images and of a Pipeline, and predict() goes by
    neither that nor the user's own."""
    cls = type(layer)
    return cls.__name__ in (*AUGMENTATION, *WITHOUT_TRAINING, "Pipeline") and cls.__module__.startswith("keras.")


def _argument(name: str) -> Refusal:
    if name == "training":
        return Refusal("it is called with training=True", "predictions run in inference mode: call it without")
    if name == "mask":
        return Refusal("it is called with a mask", "masks are not supported: pad and train without one")
    return Refusal(f"it is called with {name}", "only tensors may be given to a layer's call")


def _state_problems(layer: Any) -> Iterator[Refusal]:
    """What every layer shares: number types and weights."""
    if getattr(layer, "quantization_mode", None):
        yield Refusal(f"it is quantised ({layer.quantization_mode})", "share the model before it is quantised")
        return
    policy = getattr(layer, "dtype_policy", None)
    dtype = str(getattr(policy, "variable_dtype", None) or "float32")
    if "float" not in dtype and layer.get_weights():  # without any it is the type of the results
        yield Refusal(f"its weights are {dtype}", "use a float dtype policy")
    elif any(not np.all(np.isfinite(np.asarray(weight).astype(np.float64))) for weight in layer.get_weights()):
        yield Refusal("its weights hold NaN or infinity", "train it again")


def _unknown(layer: Any) -> Refusal:
    kind, cls = type(layer).__name__, type(layer)
    if is_operation(layer):
        name = getattr(layer, "symbol", kind)
        return Refusal(
            f"the operation {name} between layers is not supported",
            "docs/operations.md lists those that are",
        )
    if not is_keras(cls):
        base = next((c.__name__ for c in cls.__mro__ if is_keras(c) and c.__name__ in known()), None)
        why = f"it overrides call() of {base}" if base else "no lowering is known for this class"
        if any(c.__name__ == "Model" and is_keras(c) for c in cls.__mro__):
            return Refusal(why, f"build it with the functional API, or {REGISTER}")
        return Refusal(why, REGISTER)
    return hint_for_layer(kind)


def _kind(layer: Any) -> str:
    return type(layer).__name__
