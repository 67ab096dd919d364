"""What tests share: a home of their own for certificates, a tiny model, and clusters of every kind."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.net.roles import Role
from keras_private.owner import OwnedModel
from keras_private.party.network import TLSNetwork, credentials
from keras_private.party.server import PartyServer
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.evaluate import evaluate
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Draft
from keras_private.worker import TFEWorker

settings.register_profile("keras_private", derandomize=True, deadline=None)
settings.load_profile("keras_private")

WAIT_S = 20.0


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Certificates of this test run only, and quiet parties."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_PRIVATE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("KERAS_PRIVATE_LOG", os.environ.get("KERAS_PRIVATE_TEST_LOG", "critical"))
        yield


@dataclass(frozen=True)
class Tiny:
    """A model small enough that nobody waits for it."""

    draft: Draft
    executable: Draft
    input_shape = (1, 6)
    output_shape = (1, 3)

    def batch(self, rows: int, seed: int = 0) -> np.ndarray[Any, Any]:
        return np.random.default_rng(seed).uniform(-1, 1, (rows, 6))

    def expected(self, data: Any) -> np.ndarray[Any, Any]:
        return evaluate(self.draft, np.asarray(data, dtype=np.float64))

    def upload(self, cluster: Any, owner: str = "owner", **chosen: Any) -> OwnedModel:
        return OwnedModel.upload(cluster, self.executable.plan, self.executable.values, owner=owner, **chosen)


def make_tiny(seed: int = 0, hidden: int = 4, depth: int = 1) -> Tiny:
    rng = np.random.default_rng(seed)
    builder = PlanBuilder((6,), (-1.0, 1.0))
    value, width = builder.input, 6
    for layer in range(depth):
        weight = builder.weight(rng.normal(size=(width, hidden)) / np.sqrt(width), f"w{layer}")
        value = builder.op("relu", builder.op("matmul", value, weights=[weight], layer=f"dense_{layer}"), layer="relu")
        width = hidden
    weight = builder.weight(rng.normal(size=(width, 3)), "last")
    draft = builder.finish(builder.op("matmul", value, weights=[weight], layer="last"))
    return Tiny(draft, optimise(draft))


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return make_tiny()


@pytest.fixture(scope="session")
def other_tiny() -> Tiny:
    """A model of the same shapes with another plan."""
    return make_tiny(seed=1, hidden=5)


@pytest.fixture(scope="session")
def slow_tiny() -> Tiny:
    """A model of the same shapes that takes a few hundred rounds."""
    return make_tiny(depth=30)


def until(condition: Callable[[], Any], what: str, timeout: float = WAIT_S) -> Any:
    """Wait until `condition()` is true; fail with `what` if it never is. For what other processes do."""
    deadline, look = time.monotonic() + timeout, threading.Event()
    while not (result := condition()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        look.wait(0.01)
    return result


@pytest.fixture(scope="session", name="until")
def until_fixture() -> Callable[..., Any]:
    return until


@pytest.fixture(scope="session")
def free_ports() -> Callable[[], list[int]]:
    """Three ports that nobody uses."""

    def pick() -> list[int]:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in PARTY_NAMES]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            return [each.getsockname()[1] for each in sockets]

    return pick


@pytest.fixture(scope="session")
def make_config(free_ports: Callable[[], list[int]]) -> Callable[..., ClusterConfig]:
    """A configuration on free ports; keyword arguments are limits, `managed` as in cluster.yaml."""

    def make(*, managed: bool = True, **limits: Any) -> ClusterConfig:
        parties = {
            name: {"host": f"localhost:{port}", "auto_managed": managed}
            for name, port in zip(PARTY_NAMES, free_ports(), strict=True)
        }
        return ClusterConfig.parse({"cluster": "test", "parties": parties, "limits": {"timeout_s": 10, **limits}})

    return make


@contextlib.contextmanager
def serving(cluster: Any, tiny: Tiny, num_requests: int | None = None) -> Iterator[OwnedModel]:
    """Share and serve a model in the background."""
    model = tiny.upload(cluster)
    started = threading.Event()
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            model.serve(num_requests, lambda _: started.set())
        except Exception as error:  # noqa: BLE001  shown by the assertion below
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert started.wait(WAIT_S)
        assert not failures, failures
        yield model
    finally:
        model.stop()
        thread.join(WAIT_S)
        assert not thread.is_alive()


@pytest.fixture(scope="session", name="serving")
def serving_fixture() -> Callable[..., contextlib.AbstractContextManager[OwnedModel]]:
    return serving


@pytest.fixture(scope="session")
def memory_cluster() -> Iterator[TFECluster]:
    """Three parties in this process. Leave it without a model."""
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def process_cluster(make_config: Callable[..., ClusterConfig]) -> Iterator[TFECluster]:
    """Three real processes. Leave it without a model."""
    with TFECluster.from_config(make_config()) as cluster:
        yield cluster


class LogLines:
    """Collects what a party would write for its operator."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, Mapping[str, Any]]] = []

    def _add(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        self.lines.append((level, event, fields))

    def debug(self, event: str, **fields: Any) -> None:
        self._add("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._add("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._add("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._add("error", event, fields)

    def causes(self, event: str) -> list[str]:
        return [str(fields.get("cause", "")) for _, name, fields in self.lines if name == event]


class Trio:
    """Three party servers of this process that talk TLS over loopback: real connections, and easy to look into."""

    def __init__(self, config: ClusterConfig, start: Sequence[int] = (0, 1, 2)) -> None:
        self.config = config
        self.logs = [LogLines() for _ in PARTY_NAMES]
        self.servers: list[PartyServer] = []
        for index in range(len(PARTY_NAMES)):
            self.servers.append(self.make(index))
        for index in start:
            self.servers[index].start()

    def make(self, index: int) -> PartyServer:
        network = TLSNetwork(self.config, credentials(self.config, Role("party", PARTY_NAMES[index])))
        return PartyServer(self.config, index, network, log=self.logs[index])

    def network(self, role: Role) -> TLSNetwork:
        return TLSNetwork(self.config, credentials(self.config, role))

    def digests(self) -> list[list[str]]:
        """Of the models that each party holds."""
        return [[model.digest for model in server.node.shelf.models] for server in self.servers]

    def waiting(self) -> list[int]:
        return [server.duty.queue.waiting for server in self.servers]

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


@pytest.fixture
def make_trio(make_config: Callable[..., ClusterConfig]) -> Iterator[Callable[..., Trio]]:
    """A `Trio` with the limits given."""
    with contextlib.ExitStack() as stack:

        def make(**limits: Any) -> Trio:
            trio = Trio(make_config(managed=False, **limits))
            stack.callback(trio.stop)
            return trio

        yield make


@pytest.fixture(scope="module")
def trio(make_config: Callable[..., ClusterConfig]) -> Iterator[Trio]:
    """A `Trio` with the usual limits, shared by a file's tests. Leave it without a model."""
    trio = Trio(make_config(managed=False))
    yield trio
    trio.stop()
