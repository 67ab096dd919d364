"""The owner's side of a cluster: give the three parties their shares of a model, have it served, take it away."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from keras_private.config import PARTY_NAMES
from keras_private.errors import (
    ClusterError,
    InputError,
    LinkError,
    PartyError,
    PlanError,
    StateError,
)
from keras_private.net.frames import as_bytes
from keras_private.net.roles import Role
from keras_private.party.dial import ask, call, expect
from keras_private.party.messages import (
    ID_BYTES,
    VERSION,
    Accepted,
    AskStatus,
    Hello,
    Load,
    Loaded,
    Progress,
    Serve,
    Status,
    Stop,
    Stopped,
    Weight,
    encode,
)
from keras_private.party.network import Channel, Network
from keras_private.plan.plan import Plan
from keras_private.plan.serialise import digest, serialise
from keras_private.sharing import fixed
from keras_private.sharing.share import Part, split

if TYPE_CHECKING:
    from keras_private.config import ClusterConfig
    from keras_private.worker import Cluster

_PIECE = 4 << 20  # bytes of a weight in one message
_LOAD_S = 330.0  # a party may have to compile its kernels first
_PROGRESS_S = 60.0  # a serving leader says something at least this often

OnProgress = Callable[[int], None]
"""Called with the number of requests served so far."""


class OwnedModel:
    """A model that three parties hold in shares. Made by `upload`.

    Attributes:
        digest: SHA-256 of the plan, hex, the same at all three parties.
        served: requests answered by the last `serve`.
    """

    def __init__(self, config: ClusterConfig, network: Network, id_: bytes, digest: str) -> None:
        self.digest = digest
        self.served = 0
        self._id = id_
        self._config = config
        self._network = network
        self._stopped = False

    def __repr__(self) -> str:
        return f"OwnedModel({self.digest[:12]}…{', stopped' if self._stopped else ''})"

    @classmethod
    def upload(
        cls, cluster: Cluster, plan: Plan, values: Mapping[str, ArrayLike], *, name: str | None = None
    ) -> OwnedModel:
        """Share the weights among the parties and give each the plan.

        Args:
            cluster: a started `TFECluster`.
            plan: an executable plan.
            values: every weight of the plan in plain reals, of the plan's shapes.
            name: the owner's; None: the cluster's.

        Raises:
            PlanError: the plan or the weights do not fit together, or a party's limits.
            RefusedError: a party refused: not this owner's to replace, too large, being served.
            LinkError: a party cannot be reached.
        """
        if missing := plan.weights.keys() ^ values.keys():
            raise PlanError(f"the weights do not match the plan: {', '.join(sorted(missing))}")
        config, network = cluster.config, cluster.network(Role("owner", name) if name else cluster.owner)
        load, expected = Load(os.urandom(ID_BYTES), serialise(plan)), digest(plan)
        channels: list[Channel] = []
        model = cls(config, network, load.model, expected)
        try:
            channels.extend(_call(config, network, index) for index in range(len(PARTY_NAMES)))
            for channel in channels:
                ask(channel, load, Accepted, config.limits.timeout_s)
            for weight, value in values_in_order(plan, values):
                for channel, package in zip(channels, split(value), strict=True):
                    _send_part(channel, weight, "mine", package.mine)
                    _send_part(channel, weight, "next", package.next)
            for channel in channels:
                held = expect(channel, Loaded, _LOAD_S).digest
                if held != expected:
                    raise PartyError(
                        f"{channel.peer.name} holds plan {held}, {expected} was sent; "
                        "install the same keras-private everywhere"
                    )
        except BaseException:
            with contextlib.suppress(ClusterError, LinkError):
                model.stop()  # where it has arrived already
            raise
        finally:
            for channel in channels:
                channel.close()
        return model

    def serve(self, num_requests: float | None = None, on_progress: OnProgress | None = None) -> int:
        """Have the parties answer queries. Blocks; while nobody serves, queries wait.

        Serving is tied to this call: if this process ends, or Ctrl-C ends the call, serving pauses.

        Args:
            num_requests: return after so many; None: serve until `stop` (from another thread or process).
            on_progress: called whenever a request was served.

        Returns:
            How many requests were served.

        Raises:
            InputError: `num_requests` is not a whole number from 1 on.
            StateError: the model was stopped.
            RefusedError: somebody serves it already, or a party was restarted and holds no model.
            PartyError: the leader is gone.
        """
        if num_requests is not None and (num_requests < 1 or int(num_requests) != num_requests):
            raise InputError(f"num_requests must be a whole number from 1 on, or None; got {num_requests!r}")
        if self._stopped:
            raise StateError("the model was stopped; share it again before serving it")
        channel = _call(self._config, self._network, 0)
        try:
            channel.send(encode(Serve(self._id, None if num_requests is None else int(num_requests))))
            while True:
                progress = expect(channel, Progress, _PROGRESS_S + self._config.limits.timeout_s)
                self.served = progress.served
                if on_progress is not None:
                    on_progress(progress.served)
                if progress.done:
                    return progress.served
        except LinkError as error:
            raise PartyError(f"server0 is gone while it served: {error}") from None
        finally:
            channel.close()

    def stop(self) -> None:
        """Have the parties forget the model; what waits is refused. The second time it does nothing.

        Raises:
            RefusedError: the model is not this owner's.
        """
        if self._stopped:
            return
        refused: ClusterError | None = None
        for index in range(len(PARTY_NAMES)):
            try:
                channel = _call(self._config, self._network, index)
                try:
                    ask(channel, Stop(self._id), Stopped, self._config.limits.timeout_s)
                finally:
                    channel.close()
            except (LinkError, StateError):
                continue  # a party that is gone holds nothing any more
            except ClusterError as error:
                refused = refused or error
        if refused is not None:
            raise refused
        self._stopped = True

    @property
    def stopped(self) -> bool:
        return self._stopped


def ask_status(config: ClusterConfig, network: Network, index: int, timeout: float = 5.0) -> Status:
    """What party `index` says about itself.

    Raises:
        LinkError: it cannot be reached.
        RefusedError: it does not let this owner in.
    """
    channel = call(network, index, Hello("owner", VERSION, config.cluster), timeout)
    try:
        return ask(channel, AskStatus(), Status, timeout)
    finally:
        channel.close()


def values_in_order(
    plan: Plan, values: Mapping[str, ArrayLike]
) -> Iterator[tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.uint64]]]]:
    """Every weight of the plan, encoded, in the order in which it is sent.

    Raises:
        PlanError: a weight has another shape than the plan says, or does not fit into fixed point.
    """
    for name, weight in sorted(plan.weights.items()):  # as the serialised plan lists them
        value = np.asarray(values[name], dtype=np.float64)
        if value.shape != weight.shape:
            raise PlanError(f"weight {name!r} has shape {value.shape}, the plan says {weight.shape}")
        try:
            yield name, fixed.encode(value, weight.frac)
        except InputError as error:
            raise PlanError(f"weight {name!r}: {error}") from None


def _call(config: ClusterConfig, network: Network, index: int) -> Channel:
    return call(network, index, Hello("owner", VERSION, config.cluster), config.limits.timeout_s)


def _send_part(channel: Channel, weight: str, part: str, data: Part) -> None:
    view = as_bytes(data.astype("<u8", copy=False) if isinstance(data, np.ndarray) else data)
    for start in range(0, max(len(view), 1), _PIECE):
        piece = view[start : start + _PIECE]
        channel.send(encode(Weight(weight, part, bytes(piece), start + _PIECE >= len(view))))
