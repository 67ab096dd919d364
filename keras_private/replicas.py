"""A model at several triples of parties: shared with all, each by an upload of its own, and served by all.

Theory of operation. Triples know nothing of each other, so everything is done once at each, at the same time. One that
is away keeps no other from it: sharing says which, and `serve` gives it the model when it is back. Clients spread over
those that serve (`client.routes`).
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from keras_private.client.evaluation import Score
from keras_private.client.target import Cluster
from keras_private.errors import InputError, KerasPrivateError, LinkError, PartyError, TrustError
from keras_private.owner import OnProgress, OnTrouble, OwnedModel
from keras_private.party.fields import DEFAULT_NAME
from keras_private.party.messages import Timing
from keras_private.plan.plan import Plan

T = TypeVar("T")
_PAUSE_S = 1.0  # between attempts to reach a triple that is away
_GLANCE_S = 0.1


def share(
    cluster: Cluster, plan: Plan, values: Mapping[str, ArrayLike], *, name: str = DEFAULT_NAME, deploy: bool = False
) -> OwnedModel | OwnedReplicas:
    """Share a model with all triples of a cluster. Raises as `OwnedModel.upload`."""
    if len(cluster.replicas) == 1:
        return OwnedModel.upload(cluster, plan, values, name=name, deploy=deploy)
    return OwnedReplicas.upload(cluster, plan, values, name=name, deploy=deploy)


class OwnedReplicas:
    """What `OwnedModel` is for one triple. Made by `upload`.

    Attributes:
        served: requests answered by the last `serve`, at all triples together.
    """

    def __init__(self, models: list[OwnedModel]) -> None:
        self.served = 0
        self._models = models
        self._due: dict[OwnedModel, Callable[[], None]] = {}  # gives a newer version to a triple that was away

    def __repr__(self) -> str:
        return f"OwnedReplicas({', '.join(map(repr, self._models))})"

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
    ) -> OwnedReplicas:
        """As `OwnedModel.upload`, at each triple, in shares of its own. A triple that is away is a warning, as long as
        there is another one."""
        replicas = [OwnedModel.prepared(each, plan, values, owner=owner, name=name) for each in cluster.replicas]
        model = cls(replicas)
        try:
            model._reach(lambda each: each.share(deploy=deploy))
        except BaseException:
            model.stop()
            raise
        return model

    @property
    def name(self) -> str:
        return self._models[0].name

    @property
    def version(self) -> int:
        """The newest at any triple; each counts by itself."""
        return max(model.version for model in self._models)

    @property
    def digest(self) -> str:
        """SHA-256 of the plan, hex, the same at all parties."""
        return self._models[0].digest

    @property
    def stopped(self) -> bool:
        return all(model.stopped for model in self._models)

    def replace(self, plan: Plan, values: Mapping[str, ArrayLike], *, deploy: bool = False) -> None:
        """As `OwnedModel.replace`, at each triple, one moment each. One that is away keeps what it has until `serve` or
        `deploy` finds it back, and gives it the new version. Clients leave it alone until then, if the plan is another.
        """
        before, self._due = self._due, {}

        def change(model: OwnedModel) -> None:
            try:
                model.replace(plan, values, deploy=deploy)
            except KerasPrivateError as error:
                if _away(error):
                    kept = {name: np.array(value) for name, value in values.items()}
                    self._due[model] = partial(model.replace, plan, kept, deploy=deploy)
                raise

        try:
            self._reach(change)
        except BaseException:
            self._due = before
            raise
        for model in list(self._due):
            model.pause()  # `serve` goes on with the new version

    def _catch_up(self, model: OwnedModel) -> None:
        """Give a triple what it was not there for. Raises as `OwnedModel.replace`."""
        due = self._due.get(model)
        if due is not None:
            due()
            if self._due.get(model) is due:
                del self._due[model]

    def deploy(self) -> None:
        """As `OwnedModel.deploy`, at each triple; one that has not been given the model is given it."""

        def deploy(model: OwnedModel) -> None:
            self._catch_up(model)
            model.deploy() if model.version else model.share(deploy=True, version=self.version)

        self._reach(deploy)

    def stop(self) -> None:
        """As `OwnedModel.stop`, at each triple."""
        self._due = {}
        for _, outcome in self._all(OwnedModel.stop):
            if isinstance(outcome, BaseException):
                raise outcome

    def evaluations(self) -> list[Score]:
        """As `OwnedModel.evaluations`, of one triple after the other. Those of triples that are away are left out."""
        return [score for found in self._reach(OwnedModel.evaluations) for score in found]

    def timing(self, timeout: float = 5.0) -> Timing:
        """As `OwnedModel.timing`, of the first triple that answers."""
        return self._reach(lambda model: model.timing(timeout), quiet=True)[0]

    def serve(
        self,
        num_requests: float | None = None,
        on_progress: OnProgress | None = None,
        *,
        reshare: bool = True,
        on_trouble: OnTrouble | None = None,
    ) -> int:
        """As `OwnedModel.serve`, at all triples at once. One that is away is waited for, while the others serve, and is
        given the model if it has it no longer.

        Raises:
            InputError: a number of requests was given: triples do not count together.
            KerasPrivateError: as `OwnedModel.serve`; no triple goes on.
        """
        if num_requests is not None:
            raise InputError(
                "several triples cannot count requests together: serve() without num_requests, or deploy the model"
            )
        ending, lock = threading.Event(), threading.Lock()
        served, troubles = [0] * len(self._models), [""] * len(self._models)

        def progress(number: int, count: int) -> None:
            with lock:
                served[number] = count
                self.served = sum(served)
                if self._models[number] in self._due:
                    self._models[number].pause()
                if on_progress is not None:
                    on_progress(self.served)

        def trouble(number: int, text: str) -> None:
            with lock:
                troubles[number] = text and f"replica {number}: {text}"
                if on_trouble is not None:
                    on_trouble("; ".join(filter(None, troubles)))

        def serve(number: int, model: OwnedModel) -> None:
            while not (ending.is_set() or model.stopped):
                try:
                    self._catch_up(model)
                    if not model.version:
                        model.share(version=self.version)
                    model.serve(
                        None,
                        lambda count: progress(number, count),
                        reshare=reshare,
                        on_trouble=lambda text: trouble(number, text),
                    )
                    if model not in self._due:
                        return
                except (LinkError, PartyError) as error:
                    trouble(number, str(error))
                    if isinstance(error, TrustError) or not reshare:
                        raise
                    ending.wait(_PAUSE_S)
                except KerasPrivateError as error:  # this triple's end; the others go on
                    trouble(number, str(error))
                    raise

        pool = ThreadPoolExecutor(len(self._models), "keras_private replicas")
        runs: list[Future[None]] = []
        try:
            for number, model in enumerate(self._models):
                runs.append(pool.submit(serve, number, model))
            failures = [error for run in runs if (error := run.exception()) is not None]
            if len(failures) == len(runs):
                raise failures[0]
        finally:  # Ctrl-C too
            ending.set()
            while not all(run.done() for run in runs):  # one may just have begun to serve, and not heard of it
                for model in self._models:
                    model.pause()
                wait(runs, _GLANCE_S)
            pool.shutdown()
        return self.served

    def _reach(self, call: Callable[[OwnedModel], T], *, quiet: bool = False) -> list[T]:
        """What `call` gives for each triple that can be reached.

        Raises:
            KerasPrivateError: a triple refused; or none can be reached.
        """
        outcomes = self._all(call)
        failures = {number: outcome for number, outcome in outcomes if isinstance(outcome, BaseException)}
        for failure in failures.values():
            if len(failures) == len(outcomes) or not _away(failure):
                raise failure
        if failures and not quiet:
            listed = "; ".join(f"replica {number}: {failure}" for number, failure in failures.items())
            warnings.warn(f"not every triple of parties is there, and the others go on ({listed})", stacklevel=4)
        return [outcome for number, outcome in outcomes if number not in failures]

    def _all(self, call: Callable[[OwnedModel], Any]) -> list[tuple[int, Any]]:
        """The number of each triple and what `call` gives for it, or raises."""

        def outcome(model: OwnedModel) -> Any:
            try:
                return call(model)
            except KerasPrivateError as error:
                return error

        with ThreadPoolExecutor(len(self._models)) as pool:
            return list(enumerate(pool.map(outcome, self._models)))


def _away(error: BaseException) -> bool:
    return isinstance(error, LinkError | PartyError) and not isinstance(error, TrustError)
