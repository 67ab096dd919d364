"""An owner's data, by which a compiler learns how large values get: checked, and as the plan takes it.

It stays in the owner's process. It may be large: what is read of it is chosen and converted piece by piece where it is
used (`plan/measure.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import InputError
from keras_private.plan.plan import REAL, Input, Plan

Array = NDArray[Any]


def arrays_of(data: Any, plan: Plan) -> tuple[Array, ...]:
    """One array for each input of the plan, (count, *input shape), of any type of numbers.

    Args:
        data: as `model.predict` takes it; a dict by the inputs' names will always do.

    Raises:
        InputError: they are not the model's inputs, not numbers, of another shape, not finite, not whole where they
            must be, outside of the declared range, or of different numbers of rows; says which and what to do.
    """
    names = [given.name for given in plan.inputs]
    if isinstance(data, Mapping):
        if set(data) != set(names):
            raise InputError(f"the calibration data has {_listed(data)}; the model's inputs are {_listed(names)}")
        parts = [data[name] for name in names]
    elif len(names) == 1 and not isinstance(data, list | tuple):
        parts = [data]
    elif isinstance(data, list | tuple) and len(names) == len(data) and (len(names) > 1 or plan.takes != "array"):
        parts = list(data)
    elif len(names) == 1:
        parts = [data]  # rows in a list
    else:
        raise InputError(f"the calibration data must have a part for each of {_listed(names)}, in a list or dict")
    found = tuple(_checked(part, given, plan) for part, given in zip(parts, plan.inputs, strict=True))
    if len({len(array) for array in found}) > 1:
        counts = ", ".join(f"{name!r} {len(array)}" for name, array in zip(names, found, strict=True))
        raise InputError(f"the calibration data needs as many rows of every input; it has {counts}")
    return found


def load(path: Path) -> Any:
    """The calibration data in an .npz file: one array, or one for each input under its name.

    Raises:
        InputError: there is no such file, or it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:  # TypeError: the array of an .npy file
        raise InputError(f"{path} is no .npz file of arrays: {str(error) or type(error).__name__}") from None
    if not found:
        raise InputError(f"{path} holds no array")
    return next(iter(found.values())) if len(found) == 1 else found


def _checked(data: Any, given: Input, plan: Plan) -> Array:
    where, shape = f"calibration data of input {given.name!r}", plan.shape(given)
    try:
        found: Array = np.asarray(data)
    except (TypeError, ValueError):
        raise InputError(f"{where}: it is not a rectangular array of numbers") from None
    if found.dtype.kind not in "fiub" or np.ma.is_masked(data):
        raise InputError(f"{where}: numbers are needed, none of them masked, not {found.dtype}")
    if found.ndim == 0 or found.shape[1:] != shape or len(found) == 0:
        raise InputError(f"{where}: it has shape {found.shape}; (rows, {', '.join(map(str, shape))}) is needed")
    low, high = float(found.min()), float(found.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{where}: it holds NaN or infinite values; remove them first")
    if given.range is not None and not (given.range[0] <= low and high <= given.range[1]):
        raise InputError(
            f"{where}: it reaches from {low:g} to {high:g}, and input_range is {given.range}; scale the data as for "
            "training, or declare what it can be"
        )
    if given.kind != REAL and found.dtype.kind == "f" and not np.array_equal(found, np.rint(found)):
        raise InputError(f"{where}: it holds numbers that are not whole, and the model takes {given.kind}s")
    return found


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in names)
