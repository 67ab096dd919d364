"""Lowers a whole Keras model: validate, then one layer after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from keras_private.errors import PlanError
from keras_private.lowering.final import AT_THE_CLIENT
from keras_private.lowering.foreign import Comparison, compare, is_foreign, run_lowering
from keras_private.lowering.graph import Call, Graph, shape_of, symbolic
from keras_private.lowering.layout import sizes
from keras_private.lowering.operation import lower_operation
from keras_private.lowering.registry import find
from keras_private.lowering.validate import validate
from keras_private.plan.plan import Draft


def lower(model: Any, prot: Any, x: Any) -> Any:
    """Compute `model` on `x` with calls on a TF Encrypted protocol.

    Args:
        model: a Sequential or functional model of keras or tf_keras, with one input and one output.
        prot: a PlanProtocol, or one of TF Encrypted's own.
        x: private tensor of that protocol, batch first.

    Raises:
        UnsupportedModelError: lists everything in the model that cannot be lowered.
    """
    return _run(validate(model), prot, x)


def draft_of(
    model: Any,
    input_range: Sequence[float] | None = None,
    *,
    precision: int = 16,
    final_activation: str | None = AT_THE_CLIENT,
) -> Draft:
    """The recorded plan of a model, with its weights: the owner's alone.

    Args:
        input_range: (low, high) that every input value will lie in; the client checks it. None: nothing is promised.
        precision: fractional bits that the plan will run with.
        final_activation: "client": a last softmax or sigmoid is not lowered but named in the plan, for the client to
            apply. None: it is refused.

    Raises:
        ConfigError: final_activation is something else.
        UnsupportedModelError: lists everything in the model that cannot be lowered.
        PlanError: the range makes no sense, a tensor is too large, or a lowering gives another shape than its layer.
    """
    graph = validate(model, final_activation)
    from keras_private.lowering.protocol import PlanProtocol  # imports TF Encrypted

    (given,) = symbolic(model, "inputs")
    shape = [size for size in shape_of(given)[1:] if size is not None]
    prot = PlanProtocol(shape, input_range, precision)
    draft = prot.finish(_run(graph, prot, prot.input), graph.final_activation)
    (expected,) = symbolic(model, "outputs")
    made = draft.plan.shape(draft.plan.outputs[0])
    if None not in shape_of(expected)[1:] and shape_of(expected)[1:] != made:
        raise PlanError(
            f"model {model.name!r} gives outputs of shape {shape_of(expected)[1:]}, but its layers were lowered to "
            f"{made}; check the lowerings that you registered with lowers()"
        )
    return draft


def _lowered(call: Call, prot: Any, values: Mapping[int, Any]) -> Any:
    if call.operation is not None:
        return lower_operation(prot, call.operation, values)
    lowering = find(call.layer)
    assert lowering is not None, "validated"  # noqa: S101
    given = [values[number] for number in call.inputs]
    return run_lowering(lowering, prot, call, given if call.many else given[0])


def compare_lowerings(
    model: Any, *, precision: int = 16, final_activation: str | None = AT_THE_CLIENT
) -> list[Comparison]:
    """Every layer of the model whose lowering is not ours, compared with that lowering on random inputs.

    Raises:
        UnsupportedModelError, PlanError: as `draft_of`.
    """
    graph = validate(model, final_activation)
    from keras_private.lowering.protocol import PlanProtocol

    (given,) = symbolic(model, "inputs")
    found: dict[str, Comparison] = {}

    def new(shape: Sequence[int]) -> Any:
        return PlanProtocol(shape, precision=precision)

    def seen(call: Call, xs: Sequence[Any]) -> None:
        lowering = find(call.layer)
        if lowering is not None and is_foreign(lowering) and call.name not in found:
            found[call.name] = compare(lowering, call, [sizes(x) for x in xs], new)

    prot = new([size for size in shape_of(given)[1:] if size is not None])
    _run(graph, prot, prot.input, seen)
    return list(found.values())


def _run(graph: Graph, prot: Any, x: Any, seen: Callable[[Call, Sequence[Any]], None] | None = None) -> Any:
    values = {graph.inputs[0]: x}
    users = Counter(number for call in graph.calls for number in call.inputs)
    users.update(graph.outputs)
    for call in graph.calls:
        if seen is not None:
            seen(call, [values[number] for number in call.inputs])
        with prot.layer(call.name) if hasattr(prot, "layer") else nullcontext():
            values[call.outputs[0]] = _lowered(call, prot, values)
        users.subtract(call.inputs)
        for number in call.inputs:
            if not users[number]:
                values.pop(number, None)
    return values[graph.outputs[0]]
