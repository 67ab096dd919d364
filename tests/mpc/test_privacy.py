"""What a party receives is uniform, whatever the secrets are, and stays so beside what it already knows.

For two chosen secrets (all zeros; large values of both signs) every protocol runs many times at once, as one long
array. Tested for uniform bytes, at every party: each message; the difference and the XOR of any two messages; and the
same of any message with any mask that the party drew itself. The last two catch a mask that is used twice or
that the receiver can take off. False alarms: 255 degrees of freedom, 7.5 standard deviations; below one in 10^9 a
run.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

from keras_private.mpc.linear import LinearLayer
from keras_private.mpc.masks import Masks
from keras_private.mpc.party import Party
from keras_private.mpc.relu import relu
from keras_private.mpc.reshare import empty_share, reshare
from keras_private.mpc.rounds import Protocol, run
from keras_private.mpc.sign import sign
from keras_private.mpc.truncation import truncation
from keras_private.plan.cost import window
from keras_private.plan.plan import Op
from keras_private.sharing.random import Stream
from keras_private.sharing.share import Share

from .three import Three, shares_of

COUNT = 16_384
SECRETS = {
    "zeros": np.zeros(COUNT, np.int64),
    "large": np.where(np.arange(COUNT) % 2, 2**50 + 12345, -(2**49)).astype(np.int64),
}


class Tap:
    """A link that remembers what arrived, and a mask stream that remembers what was drawn."""

    def __init__(self, party: Party) -> None:
        self.link, self.index, self.phase = party.link, party.index, ""
        self.received: list[np.ndarray] = []
        self.drawn: list[np.ndarray] = []
        self.party = Party(self, Masks(self._tapped(party.masks.mine), self._tapped(party.masks.next)))  # type: ignore[arg-type]

    def exchange(self, *step: Any) -> tuple[np.ndarray, np.ndarray]:
        received = self.link.exchange(*step)
        self.received += [data.copy() for data in received if data.size]
        return received

    def _tapped(self, stream: Stream) -> Stream:
        tap = self

        class Tapped:
            def take(self, nbytes: int) -> np.ndarray:
                tap.drawn.append(stream.take(nbytes).copy())
                return tap.drawn[-1].copy()

            def words(self, count: int) -> np.ndarray:
                return self.take(8 * count).view(np.uint64)

        return Tapped()  # type: ignore[return-value]


def pieces(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Columns of COUNT words, and bit planes of what is left: like is to be compared with like."""
    found = []
    for array in arrays:
        while array.size >= COUNT // 8:
            size = 8 * COUNT if array.size >= 8 * COUNT else COUNT // 8
            found.append(array[:size])
            array = array[size:]
    return found


def assert_uniform(data: np.ndarray, what: str) -> None:
    counts = np.bincount(data, minlength=256)
    expected = data.size / 256
    chi_square = float(((counts - expected) ** 2).sum() / expected)
    assert abs(chi_square - 255) < 7.5 * np.sqrt(2 * 255), f"{what}: chi square {chi_square:.0f} for 255 degrees"


def conv(party: Party, x: Share, w: Share) -> Protocol[Share]:
    op = Op("mul", ("x",), ("w",), "y", {"truncate": 40, "relu": True, "bits": 55})
    return LinearLayer(op, w, None)(party, x, x.shape)


def reshare_secret(party: Party, x: Share) -> Protocol[Share]:
    return reshare(party, x.mine, empty_share(x.shape))


PROTOCOLS: dict[str, Callable[[Party, Share, Share], Protocol[Any]]] = {
    "reshare": lambda party, x, w: reshare_secret(party, x),
    "truncation": lambda party, x, w: truncation(party, x, 16),
    "sign": lambda party, x, w: sign(party, x, window(51, 36, COUNT)),
    "relu": lambda party, x, w: relu(party, x, 51, 36),
    "linear with relu": conv,
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_received_messages_are_uniform(three: Three, name: str, secret: str) -> None:
    x, w = shares_of(SECRETS[secret].view(np.uint64)), shares_of(np.full(COUNT, 3, np.uint64))
    taps = [Tap(party) for party in three.parties]
    protocol = PROTOCOLS[name]
    list(three.pool.map(lambda tap: run(tap, protocol(tap.party, x[tap.index], w[tap.index])), taps))  # type: ignore[arg-type]
    for tap in taps:
        received, drawn = pieces(tap.received), pieces(tap.drawn)
        for data in tap.received:
            if data.size >= COUNT // 8:
                assert_uniform(data, f"server{tap.index}, a message")
        for kind, pairs in (
            ("two messages", combinations(received, 2)),
            ("message and mask", product(received, drawn)),
        ):
            for a, b in ((a, b) for a, b in pairs if a.size == b.size):
                assert not np.array_equal(a, b), f"server{tap.index}: {kind} are equal"
                assert_uniform(a ^ b, f"server{tap.index}, XOR of {kind}")
                assert_uniform((a.view(np.uint64) - b.view(np.uint64)).view(np.uint8), f"server{tap.index}, {kind}")


def test_the_same_secret_twice_puts_no_equal_words_on_the_wire(three: Three) -> None:
    x = shares_of(SECRETS["zeros"].view(np.uint64))
    seen: list[set[bytes]] = []
    for _ in range(2):
        taps = [Tap(party) for party in three.parties]
        list(three.pool.map(lambda tap: run(tap, relu(tap.party, x[tap.index], 63)), taps))  # type: ignore[arg-type]
        arrived = b"".join(data.tobytes() for tap in taps for data in tap.received)
        seen.append({arrived[at : at + 8] for at in range(0, len(arrived), 8)})
    assert not seen[0] & seen[1]


def test_a_leak_would_be_noticed() -> None:
    """The test itself can fail: a message masked by half a mask is not uniform."""
    mask = np.random.default_rng(0).integers(0, 2**32, COUNT, dtype=np.uint64)
    with pytest.raises(AssertionError):
        assert_uniform((mask + np.uint64(5)).view(np.uint8), "half a mask")
