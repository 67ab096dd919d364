"""Run a protocol at three parties, in three threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from keras_private.mpc.masks import agree_masks
from keras_private.mpc.party import Party
from keras_private.net.link import Link
from keras_private.sharing.share import Share, reconstruct, split


def shares_of(secret: np.ndarray) -> list[Share]:
    """Of numbers (uint64) or of bits (uint8)."""
    if secret.dtype == np.uint8:
        noise = np.random.default_rng(secret.size)
        first, second = (noise.integers(0, 2, secret.shape, np.uint8) for _ in range(2))
        summands = [first, second, secret ^ first ^ second]
        return [Share(summands[i], summands[(i + 1) % 3]) for i in range(3)]
    return [package.expand(secret.shape) for package in split(secret)]


def rows_of(x: np.ndarray) -> np.ndarray:
    """Inputs (batch, *shape) as a program takes them: a vector each."""
    return x.reshape(len(x), math.prod(x.shape[1:]))


class Three:
    """Three parties, connected. `run` gives each of them the same protocol with its own arguments."""

    def __init__(self, links: Sequence[Link]) -> None:
        self.links = links
        self.pool = ThreadPoolExecutor(3)
        masks = list(self.pool.map(lambda link: agree_masks(link, b"test"), self.links))
        self.parties = [Party(link, mask) for link, mask in zip(self.links, masks, strict=True)]

    def run(self, protocol: Callable[..., Any], *arguments: Any) -> list[Any]:
        """`protocol(party, *arguments)` at all three; a list argument is dealt out, one element each."""
        for link in self.links:
            link.stats.reset()

        def one(party: Party) -> Any:
            own = [a[party.index] if isinstance(a, list) else a for a in arguments]
            return party.run(protocol(party, *own))

        return list(self.pool.map(one, self.parties))

    def value(self, protocol: Callable[..., Any], *arguments: Any) -> np.ndarray:
        """The secret that the protocol's output shares."""
        return reconstruct(self.run(protocol, *arguments))

    def counted(self) -> tuple[int, tuple[int, ...]]:
        """Rounds and bytes sent per party of the last run."""
        rounds = {link.stats.rounds for link in self.links}
        assert len(rounds) == 1
        return rounds.pop(), tuple(link.stats.sent_bytes for link in self.links)

    def close(self) -> None:
        for link in self.links:
            link.close()
        self.pool.shutdown()
