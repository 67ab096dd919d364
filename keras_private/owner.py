"""The owner's side of a cluster: give the three parties their shares of a model, have it served, take it away.

Theory of operation. A model is shared by an *upload*: shares drawn anew, under a new random id, one set for the three
parties. Shares of different uploads do not fit together, so a party that comes back empty cannot be given its part
again: the whole model is uploaded anew, with the weights as they were when it was shared first. For that the encoded
weights stay in the owner's process, 4 bytes each where that is enough, else 8.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from keras_private.config import PARTY_NAMES
from keras_private.errors import (
    ClusterError,
    InputError,
    LinkError,
    NoModelError,
    PartyError,
    PlanError,
    StateError,
    TrustError,
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
    from keras_private.client.target import Cluster
    from keras_private.config import ClusterConfig

_PIECE = 4 << 20  # bytes of a weight in one message
_LOAD_S = 330.0  # a party may have to compile its kernels first
_PROGRESS_S = 60.0  # a serving leader says something at least this often
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0  # between attempts to go on serving
_GIVE_UP_S = 600.0
"""How long `serve` tries to go on when the leader does not answer or the model cannot be shared again."""

OnProgress = Callable[[int], None]
"""Called with the number of requests served so far."""
OnTrouble = Callable[[str], None]
"""Called with why no query can be run at the moment, and with an empty text when that is over."""
Words = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]


class OwnedModel:
    """A model that three parties hold in shares. Made by `upload`. `stop` is for any thread, `serve` for one at a time.

    Attributes:
        digest: SHA-256 of the plan, hex, the same at all three parties.
        served: requests answered by the last `serve`.
    """

    def __init__(self, config: ClusterConfig, network: Network, plan: Plan, values: Mapping[str, ArrayLike]) -> None:
        self.digest = digest(plan)
        self.served = 0
        self._config = config
        self._network = network
        self._plan = serialise(plan)
        self._weights = [(name, _narrow(words)) for name, words in values_in_order(plan, values)]
        self._id = b""
        self._changing = threading.Lock()  # held while the parties are given the model, or have it taken away
        self._ending = threading.Event()
        self._stopped = False
        self._heard = 0.0  # when serving went on last

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
            values: every weight of the plan in plain reals, of the plan's shapes. They are copied: what becomes of them
                later does not reach the parties.
            name: the owner's; None: the cluster's.

        Raises:
            PlanError: the plan or the weights do not fit together, or a party's limits.
            RefusedError: a party refused: not this owner's to replace, too large, being served.
            LinkError: a party cannot be reached.
        """
        if missing := plan.weights.keys() ^ values.keys():
            raise PlanError(f"the weights do not match the plan: {', '.join(sorted(missing))}")
        model = cls(cluster.config, cluster.network(Role("owner", name) if name else cluster.owner), plan, values)
        model._upload()
        return model

    def _upload(self) -> None:
        """Draw new shares and give them to the parties; where it fails, no party keeps any of them."""
        timeout = self._config.limits.timeout_s
        load = Load(os.urandom(ID_BYTES), self._plan)
        channels: list[Channel] = []
        with self._changing:
            try:
                channels.extend(_call(self._config, self._network, index) for index in range(len(PARTY_NAMES)))
                for channel in channels:
                    ask(channel, load, Accepted, timeout)
                for weight, words in self._weights:
                    if self._ending.is_set():
                        raise StateError("the model was stopped meanwhile")
                    for channel, package in zip(channels, split(_widen(words)), strict=True):
                        _send_part(channel, weight, "mine", package.mine)
                        _send_part(channel, weight, "next", package.next)
                for channel in channels:
                    held = expect(channel, Loaded, _LOAD_S).digest
                    if held != self.digest:
                        raise PartyError(
                            f"{channel.peer.name} holds plan {held}, {self.digest} was sent; "
                            "install the same keras-private everywhere"
                        )
            except BaseException:
                with contextlib.suppress(ClusterError, LinkError):
                    self._take_away(load.model)  # where it has arrived already
                raise
            finally:
                for channel in channels:
                    channel.close()
            self._id = load.model

    def serve(
        self,
        num_requests: float | None = None,
        on_progress: OnProgress | None = None,
        *,
        reshare: bool = True,
        on_trouble: OnTrouble | None = None,
    ) -> int:
        """Have the parties answer queries. Blocks; while nobody serves, queries wait.

        Serving is tied to this call: if this process ends, or Ctrl-C ends the call, serving pauses.

        Args:
            num_requests: return after so many; None: serve until `stop` (from another thread or process). What was
                answered just before the leader was lost may go uncounted.
            on_progress: called whenever a request was served.
            reshare: if a party has lost the model, upload it again to all three and go on; if the leader is gone, wait
                for it for ten minutes. False: raise instead.
            on_trouble: called when queries cannot be run, with the reason, and when that is over.

        Returns:
            How many requests were served.

        Raises:
            InputError: `num_requests` is not a whole number from 1 on.
            StateError: the model was stopped.
            RefusedError: somebody serves it already, or the parties hold another model by now.
            NoModelError: a party was restarted and holds no model, and `reshare` is False.
            PartyError: the leader is gone, or a party did not come back.
        """
        if num_requests is not None and not (1 <= num_requests < 2**62 and int(num_requests) == num_requests):
            raise InputError(f"num_requests must be a whole number from 1 on, or None; got {num_requests!r}")
        if self._stopped:
            raise StateError("the model was stopped; share it again before serving it")
        total = None if num_requests is None else int(num_requests)
        tell = _changes(on_trouble)
        self.served, self._heard = 0, time.monotonic()
        lost, pause, cause = False, _FIRST_PAUSE_S, ClusterError()
        while total is None or self.served < total:
            heard = self._heard
            try:
                if lost:
                    self._upload()
                    lost = False
                self._serve(total, on_progress, tell)
                break
            except NoModelError as error:
                cause = NoModelError(f"{error}; share the model again")
                lost, what = True, f"{error}; sharing the model again"
            except (LinkError, PartyError) as error:
                cause = PartyError(f"serving stopped: {error}")
                if isinstance(error, TrustError):
                    raise cause from None
                what = f"{error}; trying again"
            except StateError:
                if not self._ending.is_set():
                    raise
            if self._ending.is_set():
                break
            pause = _FIRST_PAUSE_S if self._heard > heard else min(2 * pause, _LONGEST_PAUSE_S)
            if not reshare or time.monotonic() - self._heard > _GIVE_UP_S:
                raise cause
            tell(what)
            self._ending.wait(pause)
        return self.served

    def _serve(self, total: int | None, on_progress: OnProgress | None, tell: OnTrouble) -> None:
        """One connection to the leader, until what is left of `total` was served."""
        before = self.served
        channel = _call(self._config, self._network, 0)
        try:
            channel.send(encode(Serve(self._id, None if total is None else total - before)))
            done = False
            while not done:
                progress = expect(channel, Progress, _PROGRESS_S + self._config.limits.timeout_s)
                self._heard, done = time.monotonic(), progress.done
                self.served = before + progress.served
                tell(progress.trouble)
                if on_progress is not None:
                    on_progress(self.served)
        finally:
            channel.close()

    def stop(self) -> None:
        """Have the parties forget the model; what waits is refused. The second time it does nothing.

        Raises:
            RefusedError: the model is not this owner's.
        """
        if self._stopped:
            return
        self._ending.set()  # a `serve` that is about to share the model again gives up
        try:
            with self._changing:
                self._take_away(self._id)
            self._stopped = True
        finally:
            if not self._stopped:
                self._ending.clear()

    def _take_away(self, id_: bytes) -> None:
        refused: ClusterError | None = None
        for index in range(len(PARTY_NAMES)):
            try:
                channel = _call(self._config, self._network, index)
                try:
                    ask(channel, Stop(id_), Stopped, self._config.limits.timeout_s)
                finally:
                    channel.close()
            except (LinkError, StateError):
                continue  # a party that is gone holds nothing any more
            except ClusterError as error:
                refused = refused or error
        if refused is not None:
            raise refused

    @property
    def stopped(self) -> bool:
        return self._stopped


def _changes(listener: OnTrouble | None) -> OnTrouble:
    """Passes on to `listener` what differs from what it heard last."""
    last = ""

    def tell(trouble: str) -> None:
        nonlocal last
        if trouble != last and listener is not None:
            listener(trouble)
        last = trouble

    return tell


def _narrow(words: Words) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
    """The same numbers in half the space, where they fit."""
    signed = words.view(np.int64)
    small = signed.astype(np.int32)
    return small if np.array_equal(small, signed) else signed


def _widen(numbers: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> Words:
    return numbers.astype(np.int64).view(np.uint64)


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


def values_in_order(plan: Plan, values: Mapping[str, ArrayLike]) -> Iterator[tuple[str, Words]]:
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
