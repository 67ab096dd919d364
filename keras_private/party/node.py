"""What the parts of one party server have in common."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from keras_private import config
from keras_private.config import PARTY_NAMES
from keras_private.logs import Log
from keras_private.party.access import Access
from keras_private.party.budget import Budget
from keras_private.party.messages import VERSION, Hello
from keras_private.party.metrics import Metrics
from keras_private.party.network import Network
from keras_private.party.run_memory import RunMemory
from keras_private.party.shelf import Shelf

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Seconds between attempts to reach a party that is away: doubled from one to the next."""


IDLE_S = 60.0
"""A session whose owner or client says nothing looks up this often."""
STOP_S = 1.0
"""How long a server that stops waits for each of its threads."""


@dataclass(slots=True)
class Node:
    """One party: who it is, what it holds, how it reaches the others.

    Attributes:
        access: who may do what, by this party's own rules.
        metrics: told what happens; off unless cluster.yaml says where they are to be seen.
        memory: what clients may occupy, in bytes: half of `limits.memory_mb`.
        runs: the other half, which is for runs.
        leaving: set once, when the party is asked to end: it takes nothing new in.
        closing: set once, when the server stops; every wait ends soon after.
        warm: set when the kernels are compiled; a model is loaded after that only.
    """

    index: int
    config: config.ClusterConfig
    network: Network
    log: Log
    shelf: Shelf
    memory: Budget
    access: Access = field(default_factory=Access)
    metrics: Metrics = field(default_factory=Metrics)
    leaving: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    warm: threading.Event = field(default_factory=threading.Event)
    counting: threading.Lock = field(default_factory=threading.Lock)
    """Around `served`: lanes add to it."""
    served: int = 0
    runs: RunMemory = field(init=False)

    def __post_init__(self) -> None:
        self.runs = RunMemory(self.config.limits.memory_bytes // 2)

    @property
    def name(self) -> str:
        return PARTY_NAMES[self.index]

    @property
    def timeout(self) -> float:
        return self.config.limits.timeout_s

    def take_memory_peak(self) -> int:
        """The most bytes that clients and runs took since the last call."""
        return self.runs.take_peak() + self.memory.take_peak()

    def hello(self, purpose: str, lane: int = 0, epoch: bytes | None = None) -> Hello:
        return Hello(purpose, VERSION, self.config.cluster, lane, epoch)


class Backoff:
    """Pauses between attempts, doubling, cut short when the server stops."""

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing
        self._pause = FIRST_PAUSE

    def wait(self) -> None:
        self._closing.wait(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def reset(self) -> None:
        self._pause = FIRST_PAUSE
