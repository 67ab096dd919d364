"""TFEWorker: the handle of one party, or a client that queries a served model. Needs no TensorFlow.

client = TFEWorker()
client.connect_to_model((1, 28, 28, 1), (1, 10), cluster)
logits = client.query_model(images)          # images: (batch, 28, 28, 1), logits: float32 (batch, 10)
"""

from __future__ import annotations

import math
import os
import shlex
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_private.config import PARTY_NAMES, ClusterConfig, parse_host
from keras_private.errors import (
    ConfigError,
    FrameError,
    InputError,
    KerasPrivateError,
    LinkError,
    LinkTimeoutError,
    PartyError,
    RefusedError,
    StateError,
)
from keras_private.net.frames import as_bytes
from keras_private.net.roles import Role
from keras_private.party.dial import ask, call, error_of
from keras_private.party.messages import (
    CONTROL_BYTES,
    ID_BYTES,
    VERSION,
    Answer,
    Cancel,
    Describe,
    Description,
    Error,
    Hello,
    Query,
    decode,
    encode,
)
from keras_private.party.network import Channel, Network
from keras_private.sharing import fixed
from keras_private.sharing.share import Package, Part, Share, reconstruct, split

QUERY_TIMEOUT_S = 600.0
"""How long a query waits for its answer unless told otherwise. It may be asked before the model is served."""
_GLANCE_S = 0.1  # how long to wait for one party before looking at the others
_QUERY_OVERHEAD = 256  # bytes of a query that are not its words, and more
_SEND_ORDER = (1, 2, 0)  # the followers first: the leader has to hear from them


class Cluster(Protocol):
    """What a worker needs to know of a cluster (`TFECluster`)."""

    @property
    def config(self) -> ClusterConfig: ...
    @property
    def owner(self) -> Role: ...
    def network(self, role: Role) -> Network: ...


@dataclass(slots=True)
class _Pending:
    """A query whose answer is not complete."""

    id: bytes
    rows: int
    deadline: float
    asked: set[int] = field(default_factory=set)
    answers: dict[int, Answer] = field(default_factory=dict)
    failure: KerasPrivateError | None = None


class TFEWorker:
    """One worker.

    Args:
        host: "host:port" of the party this is a handle of; None makes it a client, or, where it is given to a
            `TFECluster`, a party within this process.
        auto_managed: whether `TFECluster.start` runs the party on this machine; otherwise it prints the command that
            runs it on its own host.
        name: a client's name; only used where no certificate says it.
        timeout: seconds that a query may wait for its answer.

    Raises:
        ConfigError: `host` is malformed, or `auto_managed` without a host.
    """

    def __init__(
        self,
        host: str | None = None,
        auto_managed: bool = False,
        *,
        name: str = "client",
        timeout: float = QUERY_TIMEOUT_S,
    ) -> None:
        if host is not None:
            try:
                parse_host(host)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"a worker's host is wrong: {error}") from None
        elif auto_managed:
            raise ConfigError(
                "auto_managed=True needs a host, as in TFEWorker(host='localhost:4000', auto_managed=True)"
            )
        self.host = host
        self.auto_managed = bool(auto_managed)
        self._role = Role("client", name)
        self._timeout = _seconds(timeout)
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._cluster: Cluster | None = None
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
        self._channels: list[Channel] = []
        self._answer_bytes = CONTROL_BYTES  # the largest message that a party has reason to send on these channels
        self._model: Description | None = None
        self._order: deque[_Pending] = deque()
        self._open: dict[bytes, _Pending] = {}

    def __repr__(self) -> str:
        if self.host:
            return f"TFEWorker(host={self.host!r}, auto_managed={self.auto_managed})"
        return f"TFEWorker(<{'connected' if self._channels else 'not connected'}>)"

    def command(self, index: int, config: str = "cluster.yaml") -> str:
        """What to run on the host of party `index`, where the cluster's file lies at `config`."""
        return f"keras-private party --config {shlex.quote(config)} --name {PARTY_NAMES[index]}"

    # The connection

    def connect_to_model(
        self, input_shape: Iterable[float], output_shape: Iterable[float], cluster: Cluster
    ) -> TFEWorker:
        """Connect to the model that the cluster's parties hold, and make sure that it is the one meant.

        Args:
            input_shape, output_shape: of the model, with a batch axis first, whatever its size.
            cluster: a `TFECluster`; it need not have been started from here.

        Raises:
            ConfigError: `cluster` is none, or there are no usable certificates.
            StateError: this worker is a party's handle.
            InputError: the shapes are not shapes, or not the model's; the message has both.
            RefusedError: the parties hold no model, or not the same, or do not let this client in.
            LinkError: a party cannot be reached.
        """
        if not hasattr(cluster, "network"):
            raise ConfigError(
                f"connect_to_model() takes a TFECluster, not {type(cluster).__name__}; "
                "TFECluster.from_yaml makes one from a file"
            )
        if self.host is not None:
            raise StateError(
                f"this worker stands for the party at {self.host}; a client is a TFEWorker() without a host"
            )
        shapes = (_shape(input_shape, "input_shape"), _shape(output_shape, "output_shape"))
        with self._locked():
            self.close()
            self._cluster, self._shapes = cluster, shapes
            self._connect()
        return self

    def _locked(self) -> threading.RLock:
        """The lock. In the child of a fork a new one: there the old may be held for ever, the channels are another's.

        They are left alone, neither used nor closed; the child's next query connects anew.
        """
        if self._process != os.getpid():
            self._process, self._lock = os.getpid(), threading.RLock()
            self._forget()
        return self._lock

    def _forget(self) -> None:
        self._channels, self._model = [], None
        self._open.clear()
        self._order.clear()

    def _connect(self) -> None:
        if self._cluster is None:
            raise StateError("this client is not connected; call connect_to_model first")
        network, config = self._cluster.network(self._role), self._cluster.config
        seconds = config.limits.timeout_s
        channels: list[Channel] = []
        try:
            hello = Hello("client", VERSION, config.cluster)
            channels.extend(call(network, index, hello, seconds) for index in range(len(PARTY_NAMES)))
            models = [ask(channel, Describe(), Description, seconds) for channel in channels]
            _check_same(models)
            self._check_shapes(models[0])
        except BaseException:
            for channel in channels:
                channel.close()
            raise
        self._channels, self._model = channels, models[0]
        self._answer_bytes = CONTROL_BYTES

    def _check_shapes(self, model: Description) -> None:
        for what, ours, theirs in zip(
            ("input", "output"), self._shapes, (model.input_shape, model.output_shape), strict=True
        ):
            if ours != theirs:
                raise InputError(
                    f"the {what} shape given is {_show(ours)}, the served model's is {_show(theirs)}; "
                    "is this the right cluster and model?"
                )

    def close(self) -> None:
        """Leave the parties; queries that wait are taken back. To query again, connect again. Idempotent."""
        with self._locked():
            for channel in self._channels:
                channel.close()
            self._forget()
            self._cluster = None

    def __enter__(self) -> TFEWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Queries

    def query_model(self, data: ArrayLike, timeout: float | None = None) -> NDArray[np.float32]:
        """The model's prediction for a batch, in private.

        Args:
            data: real numbers, shape (batch, *input shape), any dtype and memory order, 1 to max_batch rows.
            timeout: seconds to wait for the answer; None: this worker's own.

        Returns:
            float32, shape (batch, *output shape), like `model.predict`.

        Raises:
            InputError: wrong shape, dtype, range or size, or not finite; nothing was sent.
            RefusedError: a party refused: queue full, no model.
            PartyError: a party failed; names it.
            IntegrityError: the parties' shares of the answer disagree.
            LinkError: a party cannot be reached, or there was no answer in time.
        """
        with self._locked():
            return self._result(self._send(data, timeout))

    def query_model_async(self, data: ArrayLike, timeout: float | None = None) -> None:
        """Send a query and return; `query_model_join` waits for its answer. Raises as `query_model`."""
        with self._locked():
            self._order.append(self._send(data, timeout))

    def query_model_join(self) -> NDArray[np.float32]:
        """The answer to the oldest query of `query_model_async` that was not joined. Raises as `query_model`."""
        with self._locked():
            if not self._order:
                raise StateError("no query is on its way; call query_model_async first")
            return self._result(self._order.popleft())

    def _send(self, data: ArrayLike, timeout: float | None) -> _Pending:
        for index, channel in enumerate(self._channels):
            if channel.closed:  # by Ctrl-C in the middle of a message
                self._lost(index, LinkError("the connection was interrupted"))
                break
        if self._model is None or not self._channels:
            self._connect()
        model, cluster = self._model, self._cluster
        if model is None or cluster is None:
            raise StateError("this client is not connected; call connect_to_model first")
        values = _checked(data, model)
        _check_size(len(values), model, cluster.config.limits.request_mb, cluster.config.limits.request_bytes)
        packages = split(fixed.encode(values, model.input_frac))
        seconds = self._timeout if timeout is None else _seconds(timeout)
        pending = _Pending(os.urandom(ID_BYTES), len(values), time.monotonic() + seconds)
        self._open[pending.id] = pending
        # A late answer to a larger query, given up meanwhile, may come too: the limit never shrinks.
        self._answer_bytes = max(self._answer_bytes, CONTROL_BYTES + 16 * len(values) * math.prod(model.output_shape))
        try:
            for index in _SEND_ORDER:
                pending.asked.add(index)
                try:
                    self._channels[index].send(encode(_query(pending, model, packages[index])))
                except LinkError as error:
                    self._lost(index, error)
                    break
        except BaseException:  # Ctrl-C too
            self._open.pop(pending.id, None)
            self._cancel(pending)
            raise
        return pending

    def _result(self, pending: _Pending) -> NDArray[np.float32]:
        model = self._model
        try:
            while pending.failure is None and len(pending.answers) < len(PARTY_NAMES):
                self._listen(pending)
        except BaseException:  # Ctrl-C too
            self._cancel(pending)
            raise
        finally:
            self._open.pop(pending.id, None)
        if pending.failure is not None:
            raise pending.failure
        if model is None:
            raise StateError("this client was closed while a query was waiting")
        shape = (pending.rows, *model.output_shape)
        shares = [_output(pending.answers[index], shape, index) for index in range(len(PARTY_NAMES))]
        return fixed.decode(reconstruct(shares), model.precision).astype(np.float32)

    def _listen(self, pending: _Pending) -> None:
        """Take in what the parties say: wait a moment for one that is due, glance at the others."""
        remaining = pending.deadline - time.monotonic()
        if remaining <= 0:
            due = ", ".join(name for index, name in enumerate(PARTY_NAMES) if index not in pending.answers)
            raise LinkTimeoutError(f"no answer came in time from {due}; is the model being served?")
        patience = min(_GLANCE_S, remaining)
        for index, channel in enumerate(self._channels):
            if index in pending.answers or pending.failure is not None:
                continue
            try:
                message = decode(channel.receive(patience, self._answer_bytes))
            except LinkTimeoutError as error:
                if channel.closed:
                    self._lost(index, error)
                    return
            except LinkError as error:
                self._lost(index, error)
                return
            else:
                self._take_in(index, message)
                return
            patience = 0.0

    def _take_in(self, index: int, message: object) -> None:
        channel = self._channels[index]
        if isinstance(message, Answer):
            pending = self._open.get(message.request)
            if pending is not None:
                pending.answers[index] = message
        elif isinstance(message, Error) and message.request is not None:
            pending = self._open.get(message.request)
            if pending is not None and pending.failure is None:
                pending.failure = error_of(channel, message)
                self._cancel(pending)
        elif isinstance(message, Error):
            self._lost(index, error_of(channel, message))
        else:
            self._lost(index, FrameError("it sent what no client expects"))

    def _cancel(self, pending: _Pending) -> None:
        """Nobody waits for this answer any more: let the parties forget the request."""
        for index, channel in enumerate(self._channels):
            if index in pending.asked and index not in pending.answers:
                try:
                    channel.send(encode(Cancel(pending.id)))
                except LinkError:
                    continue

    def _lost(self, index: int, cause: KerasPrivateError) -> None:
        """A connection broke: every query on its way fails, and the next one connects anew."""
        failure = cause if isinstance(cause, RefusedError) else PartyError(f"{PARTY_NAMES[index]} is gone: {cause}")
        for pending in self._open.values():
            pending.failure = pending.failure or failure
        for channel in self._channels:
            channel.close()
        self._channels = []


def _query(pending: _Pending, model: Description, package: Package) -> Query:
    return Query(pending.id, model.model, pending.rows, _part(package.mine), _part(package.next))


def _part(part: Part) -> bytes | memoryview:
    return as_bytes(part.astype("<u8", copy=False)) if isinstance(part, np.ndarray) else bytes(part)


def _output(answer: Answer, shape: tuple[int, ...], index: int) -> Share:
    size = 8 * math.prod(shape)
    if len(answer.mine) != size or len(answer.next) != size:
        raise PartyError(
            f"{PARTY_NAMES[index]} answered with a share of the wrong size; do its software and model fit?"
        )
    mine, following = (np.frombuffer(part, "<u8").astype(np.uint64, copy=False) for part in (answer.mine, answer.next))
    return Share(mine.reshape(shape), following.reshape(shape))


def _checked(data: ArrayLike, model: Description) -> NDArray[Any]:
    """The batch as an array that may be sent.

    Raises:
        InputError: it may not; the message says why, and what the model takes.
    """
    try:
        values = np.asarray(data)
    except (TypeError, ValueError):
        raise InputError("the data is not a rectangular array of numbers") from None
    expected = f"the model takes real numbers of shape {_show(model.input_shape)}"
    if values.dtype.kind not in "fiub":
        raise InputError(f"data of type {values.dtype} cannot be queried; {expected}")
    if values.ndim == 0 or values.shape[1:] != model.input_shape:
        raise InputError(f"the data has shape {values.shape}; {expected}, the batch first")
    if not 1 <= len(values) <= model.max_batch:
        raise InputError(f"a batch of {len(values)} rows; from 1 to {model.max_batch} can be asked at once")
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("the data holds NaN or infinite values; remove them first")
    if model.input_range is not None and not (model.input_range[0] <= low and high <= model.input_range[1]):
        raise InputError(
            f"the data reaches from {low:g} to {high:g}, the model was shared for values from {model.input_range[0]:g} "
            f"to {model.input_range[1]:g}; scale the data as for training"
        )
    return values


def _check_size(rows: int, model: Description, megabytes: int, limit: int) -> None:
    """Refuse what the parties would hang up on: of a query's two parts one is a seed, the other 8 bytes a number.

    Raises:
        InputError: the query is over the cluster's limit; names the largest batch that is not.
    """
    most = (limit - _QUERY_OVERHEAD) // (8 * math.prod(model.input_shape))
    if rows > most:
        advice = f"ask at most {most} at once" if most else "request_mb in cluster.yaml must be raised"
        raise InputError(f"a query of {rows} rows is over the cluster's limit of {megabytes} MB; {advice}")


def _check_same(models: list[Description]) -> None:
    first = models[0]
    for name, other in zip(PARTY_NAMES[1:], models[1:], strict=True):
        if other.digest != first.digest:
            raise RefusedError(
                f"the parties hold different plans, server0 {first.digest} and {name} {other.digest}; "
                "the owner must share the model again"
            )
        if other != first:
            raise RefusedError(
                f"server0 and {name} describe the model differently (another upload, or other limits in their "
                "cluster.yaml); the owner must share it again"
            )


def _seconds(value: float) -> float:
    """A timeout that is one."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not seconds > 0:
        raise InputError(f"a timeout is a number of seconds above 0, not {value!r}")
    return seconds


def _shape(value: Iterable[float], what: str) -> tuple[int, ...]:
    """A shape without its batch axis, from anything that lists whole numbers (R sends doubles)."""
    try:
        axes = [float(axis) if axis is not None else 1.0 for axis in value]
    except (TypeError, ValueError):
        raise InputError(f"{what} must list whole numbers, as in (1, 28, 28, 1)") from None
    if not axes or any(not axis.is_integer() or axis < 1 for axis in axes):
        raise InputError(f"{what} must list whole numbers from 1 on, the batch first; got {tuple(axes)}")
    return tuple(int(axis) for axis in axes[1:])


def _show(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['batch', *map(str, shape)])})"
