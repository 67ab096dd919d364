"""Shared bits in their two forms: planes, which the protocols work on, and shares, which a plan's tensors are.

A plane has 64 values a word (`kernels.bits`), so that a protocol's messages are as long as their bits. A `Share` of
uint8, one bit a byte, has a shape, so that ops which only move values work on bits as on numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_private.mpc.kernels import bits
from keras_private.mpc.rounds import Words
from keras_private.plan.cost import plane_words
from keras_private.sharing.share import Share


class SharedBits(NamedTuple):
    """Replicated XOR shares of one bit a value: b = b_0 ^ b_1 ^ b_2, P_i holds the planes (b_i, b_{i+1})."""

    mine: Words
    next: Words

    def __repr__(self) -> str:
        return f"SharedBits({self.mine.size} words)"


def empty_bits(count: int) -> SharedBits:
    """Shared bits of `count` values, for `sign` to fill while others that read them later run beside it."""
    return SharedBits(np.empty(plane_words(count), np.uint64), np.empty(plane_words(count), np.uint64))


def pack(share: Share, planes: SharedBits) -> None:
    """Write a share of bits into planes of as many values."""
    bits.pack(share.mine.reshape(-1), planes.mine)
    bits.pack(share.next.reshape(-1), planes.next)


def unpack(planes: SharedBits, shape: tuple[int, ...]) -> Share:
    """The same bits as a share of this shape."""
    share = Share(np.empty(shape, np.uint8), np.empty(shape, np.uint8))
    bits.unpack(planes.mine, share.mine.reshape(-1))
    bits.unpack(planes.next, share.next.reshape(-1))
    return share
