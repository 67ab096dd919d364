"""Run the three parties in one thread, with masks that depend on a key only: what changed of a result then changed
because of the inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from keras_private.mpc.masks import Masks
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, Received, Step
from keras_private.sharing.random import Stream
from keras_private.sharing.share import Share


def run(protocol: Callable[[Party], Protocol[Share]], key: bytes, turn: int = 0) -> list[Share]:
    """The output shares of `protocol(party)` at the three parties, which draw the same masks for the same key."""
    running = []
    for index in range(3):
        names = (f"{index}", f"{(index + 1) % 3}", "common")
        masks = Masks(*(Stream(hashlib.sha256(key + name.encode()).digest()) for name in names))
        link: Any = SimpleNamespace(index=index)
        party = Party(link, masks)
        party.take_turn(turn)
        running.append(_with_a_round(protocol(party)))
    return in_lockstep(running)


def in_lockstep(protocols: Sequence[Protocol[Share]]) -> list[Share]:
    """Run the three parties' protocols, each message handed over by hand."""
    steps: list[Step] = [next(protocol) for protocol in protocols]
    outputs: list[Share] = []
    while not outputs:
        arrived = []
        for i, step in enumerate(steps):
            of_next, of_prev = (_message(part) for part in (steps[(i + 1) % 3].to_prev, steps[(i - 1) % 3].to_next))
            assert (of_next.size, of_prev.size) == (step.from_next, step.from_prev), "not the bytes that were due"
            arrived.append(Received(of_next, of_prev))
        steps = []
        for protocol, received in zip(protocols, arrived, strict=True):
            try:
                steps.append(protocol.send(received))
            except StopIteration as stop:
                outputs.append(stop.value)
        assert len(steps) + len(outputs) == 3
        assert not outputs or not steps, "one party has ended before the others"
    return outputs


def _message(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.frombuffer(bytearray(b"".join(part.tobytes() for part in parts)), np.uint8)


def _with_a_round(protocol: Protocol[Share]) -> Protocol[Share]:
    """A protocol with one round more, so that those without a message have one too."""
    yield Step()
    return (yield from protocol)


def assert_rows_apart(
    compute: Callable[[Sequence[Sequence[np.ndarray]]], list[Share]],
    inputs: Callable[[], Sequence[Sequence[np.ndarray]]],
    kept: int,
) -> list[Share]:
    """That a row of a result does not depend on the others: of two runs with the same row and other ones beside it,
    no bit of its shares differs.

    Args:
        compute: the shares of the result, for three summands of every input, always with the same masks.
        inputs: draws the summands of every input, batch first.
        kept: the row.

    Returns:
        the result of the first run.
    """
    first, second = inputs(), inputs()
    for before, after in zip(first, second, strict=True):
        for left, right in zip(before, after, strict=True):
            right[kept] = left[kept]
    found = compute(first)
    for once, again in zip(found, compute(second), strict=True):
        assert once.shape == again.shape
        for a, b in ((once.mine, again.mine), (once.next, again.next)):
            assert np.array_equal(a[kept], b[kept]), f"row {kept} of {once.shape[0]} depends on the other rows"
    return found
