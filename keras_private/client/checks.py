"""What a client refuses to send, and what it refuses to connect to: before anything leaves it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keras_private.client.parts import show, taken_apart
from keras_private.config import Limits
from keras_private.errors import InputError, PartyError, PlanError
from keras_private.party.messages import Description, InputPort
from keras_private.plan.plan import BIT, FINAL_ACTIVATIONS, INTEGER, REAL, Input, Output, Plan, Tensor
from keras_private.plan.ports import FORMS, PORT_KINDS, REVEALS, check_described
from keras_private.plan.scoring import EVALUATORS, METRICS

Reals: TypeAlias = NDArray[np.float64]

_NUMBERS = {REAL: "real numbers", INTEGER: "whole numbers", BIT: "bits, 0 or 1,"}

QUERY_OVERHEAD = 256
"""Bytes of a query that are not its words, and more."""
_PIECE_VALUES = 1 << 20
"""Values of a long array that are looked at at a time."""


def check_model(model: Description) -> None:
    """Refuse what this client could not encode or decode: it would be wrong, and nobody would notice.

    Raises:
        PartyError: the parties' release knows more than this one; or what they say describes no model.
    """
    kinds = {port.kind for port in model.inputs} | {port.kind for port in model.outputs}
    for what, given, known in (
        ("takes or gives", {model.takes, model.gives}, FORMS),
        ("has inputs or outputs of the kind", kinds, PORT_KINDS),
        ("ends in", {port.final_activation for port in model.outputs}, FINAL_ACTIVATIONS),
        ("reveals", {port.reveal for port in model.outputs}, REVEALS),
        ("is evaluated by", {port.metric for port in model.evaluations}, METRICS),
        ("tells evaluations to", {port.recipient for port in model.evaluations}, EVALUATORS),
    ):
        if unknown := sorted(given.difference(known)):
            raise PartyError(
                f"the model {what} {unknown[0]!r}, which this client does not know; install the parties' release"
            )
    try:
        check_described(_as_plan(model))
    except PlanError as error:
        raise PartyError(f"the parties describe what is no model ({error}); is their software the same?") from None


def _as_plan(model: Description) -> Plan:
    """All that is known of the model's plan. Its tensors are numbered, outputs behind inputs."""
    tensors = [Tensor(port.shape, port.frac) for port in model.inputs]
    tensors += [Tensor(port.shape, port.frac) for port in model.outputs]
    inputs = [Input(port.name, str(at), port.kind, port.range, port.limit) for at, port in enumerate(model.inputs)]
    outputs = [
        Output(port.name, str(at), port.kind, port.final_activation, port.reveal)
        for at, port in enumerate(model.outputs, len(inputs))
    ]
    precision = min((port.frac for port in model.outputs if port.kind == REAL), default=1)
    numbered = {str(at): tensor for at, tensor in enumerate(tensors)}
    return Plan(precision, tuple(inputs), tuple(outputs), numbered, {}, (), model.takes, model.gives)


def check_data(data: Any, model: Description, most: int | None = None) -> list[Reals]:
    """The batch as arrays that may be sent, one for each input. Everything is compared as float64, which is what is
    encoded.

    Args:
        most: rows that it may have; None: as many as a query.

    Raises:
        InputError: it may not be sent; the message names the input, says why, and what the model takes.
    """
    most = model.max_batch if most is None else most
    found = [
        check_part(part, port, _where(port, model), most)
        for part, port in zip(taken_apart(data, model), model.inputs, strict=True)
    ]
    _check_rows(found, model)
    return found


def check_whole(data: Any, model: Description) -> list[NDArray[Any]]:
    """The data as arrays of any number of rows, one for each input, all of which `check_data` would let pass. Long ones
    are not copied.

    Raises:
        InputError: as `check_data`.
    """
    parts = zip(taken_apart(data, model), model.inputs, strict=True)
    found = [_checked(part, port, _where(port, model), None) for part, port in parts]
    _check_rows(found, model)
    return found


def _where(port: InputPort, model: Description) -> str:
    return "" if model.takes == "array" else f"input {port.name!r}: "


def _check_rows(found: Sequence[NDArray[Any]], model: Description) -> None:
    rows = {port.name: len(values) for port, values in zip(model.inputs, found, strict=True)}
    if len(set(rows.values())) > 1:
        listed = ", ".join(f"{name!r} {count}" for name, count in rows.items())
        raise InputError(f"all inputs need the same number of rows; they have {listed}")


def check_part(data: Any, port: InputPort, where: str, most: int) -> Reals:
    """As `check_data`, of one input; `where`: what errors begin with."""
    return _floats(_checked(data, port, where, most))


def _checked(data: Any, port: InputPort, where: str, most: int | None) -> NDArray[Any]:
    """One input, once everything about it is found right; a long one as it was given."""
    try:
        given: NDArray[Any] = np.asarray(data)
    except (TypeError, ValueError):
        raise InputError(f"{where}the data is not a rectangular array of numbers") from None
    expected = f"the model takes {_NUMBERS[port.kind]} of shape {show(port.shape)}"
    if given.dtype.kind not in "fiub":
        raise InputError(f"{where}data of type {given.dtype} cannot be queried; {expected}")
    if np.ma.is_masked(data):
        raise InputError(f"{where}the data has masked values; fill them in first")
    if given.ndim == 0 or given.shape[1:] != port.shape:
        raise InputError(f"{where}the data has shape {given.shape}; {expected}, the batch first")
    if not len(given) or (most is not None and len(given) > most):
        asked = "at least 1 is needed" if most is None or not len(given) else f"from 1 to {most} can be asked at once"
        raise InputError(f"{where}a batch of {len(given)} rows; {asked}")
    if given.size <= _PIECE_VALUES:
        given = _floats(given)  # once
    low, high, whole = _extent(given, port)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{where}the data holds NaN or infinite values; remove them first")
    if not whole:
        raise InputError(f"{where}the data holds numbers that are not whole; {expected}")
    if port.range is None:
        _check_contract(max(abs(low), abs(high)), port, where)
    elif not (port.range[0] <= low and high <= port.range[1]):
        advice = "scale the data as for training" if port.kind == REAL else "is it the right data?"
        raise InputError(
            f"{where}the data reaches from {_exact(low)} to {_exact(high)}, the model was shared for values from "
            f"{_exact(port.range[0])} to {_exact(port.range[1])}; {advice}"
        )
    return given


def _floats(given: NDArray[Any]) -> Reals:
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite, and is refused as such
        return given.astype(np.float64, copy=False)


def _extent(given: NDArray[Any], port: InputPort) -> tuple[float, float, bool]:
    """The lowest and the highest value, as float64, and whether all are whole where they have to be. NaN is kept.

    A long array is looked at piece by piece, lest it be in memory twice.
    """
    low, high, whole = math.inf, -math.inf, True
    step = max(1, _PIECE_VALUES // max(1, math.prod(port.shape)))
    for start in range(0, len(given), step):
        values = _floats(given[start : start + step])
        lowest, highest = float(values.min()), float(values.max())
        if math.isnan(lowest):
            return lowest, highest, whole
        low, high = min(low, lowest), max(high, highest)
        whole = whole and (port.kind == REAL or np.array_equal(values, np.rint(values)))
    return low, high, whole


def _check_contract(largest: float, port: InputPort, where: str) -> None:
    """Without a declared range: refuse what the model's values could not hold."""
    limit = port.limit
    if limit is not None and largest >= limit:
        raise InputError(
            f"{where}the data reaches {_exact(largest)} in size; the model was shared without input_range, and its "
            f"values fit for inputs below 2^{math.frexp(limit)[1] - 1} = {limit:g} only; scale the data, or have the "
            "owner share it with input_range, or with fewer precision_fractional bits"
        )


def rows_of_size(words: int, limit: int) -> int:
    """Rows of so many words each that a query of `limit` bytes may have: of its two halves one is a seed, the other
    8 bytes a number."""
    return max(0, limit - QUERY_OVERHEAD) // (8 * words)


def held_bytes(rows: int, inputs: int, outputs: int) -> int:
    """What a query takes of a party's memory: both halves of its share and of its answer, and of the message the half
    that is not a seed."""
    return rows * (16 * (inputs + outputs) + 8 * inputs)


def batch_rows(model: Description, limits: Limits) -> int:
    """The rows that one query may have.

    Raises:
        InputError: not even one row fits into the cluster's limit.
    """
    most = rows_of_size(model.input_words, limits.request_bytes)
    if not most:
        check_size(1, model, limits.request_mb, limits.request_bytes)
    return min(most, model.max_batch)


def check_size(rows: int, model: Description, megabytes: int, limit: int) -> None:
    """Refuse what the parties would hang up on.

    Raises:
        InputError: the query is over the cluster's limit; names the largest batch that is not.
    """
    most = rows_of_size(model.input_words, limit)
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


def _exact(value: float) -> str:
    """All digits that tell it from its neighbours."""
    return repr(value).removesuffix(".0")
