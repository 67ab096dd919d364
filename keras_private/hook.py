"""KerasHook: teaches Keras models to be shared, served, deployed and stopped.

The methods go on `keras.Model`, so Sequential, functional and loaded models all have them. What belongs to a shared
model is kept here, outside of it, and disappears with it: Keras tracks and saves whatever is assigned to a model.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from keras_private.accuracy import PrivateAccuracy
from keras_private.accuracy import private_accuracy as measured
from keras_private.client.evaluation import Score
from keras_private.compiler import Choices, compiled
from keras_private.errors import (
    ConfigError,
    InputError,
    KerasPrivateError,
    PlanError,
    PrecisionWarning,
    StateError,
)
from keras_private.extras import require
from keras_private.lowering import LOGITS
from keras_private.net.frames import as_bytes
from keras_private.owner import OwnedModel, check_name
from keras_private.party.fields import DEFAULT_NAME, NUMBERS
from keras_private.plan import summary as table
from keras_private.plan.layers import Timing
from keras_private.plan.memory import room, said
from keras_private.plan.origins import guess, reaches
from keras_private.plan.plan import Accuracy, Draft, Plan
from keras_private.plotting import plot_plan
from keras_private.progress import serving_bar
from keras_private.replicas import OwnedReplicas
from keras_private.replicas import share as share_with_all

TOLERANCE = 1e-2  # of the outputs' range: an error that a plot of the answers would show


@dataclass(frozen=True, slots=True)
class _Shared:
    """A model that three parties hold shares of."""

    cluster: Any
    owned: OwnedModel | OwnedReplicas
    plan: Plan
    fingerprint: bytes
    accuracy: Accuracy | None
    reaches: Mapping[str, str]
    memory: str
    choices: Choices
    precision: int
    exact: bool


_shared: weakref.WeakKeyDictionary[Any, dict[str, _Shared]] = weakref.WeakKeyDictionary()
"""Under each name that a model is shared as; the last one last."""
_lock = threading.Lock()
_STALE = (
    "the model's weights have changed since model.share(cluster); the parties go on serving those that were shared. "
    "Share the model again to serve the new ones."
)


class KerasHook:
    """Gives every model of a Keras the methods `share`, `serve`, `deploy`, `stop`, `evaluations`, `private_summary` and
    `private_accuracy`. Idempotent.

    Args:
        keras: `tf.keras`, `keras` or `tf_keras`.

    Raises:
        ConfigError: it is no Keras, or its models have a method of such a name from elsewhere, or the extra `owner` is
            not installed.
    """

    def __init__(self, keras: Any) -> None:
        require("owner", "KerasHook")
        model = getattr(keras, "Model", None)
        if not isinstance(model, type):
            raise ConfigError(f"KerasHook takes a Keras module, as in KerasHook(tf.keras), not {type(keras).__name__}")
        for name in _METHODS:
            theirs = getattr(model, name, None)
            if theirs is not None and getattr(theirs, "__module__", None) != __name__:
                raise ConfigError(
                    f"models of this Keras have a method {name!r} of their own; KerasHook will not replace it"
                )
        for name, method in _METHODS.items():
            setattr(model, name, method)
        self.model_class = model

    def __repr__(self) -> str:
        return f"KerasHook({self.model_class.__module__}.{self.model_class.__name__})"


def share(
    self: Any,
    cluster: Any,
    input_range: Any = None,
    reveal: Any = LOGITS,
    tolerance: float | None = None,
    verbose: int = 1,
    calibration: Any = None,
    saturate: bool = True,
    evaluation: Any = None,
    guard: bool | None = None,
    enforce_range: bool = False,
    *,
    name: str = DEFAULT_NAME,
    deploy: bool = False,
) -> Any:
    """Send every party of a started cluster its shares of this model.

    What had the same name is replaced, in one moment: from then on whoever connects is given this version, the next
    one, while clients that know the old one go on being answered. `serve`, if it goes on here, serves both.

    Args:
        cluster: a TFECluster, started.
        input_range: (lowest, highest) value that inputs may hold; or a list with one for each input, or a dict by the
            inputs' names. Clients must keep to it; in return layers can be proved to fit, and comparisons get cheaper.
            None promises nothing; inputs of whole numbers need a range, but for those of 8 and 16 bits.
        reveal: what clients are told of the outputs, or a dict by the outputs' names. The plan says it, and so its
            digest. "logits": if the model ends in a softmax or sigmoid, the parties compute what goes into it, and the
            client library applies it to what it decoded: clients are given what `model.predict` gives, and could see
            the logits, which tell no less and a little more. "probabilities": the parties compute that too.
            "label": only where the largest value is along the last axis, an int64; behind a last sigmoid, only
            whether each probability is above 1/2, a bool. "top5": where the five largest are, the largest first.
        tolerance: largest error to accept of an answer, as a part of the outputs' range (before a final activation).
            The error is measured on `calibration`, or on random inputs, before anything is sent. None: 0.01, and more
            than that is a warning.
        verbose: 1 prints the plan's digest, for clients to pin (`connect_to_model(…, owner=…, digest=…)`),
            how many rows fit if these are fewer than `limits.max_batch`, and which ranges were guessed; 0 does not.
        calibration: inputs of the usual kind, as `model.predict` takes them; some dozens will do. They stay here. They
            tell how large values get and how exact answers are, instead of random inputs.
        saturate: with `calibration` and `input_range`, values are cut off at some eight times what the data made of
            them, in as few places as let everything be proved: what no data of this kind does saturates and cannot
            overflow. False: what worst cases leave unproved stays so.
        evaluation: what clients' data and targets may be evaluated by (`Client.evaluate_model`), and who is told: None,
            nothing; "client", the client that asked; "owner", only the owner (`model.evaluations()`), for which
            clients have to say recipient="owner"; or a dict from
            metric ("accuracy", "top5", "binary_accuracy", "mean_absolute_error", "mean_squared_error") to one of these.
            An evaluation has 20 rows at least; ("client", 100) and ("owner", 100) ask for more or fewer.
        guard: whether the parties notice, in secret, that a value inside the model may have outgrown its numbers: the
            client then gets a `RangeError` for that row instead of a wrong answer. It tells clients one bit a row.
            None: where no range is proven, if it can be noticed; `private_summary` says so, and what it costs. True:
            also where a value was cut off (`saturate`).
        enforce_range: the parties compare each input with its `input_range`, in secret, and give no answer to a row
            that is not within; the client gets a `RangeError`. Clients of this package refuse such data themselves; one
            who writes their own could learn the weights by it.
        name: what clients ask for, `connect_to_model(…, model=name)`: letters, digits, "-", "_" and ".", up to 63. The
            default is what those get who name none. It belongs to whoever has a model under it.
        deploy: have the parties serve it from then on, without this process, see `deploy`.

    Returns:
        The model. `with model.share(cluster): …` stops it at the end.

    Raises:
        ConfigError: `cluster` is no TFECluster, or `reveal` nothing that it may be.
        InputError: tolerance is not a number above 0, the name is none, or the calibration data does not fit the model.
        StateError: the cluster has not been started.
        UnsupportedModelError: lists everything in the model that cannot be lowered.
        PlanError: the range makes no sense, the model cannot be evaluated so, it exceeds a limit (not even one row
            fits into `limits.memory_mb`, for instance), or its error the `tolerance` that was given.
        ClusterError: the parties could not take the model.
    """
    config = getattr(cluster, "config", None)
    if config is None:
        raise ConfigError(f"share() takes a TFECluster, not {type(cluster).__name__}")
    if not cluster.started:
        raise StateError("the cluster is not running: call cluster.start() before model.share(cluster)")
    _check_tolerance(tolerance)
    check_name(name)
    precision, fingerprint = config.precision_fractional, _fingerprint(self)
    choices = Choices(
        input_range=input_range,
        reveal=reveal,
        calibration=calibration,
        saturate=saturate,
        evaluation=evaluation,
        guard=guard,
        enforce_range=enforce_range,
    )
    exact = config.truncation == "exact"
    draft = compiled(self, choices, precision, exact_truncation=exact)
    _check_accuracy(draft, tolerance)
    fits = room(draft.plan, config.limits)
    memory = said(fits, config.limits)
    owned = _upload(self, cluster, draft, name, deploy=deploy)
    with _lock:
        names = _shared.setdefault(self, {})
        names.pop(name, None)
        names[name] = _Shared(
            cluster, owned, draft.plan, fingerprint, draft.accuracy, reaches(draft), memory, choices, precision, exact
        )
    if verbose:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it; the model is shared all the same
            if min(fits.run_rows, fits.query_rows) < config.limits.max_batch:
                print(memory, flush=True)  # noqa: T201
            if guessed := guess(draft):
                print(guessed, flush=True)  # noqa: T201
            called = f"{'deployed' if deploy else 'shared'} as {name!r} version {owned.version} by {cluster.owner.name}"
            print(f"{called}, digest {owned.digest}", flush=True)  # noqa: T201
    return self


def _upload(model: Any, cluster: Any, draft: Draft, name: str, *, deploy: bool) -> OwnedModel | OwnedReplicas:
    """As the next version of what this model is shared as, if it is."""
    with _lock:
        before = _shared.get(model, {}).get(name)
    if before is not None and before.cluster is cluster and not before.owned.stopped:
        before.owned.replace(draft.plan, draft.values, deploy=deploy)
        return before.owned
    stop(model, name)
    return share_with_all(cluster, draft.plan, draft.values, name=name, deploy=deploy)


def deploy(self: Any, cluster: Any = None, *, name: str | None = None, verbose: int = 1, **choices: Any) -> Any:
    """Have the parties serve this model without this process, until `cluster.undeploy(name)`, `keras-private undeploy`
    or `model.stop()`, and what is shared under its name later, too.

    Unless the operators have their parties keep models (`storage`), one that is restarted has lost it: then it has to
    be deployed anew.

    Args:
        cluster: a TFECluster, started. None: where it is shared.
        name: None: what it was shared as last, or the default name.
        verbose, choices: as for `share`, which is called if the model is not shared there, if its weights have changed
            since, or with any choices.

    Returns:
        The model.

    Raises:
        StateError: the model is not shared, and no cluster was given.
        As `share` otherwise.
    """
    with _lock:
        names = _shared.get(self, {})
        if name is None:
            name = next(reversed(names), DEFAULT_NAME)
        shared = names.get(name)
    if cluster is None:
        cluster = _shared_of(self, "deploy() without a cluster", name).cluster
    known = shared is not None and shared.cluster is cluster and shared.fingerprint == _fingerprint(self)
    if shared is None or not known or choices:
        return share(self, cluster, verbose=verbose, name=name, deploy=True, **choices)
    shared.owned.deploy()
    if verbose:
        with contextlib.suppress(OSError, ValueError):
            print(f"deployed {name!r} version {shared.owned.version}", flush=True)  # noqa: T201
    return self


def serve(
    self: Any, num_requests: int | None = None, verbose: int = 1, reshare: bool = True, *, name: str | None = None
) -> int:
    """Answer queries until `num_requests` were served; None: until Ctrl-C. Ctrl-C ends it either way.

    What was shared is served. If the weights changed since (`fit`, `set_weights`), a warning says so.

    Args:
        num_requests: how many; None: without end.
        verbose: 1: a progress bar, and a line when queries cannot be run, for instance because a party is away. 0: no
            bar, and such a line goes to the logger `keras_private`.
        reshare: if a party was restarted and holds no model any more, share the model again, as it was, and go on.
        name: which, if it is shared under several; None: what it was shared as last.

    Returns:
        How many were served.

    Raises:
        StateError: the model has not been shared.
        InputError: num_requests is not a whole number of 1 or more.
        ClusterError: as `OwnedModel.serve`.
    """
    total = _count(num_requests)
    shared = _shared_of(self, "serve()", name)
    if shared.fingerprint != _fingerprint(self):
        caller = sys._getframe(1)  # warn_explicit: told every time, not once for a line of the program
        warnings.warn_explicit(_STALE, UserWarning, caller.f_code.co_filename, caller.f_lineno)
    shared.owned.served = 0  # Ctrl-C may come before serving begins
    try:
        with serving_bar(total, quiet=not verbose) as bar:
            return shared.owned.serve(total, bar.show, reshare=reshare, on_trouble=bar.trouble)
    except KeyboardInterrupt:
        return shared.owned.served


def stop(self: Any, name: str | None = None) -> None:
    """Stop serving, and have the parties forget their shares, deployed or not. Does nothing the second time.

    Args:
        name: under which it is shared; None: all of them.
    """
    with _lock:
        names = _shared.get(self, {})
        stopping = {each: names.pop(each) for each in list(names) if name in (None, each)}
    try:
        while stopping:
            stopping[next(iter(stopping))].owned.stop()
            del stopping[next(iter(stopping))]
    except Exception:
        stopping.pop(next(iter(stopping)))
        raise
    finally:  # Ctrl-C: they can be stopped again
        with _lock:
            if stopping:
                _shared.setdefault(self, {}).update(stopping)


def evaluations(self: Any, name: str | None = None) -> list[Score]:
    """What came of the clients' evaluations that the owner alone is told of, the latest 1024, oldest first: of each the
    metric, the client's name, the rows, the total and the value. Raises as `OwnedModel.evaluations`.
    """
    return _shared_of(self, "evaluations()", name).owned.evaluations()


def private_accuracy(
    self: Any,
    x: Any,
    y: Any = None,
    metric: str = "accuracy",
    *,
    precision: int | None = None,
    parties: bool = False,
    **choices: Any,
) -> PrivateAccuracy:
    """How good private answers are beside those of plain Keras, on the owner's data. Nothing leaves this process.

    Args:
        x: what `model.predict` takes.
        y: the targets: class numbers or one-hot numbers, bits, or real numbers, as the metric needs them. None:
            compare answers only.
        metric: "accuracy", "top5", "binary_accuracy", "mean_absolute_error" or "mean_squared_error".
        precision: fractional bits; None: those that the model was shared with, or 16. Its truncation is that of the
            cluster that it was shared with, or the usual one.
        parties: have it computed by three parties in this process, as in a cluster; otherwise it is simulated, with the
            roundings that parties do, which is quicker.
        choices: what else would be passed to `share`, such as input_range; without any, what was passed to it, if the
            model is shared.

    Returns:
        Both values of the metric, the largest difference of an output value, and how many rows are decided otherwise.

    Raises:
        ConfigError, InputError, UnsupportedModelError, PlanError: as `share`; the data or targets do not fit, or there
            is no such metric; a value of the run outgrows its numbers.
    """
    with _lock:
        shared = next(reversed(_shared.get(self, {}).values()), None)
    if unknown := choices.keys() - {field.name for field in fields(Choices)}:
        raise ConfigError(f"private_accuracy() takes what share() takes to choose the plan, not {min(unknown)!r}")
    chosen = shared.choices if shared and not choices else Choices(**choices)
    if precision is None:
        precision = shared.precision if shared else 16
    exact = shared is not None and shared.exact
    return measured(self, x, y, metric, chosen, precision, parties=parties, exact_truncation=exact)


def private_summary(self: Any, print_fn: Callable[[str], Any] | None = None, plot: str | Path | None = None) -> None:
    """Print what the parties compute: per layer the op, output shape, rounds, bytes and bound, and, once a query ran,
    its share of the time; what networks cost; the error to expect, and how many rows fit.

    Args:
        print_fn: what prints the text; None: print.
        plot: also draw where rounds, bytes and time go, into this file (.png, .svg or .pdf). Takes the extra `plot`.

    Raises:
        StateError: the model has not been shared.
        ConfigError: the picture cannot be drawn.
    """
    shared = _shared_of(self, "private_summary()")
    timing = None
    with contextlib.suppress(KerasPrivateError):  # the leader is away: the rest is known here
        found = shared.owned.timing()
        if found.rows:
            timing = Timing(found.rows, tuple(1e-6 * microseconds for microseconds in found.stages))
    summary = table.private_summary(
        shared.plan, title=self.name, accuracy=shared.accuracy, timing=timing, reaches=shared.reaches
    )
    (print_fn or print)(summary + shared.memory)
    if plot is not None:
        plot_plan(shared.plan, plot, title=self.name, timing=timing)


def _enter(self: Any) -> Any:
    return self


def _exit(self: Any, *exception: object) -> None:
    del exception
    stop(self)


_METHODS: dict[str, Callable[..., Any]] = {
    "share": share,
    "serve": serve,
    "deploy": deploy,
    "stop": stop,
    "evaluations": evaluations,
    "private_accuracy": private_accuracy,
    "private_summary": private_summary,
    "__enter__": _enter,
    "__exit__": _exit,
}


def _shared_of(model: Any, what: str, name: str | None = None) -> _Shared:
    """As what it was shared last, or under this name."""
    with _lock:
        names = dict(_shared.get(model, {}))
    if not names:
        raise StateError(f"the model is not shared: call model.share(cluster) before {what}")
    if name is None:
        name = next(reversed(names))
    if name not in names:
        raise StateError(f"the model is not shared as {name!r}, but as {', '.join(map(repr, names))}")
    return names[name]


def _fingerprint(model: Any) -> bytes:
    """A hash of all the model's weights, those of models within it included."""
    found = hashlib.blake2b(digest_size=16)
    for weight in model.weights:
        array = np.ascontiguousarray(weight.numpy())
        found.update(f"{array.dtype} {array.shape} ".encode())
        found.update(as_bytes(array))
    return found.digest()


def _check_tolerance(tolerance: Any) -> None:
    if tolerance is None:
        return
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not tolerance > 0:
        raise InputError(f"tolerance must be a number above 0, a part of the outputs' range, not {tolerance!r}")


def _check_accuracy(draft: Draft, tolerance: float | None) -> None:
    """Say that answers will be too inexact: an error if the caller named the limit, else a warning."""
    accuracy, limit = draft.accuracy, TOLERANCE if tolerance is None else tolerance
    if accuracy is None or accuracy.relative <= limit:
        return
    text = (
        f"private answers are expected to be off by up to {accuracy.error:.2g}, where the model's outputs lie within "
        f"{accuracy.span:.2g} of each other: more than tolerance={limit:g} of that. Raise precision_fractional (now "
        f"{draft.plan.precision}), declare a narrower input_range, or scale inputs and outputs to about 1"
    )
    if tolerance is not None:
        raise PlanError(text)
    warnings.warn(text, PrecisionWarning, stacklevel=3)


def _count(number: Any) -> int | None:
    """A number of requests; R gives 3 as 3.0."""
    if number is None:
        return None
    try:
        exact = float(number)
    except (TypeError, ValueError, OverflowError):
        exact = math.nan
    if isinstance(number, bool) or not (1 <= exact < NUMBERS and exact.is_integer()):
        raise InputError(f"num_requests must be a whole number of 1 or more, or None, not {number!r}")
    return int(exact)
