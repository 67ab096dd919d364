"""The party server: who may come in, and to whom each is passed on.

Theory of operation. The `Entrance` accepts and shakes hands (mutual TLS: without a certificate of this cluster's
authority nobody gets further). The connection's thread then reads one `Hello`, and passes the connection on by the
role in the certificate: clients and owners to their sessions, followers to the leader's control, parties to a lane.
Whatever a session cannot make sense of ends that one connection, is logged, and is nobody else's concern.

    Entrance ─▶ Hello ─┬─ client  ─▶ ClientSession ─▶ queue ─▶ lane ─▶ answer
                       ├─ owner   ─▶ OwnerSession  ─▶ shelf, serving
                       ├─ control ─▶ Followers (at the leader)
                       └─ lane    ─▶ Lane.offer

What the leader and a follower do differently is their `Duty`'s; nothing else here asks which of the two a party is.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Final

from keras_private.config import LEADER, PARTY_NAMES, ClusterConfig
from keras_private.errors import FrameError, LinkError, RefusedError, StorageError
from keras_private.logs import Log, party_log
from keras_private.net.handshake import describe_listening
from keras_private.net.roles import Role
from keras_private.party.access import Access, AccessWatch
from keras_private.party.budget import Budget
from keras_private.party.causes import leaving
from keras_private.party.certificate import LOOK_S, CertificateWatch
from keras_private.party.client_session import ClientSession
from keras_private.party.duty import Duty
from keras_private.party.entrance import HANDSHAKE_S, Entrance
from keras_private.party.exporter import Exporter, pages
from keras_private.party.failure import cause_of
from keras_private.party.follower.follower import Follower
from keras_private.party.heap import HeapWatch
from keras_private.party.leader.leader import Leader
from keras_private.party.ledger import Ledger
from keras_private.party.messages import REFUSED, VERSION, Error, Hello, ModelStatus, Status, Welcome
from keras_private.party.metrics import counting, exposition
from keras_private.party.models import HeldModel
from keras_private.party.monitor import Monitor
from keras_private.party.network import Channel, Network
from keras_private.party.node import STOP_S, Node
from keras_private.party.reader import Reader
from keras_private.party.shelf import Shelf
from keras_private.party.storage.models import StoredModels
from keras_private.party.storage.store import Store
from keras_private.party.wire import decode, encode

HELLO_BYTES: Final = 1 << 16  # the largest first message: no budget knows its sender yet
_UPKEEP_S = 1.0
_USAGE = "usage"  # what clients have asked for, as it is called in the store
_OTHERS_S = 0.5  # that a party which is about to end gives the others to finish its last run
_LOOK_S = 0.01  # how often a party that is about to end looks whether it may


class PartyServer:
    """One party.

    Args:
        index: which one, 0 to 2; 0 is the leader.
        network: its view of the cluster, with its credentials.
        certificate: looks after its certificate; None if it has none.
        warm_up: compiles what the first run would otherwise wait for.

    Raises:
        ConfigError: the folder or the key of `storage` cannot be used.
    """

    def __init__(
        self,
        config: ClusterConfig,
        index: int,
        network: Network,
        *,
        log: Log | None = None,
        certificate: CertificateWatch | None = None,
        warm_up: Callable[[], None] | None = None,
    ) -> None:
        memory = Budget(config.limits.memory_bytes // 2, "MB", 2**20)
        log = log or party_log(PARTY_NAMES[index])
        self._store = Store(config.storage, config.cluster, PARTY_NAMES[index], log) if config.storage else None
        access = Access(config.access.rules if config.access else None, _ledger(self._store, log))
        self._kept = StoredModels(self._store, log, notes=index == LEADER) if self._store else None
        shelf = Shelf(config.limits, self._models_changed, self._kept)
        self.node = node = Node(index, config, network, log, shelf, memory, access)
        self._access = AccessWatch(config.access, access, log) if config.access else None
        self.duty: Duty = Leader(node) if index == LEADER else Follower(node)
        self._certificate = certificate
        self._looking = threading.Lock()  # around a look at files
        self._warm_up = warm_up or _compile_kernels
        self._entrance = Entrance(node, self._attend)
        self._reader = Reader(node.name, log, lambda: self.duty.ready, self.duty.taken_in)
        self._monitor = Monitor(node, self.duty, self._entrance, certificate)
        self._shown_at = config.metrics_address(index)
        self._exporter: Exporter | None = None
        self._heap = HeapWatch(node.take_memory_peak, lambda: node.memory.used)
        self._threads: list[threading.Thread] = []
        self._sessions: weakref.WeakSet[ClientSession] = weakref.WeakSet()

    # Life

    def start(self) -> None:
        """Listen, and find the other parties. Returns at once.

        Raises:
            LinkError: the address is taken, or that for metrics.
            ConfigError: the certificate files are not usable.
        """
        if self._shown_at:
            self.node.metrics, registry = counting(self._monitor.gauges)
            shown = pages(self._monitor, *exposition(registry))
            self._exporter = Exporter(self._shown_at, shown, self.node.name)
        try:
            if self._kept:
                self._restore(self._kept)
            self._entrance.open()
        except BaseException:
            self._close_exporter()
            raise
        self._spawn("warm-up", self._warm)
        if self._certificate or self._access:
            self._spawn("files", self._repeat, "files", LOOK_S, self.reload)
        self._spawn("upkeep", self._repeat, "requests and memory", min(_UPKEEP_S, self.node.timeout / 4), self._keep_up)
        self.duty.start()
        self.node.log.info("listening", host=self.node.config.party(self.node.index).host, bind=self.listens_at)

    def _restore(self, kept: StoredModels) -> None:
        """Hold what was kept, before anybody can ask for it."""
        models, missed = kept.restore(self.node.config.limits)
        self.node.shelf.restore(models, missed)
        for model in models:
            self.node.log.info(
                "model restored", owner=model.owner, model=model.name, version=model.version, digest=model.digest
            )

    @property
    def listens_at(self) -> str:
        """Where, in words; after `start`."""
        return describe_listening(self._entrance.address)

    def drain(self, hurried: Callable[[], bool]) -> None:
        """Take nothing new in, and wait until what runs is finished and answered, `limits.drain_s` at most.

        Args:
            hurried: whether that takes too long for somebody; asked again and again.
        """
        node, duty = self.node, self.duty
        seconds = node.config.limits.drain_s
        node.log.info("leaving", waiting=duty.queue.waiting, drain_s=seconds)
        node.leaving.set()
        duty.leave()
        deadline = time.monotonic() + seconds

        def wait(until: float) -> bool:
            over = hurried() or time.monotonic() >= until
            if not over:
                time.sleep(_LOOK_S)
            return not over

        while (node.shelf.uploads or any(session.busy for session in list(self._sessions))) and wait(deadline):
            pass
        # The others finish the same run about now: what they still need must reach them before the lanes go.
        others = min(deadline, time.monotonic() + _OTHERS_S)
        while wait(others):
            pass
        for session in list(self._sessions):
            session.take_leave(leaving(node.name))

    def stop(self) -> None:
        """End every connection and thread. Idempotent."""
        if self.node.closing.is_set():
            return
        self.node.closing.set()
        self._entrance.shut()
        self.duty.close()
        self._entrance.close()
        self._reader.close()
        self.duty.join(STOP_S)
        self._entrance.join()
        self._close_exporter()
        for thread in self._threads:
            if thread.name.endswith("upkeep"):
                thread.join(STOP_S)
        self.node.access.ledger.close()
        if self._store:
            self._store.close()
        self.node.log.info("stopped")

    def _close_exporter(self) -> None:
        if self._exporter:
            self._exporter.close()

    def reload(self, *, now: bool = False) -> None:
        """Take over certificates and rules whose files have changed.

        Args:
            now: take them as they are, without waiting until they no longer change.
        """
        with self._looking:
            if self._certificate:
                self._certificate.look(now=now)
            if self._access:
                self._access.look(now=now)
            self.node.access.ledger.keep()

    def status(self) -> Status:
        """What an owner may know about this party."""
        node, duty = self.node, self.duty
        return Status(
            party=node.name,
            models=tuple(map(self._model_status, node.shelf.models)),
            served=node.served,
            waiting=duty.queue.waiting,
            peers=duty.peers,
            lanes=sum(lane.up for lane in duty.lanes),
            expires=self._certificate.expires if self._certificate else None,
            figures=self._monitor.figures(),
        )

    def _model_status(self, model: HeldModel) -> ModelStatus:
        state, waiting = self.duty.state(model)
        return ModelStatus(
            name=model.name,
            version=model.version,
            owner=model.owner,
            digest=model.digest,
            state=state,
            served=model.served,
            waiting=waiting,
            clients=self.node.shelf.users(model.id),
            size=model.size,
        )

    def _spawn(self, name: str, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=f"{self.node.name} {name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _warm(self) -> None:
        try:
            self._warm_up()
        except Exception as error:  # the first run compiles what is missing, or fails aloud
            self.node.log.error("warm-up failed", exc_info=error)
        self.node.warm.set()

    def _repeat(self, what: str, seconds: float, act: Callable[[], None]) -> None:
        """Act every so many seconds until the server stops."""
        while True:
            try:
                act()
            except Exception as error:  # a defect, or no memory, must not end it
                self.node.log.error("upkeep failed", what=what, exc_info=error)
            if self.node.closing.wait(seconds):
                return

    def _keep_up(self) -> None:
        self._monitor.beaten = time.monotonic()
        self.duty.expire()
        self._heap.look()

    def _models_changed(self) -> None:
        self.duty.models_changed()

    # Callers

    def _attend(self, channel: Channel) -> None:
        peer = str(channel.peer)
        try:
            hello = decode(channel.receive(HANDSHAKE_S, HELLO_BYTES))
            if not isinstance(hello, Hello):
                raise FrameError(f"a {hello.kind} message came before a hello")
            self._check_hello(hello, channel.peer)
            channel.phase = hello.purpose
            session = self._session(hello, channel)
            channel.send(encode(Welcome(self.node.name)))
            session()
        except RefusedError as error:
            self.node.metrics.session_refused()
            self.node.log.warning("refused", peer=peer, cause=str(error))
            with contextlib.suppress(LinkError):
                channel.send(encode(Error(REFUSED, str(error), None, None)))
            channel.finish()
        except FrameError as error:
            self.node.metrics.session_refused()
            self.node.log.warning("closed", peer=peer, cause=str(error))
            with contextlib.suppress(LinkError):
                channel.send(encode(Error(REFUSED, str(error), None, None)))
            channel.finish()
        except LinkError as error:
            self.node.log.debug("gone", peer=peer, cause=str(error))
            channel.close()
        except Exception as error:  # a defect must not take the server down
            self.node.log.error("session failed", peer=peer, exc_info=error)
            channel.close()

    def _check_hello(self, hello: Hello, peer: Role) -> None:
        name, config = self.node.name, self.node.config
        if hello.version != VERSION:
            raise RefusedError(
                f"{name} speaks version {VERSION} of the messages, {peer} version {hello.version}; install the same "
                "keras-private everywhere"
            )
        if hello.cluster != config.cluster:
            raise RefusedError(
                f"{name} belongs to cluster {config.cluster!r}, not {hello.cluster[:80]!r}; use its cluster.yaml"
            )
        allowed = {"party": ("lane", "control"), "owner": ("owner",), "client": ("client",)}[peer.kind]
        if hello.purpose not in allowed:
            raise RefusedError(
                f"a certificate of {peer} does not allow what was asked for ({hello.purpose[:20]}); it allows: "
                f"{', '.join(allowed)}"
            )

    def _session(self, hello: Hello, channel: Channel) -> Callable[[], None]:
        """What looks after a connection, and returns when it is over.

        Raises:
            RefusedError: nothing at this party does.
        """
        node, duty, index = self.node, self.duty, PARTY_NAMES.index
        if hello.purpose == "client":
            session = ClientSession(node, channel, duty.find, duty.take_in, duty.drop, self._reader)
            self._sessions.add(session)
            return session.run
        if hello.purpose == "owner":
            return duty.owner_session(channel, self.status).run
        if hello.purpose == "control":
            return duty.control_session(index(channel.peer.name), channel)
        if hello.lane >= len(duty.lanes) or hello.epoch is None:
            raise RefusedError(f"{node.name} has no lane {hello.lane}")
        return partial(duty.lanes[hello.lane].offer, index(channel.peer.name), hello.epoch, channel)


def _ledger(store: Store | None, log: Log) -> Ledger:
    """What clients have asked for, over a restart if anything is kept."""
    if store is None:
        return Ledger()

    def failed(error: Exception) -> None:
        log.error("usage not kept", cause=cause_of(error))

    try:
        return Ledger(partial(store.note, _USAGE), store.noted(_USAGE), failed)
    except StorageError:  # the log has it
        return Ledger(partial(store.note, _USAGE), None, failed)
    except ValueError as error:  # of another release: its numbers are lost
        log.error("stored note unreadable", file=_USAGE, cause=str(error))
        return Ledger(partial(store.note, _USAGE), None, failed)


def _compile_kernels() -> None:
    from keras_private.mpc.kernels import warm_up

    warm_up()
