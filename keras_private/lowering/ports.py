"""What a Keras model takes and gives: names, forms and kinds, as `model.predict` has them.

Keras keeps the arrays of a dict sorted by key in `model.inputs` and `model.outputs`, and gives them back in the dict's
own order. That order is the plan's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from keras_private.errors import PlanError
from keras_private.lowering.graph import graph_class, symbolic
from keras_private.lowering.operation import type_of
from keras_private.plan.plan import BIT, INTEGER, REAL

Range: TypeAlias = tuple[float, float] | Sequence[float] | None

_SMALL = ("int8", "int16", "uint8", "uint16")  # types whose own range is a range to reckon with


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a model. `number`: its place in `model.inputs` or `model.outputs`."""

    name: str
    number: int
    tensor: Any
    kind: str


@dataclass(frozen=True, slots=True)
class Ports:
    """All inputs, or all outputs, in the order of the model's list or dict. form: see `Plan`."""

    form: str
    ports: tuple[Port, ...]

    def apart(self, given: Any) -> dict[int, Any]:
        """One thing for each, by its number, of what is in the model's form."""
        if self.form == "array":
            return {self.ports[0].number: given}
        parts = [given[port.name] for port in self.ports] if self.form == "dict" else given
        return {port.number: part for port, part in zip(self.ports, parts, strict=True)}

    def together(self, parts: Mapping[int, Any]) -> Any:
        """Those things in the model's form."""
        if self.form == "dict":
            return {port.name: parts[port.number] for port in self.ports}
        found = [parts[port.number] for port in self.ports]
        return found[0] if self.form == "array" else tuple(found) if self.form == "tuple" else found


def ports_of(model: Any, which: str) -> Ports | None:
    """The "inputs" or "outputs" of a model that is built; None: they are nested deeper than one list or dict."""
    tensors = symbolic(model, which)
    whole = getattr(model, which.removesuffix("s")) if graph_class(model) == "Functional" else tensors[0]
    parts = whole.values() if isinstance(whole, Mapping) else whole if isinstance(whole, list | tuple) else [whole]
    numbers = {id(tensor): number for number, tensor in enumerate(tensors)}
    if any(id(part) not in numbers for part in parts):
        return None
    names = whole.keys() if isinstance(whole, Mapping) else [_name(part, which) for part in parts]
    form = "tuple" if isinstance(whole, tuple) else "list"
    form = "dict" if isinstance(whole, Mapping) else "array" if len(tensors) == 1 else form
    ports = [Port(name, numbers[id(part)], part, _kind(part)) for name, part in zip(_unique(names), parts, strict=True)]
    return Ports(form, tuple(ports))


def ranges_of(input_range: Any, ports: Ports) -> list[Range]:
    """The range of every input.

    Args:
        input_range: one (lowest, highest) for all, a list of such with one for each, or a dict by name; None for an
            input, or for all, promises nothing. Bits have none of their own.

    Raises:
        PlanError: it is nothing of that, or names an input that the model does not have.
    """
    names = [port.name for port in ports.ports]
    if isinstance(input_range, Mapping):
        if unknown := [name for name in input_range if name not in names]:
            raise PlanError(f"input_range names {unknown[0]!r}; the model's inputs are {', '.join(map(repr, names))}")
        chosen = [input_range.get(name) for name in names]
    elif isinstance(input_range, list | tuple) and any(item is None or _is_pair(item) for item in input_range):
        if len(input_range) != len(names):
            raise PlanError(f"input_range has {len(input_range)} ranges, and the model {len(names)} inputs")
        chosen = list(input_range)
    else:
        chosen = [input_range] * len(names)
    return [_own_range(port) if given is None else given for port, given in zip(ports.ports, chosen, strict=True)]


def _is_pair(item: Any) -> bool:
    return hasattr(item, "__len__") and not isinstance(item, str)


def _own_range(port: Port) -> Range:
    type_ = type_of(port.tensor)
    return (float(np.iinfo(type_).min), float(np.iinfo(type_).max)) if type_ in _SMALL else None


def _kind(tensor: Any) -> str:
    type_ = type_of(tensor)
    return BIT if type_ == "bool" else INTEGER if "int" in type_ else REAL


def _name(tensor: Any, which: str) -> str:
    return str(tensor.name if which == "inputs" else tensor._keras_history[0].name)


def _unique(names: Any) -> list[str]:
    """The same names, later ones of a kind as `name_1`, `name_2`, …"""
    found: list[str] = []
    for name in map(str, names):
        count, unique = 0, name
        while unique in found:
            count += 1
            unique = f"{name}_{count}"
        found.append(unique)
    return found
