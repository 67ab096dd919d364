"""Everything that a party sees while a protocol runs: the masks it draws and the messages it receives.

What all three draw together (`Masks.common`) masks nothing from any of them and is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_private.mpc.masks import Masks
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, Received, Step
from keras_private.sharing.random import Stream

from .three import Three


class View:
    """One party's view. `sent` are its own messages, as the arrays they were made of, for the receivers' views."""

    def __init__(self, party: Party) -> None:
        self.drawn: list[np.ndarray] = []
        self.received: list[np.ndarray] = []
        self.sent: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        mine, next_ = (self._tapped(stream) for stream in (party.masks.mine, party.masks.next))
        self.party = Party(party.link, Masks(mine, next_, party.masks.common))
        self.party.take_turn(party.role - party.index)

    def watch(self, protocol: Protocol[Any]) -> Protocol[Any]:
        """The same protocol, recorded."""
        try:
            step = next(protocol)
            while True:
                for sent, buffers in zip(self.sent, (step.to_next, step.to_prev), strict=True):
                    sent.extend(buffer.copy() for buffer in buffers)
                received: Received = yield Step(*step)
                self.received += [data.copy() for data in received if data.size]
                step = protocol.send(received)
        except StopIteration as stop:
            return stop.value

    def _tapped(self, stream: Stream) -> Stream:
        view = self

        class Tapped:
            def take(self, nbytes: int) -> np.ndarray:
                view.drawn.append(stream.take(nbytes).copy())
                return view.drawn[-1].copy()

            def words(self, count: int) -> np.ndarray:
                view.drawn.append(stream.words(count).copy())
                return view.drawn[-1].copy()

        return Tapped()  # type: ignore[return-value]


def views_of(three: Three, turn: int, protocol: Callable[..., Protocol[Any]], *arguments: list[Any]) -> list[View]:
    """Run a protocol at all three parties, the roles moved on by `turn`; `arguments` are lists of one a party."""
    for party in three.parties:
        party.take_turn(turn)
    views = [View(party) for party in three.parties]

    def one(view: View) -> Any:
        own = [argument[view.party.index] for argument in arguments]
        return view.party.run(view.watch(protocol(view.party, *own)))

    list(three.pool.map(one, views))
    for party in three.parties:
        party.take_turn(0)
    return views


def messages_to(views: list[View], index: int) -> list[np.ndarray]:
    """What party `index` was sent, as the arrays that the senders put into their messages."""
    return [*views[(index - 1) % 3].sent[0], *views[(index + 1) % 3].sent[1]]
