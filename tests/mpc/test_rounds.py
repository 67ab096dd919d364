"""Protocols as generators: running them alone and side by side."""

from __future__ import annotations

import numpy as np

from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, Step, together

from .three import Three


def ring(party: Party, rounds: int, size: int) -> Protocol[list[int]]:
    """Pass this party's number to next, `rounds` times; return what came from prev."""
    seen = []
    for turn in range(rounds):
        token = np.full(8 * size, 10 * party.index + turn, np.uint8)
        received = yield Step([token], (), 0, token.size)
        assert received.prev.size == token.size
        assert len(set(received.prev.tolist())) == 1
        seen.append(int(received.prev[0]))
    return seen


def test_a_protocol_runs_one_exchange_a_yield(three: Three) -> None:
    assert three.run(ring, 3, 1) == [[20, 21, 22], [0, 1, 2], [10, 11, 12]]
    assert three.counted() == (3, (24, 24, 24))


def test_together_takes_as_many_rounds_as_the_longest_and_keeps_messages_apart(three: Three) -> None:
    def both(party: Party) -> Protocol[list[list[int]]]:
        return (yield from together(ring(party, 1, 2), ring(party, 3, 1), ring(party, 2, 3)))

    outputs = three.run(both)
    assert outputs[1] == [[0], [0, 1, 2], [0, 1]]
    assert three.counted() == (3, (8 * 6 + 8 * 4 + 8, 8 * 6 + 8 * 4 + 8, 8 * 6 + 8 * 4 + 8))


def test_together_returns_outputs_of_protocols_without_rounds(three: Three) -> None:
    def both(party: Party) -> Protocol[list[list[int]]]:
        return (yield from together(ring(party, 0, 1), ring(party, 1, 1)))

    assert three.run(both)[0] == [[], [20]]
