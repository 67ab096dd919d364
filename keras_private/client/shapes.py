"""The shapes that a user says a model has, beside those that it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from keras_private.client.parts import show
from keras_private.errors import InputError
from keras_private.party.messages import InputPort, OutputPort
from keras_private.plan.plan import Shape

Shapes: TypeAlias = tuple[Shape, ...] | Mapping[str, Shape]
"""In the order of the model's, or by name."""


def shapes_of(value: Any, what: str) -> Shapes | None:
    """The shapes that a user named, without their batch axes; None: any will do.

    Args:
        value: one shape, a list of shapes, or a dict of them.

    Raises:
        InputError: it is none of them.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {name: _shape_of(shape, f"{what}[{name!r}]") for name, shape in value.items()}
    if isinstance(value, list | tuple) and value and all(isinstance(item, Iterable) for item in value):
        return tuple(_shape_of(shape, f"{what}[{number}]") for number, shape in enumerate(value))
    return (_shape_of(value, what),)


def check_shapes(what: str, ours: Shapes | None, ports: Sequence[InputPort | OutputPort]) -> None:
    """Whether the shapes that a user named are the model's.

    Raises:
        InputError: they are not; shows both.
    """
    if ours is None:
        return
    theirs = {port.name: port.shape for port in ports}
    in_order = tuple(theirs.values())
    if ours == (theirs if isinstance(ours, Mapping) else in_order):
        return
    told = {port.reveal for port in ports if isinstance(port, OutputPort)} - {"values"}
    advice = f"its owner has clients told the {' and '.join(sorted(told))} alone" if told else ""
    raise InputError(
        f"the {what} shape given is {_listed(ours)}, the served model's is "
        f"{_listed(theirs if isinstance(ours, Mapping) or len(ports) > 1 else in_order)}; "
        f"{advice or 'is this the right cluster and model?'}"
    )


def _shape_of(value: Iterable[float], what: str) -> Shape:
    """A shape from anything that lists whole numbers, the batch first (R sends doubles)."""
    try:
        axes = [float(axis) if axis is not None else 1.0 for axis in value]
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{what} must list whole numbers, as in (1, 28, 28, 1)") from None
    if not axes or any(not axis.is_integer() or axis < 1 for axis in axes):
        raise InputError(f"{what} must list whole numbers from 1 on, the batch first; got {tuple(axes)}")
    return tuple(int(axis) for axis in axes[1:])


def _listed(shapes: Shapes) -> str:
    if isinstance(shapes, Mapping):
        return ", ".join(f"{name!r} {show(shape)}" for name, shape in shapes.items())
    return ", ".join(map(show, shapes))
