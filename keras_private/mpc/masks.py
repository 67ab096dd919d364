"""Correlated randomness: every pair of parties shares a key, and every key is a stream that only moves forward.

Key k_i is shared by P_i and P_{i-1}, exactly the two parties that hold share i of a replicated secret. It is agreed
afresh on every connection: both sides contribute 32 random bytes inside the TLS session, and HKDF-SHA256 binds the
result to the lane. So no mask is ever drawn twice, not by a restart and not by a reconnect either.
(The pairwise-key construction: Araki et al. 2016, section 2.2.)

A third stream is common to all three parties, and unknown to clients: it refreshes what a client is shown (`reveal`).
"""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keras_private.net.link import Link
from keras_private.sharing.random import Stream

CONTRIBUTION = 32  # bytes of randomness each side puts into a key


class Masks:
    """Party i's mask streams: `mine` is k_i (shared with prev), `next` is k_{i+1} (shared with next), and `common`."""

    __slots__ = ("common", "mine", "next")

    def __init__(self, mine: Stream, next: Stream, common: Stream) -> None:  # noqa: A002  (the field's word for P_{i+1})
        self.mine = mine
        self.next = next
        self.common = common

    def __repr__(self) -> str:
        return "Masks(<secret>)"


def agree_masks(link: Link, context: bytes) -> Masks:
    """Agree on fresh keys with both peers over `link`: one round, 64 bytes each way.

    Args:
        link: an established, authenticated and encrypted link.
        context: public bytes that name the lane; all three parties must pass the same.

    Raises:
        LinkError: a peer is gone or silent.
    """
    link.phase = "key agreement"
    for_next, for_prev, for_all = (os.urandom(CONTRIBUTION) for _ in range(3))
    from_next, from_prev = (
        data.tobytes()
        for data in link.exchange([for_next, for_all], [for_prev, for_all], 2 * CONTRIBUTION, 2 * CONTRIBUTION)
    )
    # k_i belongs to the pair (P_{i-1}, P_i): the contribution of P_{i-1} comes first, on both sides.
    mine = _derive(from_prev[:CONTRIBUTION] + for_prev, context, b"%d" % link.index)
    next_ = _derive(for_next + from_next[:CONTRIBUTION], context, b"%d" % ((link.index + 1) % 3))
    everyone = {link.index: for_all, link.next: from_next[CONTRIBUTION:], link.prev: from_prev[CONTRIBUTION:]}
    common = _derive(b"".join(everyone[index] for index in range(3)), context, b"common")
    return Masks(Stream(mine), Stream(next_), Stream(common))


def _derive(secret: bytes, context: bytes, name: bytes) -> bytes:
    info = b"keras_private mask key " + name + b" " + context
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)
