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
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection as Pipe
from typing import Any, NamedTuple

import numpy as np
import psutil

from keras_private.errors import KerasPrivateError
from keras_private.mpc.kernels import warm_up
from keras_private.mpc.masks import agree_masks
from keras_private.mpc.ops import bind
from keras_private.mpc.party import Party
from keras_private.mpc.program import Program
from keras_private.net.certificates import local_credentials
from keras_private.net.connection import Connection
from keras_private.net.handshake import Listener, connect
from keras_private.net.roles import Role
from keras_private.net.tls_link import TLSLink
from keras_private.party.heap import keep_freed
from keras_private.plan.plan import Draft, Plan
from keras_private.plan.serialise import parse, serialise
from keras_private.sharing import fixed
from keras_private.sharing.share import Share, reconstruct


class Measured(NamedTuple):
    """One plan and batch: medians over the runs, bytes and rounds of one run."""

    wall_ms: float
    cpu_ms: float  # of all three parties together
    rounds: int
    bytes_sent: tuple[int, int, int]
    result: np.ndarray  # what the last run gave, raw


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
        plan = draft.plan
        weights = [fixed.encode(draft.values[name], weight.frac) for name, weight in sorted(plan.weights.items())]
        (given,) = plan.inputs
        raw = fixed.encode(x.reshape(len(x), -1), plan.tensors[given.tensor].frac)
        return self._measure(serialise(plan), weights, [raw], runs)

    def measure_op(self, plan: Plan, weights: Sequence[np.ndarray], xs: Sequence[np.ndarray], runs: int) -> Measured:
        """Run the only op of a plan, which no party would have to accept: its inputs may be bits.

        Args:
            weights, xs: raw, uint64, of bits uint8; xs of (batch, …).
        """
        return self._measure(plan, weights, xs, runs)

    def resident_mb(self) -> float:
        """Memory of the largest party, up to now."""
        return max(psutil.Process(process.pid).memory_info().rss for process in self._processes) / 1e6

    def _measure(
        self, plan: bytes | Plan, weights: Sequence[np.ndarray], xs: Sequence[np.ndarray], runs: int
    ) -> Measured:
        # Pickled shares over a pipe between our own processes: a benchmark's shortcut, not the product's wire.
        dealt = [[_summands(secret) for secret in secrets] for secrets in (weights, xs)]
        for index, pipe in enumerate(self._pipes):
            pipe.send((plan, *([(s[index], s[(index + 1) % 3]) for s in secrets] for secrets in dealt), runs))
        results = [pipe.recv() for pipe in self._pipes]
        if failed := next((result for result in results if isinstance(result, str)), None):
            raise RuntimeError(failed)
        walls = [max(times) for times in zip(*(result[0] for result in results), strict=True)]
        return Measured(
            1000 * statistics.median(walls),
            1000 * sum(result[1] for result in results) / runs,
            results[0][2],
            tuple(result[3] for result in results),
            reconstruct([Share(*result[4]) for result in results]),
        )


def _summands(secret: np.ndarray) -> list[np.ndarray]:
    random = np.random.default_rng()  # noise is as good as secrets here
    if secret.dtype == np.uint8:
        parts = [random.integers(0, 2, secret.shape, np.uint8) for _ in range(2)]
        return [*parts, secret ^ parts[0] ^ parts[1]]
    parts = [random.integers(0, 2**64, secret.shape, np.uint64) for _ in range(2)]
    return [*parts, secret - parts[0] - parts[1]]


def _party(index: int, pipe: Pipe) -> None:
    keep_freed()  # as a party does
    link = _link(index, pipe)
    warm_up()
    party = Party(link, agree_masks(link, b"benchmark"))
    while (order := pipe.recv()) is not None:
        plan, weights, xs, runs = order
        try:
            ready = _ready(party, plan, *([Share(*pair) for pair in pairs] for pairs in (weights, xs)))
            pipe.send(_timed(party, ready, runs))
        except KerasPrivateError as error:
            pipe.send(str(error))
            raise
    link.close()


def _ready(party: Party, plan: bytes | Plan, weights: list[Share], xs: list[Share]) -> Callable[[], Share]:
    """What runs the plan, or its only op, once."""
    if isinstance(plan, bytes):
        accepted = parse(plan)
        program = Program(accepted, dict(zip(sorted(accepted.weights), weights, strict=True)))
        return lambda: program.run(party, xs[0])
    (op,) = plan.ops
    party.take_turn(0)  # server i is P_i
    run, shape = bind(op, plan, weights), (xs[0].shape[0], *plan.tensors[op.output].shape)
    return lambda: party.run(run(party, xs, shape))


def _timed(party: Party, run: Callable[[], Share], runs: int) -> tuple[Any, ...]:
    for _ in range(3):
        result = run()
    walls = []
    cpu = time.process_time()
    for _ in range(runs):
        party.link.stats.reset()
        started = time.perf_counter()
        result = run()
        walls.append(time.perf_counter() - started)
    stats = party.link.stats
    return walls, time.process_time() - cpu, stats.rounds, stats.sent_bytes, (result.mine, result.next)


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
