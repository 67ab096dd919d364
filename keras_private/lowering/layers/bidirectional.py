"""Bidirectional: one recurrent layer forwards and one backwards, and what is made of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from keras_private.lowering.layers.recurrent import flat
from keras_private.lowering.layout import keep, sizes
from keras_private.lowering.registry import Lowering, Refusal, find, lowers


def _directions(layer: Any) -> list[Any]:
    return [layer.forward_layer, layer.backward_layer]


def _recurrent(layer: Any) -> Lowering | None:
    """Its lowering, if it is one that takes states."""
    found = find(layer)
    return found if found is not None and {"initial_state", "mask"} <= found.arguments else None


def _halves(states: Sequence[Any]) -> list[dict[str, Any]]:
    """The argument of both directions."""
    half = len(states) // 2
    return [{"initial_state": each} if each else {} for each in (states[:half], states[half:])]


def _check(layer: Any, initial_state: Any = None, mask: Any = None) -> Iterator[Refusal]:
    masked = {} if mask is None else {"mask": mask}
    found: dict[Refusal, None] = {}  # both directions usually have the same
    for each, given in zip(_directions(layer), _halves(flat(initial_state)), strict=True):
        lowering = _recurrent(each)
        if lowering is None:
            why = f"no lowering is known for its layer {type(each).__name__}"
            found[Refusal(why, "use LSTM, GRU, SimpleRNN or RNN of their cells")] = None
        else:
            found.update(dict.fromkeys(lowering.check(each, **given, **masked)))
    yield from found


@lowers("Bidirectional", check=_check, arguments=("initial_state", "mask"), several=True)
def lower_bidirectional(prot: Any, layer: Any, x: Any, initial_state: Any = None, mask: Any = None) -> Any:
    """The output, or a list of it (or both, if nothing is made of them) and all states."""
    x, given = (x[0], x[1:]) if isinstance(x, list | tuple) else (x, ())  # tf_keras: [x, *states]
    masked = {} if mask is None else {"mask": mask}
    both: list[Any] = []
    states: list[Any] = []
    for each, own in zip(_directions(layer), _halves([*given, *flat(initial_state)]), strict=True):
        lowering = _recurrent(each)
        assert lowering is not None, "checked before lowering"  # noqa: S101
        made = lowering.function(prot, each, x, **own, **masked)
        both.append(made[0] if each.return_state else made)
        states += made[1:] if each.return_state else []
    if layer.return_sequences:
        both[1] = keep(prot, both[1], 1, range(sizes(both[1])[0] - 1, -1, -1))
    made = _merged(prot, layer.merge_mode, *both)
    return [*made, *states] if layer.return_state or len(made) > 1 else made[0]


def _merged(prot: Any, mode: str | None, x: Any, y: Any) -> list[Any]:
    if mode is None:
        return [x, y]
    if mode == "concat":
        return [prot.concat([x, y], len(x.shape) - 1)]
    if mode == "mul":
        return [prot.mul(x, y)]
    total = prot.add(x, y)
    return [total if mode == "sum" else prot.mul(total, 0.5)]  # ave
