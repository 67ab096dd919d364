"""The owner's side of a cluster: have a model shared, served, and taken away.

Theory of operation. Serving is one connection to the leader. When it breaks, or a party has lost the model, `serve`
goes on as soon as it can: it connects again, or uploads the model again (see `upload.py`), with the weights as they
were when it was shared first. Only the newest version of a name comes back like that: one that has been replaced, by
whomever, is not uploaded again, not even to parties that have forgotten everything. Its `serve` ends, with an error.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from keras_private.client.evaluation import Score, told_of
from keras_private.client.target import Cluster
from keras_private.config import LEADER, PARTY_NAMES, ClusterConfig
from keras_private.errors import (
    ClusterError,
    InputError,
    KerasPrivateError,
    LinkError,
    NoModelError,
    PartyError,
    RefusedError,
    StateError,
    TrustError,
)
from keras_private.net.frames import printable
from keras_private.net.roles import Role
from keras_private.party.dial import ask, call, expect
from keras_private.party.fields import DEFAULT_NAME, MODEL_NAME, NUMBERS
from keras_private.party.messages import (
    AskEvaluations,
    AskStatus,
    AskTiming,
    Evaluations,
    Hello,
    Progress,
    Publish,
    Published,
    Serve,
    Status,
    Stopped,
    Timing,
    Undeploy,
)
from keras_private.party.network import Channel, Network
from keras_private.party.wire import encode
from keras_private.plan.plan import Plan
from keras_private.plan.scoring import Scoring, scoring
from keras_private.plan.serialise import digest, serialise
from keras_private.sharing.share import Share
from keras_private.upload import Weights, call_party, encode_weights, take_away, upload

_PROGRESS_S = 60.0  # a serving leader says something at least this often
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0  # between attempts to go on serving
_GIVE_UP_S = 600.0
"""How long `serve` tries to go on when the leader does not answer or the model cannot be shared again."""

OnProgress = Callable[[int], None]
"""Called with the number of requests served so far."""
OnTrouble = Callable[[str], None]
"""Called with why no query can be run at the moment, and with an empty text when that is over."""


@dataclass(frozen=True, slots=True)
class _Content:
    """What is shared: a plan and its weights, encoded. `made`: when, see `Load`."""

    made: int
    digest: str
    plan: bytes = field(repr=False)
    weights: Weights = field(repr=False)
    scorings: Mapping[str, Scoring] = field(repr=False)

    @classmethod
    def of(cls, plan: Plan, values: Mapping[str, ArrayLike]) -> _Content:
        scorings = {allowed.metric: scoring(plan, allowed.metric) for allowed in plan.evaluations}
        return cls(time.time_ns(), digest(plan), serialise(plan), encode_weights(plan, values), scorings)


class OwnedModel:
    """A model that three parties hold in shares. Made by `upload`. `stop` is for any thread, `serve` for one at a time.

    Attributes:
        name: what clients ask for.
        version: of the models of that name; rises with each that is shared under it.
        served: requests answered by the last `serve`.
    """

    def __init__(
        self, config: ClusterConfig, network: Network, plan: Plan, values: Mapping[str, ArrayLike], name: str
    ) -> None:
        self.name = name
        self.version = 0
        self.served = 0
        self._config = config
        self._network = network
        self._content = _Content.of(plan, values)
        self._id = b""
        self._newest = 0  # version of the name, as far as the leader has said while this one was served
        self._changing = threading.Lock()  # held while the parties are given the model, or have it taken away
        self._ending = threading.Event()
        self._stopped = False
        self._heard = 0.0  # when serving went on last
        self._pausing = threading.Event()
        self._serving: Channel | None = None  # while the leader is asked to serve

    @property
    def digest(self) -> str:
        """SHA-256 of the plan, hex, the same at all three parties."""
        return self._content.digest

    def __repr__(self) -> str:
        state = ", stopped" if self._stopped else ""
        return f"OwnedModel({self.name!r} version {self.version}, {self.digest[:12]}…{state})"

    @classmethod
    def upload(
        cls,
        cluster: Cluster,
        plan: Plan,
        values: Mapping[str, ArrayLike],
        *,
        owner: str | None = None,
        name: str = DEFAULT_NAME,
        deploy: bool = False,
    ) -> OwnedModel:
        """Share the weights among the parties and give each the plan. What had this name before is replaced: in one
        moment for whoever asks from then on, while clients that know it go on being answered.

        Args:
            cluster: a started `TFECluster`.
            plan: an executable plan.
            values: every weight of the plan in plain reals, of the plan's shapes. They are copied: what becomes of them
                later does not reach the parties.
            owner: their name; None: the cluster's.
            name: letters, digits, "-", "_" and ".", up to 63.
            deploy: have the parties serve it, without this process, until `undeploy`.

        Raises:
            InputError: the name is none.
            PlanError: the plan or the weights do not fit together, or a party's limits.
            RefusedError: a party refused: the name is not this owner's, the model is too large, there is no room.
            LinkError: a party cannot be reached.
        """
        model = cls.prepared(cluster, plan, values, owner=owner, name=name)
        model.share(deploy=deploy)
        return model

    @classmethod
    def prepared(
        cls,
        cluster: Cluster,
        plan: Plan,
        values: Mapping[str, ArrayLike],
        *,
        owner: str | None = None,
        name: str = DEFAULT_NAME,
    ) -> OwnedModel:
        """As `upload`, but nothing is sent; `share` does that."""
        check_name(name)
        network = cluster.network(Role("owner", owner) if owner else cluster.owner)
        return cls(cluster.config, network, plan, values, name)

    def share(self, *, deploy: bool = False, version: int = 0) -> None:
        """Give the parties what was prepared. Raises as `upload`.

        Args:
            version: of it at another triple, which was given it before: what was shared since then stays.
        """
        self._upload(deploy=deploy, version=version)

    def replace(self, plan: Plan, values: Mapping[str, ArrayLike], *, deploy: bool = False) -> None:
        """Share another plan and other weights, as the next version; `serve`, if it goes on, serves both.

        If that fails, the parties go on with what they have. Raises as `upload`, and StateError: it was stopped.
        """
        if self._stopped:
            raise StateError("the model was stopped; share it again")
        self._upload(_Content.of(plan, values), deploy=deploy)

    def _upload(self, new: _Content | None = None, *, deploy: bool = False, version: int = 0) -> None:
        """Share a new version; or, in new shares, the one that there is, or is elsewhere."""
        with self._changing:
            content = new or self._content
            self._id, self.version = upload(
                self._config,
                self._network,
                self.name,
                0 if new else self.version or version,
                content.made,
                content.plan,
                content.digest,
                content.weights,
                self._ending.is_set,
                deploy=deploy,
            )
            self._content, self._newest = content, 0

    def _upload_again(self) -> None:
        """To parties that have lost it, unless it was replaced before."""
        with self._changing:
            if self._newest > self.version:
                raise RefusedError(
                    f"the parties have lost the model '{self.name}', of which version {self._newest} was shared after "
                    f"this version {self.version}; share the newest one again"
                )
        self._upload()

    def deploy(self) -> None:
        """Have the parties serve it without this process, until `undeploy` or `stop`.

        Raises:
            StateError: it was stopped.
            RefusedError: a newer version was shared, or the parties hold it no longer.
            LinkError: the leader cannot be reached.
        """
        if self._stopped:
            raise StateError("the model was stopped; share it again before deploying it")
        channel = call_party(self._config, self._network, LEADER)
        try:
            with self._changing:
                ask(channel, Publish(self._id, True), Published, self._config.limits.timeout_s)
        finally:
            channel.close()

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
            RefusedError: somebody serves it already; or the parties hold, or are served, a newer version by now, which
                this one does not come back over. What may pass is tried again, as above.
            NoModelError: a party was restarted and holds no model, and `reshare` is False.
            PartyError: the leader is gone, or a party did not come back.
        """
        if num_requests is not None and not (1 <= num_requests < NUMBERS and int(num_requests) == num_requests):
            raise InputError(f"num_requests must be a whole number from 1 on, or None; got {num_requests!r}")
        if self._stopped:
            raise StateError("the model was stopped; share it again before serving it")
        total = None if num_requests is None else int(num_requests)
        tell = _changes(on_trouble)
        self.served, self._heard = 0, time.monotonic()
        self._pausing.clear()
        lost, pause, cause = False, _FIRST_PAUSE_S, ClusterError()
        while total is None or self.served < total:
            heard = self._heard
            try:
                if lost:
                    self._upload_again()
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
            except RefusedError as error:  # another model is being shared just now, say
                if not error.transient:
                    raise
                cause, what = error, f"{error}; trying again"
            except StateError:
                if not self._ending.is_set():
                    raise
            if self._ending.is_set() or self._pausing.is_set():
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
        channel = self._serving = call_party(self._config, self._network, LEADER)
        try:
            if self._pausing.is_set():  # just now
                return
            channel.send(encode(Serve(self._id, None if total is None else total - before)))
            done = False
            while not done:
                progress = expect(channel, Progress, _PROGRESS_S + self._config.limits.timeout_s)
                self._heard, done, self._newest = time.monotonic(), progress.done, max(self._newest, progress.version)
                self.served = before + progress.served
                tell(printable(progress.trouble.encode()))
                if on_progress is not None:
                    on_progress(self.served)
        except LinkError:
            if not self._pausing.is_set():
                raise
        finally:
            self._serving = None
            channel.close()

    def pause(self) -> None:
        """End `serve`, from another thread; the parties keep the model."""
        self._pausing.set()
        channel = self._serving
        if channel is not None:
            channel.close()

    def evaluations(self) -> list[Score]:
        """What came of the clients' evaluations whose results are the owner's, the latest 1024, oldest first.

        The parties keep their shares of them until the model is shared again or stopped; then, and if a party was
        restarted, they are gone.

        Raises:
            StateError: the model was stopped.
            NoModelError: a party does not hold this upload of the model any more.
            IntegrityError: the parties' shares of a result disagree.
            PartyError: a party sent what is no result.
            RefusedError, LinkError: a party refused, or cannot be reached.
        """
        if self._stopped:
            raise StateError("the model was stopped, and the parties have forgotten its evaluations with it")
        found = []
        for index in range(len(PARTY_NAMES)):
            channel = call_party(self._config, self._network, index)
            try:
                asked = AskEvaluations(self._id)
                found.append(results_of(ask(channel, asked, Evaluations, self._config.limits.timeout_s), index))
            finally:
                channel.close()
        return [
            self._score(key, [shares[key] for shares in found])
            for key in found[0]
            if all(key in shares for shares in found)  # others are just now on their way
        ]

    def _score(self, key: ResultKey, shares: list[Share]) -> Score:
        _, client, metric, rows = key
        scored = self._content.scorings.get(metric)
        if scored is None:
            raise PartyError(f"the parties have a result by {printable(metric.encode())!r}, which was never allowed")
        made, *_ = scored.plan.outputs
        told = told_of(shares, scored.plan.frac(made))
        if len(told) != 1 + scored.notices:
            raise PartyError("the parties have a result that is none; is their software the same?")
        return Score.of(metric, rows, scored.counts, told, printable(client.encode()))

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
                if self._id:
                    take_away(self._config, self._network, self._id)
            self._stopped = True
        finally:
            if not self._stopped:
                self._ending.clear()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def timing(self, timeout: float = 5.0) -> Timing:
        """How long the leader's last run of the model took, stage by stage.

        Raises:
            LinkError: the leader cannot be reached.
            RefusedError: it holds another model by now, or none.
        """
        channel = call(self._network, LEADER, Hello.plain("owner", self._config.cluster), timeout)
        try:
            return ask(channel, AskTiming(self._id), Timing, timeout)
        finally:
            channel.close()


ResultKey = tuple[bytes, str, str, int]
"""Evaluation, client, metric, rows."""


def results_of(message: Evaluations, index: int) -> dict[ResultKey, Share]:
    """Party `index`'s shares of results. Of a client's that have all in common the first: who evaluates twice under one
    id would else have the totals of two mixed up.

    Raises:
        PartyError: it is not as many shares as results.
    """
    keys = list(zip(message.evaluations, message.clients, message.metrics, message.rows, strict=False))
    counts = {len(part) for part in (message.evaluations, message.clients, message.metrics, message.rows)}
    sizes = {len(message.mine), len(message.next)}
    if not keys and counts == {0} and sizes == {0}:
        return {}
    if counts != {len(keys)} or len(sizes) > 1 or len(message.mine) % (8 * len(keys)):
        raise PartyError(f"{PARTY_NAMES[index]} sent results that are none; is its software the same?")
    mine, following = (
        np.frombuffer(part, "<u8").astype(np.uint64).reshape(len(keys), -1) for part in (message.mine, message.next)
    )
    found: dict[ResultKey, Share] = {}
    for key, *summands in zip(keys, mine, following, strict=True):
        found.setdefault(key, Share(*summands))
    return found


def check_name(name: object) -> None:
    """Raises:
    InputError: a model cannot be called so.
    """
    if not (isinstance(name, str) and re.match(MODEL_NAME, name)):
        raise InputError(f"a model's name has up to 63 letters, digits, '-', '_' and '.', not {name!r}")


def undeploy(config: ClusterConfig, networks: Sequence[Network], name: str, *, keep: bool = False) -> None:
    """Have the parties serve a model no more, and forget it, unless `keep`: of each triple that can be reached, though
    another one fails.

    Args:
        networks: one for each triple.

    Raises:
        InputError: the name is none.
        NoModelError: there is no model of this name.
        RefusedError: it is somebody else's, or not deployed.
        LinkError: the leader cannot be reached. Of several triples all that failed are named.
    """
    check_name(name)
    failures: dict[int, KerasPrivateError] = {}
    for number, network in enumerate(networks):
        try:
            with contextlib.closing(call_party(config, network, LEADER)) as channel:
                ask(channel, Undeploy(name, keep), Stopped, 2 * config.limits.timeout_s)
        except KerasPrivateError as error:
            failures[number] = error
    left = {number: error for number, error in failures.items() if not isinstance(error, NoModelError)}
    if left:  # a triple that never had it is as it should be
        first = next(iter(left.values()))
        if len(networks) > 1:
            listed = "; ".join(f"replica {number}: {error}" for number, error in left.items())
            first.args = (f"'{name}' is left where it was by some triples, undeploy it there again ({listed})",)
        raise first
    if len(failures) == len(networks):
        raise failures[0]


def _changes(listener: OnTrouble | None) -> OnTrouble:
    """Passes on to `listener` what differs from what it heard last."""
    last = ""

    def tell(trouble: str) -> None:
        nonlocal last
        if trouble != last and listener is not None:
            listener(trouble)
        last = trouble

    return tell


def ask_status(config: ClusterConfig, network: Network, index: int, timeout: float = 5.0) -> Status:
    """What party `index` says about itself.

    Raises:
        LinkError: it cannot be reached.
        RefusedError: it does not let this owner in.
    """
    channel = call(network, index, Hello.plain("owner", config.cluster), timeout)
    try:
        return ask(channel, AskStatus(), Status, timeout)
    finally:
        channel.close()
