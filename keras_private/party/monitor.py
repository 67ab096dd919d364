"""What can be seen of a party from outside: its gauges, whether it lives, and whether it is ready for work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import keras_private
from keras_private.config import LEADER, PARTY_NAMES
from keras_private.party.certificate import CertificateWatch
from keras_private.party.duty import Duty
from keras_private.party.entrance import Entrance
from keras_private.party.messages import Figures
from keras_private.party.node import Node

STUCK_S: Final = 60.0
"""Upkeep that has not come round for so long hangs: it comes every second, but compiling may hold everything up."""


class Monitor:
    """Looks at the parts of one party. From any thread.

    Attributes:
        beaten: when upkeep came round last, of `time.monotonic`.
    """

    def __init__(self, node: Node, duty: Duty, entrance: Entrance, certificate: CertificateWatch | None) -> None:
        self._node, self._duty, self._entrance, self._certificate = node, duty, entrance, certificate
        self._started, self._born = time.time(), time.monotonic()
        self.beaten = time.monotonic()

    def unhealthy(self) -> list[str]:
        """Which threads do not answer, a line each; none: the process lives. Only a restart helps against these.

        Upkeep takes the locks of queue, lanes and memory on its way, so that one who holds them for ever is found out.
        """
        if self._node.closing.is_set():
            return []
        found = []
        silent = time.monotonic() - self.beaten
        if silent > STUCK_S:
            found.append(f"upkeep: has not come round for {silent:.0f} s")
        if self._entrance.ended:
            found.append("entrance: nobody accepts callers")
        found += [f"lane {lane.number}: its thread has ended" for lane in self._duty.lanes if lane.ended]
        return found

    def unready(self) -> list[str]:
        """Why this party should not be sent owners and clients now, a line each; none: it is ready.

        Holding a model is no part of it: without one, a party is there for the owner who brings it.
        """
        if self._node.closing.is_set() or self._node.leaving.is_set():
            return ["stopping"]
        found = []
        if not self._node.warm.is_set():
            found.append("kernels: still being compiled")
        peers = self._duty.peers
        due = PARTY_NAMES[1:] if self._node.index == LEADER else PARTY_NAMES[:1]
        found += [f"control: no connection with {name}" for name in due if name not in peers]
        found += [f"lane {lane.number}: down" for lane in self._duty.lanes if not lane.up]
        return found

    def figures(self) -> Figures:
        """What an owner may know."""
        node, queue, totals = self._node, self._duty.queue, self._node.metrics.totals
        return Figures(
            release=keras_private.__version__,
            clock=time.time(),
            uptime=time.monotonic() - self._born,
            limits=tuple(f"{name}={value}" for name, value in node.config.limits),
            unready=tuple(self.unready()),
            due=len(self._duty.lanes),
            clients=self._entrance.connections["client"],
            oldest=queue.oldest_s,
            refused=totals.refused,
            runs=totals.runs,
            rows=totals.rows,
            sent=totals.sent,
        )

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        """See `metrics.Gauges`."""
        node, duty = self._node, self._duty
        queue, lanes = duty.queue, duty.lanes
        yield "queue_requests", "", queue.waiting
        yield "queue_limit_requests", "", queue.places.total
        yield "queue_oldest_seconds", "", queue.oldest_s
        yield "lanes_up", "", sum(lane.up for lane in lanes)
        yield "lanes", "", len(lanes)
        models = _models(node)
        yield "models", "", len(models)
        for name, nbytes in models.items():
            yield "model_bytes", name, nbytes
        yield "client_memory_bytes", "", node.memory.used
        yield "client_memory_limit_bytes", "", node.memory.total
        for role, count in self._entrance.connections.items():
            yield "connections", role, count
        yield "handshakes", "", self._entrance.handshakes
        yield "ready", "", not self.unready()
        yield "serving", "", any(duty.state(model)[0] in ("serving", "deployed") for model in node.shelf.models)
        yield "peers", "", len(duty.peers)
        if self._certificate:
            yield "certificate_expiry_timestamp_seconds", "", self._certificate.expires
        yield "start_timestamp_seconds", "", self._started
        yield "build_info", keras_private.__version__, 1


def _models(node: Node) -> dict[str, int]:
    """What the shares of every model held take, in bytes, by its name; versions of one name together."""
    found: dict[str, int] = {}
    for model in node.shelf.models:
        found[model.name] = found.get(model.name, 0) + model.size
    return found
