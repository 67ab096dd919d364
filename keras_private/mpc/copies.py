"""Copies: whether a client gave the two holders of every summand of its input the same numbers.

Each summand of an input is sent to two parties. A client that sends them different numbers would be answered with what
one party's share of the weights does to the difference. So every party shows its next one a hash of the summand that
both hold, and all tell each other what they found. Semi-honest parties compute them honestly, and a hash of what the
receiver holds tells it nothing; it is not sent to the third.

The two rounds are those of whatever runs beside (`rounds.together`), so they cost no time; the outcome is known before
anything is revealed, and concerns each request alone.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

import numpy as np

from keras_private.mpc.rounds import Protocol, Step, Words
from keras_private.sharing.share import Share

HASH_BYTES = 32


def compare_copies(inputs: Sequence[Share]) -> Protocol[list[bool]]:
    """For each input, whether all copies of its summands agree; the same answer at all three parties. Two rounds.

    Sends 32 bytes an input to next, and a byte an input (filled up to words) to both.
    """
    count = len(inputs)
    shown = np.frombuffer(b"".join(_hash(share.next) for share in inputs), np.uint8)
    received = yield Step([shown], (), 0, shown.size)
    seen = received.prev.tobytes()
    found = np.zeros(-(-count // 8) * 8, np.uint8)
    for i, share in enumerate(inputs):
        found[i] = hmac.compare_digest(seen[i * HASH_BYTES : (i + 1) * HASH_BYTES], _hash(share.mine))
    received = yield Step([found], [found], found.size, found.size)
    agreed = found & received.next & received.prev
    return [bool(same) for same in agreed[:count]]


def _hash(summand: Words) -> bytes:
    return hashlib.sha256(summand.data).digest()
