"""The cells of recurrent layers: what one step computes.

Theory of operation. A step is a product with the last state, the gates, and products of gates with states. What the
inputs add is computed before the first step and for all steps at once (`Cell.parts`), so a step costs

    SimpleRNN   h·U opened with the table of the activation                          2 or 3 rounds
    LSTM        the same of all four gates; f·c + i·g opened with the table of
                tanh(c), and beside it c truncated; o·tanh(c) truncated              6 to 8
    GRU         the same of two gates, and beside it h·U_h truncated; the candidate
                opened with its table; z·h + (1 - z)·h' truncated                    6 to 8

with tables of one exchange or of two (`plan/spline/`). Four gates share one table because tanh(x) = 2·sigmoid(2x) - 1:
the candidate's weights are doubled here, where they are real numbers. That doubles what its table is off by, so tables
of gates are four half bits finer than others.

|h| <= 1 and |c| <= t after t steps from zero follow from the intervals of products, since a table's result lies within
its error of 0 … 1. So whole sequences are proven as soon as the inputs have a range.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering.layers.activation import activate, check_activation, name_of
from keras_private.lowering.layers.convolution import lower_conv
from keras_private.lowering.layout import keep, sizes
from keras_private.lowering.registry import Refusal, array, is_keras, secret

GOAL = 25  # half bits that tables of gates are exact to: four more than of other tables

Array = NDArray[np.float64]


class Cell(ABC):
    """One kind of cell. The first of its states is what it puts out."""

    states: int
    """How many states it has."""

    def check(self, cell: Any) -> Iterable[Refusal]:
        """Why this cell cannot be lowered."""
        yield from check_activation(cell.activation)

    @abstractmethod
    def parts(self, prot: Any, cell: Any, x: Any) -> list[Any]:
        """What the inputs add to each step, of x: (batch, steps, …)."""

    @abstractmethod
    def step(self, prot: Any, cell: Any, part: Any, states: Sequence[Any] | None) -> list[Any]:
        """The next states. None: all are zero."""


def steps_of(prot: Any, x: Any) -> list[Any]:
    """The steps of x: (batch, steps, …), without that axis."""
    count, *rest = sizes(x)
    return [prot.reshape(keep(prot, x, 1, [step]), [-1, *rest]) for step in range(count)]


def _product(prot: Any, x: Any, kernel: Array, bias: Array | None, name: str) -> Any:
    y = prot.matmul(x, secret(prot, kernel, name))
    return y if bias is None else prot.add(y, secret(prot, bias, "bias"))


def _gate(prot: Any, activation: Any, x: Any) -> Any:
    """As `activate`, with finer tables."""
    name = name_of(activation)
    return prot.spline(x, name, goal=GOAL) if name in ("sigmoid", "tanh") else activate(prot, activation, x)


class Simple(Cell):
    """h' = activation(x·W + h·U + b)."""

    states = 1

    def parts(self, prot: Any, cell: Any, x: Any) -> list[Any]:
        bias = array(cell.bias) if cell.use_bias else None
        return steps_of(prot, _product(prot, x, array(cell.kernel), bias, "kernel"))

    def step(self, prot: Any, cell: Any, part: Any, states: Sequence[Any] | None) -> list[Any]:
        if states is not None:
            part = prot.add(_product(prot, states[0], array(cell.recurrent_kernel), None, "recurrent_kernel"), part)
        return [_gate(prot, cell.activation, part)]


class _Gated(Cell):
    def check(self, cell: Any) -> Iterable[Refusal]:
        yield from super().check(cell)
        yield from check_activation(cell.recurrent_activation)


class Lstm(_Gated):
    """i, f, o = recurrent_activation(x·W + h·U + b), c' = f·c + i·activation(…), h' = o·activation(c'). Columns that
    Keras keeps in the order i, f, g, o are in the order i, f, o, g here."""

    states = 2

    def parts(self, prot: Any, cell: Any, x: Any) -> list[Any]:
        bias = _ordered(cell, cell.bias) if cell.use_bias else None
        return steps_of(prot, _product(prot, x, _ordered(cell, cell.kernel), bias, "kernel"))

    def step(self, prot: Any, cell: Any, part: Any, states: Sequence[Any] | None) -> list[Any]:
        if states is not None:
            part = prot.add(self.recurrent(prot, cell, states[0]), part)
        i, f, o, g = self.gates(prot, cell, part)
        # First what may have to be truncated, so that both products are opened together.
        c = prot.mul(i, g) if states is None else prot.add(prot.mul(f, states[1]), prot.mul(i, g))
        return [prot.mul(o, _gate(prot, cell.activation, c)), c]

    def recurrent(self, prot: Any, cell: Any, h: Any) -> Any:
        return _product(prot, h, _ordered(cell, cell.recurrent_kernel), None, "recurrent_kernel")

    def axis(self, cell: Any, x: Any) -> int:
        """Where the gates lie side by side."""
        del cell
        return len(x.shape) - 1

    def gates(self, prot: Any, cell: Any, x: Any) -> list[Any]:
        axis = self.axis(cell, x)
        if _shared_table(cell):
            i, f, o, g = prot.split(prot.spline(x, "sigmoid", goal=GOAL), 4, axis=axis)
            return [i, f, o, prot.add(prot.mul(g, 2.0), -1.0)]
        units = sizes(x)[axis - 1] // 4
        before, behind = prot.split(x, [3 * units, units], axis=axis)
        return [
            *prot.split(_gate(prot, cell.recurrent_activation, before), 3, axis=axis),
            _gate(prot, cell.activation, behind),
        ]


def _shared_table(cell: Any) -> bool:
    return name_of(cell.activation) == "tanh" and name_of(cell.recurrent_activation) == "sigmoid"


def _ordered(cell: Any, weight: Any) -> Array:
    """A kernel's or bias' columns i, f, g, o as i, f, o, g; those of g doubled where one table serves all."""
    i, f, g, o = np.split(array(weight), 4, axis=-1)
    return np.concatenate([i, f, o, 2 * g if _shared_table(cell) else g], axis=-1)


class ConvLstm(Lstm):
    """An LSTM of images: its products are convolutions."""

    def check(self, cell: Any) -> Iterable[Refusal]:
        yield from super().check(cell)
        if cell.padding not in ("same", "valid"):
            yield Refusal(f"padding {cell.padding!r} is not supported", "use 'same' or 'valid'")

    def axis(self, cell: Any, x: Any) -> int:
        return 1 if cell.data_format == "channels_first" else len(x.shape) - 1

    def parts(self, prot: Any, cell: Any, x: Any) -> list[Any]:
        bias = _ordered(cell, cell.bias) if cell.use_bias else None
        given = {"strides": cell.strides, "padding": cell.padding, "dilation_rate": cell.dilation_rate}
        return [_convolved(prot, cell, each, cell.kernel, bias, **given) for each in steps_of(prot, x)]

    def recurrent(self, prot: Any, cell: Any, h: Any) -> Any:
        ones = (1,) * len(cell.kernel_size)
        return _convolved(prot, cell, h, cell.recurrent_kernel, None, strides=ones, padding="same", dilation_rate=ones)


def _convolved(prot: Any, cell: Any, x: Any, kernel: Any, bias: Array | None, **given: Any) -> Any:
    """By the lowering of Conv layers, which asks a layer for these attributes."""
    ordered = _ordered(cell, kernel)
    layer = SimpleNamespace(
        kernel=ordered,
        kernel_size=ordered.shape[:-2],
        filters=ordered.shape[-1],
        bias=bias,
        use_bias=bias is not None,
        groups=1,
        data_format=cell.data_format,
        activation=None,
        **given,
    )
    return lower_conv(prot, layer, x)


class Gru(_Gated):
    """z, r = recurrent_activation(x·W + h·U + b), h' = z·h + (1 - z)·activation(x·W_h + b_h + …), where … is
    r·(h·U_h + b'_h) with reset_after and (r·h)·U_h + b'_h without."""

    states = 1

    def parts(self, prot: Any, cell: Any, x: Any) -> list[Any]:
        bias = None
        if cell.use_bias:
            bias = array(cell.bias)
            if cell.reset_after:  # what is added to h·U_h alone stays with it
                of_input, of_state = bias
                bias = of_input + np.where(np.arange(len(of_state)) < 2 * cell.units, of_state, 0.0)
        return steps_of(prot, _product(prot, x, array(cell.kernel), bias, "kernel"))

    def step(self, prot: Any, cell: Any, part: Any, states: Sequence[Any] | None) -> list[Any]:
        h = None if states is None else states[0]
        units = cell.units
        gates, candidate = prot.split(part, [2 * units, units], axis=1)
        kernel = array(cell.recurrent_kernel)
        of_gates, of_candidate = kernel[:, : 2 * units], kernel[:, 2 * units :]
        added = array(cell.bias)[1, 2 * units :] if cell.use_bias and cell.reset_after else None
        after = None  # h·U_h + b'_h
        if h is not None and cell.reset_after:
            # Two products: that of the gates needs no truncation.
            gates = prot.add(_product(prot, h, of_gates, None, "recurrent_kernel"), gates)
            after = _product(prot, h, of_candidate, None, "recurrent_kernel")
            after = after if added is None else prot.add(after, secret(prot, added, "recurrent_bias"))
        elif h is not None:
            gates = prot.add(_product(prot, h, of_gates, None, "recurrent_kernel"), gates)
        z, r = prot.split(_gate(prot, cell.recurrent_activation, gates), 2, axis=1)
        if after is not None:
            candidate = prot.add(prot.mul(r, after), candidate)
        elif cell.reset_after and added is not None:
            candidate = prot.add(prot.mul(r, secret(prot, added, "recurrent_bias")), candidate)
        elif h is not None:
            candidate = prot.add(_product(prot, prot.mul(r, h), of_candidate, None, "recurrent_kernel"), candidate)
        new = _gate(prot, cell.activation, candidate)
        if h is None:
            return [prot.mul(prot.sub(1.0, z), new)]
        return [prot.add(prot.mul(z, h), prot.mul(prot.sub(1.0, z), new))]


CELLS: dict[str, Cell] = {
    "SimpleRNNCell": Simple(),
    "LSTMCell": Lstm(),
    "GRUCell": Gru(),
    "ConvLSTMCell": ConvLstm(),
}


def kind_of(cell: Any) -> Cell | None:
    """What is known of a cell; None for those that compute something of their own."""
    for cls in type(cell).__mro__:
        if is_keras(cls) and cls.__name__ in CELLS:
            return CELLS[cls.__name__]
        if "call" in vars(cls):
            return None
    return None
