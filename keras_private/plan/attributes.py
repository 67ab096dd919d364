"""Checks of op attributes: each takes a plain value (tuple, int, float, string) and says whether it is well formed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_private.errors import PlanError

Check = Callable[[Any], bool]

MAX_EXTENT = 1 << 28  # of any single axis, pad or stride
MAX_RANK = 8
MAX_SHIFT = 62
MAX_TRUNCATION = 60  # bits that one truncation may drop


def plain(value: Any) -> Any:
    """Lists and numpy scalars to tuples, ints, floats and bools, so that every plan is made of plain values."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    return value


def integer(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def integers(count: int | None, low: int, high: int = MAX_EXTENT) -> Check:
    """A tuple of `count` (None: at most MAX_RANK) ints in low … high."""

    def check(value: Any) -> bool:
        if type(value) is not tuple or (len(value) > MAX_RANK if count is None else len(value) != count):
            return False
        return all(type(item) is int and low <= item <= high for item in value)

    return check


def indices(value: Any) -> bool:
    """One or more places along an axis."""
    return type(value) is tuple and len(value) >= 1 and all(map(integer(0, MAX_EXTENT), value))


def axes(value: Any) -> bool:
    """One or more axes, in order, each once."""
    return integers(None, 0, MAX_RANK - 1)(value) and len(value) >= 1 and sorted(set(value)) == list(value)


def boolean(value: Any) -> bool:
    return type(value) is bool


def data_format(value: Any) -> bool:
    return type(value) is str and value in ("NCHW", "NHWC")


def real(value: Any) -> bool:
    """One number below 2^62 in size."""
    return type(value) in (int, float) and abs(value) < 2.0**MAX_SHIFT


def permutation(value: Any) -> bool:
    return integers(None, 0)(value) and sorted(value) == list(range(len(value)))


def paddings(value: Any) -> bool:
    """((before, after), …), one pair per axis."""
    return type(value) is tuple and len(value) <= MAX_RANK and all(map(integers(2, 0), value))


def real_constant(value: Any) -> bool:
    """A finite float, or (shape, values)."""
    return _constant(value, lambda item: type(item) in (int, float) and math.isfinite(item))


def integer_constant(value: Any) -> bool:
    """An int below 2^62 in size, or (shape, ints)."""
    return _constant(value, integer(-(1 << MAX_SHIFT) + 1, (1 << MAX_SHIFT) - 1))


def real_matrix(value: Any) -> bool:
    """((rows, columns), finite floats)."""
    return type(value) is tuple and real_constant(value) and len(value[0]) == 2


def integer_matrix(value: Any) -> bool:
    """((rows, columns), ints below 2^62 in size)."""
    return type(value) is tuple and integer_constant(value) and len(value[0]) == 2


def constant_array(value: Any) -> np.ndarray[Any, Any]:
    """The array that a constant attribute stands for; float64 or int64."""
    if type(value) is tuple:
        return np.array(value[1]).reshape(value[0])
    return np.array(value)


def constant_shape(value: Any) -> tuple[int, ...]:
    return value[0] if type(value) is tuple else ()


def constant(array: np.ndarray[Any, Any]) -> Any:
    """The attribute that stands for `array`; one number where all are equal."""
    flat = array.reshape(-1)
    if flat.size and np.all(flat == flat[0]):
        return flat[0].item()
    return (tuple(array.shape), tuple(flat.tolist()))


def matrix(array: np.ndarray[Any, Any]) -> Any:
    """The attribute that stands for a matrix."""
    return (tuple(array.shape), tuple(array.reshape(-1).tolist()))


def _constant(value: Any, item: Check) -> bool:
    if type(value) is not tuple:
        return item(value)
    if len(value) != 2 or not integers(None, 1)(value[0]) or type(value[1]) is not tuple:
        return False
    return math.prod(value[0]) == len(value[1]) and all(map(item, value[1]))


def check_attributes(where: str, attrs: Any, checks: dict[str, Check], optional: frozenset[str] = frozenset()) -> None:
    """Exactly the attributes in `checks`, but for optional ones, each well formed.

    Raises:
        PlanError: one is missing, unknown or malformed; `where` names the op.
    """
    missing = sorted(checks.keys() - attrs.keys() - optional)
    unknown = sorted(map(repr, attrs.keys() - checks.keys()))
    if missing or unknown:
        raise PlanError(f"{where}: attributes missing: {missing or 'none'}, unknown: {unknown or 'none'}")
    for name, check in checks.items():
        if name in attrs and not check(attrs[name]):
            raise PlanError(f"{where}: attribute {name} is malformed: {str(attrs[name])[:60]}")
