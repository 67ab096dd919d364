"""The party server: who may come in, and to whom each is passed on.

Theory of operation. The `Entrance` accepts and shakes hands (mutual TLS: without a certificate of this cluster's
authority nobody gets further). The connection's thread then reads one `Hello`, and passes the connection on by the
role in the certificate: clients and owners to their sessions, followers to the leader's control, parties to a lane.
Whatever a session cannot make sense of ends that one connection, is logged, and is nobody else's concern.

    Entrance ─▶ Hello ─┬─ client  ─▶ ClientSession ─▶ queue ─▶ lane ─▶ answer
                       ├─ owner   ─▶ OwnerSession  ─▶ shelf, serving
                       ├─ control ─▶ Followers (at the leader)
                       └─ lane    ─▶ Lane.offer
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Final

from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.errors import FrameError, LinkError, RefusedError
from keras_private.logs import Log, party_log
from keras_private.net.connection import describe_listening
from keras_private.net.roles import Role
from keras_private.party import causes
from keras_private.party.budget import Budget
from keras_private.party.certificate import LOOK_S, CertificateWatch
from keras_private.party.client_session import ClientSession
from keras_private.party.entrance import HANDSHAKE_S, Entrance
from keras_private.party.follower.lane import FollowerLane
from keras_private.party.follower.line import LeaderLine
from keras_private.party.heap import HeapWatch
from keras_private.party.lane import LANES, Lane
from keras_private.party.leader.followers import Followers
from keras_private.party.leader.lane import LeaderLane
from keras_private.party.leader.queue import LeaderQueue
from keras_private.party.messages import REFUSED, VERSION, Error, Hello, Status, Welcome
from keras_private.party.models import HeldModel, Shelf
from keras_private.party.network import Channel, Network
from keras_private.party.node import Node
from keras_private.party.owner_session import OwnerSession
from keras_private.party.queue import Request, RequestQueue
from keras_private.party.wire import decode, encode

HELLO_BYTES: Final = 1 << 16  # the largest first message: no budget knows its sender yet
_EXPIRY_CHECK_S = 1.0
_STOP_S = 1.0


class PartyServer:
    """One party.

    Args:
        index: which one, 0 to 2; 0 is the leader.
        network: its view of the cluster, with its credentials.
        certificate: looks after its certificate; None if it has none.
        warm_up: compiles what the first run would otherwise wait for.
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
        limits = config.limits
        queue = RequestQueue(limits.queue) if index else LeaderQueue(limits.queue, limits.timeout_s, self._discard)
        memory = Budget(limits.memory_bytes // 2, "MB", 2**20)
        log = log or party_log(PARTY_NAMES[index])
        self.node = Node(index, config, network, log, queue, Shelf(self._model_changed), memory)
        self._certificate = certificate
        self._warm_up = warm_up or _compile_kernels
        self._entrance = Entrance(self.node, self._attend)
        self._threads: list[threading.Thread] = []
        self._followers: Followers | None = None
        self._leader: LeaderLine | None = None
        self._lanes: list[Lane] = []
        if isinstance(queue, LeaderQueue):
            self._followers = followers = Followers(self.node, queue)
            followers.lanes = [LeaderLane(number, self.node, queue, followers) for number in range(LANES)]
            self._lanes = [*followers.lanes]
        else:
            self._leader = leader = LeaderLine(self.node)
            leader.lanes = [FollowerLane(number, self.node, leader) for number in range(LANES)]
            self._lanes = [*leader.lanes]

    # Life

    def start(self) -> None:
        """Listen, and find the other parties. Returns at once.

        Raises:
            LinkError: the address is taken.
            ConfigError: the certificate files are not usable.
        """
        self._entrance.open()
        self._spawn("warm-up", self._warm)
        if self._certificate:
            self._spawn("certificate", self._watch, self._certificate)
        self._spawn("upkeep", self._keep_up)
        for lane in self._lanes:
            lane.start()
        if self._leader:
            self._leader.start()
        self.node.log.info("listening", host=self.node.config.party(self.node.index).host, bind=self.listens_at)

    @property
    def listens_at(self) -> str:
        """Where, in words; after `start`."""
        return describe_listening(self._entrance.address)

    def stop(self) -> None:
        """End every connection and thread. Idempotent."""
        if self.node.closing.is_set():
            return
        self.node.closing.set()
        self._entrance.shut()
        for each in (self._leader, self._followers):
            if each:
                each.close()
        for lane in self._lanes:
            lane.close()
        self._entrance.close()
        for lane in self._lanes:
            lane.join(_STOP_S)
        if self._leader:
            self._leader.join(_STOP_S)
        self._entrance.join()
        for thread in self._threads:
            if thread.name.endswith("upkeep"):
                thread.join(_STOP_S)
        self.node.log.info("stopped")

    def status(self) -> Status:
        """What an owner may know about this party."""
        node, model = self.node, self.node.shelf.model
        serving = isinstance(node.queue, LeaderQueue) and node.queue.serving
        if self._followers:
            peers = tuple(PARTY_NAMES[index] for index in (1, 2) if self._followers.is_here(index))
        else:
            peers = PARTY_NAMES[:1] if self._leader and self._leader.up else ()
        return Status(
            party=node.name,
            digest=model.digest if model else "",
            owner=model.owner if model else "",
            serving=serving,
            served=node.served,
            waiting=node.queue.waiting,
            peers=peers,
            lanes=sum(lane.up for lane in self._lanes),
            expires=self._certificate.expires if self._certificate else None,
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

    def _keep_up(self) -> None:
        node, queue = self.node, self.node.queue
        pause = min(_EXPIRY_CHECK_S, node.timeout / 4)
        heap = HeapWatch(node.take_memory_peak, lambda: node.memory.used)
        while not node.closing.wait(pause):
            heap.look()
            if isinstance(queue, LeaderQueue):
                queue.expire()

    def _watch(self, certificate: CertificateWatch) -> None:
        while True:
            try:
                certificate.look()
            except Exception as error:  # a defect must not end the watch
                self.node.log.error("watch failed", exc_info=error)
            if self.node.closing.wait(LOOK_S):
                return

    def _model_changed(self, model: HeldModel | None) -> None:
        ids = self.node.queue.ids_of_other_models(model.id if model else b"")
        if isinstance(self.node.queue, LeaderQueue):
            self.node.queue.discard(ids, *(causes.STOPPED if model is None else causes.SHARED_AGAIN))
        if self._leader:
            self._leader.report_model()

    def _discard(self, ids: list[bytes], code: str, text: str) -> None:
        if self._followers:
            self._followers.discard(ids, code, text)

    # Callers

    def _attend(self, channel: Channel) -> None:
        peer = str(channel.peer)
        try:
            hello = decode(channel.receive(HANDSHAKE_S, HELLO_BYTES))
            if not isinstance(hello, Hello):
                raise FrameError(f"a {hello.kind} message came before a hello")
            self._check_hello(hello, channel.peer)
            channel.phase = hello.purpose
            self._pass_on(hello, channel)
        except RefusedError as error:
            self.node.log.warning("refused", peer=peer, cause=str(error))
            with contextlib.suppress(LinkError):
                channel.send(encode(Error(REFUSED, str(error), None)))
            channel.finish()
        except FrameError as error:
            self.node.log.warning("closed", peer=peer, cause=str(error))
            with contextlib.suppress(LinkError):
                channel.send(encode(Error(REFUSED, str(error), None)))
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
                f"{name} speaks version {VERSION} of the protocol, {peer} version {hello.version}; install the same "
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
        if hello.purpose == "control" and self._followers is None:
            raise RefusedError("control connections go to the leader, server0")
        if hello.purpose == "lane" and (hello.lane >= len(self._lanes) or hello.epoch is None):
            raise RefusedError(f"{name} has no lane {hello.lane}")

    def _pass_on(self, hello: Hello, channel: Channel) -> None:
        node = self.node
        channel.send(encode(Welcome(node.name)))
        if hello.purpose == "client":
            ClientSession(node, channel, self._take_in, self._drop).run()
        elif hello.purpose == "owner":
            queue = node.queue
            leading = (queue, self._followers) if self._followers and isinstance(queue, LeaderQueue) else None
            OwnerSession(node, channel, leading, self.status).run()
        elif hello.purpose == "control" and self._followers:
            self._followers.attend(PARTY_NAMES.index(channel.peer.name), channel)
        elif hello.epoch is not None:
            self._lanes[hello.lane].offer(PARTY_NAMES.index(channel.peer.name), hello.epoch, channel)

    def _take_in(self, request: Request) -> None:
        if self._leader:
            self._leader.hold(request)
        else:
            self.node.queue.add(request)

    def _drop(self, id_: bytes) -> None:
        if self._leader:
            self._leader.drop(id_)
        elif isinstance(self.node.queue, LeaderQueue):
            self.node.queue.drop(id_)


def _compile_kernels() -> None:
    from keras_private.mpc.kernels import warm_up

    warm_up()
