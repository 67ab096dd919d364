"""Numbers made of shared bits: sums of them, with public factors, in one exchange.

Theory of operation. b = b' ^ r, with b' known to the pair and r to the dealer (`party`), is b' + (1 - 2b')·r as a
number. The dealer shares r between P0 (a mask of k_0) and P1 (sent), so that the pair has two summands of b, and of
whatever is made of such bits by adding, subtracting and public factors, without another message. They exchange the
results under fresh masks, which become y_0 and y_2.

    round 1   P2 -> P1   r - F(k_0)              8 bytes a bit; 2 where 16 bits of the results are enough
    later     P0 <-> P1  the results, masked     the same each way, a result
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_private.mpc.bits import SharedBits
from keras_private.mpc.kernels import bits
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Array, Bytes, Protocol
from keras_private.plan.cost import number_bytes
from keras_private.sharing.random import Stream
from keras_private.sharing.share import Share


def number(
    party: Party,
    b: SharedBits,
    count: int,
    *,
    combine: Callable[[Array], Array] | None = None,
    results: int | None = None,
    short: bool = False,
    wait: int = 0,
    out: Share | None = None,
) -> Protocol[Share]:
    """Share of sums of bits, (results,). 2 + `wait` rounds, with messages in the first and the last one.

    Args:
        b: planes of `count` bits. The pair's part may be filled until the last round.
        combine: makes of `count` numbers the `results`, modulo 2^64 (or 2^16), by adding, subtracting and public
            factors alone. None: each bit is a result.
        short: the results are right modulo 2^16 only.
        wait: rounds between the dealer's message and the exchange.
        out: where to put the results; the dealer's part of it is there before the first round.
    """
    results = count if results is None else results
    out = empty_share((results,)) if out is None else out
    kind, dealt_bytes, sent_bytes = (
        np.dtype(np.uint16 if short else np.uint64),
        *(number_bytes(size, short=short) for size in (count, results)),
    )

    def drawn(stream: Stream, nbytes: int, size: int) -> Array:
        return stream.take(nbytes).view(kind)[:size] if short else stream.words(size)

    if party.is_dealer:
        sent = np.zeros(dealt_bytes // kind.itemsize, kind)
        np.subtract(_each(b.mine ^ b.next, count, kind), drawn(party.masks.next, dealt_bytes, count), out=sent[:count])
        out.next[:] = drawn(party.masks.next, sent_bytes, results)
        out.mine[:] = drawn(party.masks.mine, sent_bytes, results)
        yield party.dealer_step((), [sent])
        for _ in range(wait + 1):
            yield party.dealer_step()
        return out

    first = party.role == 0
    if first:
        share = drawn(party.outer_masks, dealt_bytes, count)
        mask = drawn(party.outer_masks, sent_bytes, results)
        yield party.pair_step()
    else:
        mask = drawn(party.outer_masks, sent_bytes, results)
        got: Bytes
        _, got = party.pair_received((yield party.pair_step((), 0, dealt_bytes)))
        share = got.view(kind)[:count]
    for _ in range(wait):
        yield party.pair_step()
    own = _each(b.next if first else b.mine, count, kind)
    summand = share - (own + own) * share + (own if first else kind.type(0))
    part = np.zeros(sent_bytes // kind.itemsize, kind)
    np.subtract(summand if combine is None else combine(summand), mask, out=part[:results])
    peer, _ = party.pair_received((yield party.pair_step([part], sent_bytes)))
    party.outer(out)[:] = mask
    party.inner(out)[:] = part[:results] + peer.view(kind)[:results]
    return out


def _each(plane: Array, count: int, kind: np.dtype[Any]) -> Array:
    """The bits of a plane as numbers."""
    found = np.empty(count, np.uint8)
    bits.unpack(plane.reshape(-1), found)
    return found.astype(kind)
