"""Lowers a whole Keras model: validate, then one layer after the other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from keras_private.errors import PlanError
from keras_private.lowering.foreign import Comparison, compare, is_foreign, run_lowering
from keras_private.lowering.graph import Call, Graph, honoured, shape_of
from keras_private.lowering.layout import sizes
from keras_private.lowering.operation import Operand, lower_operation, replaced
from keras_private.lowering.operations.values import numbers
from keras_private.lowering.ports import Ports, Range, ports_of, ranges_of
from keras_private.lowering.registry import Lowering, find
from keras_private.lowering.reveal import LOGITS, revealed, reveals_of
from keras_private.lowering.validate import validate
from keras_private.plan.plan import REAL, Draft


def lower(model: Any, prot: Any, x: Any) -> Any:
    """Compute `model` on `x` with calls on a TF Encrypted protocol.

    Args:
        model: a Sequential or functional model of keras or tf_keras.
        prot: a Recorder, or one of TF Encrypted's own.
        x: private tensor of that protocol, batch first; or a list or dict of them, as the model takes it.

    Returns:
        a private tensor, or as many as the model gives, in its form.

    Raises:
        UnsupportedModelError: lists everything in the model that cannot be lowered.
    """
    graph, (takes, gives) = validate(model), _ports(model)
    return gives.together(_run(graph, prot, takes.apart(x)))


def draft_of(
    model: Any,
    input_range: Any = None,
    *,
    precision: int = 16,
    reveal: Any = LOGITS,
) -> Draft:
    """The recorded plan of a model, with its weights: the owner's alone.

    Args:
        input_range: (low, high) that every input value will lie in; the client checks it. A list of them, one for each
            input, or a dict by name. None: nothing is promised.
        precision: fractional bits that the plan will run with.
        reveal: what clients are told of the outputs, see `share`.

    Raises:
        ConfigError: reveal is nothing that it may be.
        UnsupportedModelError: lists everything in the model that cannot be lowered.
        PlanError: the range makes no sense, a tensor is too large, a lowering gives another shape than its layer, or
            an output has no label.
    """
    graph, (takes, gives) = validate(model, reveal), _ports(model)
    prot, given = _recording(takes, _ranges(input_range, takes, graph), precision)
    made = _run(graph, prot, given)
    outputs, told = [], reveals_of(reveal, gives)
    for port in gives.ports:
        expected, result = shape_of(port.tensor)[1:], made[port.number]
        if None not in expected and expected != sizes(result):
            raise PlanError(
                f"model {model.name!r} gives outputs of shape {expected}, but its layers were lowered to "
                f"{sizes(result)}: Keras declares another shape than it computes, or a lowering that you registered "
                "with lowers() gives another; compare with what model.predict returns"
            )
        result = numbers(prot, result)
        outputs.append(revealed(prot, port, result, told[port.name], graph.final_activations[port.number]))
    draft: Draft = prot.finish(outputs, takes.form, gives.form)
    return draft


def _ranges(input_range: Any, takes: Ports, graph: Graph) -> list[Range]:
    """The range of every input: as declared, or else what the layers that read it all take."""
    found = ranges_of(input_range, takes)
    for place, port in enumerate(takes.ports):
        if found[place] is None and port.kind != REAL:
            found[place] = _taken(graph, graph.inputs[port.number])
    return found


def _taken(graph: Graph, number: int) -> Range:
    """The whole numbers that all layers take which read this value; None if one takes others."""
    lowest, highest = -math.inf, math.inf
    for call in graph.calls:
        if number in call.reads:
            lowering = find(call.layer) if call.operation is None and number in call.inputs else None
            taken = lowering.takes(call.layer) if lowering is not None else None
            if taken is None:
                return None
            lowest, highest = max(lowest, taken[0]), min(highest, taken[1])
    return (lowest, highest) if highest < math.inf else None


def _ports(model: Any) -> tuple[Ports, Ports]:
    """What a validated model takes and gives."""
    takes, gives = ports_of(model, "inputs"), ports_of(model, "outputs")
    assert takes is not None and gives is not None, "validated"  # noqa: S101, PT018
    return takes, gives


def _recording(takes: Ports, ranges: Sequence[Any], precision: int) -> tuple[Any, dict[int, Any]]:
    """A Recorder with the model's inputs, and these by their numbers."""
    from keras_private.lowering.recorder import Recorder  # imports TF Encrypted

    prot = Recorder(precision=precision)
    given = {}
    for port, range_ in zip(takes.ports, ranges, strict=True):
        shape = [size for size in shape_of(port.tensor)[1:] if size is not None]
        given[port.number] = prot.add_input(port.name, shape, port.kind, range_)
    return prot, given


def lowered(call: Call, prot: Any, values: Mapping[int, Any], lowering: Lowering | None = None) -> Any:
    """What a validated call makes of values by their numbers: its output, or a list of them; by its layer's lowering,
    or by this one."""
    if call.operation is not None:
        try:
            return lower_operation(prot, call.operation, values)
        except PlanError as error:
            if str(error).startswith("layer "):
                raise
            raise PlanError(f"layer {call.name!r}: {error}") from error
    lowering = lowering or find(call.layer)
    assert lowering is not None, "validated"  # noqa: S101
    given = [numbers(prot, values[place]) for place in call.inputs]  # no layer computes on bits
    arguments = {
        name: replaced(value, lambda operand: values[operand.number], Operand)
        for name, value in honoured(lowering, call.arguments).items()
    }
    return run_lowering(lowering, prot, call, given if call.many else given[0], arguments)


def compare_lowerings(model: Any, *, precision: int = 16, reveal: Any = LOGITS) -> list[Comparison]:
    """Every layer of the model whose lowering is not ours, compared with that lowering on random inputs.

    Raises:
        UnsupportedModelError, PlanError: as `draft_of`.
    """
    graph, (takes, _) = validate(model, reveal), _ports(model)
    from keras_private.lowering.recorder import Recorder

    found: dict[str, Comparison] = {}

    def new(shape: Sequence[int]) -> Any:
        return Recorder(shape, precision=precision)

    def seen(call: Call, xs: Sequence[Any]) -> None:
        lowering = find(call.layer)
        alone = lowering is not None and not honoured(lowering, call.arguments)  # what else it is given has no samples
        if lowering is not None and alone and is_foreign(lowering) and call.name not in found:
            found[call.name] = compare(lowering, call, [sizes(x) for x in xs], new)

    prot, given = _recording(takes, [None] * len(takes.ports), precision)
    _run(graph, prot, given, seen)
    return list(found.values())


def _run(
    graph: Graph,
    prot: Any,
    given: Mapping[int, Any],
    seen: Callable[[Call, Sequence[Any]], None] | None = None,
) -> dict[int, Any]:
    """The model's outputs by their places, for its inputs by theirs."""
    values = {number: given[place] for place, number in enumerate(graph.inputs)}
    users = Counter(number for call in graph.calls for number in call.reads)
    users.update(graph.outputs)
    for call in graph.calls:
        if seen is not None:
            seen(call, [values[number] for number in call.inputs])
        with prot.layer(call.name) if hasattr(prot, "layer") else nullcontext():
            made = lowered(call, prot, values)
        values.update(zip(call.outputs, made if len(call.outputs) > 1 else [made], strict=True))
        users.subtract(call.reads)
        for number in call.reads:
            if not users[number]:
                values.pop(number, None)
    return {place: values[number] for place, number in enumerate(graph.outputs)}
