"""What a client refuses to send, and what it refuses to connect to: before anything leaves it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_private.errors import InputError
from keras_private.party.messages import Description

Reals = NDArray[np.float64]

QUERY_OVERHEAD = 256
"""Bytes of a query that are not its words, and more."""


def check_data(data: ArrayLike, model: Description) -> Reals:
    """The batch as an array that may be sent. Everything is compared as float64, which is what is encoded.

    Raises:
        InputError: it may not; the message says why, and what the model takes.
    """
    try:
        given: NDArray[Any] = np.asarray(data)
    except (TypeError, ValueError):
        raise InputError("the data is not a rectangular array of numbers") from None
    expected = f"the model takes real numbers of shape {show(model.input_shape)}"
    if given.dtype.kind not in "fiub":
        raise InputError(f"data of type {given.dtype} cannot be queried; {expected}")
    if np.ma.is_masked(data):
        raise InputError("the data has masked values; fill them in first")
    if given.ndim == 0 or given.shape[1:] != model.input_shape:
        raise InputError(f"the data has shape {given.shape}; {expected}, the batch first")
    if not 1 <= len(given) <= model.max_batch:
        raise InputError(f"a batch of {len(given)} rows; from 1 to {model.max_batch} can be asked at once")
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite, and is refused as such
        values = given.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError("the data holds NaN or infinite values; remove them first")
    if model.input_range is None:
        _check_contract(values, model)
    elif not (model.input_range[0] <= low and high <= model.input_range[1]):
        raise InputError(
            f"the data reaches from {_exact(low)} to {_exact(high)}, the model was shared for values from "
            f"{_exact(model.input_range[0])} to {_exact(model.input_range[1])}; scale the data as for training"
        )
    return values


def _check_contract(values: Reals, model: Description) -> None:
    """Without a declared range: refuse what the model's values could not hold."""
    largest, limit = float(np.max(np.abs(values))), model.input_limit
    if limit is not None and largest >= limit:
        raise InputError(
            f"the data reaches {_exact(largest)} in size; the model was shared without input_range, and its values fit "
            f"for inputs below 2^{math.frexp(limit)[1] - 1} = {limit:g} only; scale the data, or have the owner "
            "share it with input_range, or with fewer precision_fractional bits"
        )


def check_size(rows: int, model: Description, megabytes: int, limit: int) -> None:
    """Refuse what the parties would hang up on: of a query's two parts one is a seed, the other 8 bytes a number.

    Raises:
        InputError: the query is over the cluster's limit; names the largest batch that is not.
    """
    most = (limit - QUERY_OVERHEAD) // (8 * math.prod(model.input_shape))
    if rows > most:
        advice = f"ask at most {most} at once" if most else "request_mb in cluster.yaml must be raised"
        raise InputError(f"a query of {rows} rows is over the cluster's limit of {megabytes} MB; {advice}")


def seconds_of(value: float) -> float:
    """A timeout that is one."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not seconds > 0:
        raise InputError(f"a timeout is a number of seconds above 0, not {value!r}")
    return seconds


def count_of(value: float, what: str) -> int:
    """A whole number from 0 on; R gives 2 as 2.0."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not (number >= 0 and number.is_integer()):
        raise InputError(f"{what} is a whole number from 0 on, not {value!r}")
    return int(number)


def shape_of(value: Iterable[float], what: str) -> tuple[int, ...]:
    """A shape without its batch axis, from anything that lists whole numbers (R sends doubles)."""
    try:
        axes = [float(axis) if axis is not None else 1.0 for axis in value]
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{what} must list whole numbers, as in (1, 28, 28, 1)") from None
    if not axes or any(not axis.is_integer() or axis < 1 for axis in axes):
        raise InputError(f"{what} must list whole numbers from 1 on, the batch first; got {tuple(axes)}")
    return tuple(int(axis) for axis in axes[1:])


def show(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['batch', *map(str, shape)])})"


def _exact(value: float) -> str:
    """All digits that tell it from its neighbours."""
    return repr(value).removesuffix(".0")
