"""`private_accuracy`: what an owner's data tell of private answers before anybody is served, beside plain Keras.

Theory of operation. The model is compiled as `share` compiles it. Its plan is run in the clear, rounding where parties
round (`plan/simulate.py`), or, if asked for, for real: by three parties in this process, who share, compute and answer
a client. Either way the outputs are decoded by the client's own code, final activation and all, and the same metric is
taken of them and of what `model.predict` gives.
"""

# ruff: noqa: ARG001 - one signature for all metrics, and one for both ways to the answers
from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.client.answer import decoded
from keras_private.client.checks import Reals, check_data, rows_of_size
from keras_private.client.client import Client
from keras_private.cluster import TFECluster
from keras_private.compiler import Choices, compiled
from keras_private.errors import InputError, RangeError
from keras_private.owner import OwnedModel
from keras_private.party.description import described
from keras_private.party.messages import Description, OutputPort
from keras_private.plan.memory import room
from keras_private.plan.plan import BIT, NOTICES, REAL, Draft
from keras_private.plan.ports import TOP
from keras_private.plan.scoring import ERRORS
from keras_private.plan.simulate import simulate
from keras_private.sharing import fixed
from keras_private.worker import TFEWorker

Array = NDArray[Any]

_BATCH = 64  # rows that are simulated at a time
_MOST_ROWS = 1 << 32


@dataclass(frozen=True, slots=True)
class PrivateAccuracy:
    """Plain Keras and private answers side by side.

    Attributes:
        metric, rows: what was measured, on how much data; no metric without targets.
        plain, private: the metric's value of `model.predict` and of the private answers; None without targets.
        difference: the largest of any output value; of labels and bits None.
        changed: rows for which another class, or another bit, is the answer.
        unanswered: rows for which there is no private answer, as a client would be told by a `RangeError`. No answer of
            theirs is right; means of errors and the difference leave them out.
        parties: whether three parties computed it, or one process that rounds as they do.
    """

    metric: str | None
    rows: int
    plain: float | None
    private: float | None
    difference: float | None
    changed: int
    unanswered: int
    parties: bool

    def __str__(self) -> str:
        how = "three parties in this process" if self.parties else "simulated, rounding as parties do"
        lines = [f"{self.rows} rows, {how}"]
        if self.metric is not None:
            lines += [f"{self.metric}, plain Keras: {self.plain:.6g}", f"{self.metric}, private: {self.private:.6g}"]
        if self.difference is not None:
            lines.append(f"largest difference of an output value: {self.difference:.3g}")
        if self.unanswered:
            lines.append(f"rows without a private answer, because values are out of range: {self.unanswered}")
        return "\n".join([*lines, f"rows with another answer: {self.changed}"])

    __repr__ = __str__


def private_accuracy(
    model: Any,
    x: Any,
    y: Any,
    metric: str,
    choices: Choices,
    precision: int,
    *,
    parties: bool,
    exact_truncation: bool = False,
) -> PrivateAccuracy:
    """Measure; `hook.private_accuracy` says what each argument means. Raises as it does."""
    if y is not None and metric not in _METRICS:
        raise InputError(f"metric must be one of {', '.join(_METRICS)}, not {metric!r}")
    draft = compiled(model, choices, precision, exact_truncation=exact_truncation)
    description = described(draft.plan, bytes(16), ("model", 1), "", "owner", _MOST_ROWS)
    if len(description.results) != 1:
        raise InputError(
            f"the model has {len(description.results)} outputs; measure a model with the one that you mean: "
            "keras.Model(model.inputs, model.outputs[0])"
        )
    values = check_data(x, description)
    (port,) = description.results
    plain = _told(np.asarray(_only(model.predict(x, verbose=0))), port)
    private, answered = (_by_parties if parties else _simulated)(draft, values, description)
    plain_score = private_score = None
    if y is not None:
        targets, score = _targets(y, metric, plain, port), _METRICS[metric]
        plain_score, private_score = score(plain, targets, port), math.nan if metric in ERRORS else 0.0
        if answered.any():
            part = 1.0 if metric in ERRORS else float(np.mean(answered))
            private_score = part * score(private, targets[answered], port)
    plain = plain[answered]
    difference = float(np.max(np.abs(plain - private), initial=0.0)) if port.kind == REAL else None
    changed = np.not_equal(_decision(plain, port), _decision(private, port)).reshape(len(plain), -1).any(axis=1)
    return PrivateAccuracy(
        metric=None if y is None else metric,
        rows=len(answered),
        plain=plain_score,
        private=private_score,
        difference=difference,
        changed=int(changed.sum()),
        unanswered=int(np.sum(~answered)),
        parties=parties,
    )


# --- the private answers: those that there are, and which rows have one


def _simulated(draft: Draft, values: Sequence[Reals], model: Description) -> tuple[Array, NDArray[np.bool_]]:
    found, answered = [], []
    for start in range(0, len(values[0]), _BATCH):
        made = simulate(draft, [part[start : start + _BATCH] for part in values])
        there = np.ones(len(made[0]), np.bool_)
        for port, part in zip(model.outputs, made, strict=True):
            if port.reveal in NOTICES:
                there &= part.reshape(-1) == 0
        for port, part in zip(model.outputs, made, strict=True):
            if port.reveal not in NOTICES:
                found.append(decoded(fixed.encode(part[there], port.frac), port))
        answered.append(there)
    return np.concatenate(found), np.concatenate(answered)


def _by_parties(draft: Draft, values: Sequence[Reals], model: Description) -> tuple[Array, NDArray[np.bool_]]:
    found, answered = [], np.ones(len(values[0]), np.bool_)
    with _served(draft) as cluster, Client() as client:
        client.connect_to_model(cluster)
        limits = cluster.config.limits
        most = min(room(draft.plan, limits).query_rows, rows_of_size(draft.plan.input_words, limits.request_bytes))
        for start in range(0, len(answered), most):
            rows = np.arange(start, min(start + most, len(answered)))
            while rows.size:
                data = {port.name: part[rows] for port, part in zip(model.inputs, values, strict=True)}
                try:
                    found.append(np.asarray(_only(client.query_model(data))))
                    break
                except RangeError as error:
                    answered[rows[list(error.rows)]] = False
                    rows = np.delete(rows, error.rows)
    (port,) = model.results
    return (np.concatenate(found) if found else np.zeros((0, *port.shape))), answered


@contextlib.contextmanager
def _served(draft: Draft) -> Iterator[TFECluster]:
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as cluster:
        owned = OwnedModel.upload(cluster, draft.plan, draft.values)
        thread = threading.Thread(target=owned.serve, name="keras_private private_accuracy", daemon=True)
        thread.start()
        try:
            yield cluster
        finally:
            owned.stop()
            thread.join(cluster.config.limits.timeout_s)


# --- what they are worth


def _only(prediction: Any) -> Any:
    """The one output of a model, however it gives it."""
    if isinstance(prediction, Mapping):
        (prediction,) = prediction.values()
    elif isinstance(prediction, list | tuple):
        (prediction,) = prediction
    return prediction


def _told(plain: Array, port: OutputPort) -> Array:
    """Of plain outputs what a client is told of private ones."""
    if port.reveal == "values":
        return plain.astype(np.float64) if port.kind == REAL else plain
    if port.reveal == "top5":
        return _largest(plain, port.shape[-1])
    return np.asarray(plain > 0.5 if port.kind == BIT else plain.argmax(axis=-1))


def _largest(values: Array, count: int) -> Array:
    """Where the largest are along the last axis, the largest first; of equal ones the first comes first."""
    found: Array = np.argsort(-values, axis=-1, kind="stable")[..., :count]
    return found


def _decision(told: Array, port: OutputPort) -> Array:
    """What is decided by the values that are told: a class, or a bit for each; of other numbers nothing."""
    if port.kind != REAL:
        return told
    if port.shape and port.shape[-1] > 1:
        return np.asarray(told.argmax(axis=-1))
    return np.asarray(told > 0.5) if port.final_activation == "sigmoid" else np.zeros(len(told))


def _targets(y: Any, metric: str, plain: Array, port: OutputPort) -> Array:
    """As many as there are answers; of classes their numbers."""
    try:
        targets: Array = np.asarray(y, np.float64)
    except (TypeError, ValueError):
        raise InputError("the targets are not a rectangular array of numbers") from None
    shape = plain.shape
    if metric in ("accuracy", "top5"):
        whole = port.reveal == "label"
        shape = shape if whole else shape[:-1]
        if targets.shape[:-1] == shape and targets.shape[-1] > 1:
            targets = targets.argmax(axis=-1)
    if targets.size != np.prod(shape, dtype=np.int64) or len(targets) != len(plain):
        raise InputError(f"the targets have shape {targets.shape}; {metric} of these answers takes {shape}")
    return targets.reshape(shape)


def _accuracy(told: Array, y: Array, port: OutputPort) -> float:
    if port.reveal == "top5":
        told = told[..., 0]
    elif port.reveal == "values":
        if port.kind != REAL or not port.shape or port.shape[-1] < 2:
            raise InputError(f"accuracy needs a value for each of several classes; the output has shape {port.shape}")
        told = told.argmax(axis=-1)
    return float(np.mean(told == y))


def _top(told: Array, y: Array, port: OutputPort) -> float:
    if port.reveal == "values" and port.kind == REAL and port.shape:
        told = _largest(told, TOP)
    elif port.reveal != "top5":
        raise InputError(f"top5 needs the values of several classes, or reveal='top5', not {port.reveal!r}")
    return float(np.mean((told == y[..., None]).any(axis=-1)))


def _binary(told: Array, y: Array, port: OutputPort) -> float:
    return float(np.mean((told > 0.5) == (y > 0.5)))


def _absolute(told: Array, y: Array, port: OutputPort) -> float:
    return float(np.mean(np.abs(told - y)))


def _squared(told: Array, y: Array, port: OutputPort) -> float:
    return float(np.mean(np.square(told - y)))


_METRICS: Mapping[str, Callable[[Array, Array, OutputPort], float]] = MappingProxyType(
    {
        "accuracy": _accuracy,
        "top5": _top,
        "binary_accuracy": _binary,
        "mean_absolute_error": _absolute,
        "mean_squared_error": _squared,
    }
)
