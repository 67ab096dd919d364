"""Three real processes joined by TLS links, without client, queue or owner: what the protocols alone cost.

This is what other systems' figures for "parties only" are to be held beside. Each process is started with spawn, gets
its shares of the weights and of one input over a pipe, and runs the same plan again and again.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.connection import Connection as Pipe
from typing import Any, NamedTuple

import numpy as np

from keras_private.mpc.kernels import warm_up
from keras_private.mpc.masks import agree_masks
from keras_private.mpc.party import Party
from keras_private.mpc.program import Program
from keras_private.net.certificates import local_credentials
from keras_private.net.connection import Connection
from keras_private.net.handshake import Listener, connect
from keras_private.net.roles import Role
from keras_private.net.tls_link import TLSLink
from keras_private.plan.plan import Draft
from keras_private.plan.serialise import parse, serialise
from keras_private.sharing import fixed
from keras_private.sharing.share import Share, split


class Measured(NamedTuple):
    """One plan and batch: medians over the runs, bytes and rounds of one run."""

    wall_ms: float
    cpu_ms: float  # of all three parties together
    rounds: int
    bytes_sent: tuple[int, int, int]


class ThreeProcesses:
    """Use as a context manager; `measure` may be called for several plans."""

    def __enter__(self) -> ThreeProcesses:
        context = multiprocessing.get_context("spawn")
        self._home = tempfile.TemporaryDirectory()
        before = os.environ.get("KERAS_PRIVATE_HOME")
        os.environ["KERAS_PRIVATE_HOME"] = self._home.name
        for index in range(3):
            local_credentials(Role("party", f"server{index}"))
        self._pipes, self._processes = [], []
        for index in range(3):
            here, there = context.Pipe()
            process = context.Process(target=_party, args=(index, there), daemon=True)
            process.start()
            self._pipes.append(here)
            self._processes.append(process)
        if before is None:
            del os.environ["KERAS_PRIVATE_HOME"]
        else:
            os.environ["KERAS_PRIVATE_HOME"] = before
        addresses = [pipe.recv() for pipe in self._pipes]
        for pipe in self._pipes:
            pipe.send(addresses)
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(10)
        self._home.cleanup()

    def measure(self, draft: Draft, x: np.ndarray, runs: int) -> Measured:
        """Run an executable plan `runs` times on the batch `x`, in lockstep."""
        plan, plan_bytes = draft.plan, serialise(draft.plan)
        weights = {name: split(fixed.encode(draft.values[name], w.frac)) for name, w in plan.weights.items()}
        inputs = split(fixed.encode(x.reshape(len(x), plan.input_words), plan.precision))
        for index, pipe in enumerate(self._pipes):
            mine = {name: packages[index].expand(plan.weights[name].shape) for name, packages in weights.items()}
            shared = inputs[index].expand((len(x), plan.input_words))
            # Pickled shares over a pipe between our own processes: a benchmark's shortcut, not the product's wire.
            flat = {name: (share.mine, share.next) for name, share in mine.items()}
            pipe.send((plan_bytes, flat, (shared.mine, shared.next), runs))
        results = [pipe.recv() for pipe in self._pipes]
        walls = [max(times) for times in zip(*(result[0] for result in results), strict=True)]
        return Measured(
            1000 * statistics.median(walls),
            1000 * sum(result[1] for result in results) / runs,
            results[0][2],
            tuple(result[3] for result in results),
        )


def _party(index: int, pipe: Pipe) -> None:
    link = _link(index, pipe)
    warm_up()
    party = Party(link, agree_masks(link, b"benchmark"))
    while (order := pipe.recv()) is not None:
        plan, weights, x, runs = order
        pipe.send(_timed(party, plan, {name: Share(*pair) for name, pair in weights.items()}, Share(*x), runs))
    link.close()


def _timed(party: Party, plan: bytes, weights: dict[str, Share], x: Share, runs: int) -> tuple[Any, ...]:
    program = Program(parse(plan), weights)
    for _ in range(3):
        program.run(party, x)
    walls = []
    cpu = time.process_time()
    for _ in range(runs):
        party.link.stats.reset()
        started = time.perf_counter()
        program.run(party, x)
        walls.append(time.perf_counter() - started)
    return walls, time.process_time() - cpu, party.link.stats.rounds, party.link.stats.sent_bytes


def _link(index: int, pipe: Pipe) -> TLSLink:
    tls = local_credentials(Role("party", f"server{index}"))
    listener = Listener(("127.0.0.1", 0), tls)
    pipe.send(listener.address)
    addresses = pipe.recv()
    peers: dict[int, Connection] = {}
    for peer in range(index):
        peers[peer] = connect(addresses[peer], tls, Role("party", f"server{peer}"))
    for _ in range(2 - index):
        connection = listener.accept().handshake()
        peers[int(connection.peer.name[-1])] = connection
    listener.close()
    return TLSLink(index, peers[(index + 1) % 3], peers[(index - 1) % 3], timeout=60.0)
