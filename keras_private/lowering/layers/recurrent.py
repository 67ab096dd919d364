"""Recurrent layers over a fixed number of steps, written out step by step.

Cells that are stacked run one after the other over all steps, as layers would: that is the same, and lets each of them
take the products of all its inputs at once. A step that a public mask leaves out costs nothing; where the mask is
private, a bit a row and step, each state is selected anew or kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_private.lowering.layers.cells import CELLS, Cell, kind_of
from keras_private.lowering.layout import keep, sizes
from keras_private.lowering.operation import Operand
from keras_private.lowering.registry import Refusal, is_keras, lowers

LAYERS = ("SimpleRNN", "LSTM", "GRU", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


def _is_stacked(cell: Any) -> bool:
    return any(is_keras(cls) and cls.__name__ == "StackedRNNCells" for cls in type(cell).__mro__)


def cells_of(cell: Any) -> list[Any]:
    """The cells of a stack, in order, or just this one."""
    return [each for inner in cell.cells for each in cells_of(inner)] if _is_stacked(cell) else [cell]


def _known(cell: Any) -> Cell:
    found = kind_of(cell)
    assert found is not None, "checked before lowering"  # noqa: S101
    return found


def check_cell(cell: Any) -> Iterator[Refusal]:
    if getattr(cell, "reverse_state_order", False):
        yield Refusal("reverse_state_order=True is not supported", "leave it out, and give states in their order")
    for each in cells_of(cell):
        kind = kind_of(each)
        if kind is None:
            yield Refusal(
                f"its cell {type(each).__name__} computes something of its own",
                "use SimpleRNNCell, LSTMCell, GRUCell or a stack of them",
            )
        else:
            yield from kind.check(each)


def check_rnn(layer: Any, initial_state: Any = None, mask: Any = None) -> Iterator[Refusal]:
    """Refusals of a recurrent layer and what it was called with."""
    if getattr(layer, "stateful", False):
        yield Refusal("it keeps states from one query to the next (stateful)", "use initial_state and return_state")
    if getattr(layer, "time_major", False):
        yield Refusal("its first axis is time, where queries have their rows", "use time_major=False")
    if getattr(layer, "_num_constants", None):
        yield Refusal("it is called with constants", "give them to its cell as inputs of every step (RepeatVector)")
    if not all(isinstance(state, Operand) for state in flat(initial_state)):
        yield Refusal("its initial_state is an array", "make it an input of the model, or leave it out")
    yield from _check_mask(mask)
    yield from check_cell(layer.cell)


def _check_mask(mask: Any) -> Iterator[Refusal]:
    if isinstance(mask, Operand):
        if mask.dtype != "bool":
            yield Refusal(f"its mask is of {mask.dtype}, not of booleans", "compare it with a number, as in mask > 0")
    elif mask is not None and _public(mask) is None:
        yield Refusal("its mask differs from row to row", "give one mask for all rows, of shape (1, steps)")
    elif mask is not None and not any(_public(mask) or ()):
        yield Refusal("its mask leaves no step", "leave the layer out")


def flat(states: Any) -> list[Any]:
    """States, of which those of stacked cells are lists, as one list; none if there are none."""
    if states is None:
        return []
    if not isinstance(states, list | tuple):
        return [states]
    return [each for state in states for each in flat(state)]


def _public(mask: Any) -> list[bool] | None:
    """A mask that everybody may know, a bit a step; None if it is not the same for all rows."""
    bits = np.asarray(mask)
    if bits.ndim > 2 or (bits.ndim == 2 and len(bits) != 1):
        return None
    return [bool(bit) for bit in bits.reshape(-1)]


class _Mask:
    """Which steps count, in the order in which they are taken."""

    def __init__(self, prot: Any, mask: Any, steps: int, *, backwards: bool) -> None:
        self._prot = prot
        self._bits: list[Any] = [True] * steps
        if hasattr(mask, "prot"):
            bits = mask if mask.bit else prot.above(mask, 0.5)  # an input of booleans is of the numbers 0 and 1
            self._bits = prot.split(prot.reshape(bits, [-1, steps]), steps, axis=1)
        elif mask is not None:
            self._bits = _public(mask) or []
        if backwards:
            self._bits.reverse()

    def skips(self, step: int) -> bool:
        return self._bits[step] is False

    def kept(self, step: int, new: Sequence[Any], old: Sequence[Any] | None) -> list[Any]:
        """The new ones where the step counts, else the old ones. None: zeros."""
        if self._bits[step] is True:
            return list(new)
        olds = [self._prot.mul(each, 0.0) for each in new] if old is None else old
        return [self._selected(step, each, before) for each, before in zip(new, olds, strict=True)]

    def _selected(self, step: int, new: Any, old: Any) -> Any:
        bit = self._prot.reshape(self._bits[step], [-1, *(1 for _ in sizes(new))])
        return self._prot.select(bit, new, old)


def _run(
    prot: Any, cell: Any, x: Any, states: Sequence[Any] | None, masked: _Mask, *, zeros: bool
) -> tuple[list[Any], list[Any]]:
    """One cell over all steps of x: its outputs and its last states.

    zeros: the outputs of steps that do not count are 0; otherwise those of the step before.
    """
    kind = _known(cell)
    outputs: list[Any] = []
    late = 0  # outputs before the first step that counts: 0
    for step, part in enumerate(kind.parts(prot, cell, x)):
        if not masked.skips(step):
            made = kind.step(prot, cell, part, states)
            outputs += masked.kept(step, made[:1], None if zeros or not outputs else outputs[-1:])
            states = masked.kept(step, made, states)
        elif outputs:
            outputs.append(prot.mul(outputs[-1], 0.0) if zeros else outputs[-1])
        else:
            late += 1
    return [prot.mul(outputs[0], 0.0)] * late + outputs, list(states or [])


@lowers(*LAYERS, check=check_rnn, arguments=("initial_state", "mask"), several=True)
def lower_rnn(prot: Any, layer: Any, x: Any, initial_state: Any = None, mask: Any = None) -> Any:
    """The output, or a list of it and the states."""
    x, given = (x[0], x[1:]) if isinstance(x, list | tuple) else (x, ())  # tf_keras: [x, *states]
    backwards, steps = bool(layer.go_backwards), sizes(x)[0]
    masked = _Mask(prot, mask, steps, backwards=backwards)
    if backwards:
        x = keep(prot, x, 1, range(steps - 1, -1, -1))
    zeros, cells = bool(getattr(layer, "zero_output_for_mask", False)), cells_of(layer.cell)
    left = [*given, *flat(initial_state)]
    last: list[Any] = []
    for number, cell in enumerate(cells):
        count = _known(cell).states
        states, left = (left[:count] or None), left[count:]
        outputs, states = _run(prot, cell, x, states, masked, zeros=zeros)
        last += states
        whole = layer.return_sequences or number + 1 < len(cells)
        x = prot.stack(outputs, 1) if whole else outputs[-1]
    return [x, *last] if layer.return_state else x


def _check_call(cell: Any, states: Any = None) -> Iterable[Refusal]:
    yield from check_cell(cell)
    if not states or not all(isinstance(state, Operand) for state in flat(states)):
        yield Refusal("it is called without tensors for its states", "use RNN, which begins with zeros")


@lowers(
    *(name for name in CELLS if name != "ConvLSTMCell"),
    "StackedRNNCells",
    check=_check_call,
    arguments=("states",),
    several=True,
)
def lower_cell(prot: Any, layer: Any, x: Any, states: Any = None) -> Any:
    """One step: the output and all states."""
    y, left = x, flat(states)
    last: list[Any] = []
    for cell in cells_of(layer):
        kind = _known(cell)
        own, left = left[: kind.states], left[kind.states :]
        (part,) = kind.parts(prot, cell, prot.reshape(y, [-1, 1, *sizes(y)]))
        made = kind.step(prot, cell, part, own)
        y, last = made[0], last + made
    return [y, *last]
