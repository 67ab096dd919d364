"""Replicated secret sharing over Z/2^64: x = x0 + x1 + x2, party i holds (x_i, x_{i+1}).

Sources: Araki et al., "High-Throughput Semi-Honest Secure Three-Party Computation with an Honest Majority", CCS 2016,
section 2; Mohassel and Rindal, "ABY3", CCS 2018, section 3. Whoever shares draws two of the three summands from 32-byte
seeds and sends the seeds instead of the summands; only x2 travels in full.
"""

from __future__ import annotations

import hmac
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import InputError, IntegrityError
from keras_private.sharing.random import KEY_BYTES, keystream

PARTIES = 3
_DTYPES = (np.dtype(np.uint64), np.dtype(np.uint8))
Words = NDArray[np.uint64]
Summand = NDArray[Any]
Part = bytes | bytearray | memoryview | NDArray[np.uint64]


class Share:
    """What one party holds of a secret: summands `mine` = x_i and `next` = x_{i+1}, same shape, C order.

    uint64 of numbers; of bits uint8, each 0 or 1, whose exclusive or is the secret.
    """

    __slots__ = ("mine", "next")

    def __init__(self, mine: Summand, next: Summand) -> None:  # noqa: A002 - the term of the papers
        if mine.dtype not in _DTYPES or next.dtype != mine.dtype or mine.shape != next.shape:
            raise InputError(
                "a share is two uint64 (of bits: uint8) arrays of one shape, not "
                f"{mine.dtype}{mine.shape} and {next.dtype}{next.shape}"
            )
        self.mine = mine if mine.flags.c_contiguous else mine.copy(order="C")
        self.next = next if next.flags.c_contiguous else next.copy(order="C")

    @property
    def bit(self) -> bool:
        """Whether these are bits."""
        return self.mine.dtype == np.uint8

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mine.shape

    def __repr__(self) -> str:
        return f"Share(shape={self.mine.shape})"


class Package:
    """One party's part of a freshly shared secret, as it travels: two parts, each a seed or the words themselves.

    A part of 32 bytes stands for more than four words, so the size alone tells a seed from data; secrets of up to
    four words always travel as data.
    """

    __slots__ = ("mine", "next")

    def __init__(self, mine: Part, next: Part) -> None:  # noqa: A002 - the term of the papers
        self.mine = mine
        self.next = next

    def expand(self, shape: Sequence[int]) -> Share:
        """The share this package stands for.

        Args:
            shape: of the secret; the caller has checked it against its own limits.

        Raises:
            InputError: a part is neither a seed nor exactly the words of that shape.
        """
        return Share(_expand(self.mine, tuple(shape)), _expand(self.next, tuple(shape)))

    def __repr__(self) -> str:
        return f"Package({_size(self.mine)} bytes, {_size(self.next)} bytes)"


def split(secret: Words) -> tuple[Package, Package, Package]:
    """Share `secret` (uint64, any shape) with the operating system's randomness; package i is for party i alone."""
    if secret.dtype != np.uint64:
        raise InputError(f"only uint64 values can be shared, not {secret.dtype}; encode them first")
    seed_a, seed_b = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)
    a, b = keystream(seed_a, secret.size), keystream(seed_b, secret.size)
    last = secret.reshape(-1) - a
    last -= b
    if _travels_as_data(secret.size):
        return Package(a, b), Package(b, last), Package(last, a)
    return Package(seed_a, seed_b), Package(seed_b, last), Package(last, seed_a)


def reconstruct(shares: Sequence[Share]) -> Summand:
    """The secret, from the shares of parties 0, 1, 2 in this order.

    Every summand is held twice; both copies are compared in constant time.

    Raises:
        InputError: not three shares of one shape.
        IntegrityError: two parties disagree about the summand they both hold; the message names them.
    """
    if len(shares) != PARTIES or len({(share.shape, share.bit) for share in shares}) != 1:
        raise InputError("a secret is reconstructed from exactly three shares of the same shape")
    disagree = [
        f"server{i} and server{(i + 1) % PARTIES}"
        for i in range(PARTIES)
        if not hmac.compare_digest(_flat(shares[i].next), _flat(shares[(i + 1) % PARTIES].mine))
    ]
    if disagree:
        raise IntegrityError(
            f"the copies of a share held by {' and by '.join(disagree)} disagree: one of these parties is faulty; "
            "do not use the result"
        )
    first, second, third = (share.mine for share in shares)
    total: Summand = first ^ second ^ third if shares[0].bit else first + second + third
    return total


def _travels_as_data(count: int) -> bool:
    return 8 * count <= KEY_BYTES


def _expand(part: Part, shape: tuple[int, ...]) -> Words:
    count = math.prod(shape)
    size = _size(part)
    if size == KEY_BYTES and not _travels_as_data(count):
        return keystream(bytes(part), count).reshape(shape)
    if size != 8 * count:
        raise InputError(f"a share of shape {shape} is {8 * count} bytes or a {KEY_BYTES}-byte seed, not {size} bytes")
    # Always a copy: aligned, writable, and not the receive buffer's.
    words = np.array(part if isinstance(part, np.ndarray) else np.frombuffer(part, "<u8"), dtype=np.uint64)
    return words.reshape(shape)


def _size(part: Part) -> int:
    return part.nbytes if isinstance(part, np.ndarray | memoryview) else len(part)


def _flat(words: Words) -> memoryview:
    return words.reshape(-1).view(np.uint8).data
