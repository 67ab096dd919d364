"""What a user passes and is given, taken apart and put together as `model.predict` does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from keras_private.errors import InputError
from keras_private.party.messages import Description

Prediction: TypeAlias = Any
"""An array, or a list, tuple or dict of arrays. Named as what it is in documentation; checkers leave it alone."""


def taken_apart(data: Any, model: Description) -> list[Any]:
    """One thing for each input of the model, in its order.

    Args:
        data: as the model takes it; a dict by the inputs' names will always do.

    Raises:
        InputError: there are too few or too many, or not those that the model has; names them.
    """
    names = [port.name for port in model.inputs]
    if isinstance(data, Mapping):
        missing, unknown = [name for name in names if name not in data], [name for name in data if name not in names]
        if missing or unknown:
            lacks = f"lacks {', '.join(map(repr, missing))}" if missing else ""
            more = f"has {', '.join(map(repr, unknown))}, which the model does not know" if unknown else ""
            raise InputError(f"the data {' and '.join(filter(None, (lacks, more)))}; {_wanted(model)}")
        return [data[name] for name in names]
    if len(names) == 1 and model.takes in ("array", "dict"):
        return [data]
    if not isinstance(data, list | tuple) or model.takes == "dict":
        raise InputError(f"the data is a {type(data).__name__}; {_wanted(model)}")
    if len(data) != len(names):
        raise InputError(f"the data has {len(data)} parts; {_wanted(model)}")
    return list(data)


def put_together(parts: Sequence[Any], model: Description) -> Prediction:
    """The outputs as the model gives them, from one for each in its order."""
    if model.gives == "dict":
        return {port.name: part for port, part in zip(model.results, parts, strict=True)}
    if model.gives == "array":
        return parts[0]
    return tuple(parts) if model.gives == "tuple" else list(parts)


def show(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['batch', *map(str, shape)])})"


def _wanted(model: Description) -> str:
    many = "an array" if len(model.inputs) == 1 else f"{len(model.inputs)} arrays"
    listed = ", ".join(f"{port.name!r} {show(port.shape)}" for port in model.inputs)
    how = {"dict": "a dict of ", "array": ""}.get(model.takes, f"a {model.takes} of ")
    return f"the model takes {how}{many}: {listed}"
