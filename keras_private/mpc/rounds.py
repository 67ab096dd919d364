"""A protocol is a generator of rounds.

Theory of operation. Each protocol in this package is a Python generator that runs at one party. It computes until it
needs its peers, then yields a `Step`: what it sends to each peer and how many bytes it is due from each. It is resumed
with those bytes and, at the end, returns its output. That makes the number of rounds of a protocol the number of its
yields, and it lets `together` run several protocols *in the same rounds*: their messages travel in one frame.

Two rules make this work, and both hold for every protocol here:
- The three parties run the same protocols in the same order with the same shapes, so a message needs no label.
- A mask stream is drawn from in the same segment (between the same two yields) by both parties that hold its key.

Every message is a whole number of 8-byte words, so that what arrives can be viewed as words without a copy.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from keras_private.net.link import Link

Words: TypeAlias = NDArray[np.uint64]
Bytes: TypeAlias = NDArray[np.uint8]
Array: TypeAlias = NDArray[Any]
T = TypeVar("T")


class Step(NamedTuple):
    """One round of one protocol at one party. Counts are in bytes; zero means that nothing is due."""

    to_next: Sequence[Array] = ()
    to_prev: Sequence[Array] = ()
    from_next: int = 0
    from_prev: int = 0


class Received(NamedTuple):
    """What a round brought, as uint8 arrays of exactly the due sizes."""

    next: Bytes
    prev: Bytes


IDLE = Step()
"""A round in which a protocol only waits for others that run beside it."""

_NOTHING = Received(np.empty(0, np.uint8), np.empty(0, np.uint8))


Protocol: TypeAlias = Generator[Step, Received, T]


def run(link: Link, protocol: Protocol[T]) -> T:
    """Drive `protocol` over `link` to its end and return its output.

    Raises:
        LinkError: a peer is gone, silent, or sent something other than what was due.
    """
    try:
        step = next(protocol)
        while True:
            step = protocol.send(Received(*link.exchange(*step)))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        protocol.close()


def together(*protocols: Protocol[Any]) -> Protocol[list[Any]]:
    """Run protocols side by side in the same rounds; as many rounds as the longest. Returns their outputs in order.

    Each is advanced in the order given, so that an earlier one may fill an array that a later one reads after the same
    round (see `reshare`).
    """
    outputs: list[Any] = [None] * len(protocols)
    live: list[tuple[int, Protocol[Any], Step]] = []
    for position, protocol in enumerate(protocols):
        try:
            live.append((position, protocol, next(protocol)))
        except StopIteration as stop:
            outputs[position] = stop.value
    while len(live) > 1:
        to_next: list[Array] = []
        to_prev: list[Array] = []
        from_next = from_prev = 0
        for _, _, step in live:
            if step is not IDLE:
                to_next += step.to_next
                to_prev += step.to_prev
                from_next += step.from_next
                from_prev += step.from_prev
        received = yield Step(to_next, to_prev, from_next, from_prev)
        advanced: list[tuple[int, Protocol[Any], Step]] = []
        at_next = at_prev = 0
        for position, protocol, step in live:
            part = _NOTHING
            if step.from_next or step.from_prev:
                start_next, at_next = at_next, at_next + step.from_next
                start_prev, at_prev = at_prev, at_prev + step.from_prev
                part = Received(received.next[start_next:at_next], received.prev[start_prev:at_prev])
            try:
                advanced.append((position, protocol, protocol.send(part)))
            except StopIteration as stop:
                outputs[position] = stop.value
        live = advanced
    for position, protocol, step in live:  # the last one needs nothing merged
        try:
            while True:
                step = protocol.send((yield step))
        except StopIteration as stop:
            outputs[position] = stop.value
    return outputs


def as_words(received: Bytes) -> Words:
    """View received bytes as 64-bit words (no copy)."""
    return received.view(np.uint64)
