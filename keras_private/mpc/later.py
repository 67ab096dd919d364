"""What a protocol computes locally once something is known: by the pair a few rounds later than by the dealer."""

from __future__ import annotations

from collections.abc import Callable

from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol


def later(party: Party, rounds: int, fill: Callable[[], None]) -> Protocol[None]:
    """Call `fill` after so many rounds, but at the dealer, who knows its part from the start, at once.

    To be run `together` with the protocols that read what it fills, and before them.
    """
    for _ in range(0 if party.is_dealer else rounds):
        yield party.pair_step()
    fill()
