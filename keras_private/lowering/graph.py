"""A Keras model as a flat list of layer calls, whatever kind of model it is and however deep models nest in it.

keras and tf_keras keep the same graph under slightly different names: every symbolic tensor knows the call that made it
(`_keras_history`: layer, number of the call), every call knows its input tensors. Sequential models are read layer by
layer. A shared layer appears once per call. Models inside models are written out in place, their layers named
"outer/inner".
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from keras_private.errors import UnsupportedModelError
from keras_private.lowering.operation import Operand, Operation, Symbolic, is_operation, read, replaced, type_of
from keras_private.lowering.registry import Lowering, find, is_keras


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one layer. Values are numbered, the model's inputs first."""

    name: str
    layer: Any
    inputs: tuple[int, ...]  # of the call's first argument
    outputs: tuple[int, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)  # the others, by name, an Operand for every tensor
    many: bool = False  # whether the first argument is a list of tensors
    operation: Operation | None = None  # instead of a layer's lowering
    shape: tuple[int | None, ...] | None = None  # of the first output, where the graph knows it

    @property
    def reads(self) -> tuple[int, ...]:
        """All values that it depends on."""
        return (*self.inputs, *(operand.number for operand in operands(self.arguments)))


@dataclass(frozen=True, slots=True)
class Graph:
    """All calls, in an order in which they can be computed."""

    calls: tuple[Call, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    final_activations: tuple[str, ...]  # what `final.py` took off the end of each output; "": nothing


def graph_of(model: Any) -> Graph | None:
    """The graph of a Sequential or functional model; None for a model whose `call` is Python."""
    if not is_graph(model):
        return None
    reader = _Reader()
    inputs = tuple(next(reader.numbers) for _ in symbolic(model, "inputs"))
    outputs = reader.read(model, inputs, "")
    return Graph(tuple(reader.calls), inputs, tuple(outputs), ("",) * len(outputs))


def symbolic(model: Any, which: str) -> list[Any]:
    """The symbolic input or output tensors of a model; none if it has not been built."""
    try:
        tensors = getattr(model, which)
    except (AttributeError, ValueError):  # Keras' ways of saying "not built"
        return []
    return list(tensors) if isinstance(tensors, list | tuple) else [] if tensors is None else [tensors]


def shape_of(tensor: Any) -> tuple[int | None, ...]:
    """Shape of a symbolic tensor, batch first.

    Raises:
        UnsupportedModelError: not even how many axes it has is known.
    """
    if getattr(tensor.shape, "rank", 0) is None:  # tf.squeeze(x) without an axis
        line = f"{tensor.name}: TensorFlow does not know how many axes it has; name the axes, as in tf.squeeze(x, 1)"
        raise UnsupportedModelError(f"the model cannot be shared, 1 problem:\n  - {line}", (line,))
    return tuple(tensor.shape)


def is_graph(model: Any) -> bool:
    """Whether `model` is a graph of layers that can be read."""
    return graph_class(model) is not None and bool(symbolic(model, "inputs"))


def graph_class(model: Any) -> str | None:
    """ "Sequential" or "Functional"; None if `model` is neither, or overrides what that means."""
    for cls in type(model).__mro__:
        if cls.__name__ in ("Sequential", "Functional") and is_keras(cls):
            return cls.__name__
        if "call" in vars(cls):
            return None
    return None


class _Reader:
    def __init__(self) -> None:
        self.numbers = count()
        self.calls: list[Call] = []

    def read(self, model: Any, inputs: Sequence[int], prefix: str) -> list[int]:
        """Append the calls of `model` on these values; returns the numbers of its outputs."""
        if graph_class(model) == "Sequential":
            return self._read_sequential(model, inputs, prefix)
        return self._read_functional(model, inputs, prefix)

    def _read_sequential(self, model: Any, inputs: Sequence[int], prefix: str) -> list[int]:
        values = list(inputs)
        for layer in model.layers:
            values = self._call(layer, values, prefix, {}, many=False, outputs=1)
        return values

    def _read_functional(self, model: Any, inputs: Sequence[int], prefix: str) -> list[int]:
        known = {id(tensor): number for tensor, number in zip(symbolic(model, "inputs"), inputs, strict=True)}
        for node in _nodes(symbolic(model, "outputs"), set(known)):
            produced = _outputs(node)
            operation = _operation(node, known)
            values, many = [known[id(tensor)] for tensor in _inputs(node)], False
            arguments: dict[str, Any] = {}
            if not operation:
                values, many, arguments = _arguments(node, known)
            numbers = self._call(
                _layer(node),
                values,
                prefix,
                arguments,
                many=many,
                outputs=len(produced),
                operation=operation,
                shape=shape_of(produced[0]),
            )
            known.update({id(tensor): number for tensor, number in zip(produced, numbers, strict=True)})
        return [known[id(tensor)] for tensor in symbolic(model, "outputs")]

    def _call(
        self,
        layer: Any,
        inputs: list[int],
        prefix: str,
        arguments: Mapping[str, Any],
        *,
        many: bool,
        outputs: int,
        operation: Operation | None = None,
        shape: tuple[int | None, ...] | None = None,
    ) -> list[int]:
        name = f"{prefix}{layer.name}"
        if find(layer) is None and is_graph(layer) and len(symbolic(layer, "inputs")) == len(inputs):
            if any(matters(value) for value in arguments.values()):
                arguments = {key: value for key, value in arguments.items() if matters(value)}
                self.calls.append(Call(name, layer, tuple(inputs), (), arguments))  # for validation to refuse
            return self.read(layer, inputs, f"{name}/")
        numbers = [next(self.numbers) for _ in range(outputs)]
        self.calls.append(Call(name, layer, tuple(inputs), tuple(numbers), arguments, many, operation, shape))
        return numbers


def operands(value: Any) -> Iterator[Operand]:
    """Every tensor among the arguments of a call."""
    if isinstance(value, Operand):
        yield value
    elif isinstance(value, list | tuple | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from operands(item)


def honoured(lowering: Lowering, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call that say anything, of those that this lowering takes."""
    return {name: value for name, value in arguments.items() if name in lowering.arguments and matters(value)}


def matters(value: Any) -> bool:
    """Whether an argument of a call says anything: training=False, mask=None and mask=[None, None] do not."""
    if isinstance(value, list | tuple | Mapping):
        return any(map(matters, value.values() if isinstance(value, Mapping) else value))
    return value is not None and value is not False


def _nodes(outputs: Sequence[Any], given: set[int]) -> Iterator[Any]:
    """Every call that the outputs depend on, inputs before users. Not recursive: models can be very deep."""
    done: set[int] = set()
    stack = [(_node(tensor), False) for tensor in reversed(outputs) if id(tensor) not in given]
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        if ready:
            done.add(id(node))
            yield node
        else:
            stack.append((node, True))
            stack.extend((_node(tensor), False) for tensor in reversed(_inputs(node)) if id(tensor) not in given)


def _node(tensor: Any) -> Any:
    layer, index, _ = tensor._keras_history
    return layer._inbound_nodes[index]


def _layer(node: Any) -> Any:
    return node.operation if hasattr(node, "operation") else node.layer


def _inputs(node: Any) -> list[Any]:
    return list(node.input_tensors if hasattr(node, "operation") else node.keras_inputs)


def _outputs(node: Any) -> list[Any]:
    tensors = node.output_tensors if hasattr(node, "operation") else node.outputs
    return list(_leaves(tensors))


def _leaves(tensors: Any) -> Iterator[Any]:
    if isinstance(tensors, Mapping):  # sorted, as a nested model's own outputs are
        tensors = [tensors[key] for key in sorted(tensors)]
    if not isinstance(tensors, list | tuple):
        yield tensors
        return
    for each in tensors:
        yield from _leaves(each)


def _operation(node: Any, known: Mapping[int, int]) -> Operation | None:
    layer, outputs = _layer(node), _outputs(node)
    if not is_operation(layer):
        return None
    positional, named = _given(node)
    for tensor in outputs:
        shape_of(tensor)
    return read(layer, tuple(positional), named, outputs, lambda tensor: _operand(tensor, known))


def _operand(tensor: Any, known: Mapping[int, int]) -> Operand:
    return Operand(known[id(tensor)], shape_of(tensor), type_of(tensor))


def _given(node: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    if hasattr(node, "operation"):
        return node.arguments.args, node.arguments.kwargs
    return node.call_args, node.call_kwargs


def _arguments(node: Any, known: Mapping[int, int]) -> tuple[list[int], bool, dict[str, Any]]:
    """The values that are the first argument of a layer's call, whether they came as a list, and everything else that
    it was given, by the parameter's name."""
    positional, named = _given(node)
    names = _parameters(_layer(node))
    named = dict(named)
    if positional:
        first = positional[0]
    elif names and names[0] in named:  # layer(inputs=…)
        first = named.pop(names[0])
    else:
        first = named.pop(next(iter(named))) if named else None
    others = {
        names[number] if number < len(names) else f"argument {number}": value
        for number, value in enumerate(positional)
        if number
    }
    others = {
        name: replaced(value, lambda tensor: _operand(tensor, known), Symbolic)
        for name, value in (others | named).items()
    }
    many = isinstance(first, list | tuple)
    if isinstance(first, Mapping):  # by name; in another order than a list has
        if not isinstance(getattr(_layer(node), "input", None), Mapping):
            others["a dict of tensors"] = True
        return [known[id(tensor)] for tensor in _inputs(node)], False, others
    tensors = list(first) if many else [first]
    if not all(isinstance(tensor, Symbolic) for tensor in tensors):
        others["a constant among its inputs" if many else "a constant as its input"] = True
    return [known[id(tensor)] for tensor in tensors if isinstance(tensor, Symbolic)], many, others


def _parameters(layer: Any) -> list[str]:
    """The names of what the layer's `call` can be given by place."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(layer.call).parameters.values()
    except (AttributeError, TypeError, ValueError):  # it has none that can be read
        return []
    return [parameter.name for parameter in parameters if parameter.kind in kinds]
