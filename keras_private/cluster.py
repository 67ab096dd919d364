"""TFECluster: the three parties of a cluster, started and stopped from here where they are this machine's.

    with TFECluster.from_yaml("cluster.yaml") as cluster: …     # starts, and stops at the end
    TFECluster(TFEWorker(), TFEWorker(), TFEWorker())           # three threads of this process

A cluster of several *triples* (replicas of each other, of which none knows another) is made of clusters of one each.

A party that is started from here is a child process (`managed.py`): it is started again when it dies, and it ends with
this process. The others are their operators' business; for those that are not up, `start` prints the command.
"""

from __future__ import annotations

import atexit
import threading
import time
import warnings
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from keras_private.config import CLUSTER_FILE, PARTY_NAMES, START_S, ClusterConfig
from keras_private.errors import (
    ClusterError,
    ConfigError,
    KerasPrivateError,
    LinkError,
    StartError,
    StateError,
    TrustError,
)
from keras_private.extras import require
from keras_private.net.roles import Role
from keras_private.owner import ask_status, undeploy
from keras_private.party.dial import call, wait_for
from keras_private.party.memory import MemoryNetwork
from keras_private.party.messages import Hello, Status
from keras_private.party.network import Network, TLSNetwork, credentials
from keras_private.worker import TFEWorker

if TYPE_CHECKING:
    from keras_private.managed import ManagedParty
    from keras_private.party.server import PartyServer

_GLANCE_S = 2.0  # for a first look whether a party is up


class TFECluster:
    """Three parties; or several triples of them, each of which serves the same models by itself.

    Args:
        workers: exactly three: all with hosts (processes, here or elsewhere), or all without (threads of this process).
            Three more for each further replica.
        cluster: its name, the same for everybody who joins or asks it.
        owner: the name in the certificate of the one who shares models on it.

    Raises:
        ConfigError: not three, or a mixture, or a host twice.
    """

    def __init__(self, *workers: TFEWorker, cluster: str = "cluster", owner: str = "owner") -> None:
        for worker in workers:
            if not isinstance(worker, TFEWorker):
                raise ConfigError(f"a cluster is made of TFEWorker objects, not {type(worker).__name__}")
        if not workers or len(workers) % len(PARTY_NAMES):
            raise ConfigError(f"a cluster has exactly three workers; {len(workers)} were given")
        hosts = [worker.host for worker in workers if worker.host is not None]
        if hosts and len(hosts) != len(workers):
            raise ConfigError("either all three workers have a host, or none has (a cluster within this process)")
        self._local = not hosts
        # An in-process cluster listens nowhere; its configuration holds the limits.
        addresses = hosts or [f"localhost:{4000 + number}" for number in range(len(workers))]
        self._setup(
            workers,
            ClusterConfig.of_hosts(addresses, [worker.auto_managed for worker in workers], cluster),
            None,
            owner,
        )

    @classmethod
    def from_yaml(cls, path: str | Path, *, owner: str = "owner") -> TFECluster:
        """The cluster that a cluster.yaml describes; `owner` as above.

        Raises:
            ConfigError: the file says something that is wrong; all of it, by name.
        """
        return cls.from_config(ClusterConfig.load(path), Path(path).expanduser(), owner=owner)

    @classmethod
    def from_config(cls, config: ClusterConfig, path: Path | None = None, *, owner: str = "owner") -> TFECluster:
        """The cluster that a configuration describes; `path` is the file it came from, for what people are told."""
        cluster = cls.__new__(cls)
        cluster._local = False
        workers = [
            TFEWorker(host=party.host, auto_managed=party.auto_managed)
            for triple in config.triples
            for party in triple.values()
        ]
        cluster._setup(tuple(workers), config, path, owner)
        return cluster

    def _setup(
        self,
        workers: tuple[TFEWorker, ...],
        config: ClusterConfig,
        path: Path | None,
        owner: str,
        number: int = 0,
    ) -> None:
        self._owner = Role("owner", owner)
        self._workers = workers
        self._config = config
        self._path = path
        self._lock = threading.RLock()
        self._started = False
        self._processes: dict[str, ManagedParty] = {}
        self._servers: list[PartyServer] = []
        self._memory: MemoryNetwork | None = None
        self._number = number
        self._replicas: tuple[TFECluster, ...] = ()  # of a cluster of several triples
        if config.further:
            self._replicas = tuple(self._one(number, owner) for number in range(len(config.triples)))

    def _one(self, number: int, owner: str) -> TFECluster:
        replica, first = type(self).__new__(type(self)), number * len(PARTY_NAMES)
        replica._local = self._local
        workers = self._workers[first : first + len(PARTY_NAMES)]
        replica._setup(workers, self._config.replica(number), self._path, owner, number)
        return replica

    def __repr__(self) -> str:
        where = "in this process" if self._local else ", ".join(str(worker.host) for worker in self._workers)
        return f"TFECluster({where}; {'started' if self._started else 'not started'})"

    # What others ask

    @property
    def workers(self) -> tuple[TFEWorker, ...]:
        """The three workers, in order; the first is the leader."""
        return self._workers

    @property
    def replicas(self) -> tuple[TFECluster, ...]:
        """The clusters of one triple each that this one is made of; itself, if there is one triple."""
        return self._replicas or (self,)

    @property
    def config(self) -> ClusterConfig:
        return self._config

    @property
    def owner(self) -> Role:
        """As whom models are shared from here."""
        return self._owner

    @property
    def started(self) -> bool:
        return self._started

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the parties that were started from here; a party that is started again gets a new one.
        Those of several triples are named as in "1.server0"."""
        if self._replicas:
            return {f"{each._number}.{name}": pid for each in self._replicas for name, pid in each.pids.items()}
        return {name: process.pid for name, process in self._processes.items()}

    @property
    def tfe_config(self) -> Any:
        """The `tfe.RemoteConfig` of the same three players. Imports TensorFlow.

        Raises:
            ConfigError: TF Encrypted is not installed.
        """
        from keras_private.lowering.tfe import load  # the one place below `hook` that asks for TensorFlow

        return load().RemoteConfig(OrderedDict((name, party.host) for name, party in self._config.parties.items()))

    def network(self, role: Role) -> Network:
        """The cluster as this owner or client sees it.

        Raises:
            StateError: an owner's, before `start`; or an in-process cluster that was not started.
            ConfigError: there are no usable certificates; or there are several triples, and so several networks, those
                of `replicas`.
        """
        if self._replicas:
            raise ConfigError("a cluster of several triples has no network of its own; each of its replicas has one")
        if not self._started and (self._local or role.kind == "owner"):
            raise StateError("the cluster is not running: call cluster.start() first")
        if self._memory is not None:
            return self._memory.as_role(role)
        return TLSNetwork(self._config, credentials(self._config, role))

    def status(self) -> dict[str, Status | KerasPrivateError]:
        """What each party says about itself, or why it says nothing. Parties of several triples are named as in
        "1.server0"."""
        if self._replicas:
            with ThreadPoolExecutor(len(self._replicas)) as pool:
                found = list(pool.map(TFECluster.status, self._replicas))
            return {f"{number}.{name}": said for number, each in enumerate(found) for name, said in each.items()}
        network = self.network(self._owner)
        answers: dict[str, Status | KerasPrivateError] = {}
        for index, name in enumerate(PARTY_NAMES):
            try:
                answers[name] = ask_status(self._config, network, index)
            except (LinkError, ClusterError) as error:
                answers[name] = error
        return answers

    def undeploy(self, name: str, *, keep: bool = False) -> None:
        """Have the parties serve a deployed model of this owner no more, from whichever process it was deployed.

        Args:
            keep: they keep their shares, so that the process that shared it can serve it again. Otherwise they forget
                them.

        Raises:
            StateError: the cluster has not been started.
            NoModelError: there is no model of this name.
            RefusedError: it is somebody else's, or not deployed.
            LinkError: the leader cannot be reached.
        """
        undeploy(self._config, [each.network(self._owner) for each in self.replicas], name, keep=keep)

    # Starting and stopping

    def start(self, timeout: float = START_S) -> TFECluster:
        """Start the parties that are managed from here, and wait until all three are there. Does nothing when started.

        They are started again if they die, until `stop`. Of the others, it prints for those that are not up the
        command to run on their hosts.

        Args:
            timeout: seconds to wait for the parties.

        Raises:
            StartError: a party did not start, is not there, or is not the one that it should be (that is said at
                once); names it and the cause. No party is left behind.
            ConfigError: there are no usable certificates, or the extra `party` is needed here and missing.
        """
        with self._lock:
            if self._started:
                return self
            if self._replicas:
                self._start_replicas(timeout)
                self._started = True
                return self
            try:
                if self._local or any(worker.auto_managed for worker in self._workers):
                    require("party", "a party on this machine")
                atexit.register(self.stop)
                if self._local:
                    self._start_threads()
                else:
                    self._start_processes(timeout)
                self._started = True
            except BaseException:
                self._stop()
                raise
        return self

    def stop(self) -> None:
        """Stop the parties that were started from here. The second time it does nothing.

        If Ctrl-C ends it half-way, the next call stops the rest.
        """
        with self._lock:
            if self._replicas:
                with ThreadPoolExecutor(len(self._replicas)) as pool:
                    list(pool.map(TFECluster.stop, self._replicas))
                self._started = False
            elif self._started or self._processes or self._servers:
                self._stop()

    def _stop(self) -> None:
        self._end()
        self._started = False
        atexit.unregister(self.stop)

    def __enter__(self) -> TFECluster:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_replicas(self, timeout: float) -> None:
        """All at once: each waits for its own parties. One whose operators have not started theirs is a warning, as
        long as there is another one."""
        try:
            with ThreadPoolExecutor(len(self._replicas)) as pool:
                starts = [pool.submit(each.start, timeout) for each in self._replicas]
            failures = {number: error for number, run in enumerate(starts) if (error := run.exception()) is not None}
            listed = "\n".join(f"replica {number}: {error}" for number, error in failures.items())
            waits = all(isinstance(error, StartError) and error.transient for error in failures.values())
            if failures and (len(failures) == len(starts) or not waits):
                raise StartError(listed) from next(iter(failures.values()))
            for number in failures:
                self._replicas[number]._started = True  # it may come later, and has nothing of this process's
            if failures:
                warnings.warn(f"not every triple of parties is there, and the others do ({listed})", stacklevel=4)
        except BaseException:
            self.stop()
            raise

    def _start_threads(self) -> None:
        from keras_private.logs import party_log  # here: a client has no need of a party's packages
        from keras_private.party.server import PartyServer

        memory = MemoryNetwork(self._owner)
        for index, name in enumerate(PARTY_NAMES):
            network = memory.as_role(Role("party", name))
            server = PartyServer(self._config, index, network, log=party_log(name, "error"))
            self._servers.append(server)
            server.start()
        self._memory = memory

    def _start_processes(self, timeout: float) -> None:
        from keras_private.managed import ManagedParty  # here: clients know clusters, too, and start no party

        network = TLSNetwork(self._config, credentials(self._config, self._owner))
        deadline = time.monotonic() + timeout
        for name, party in self._config.parties.items():
            if party.auto_managed:
                self._processes[name] = ManagedParty(name, self._config)
        missing = [index for index, worker in enumerate(self._workers) if not worker.auto_managed]
        missing = [index for index in missing if not self._is_up(network, index, min(timeout, _GLANCE_S))]
        for index in missing:
            command = self._workers[index].command(index, str(self._path or CLUSTER_FILE), self._number)
            print(f"Run on the host of {self._workers[index].host}:  {command}", flush=True)  # noqa: T201  for the user
        for process in self._processes.values():
            process.wait_ready(deadline)
        for index in missing:
            self._is_up(network, index, max(1.0, deadline - time.monotonic()), insist=True)

    def _is_up(self, network: Network, index: int, timeout: float, *, insist: bool = False) -> bool:
        """Whether a party that others start is up, and takes us for its owner.

        Args:
            insist: wait for it.

        Raises:
            StartError: it is not the party that it should be, does not accept us, or did not come up.
        """
        hello = Hello.plain("owner", self._config.cluster)
        try:
            (wait_for if insist else call)(network, index, hello, timeout).close()
        except (LinkError, ClusterError) as error:
            if insist or isinstance(error, TrustError | ClusterError):
                where = f"{PARTY_NAMES[index]} at {self._workers[index].host}"
                failure = StartError(f"{where} {'is not there' if insist else 'is not usable'}: {error}")
                raise failure if isinstance(error, TrustError | ClusterError) else failure.again() from None
            return False
        return True

    def _end(self) -> None:
        for process in self._processes.values():
            process.ask_to_stop()
        for process in self._processes.values():
            process.wait_stopped()
        self._processes = {}
        for server in self._servers:
            server.stop()
        self._servers = []
        self._memory = None
