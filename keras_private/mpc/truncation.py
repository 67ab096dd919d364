"""Truncation: divide a shared number by 2^d, exact to one unit, in two rounds and 8 bytes of full words.

Theory of operation. Let |x| < 2^62, x = u + v mod 2^64 with u known to the pair and v to the dealer (`party`), and
u' = u + 2^62. Then u' + v stands for x + 2^62, which lies in [0, 2^63): its top bit is 0, so the sum wrapped around
2^64 exactly if one of u', v has its top bit set. Hence

    x / 2^d  =  (u' >> d) + (v >> d) - 2^(64-d)·wrap - 2^(62-d)   up to 2 units of rounding,
    wrap     =  1 - [u' < 2^63]·[v < 2^63].

The shifts are local. The one product, of a bit of the pair's with a bit of the dealer's, is multiplied by 2^(64-d),
so that only its low d bits matter: it is shared and exchanged in words of d bits. P0's share of [v < 2^63] is one minus
a mask of k_0, P1's is the same mask minus [v >= 2^63]. Output: y_0 is a mask, y_2 = (v >> d) - y_0, y_1 the rest, with
the two halves of the product masked once more into y_0 and y_2.

    round 1   P2 -> P1   (v >> d) - F(k_0) and F'(k_0) - [v >= 2^63]      8 bytes and d bits
    round 2   P0 <-> P1  the halves of the product, masked                d bits each way

There is no statistical mask and no rare large error: the wrap is computed, not avoided. (The trick of an even top bit
is known from the local truncation of SecureML, section 4. The dealer's number is no extra random one, but the sum of
its own two summands.) The constant 1 centres the error: |y - x / 2^d| <= 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keras_private.mpc.kernels import elementwise
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Bytes, Protocol
from keras_private.plan.cost import short_bytes
from keras_private.sharing.random import Stream
from keras_private.sharing.share import Share


def short_type(d: int) -> type[np.unsignedinteger]:
    """The smallest unsigned type that holds d bits."""
    return np.uint16 if d <= 16 else np.uint32 if d <= 32 else np.uint64


def truncation(party: Party, x: Share, d: int, out: Share | None = None) -> Protocol[Share]:
    """Share of x / 2^d, for signed |x| < 2^62. Two rounds; the pair's part of `x` may be filled during the first.

    Args:
        x: a share of any shape.
        d: bits to drop, 1 to 60.
        out: where to put the result; the dealer's part of it is there before the first round.
    """
    count = x.mine.size
    out = empty_share(x.shape) if out is None else out
    if party.is_dealer:
        stream_0, stream_2 = party.masks.next, party.masks.mine
        y_2, y_0 = out.mine.reshape(-1), out.next.reshape(-1)
        mask, short_mask, lifted_0 = stream_0.words(count), _shorts(stream_0, count, d), _shorts(stream_0, count, d)
        lifted_2 = _shorts(stream_2, count, d)
        high, short = np.empty(count, np.uint64), _empty_shorts(count, d)
        elementwise.truncation_deal(
            x.mine.reshape(-1), x.next.reshape(-1), d, mask, short_mask, lifted_2, high, short, y_2
        )
        elementwise.lift_mask(mask, lifted_0, d, y_0)
        yield party.dealer_step((), [high, short])
        yield party.dealer_step()
        return out

    nbytes = short_bytes(count, d)
    if party.role == 0:
        base, short = party.outer_masks.words(count), short_type(d)(1) - _shorts(party.outer_masks, count, d)
        lifted = _shorts(party.outer_masks, count, d)
        yield party.pair_step()
    else:
        lifted = _shorts(party.outer_masks, count, d)
        _, dealer = party.pair_received((yield party.pair_step((), 0, 8 * count + nbytes)))
        base, short = dealer[: 8 * count].view(np.uint64), _as_shorts(dealer[8 * count :], d)
    u = party.inner(x)
    elementwise.lift_mask(base, lifted, d, party.outer(out))
    part, top = _empty_shorts(count, d), np.empty(count, short_type(d))
    elementwise.top_masks(u, 1 << 62, top)
    elementwise.truncation_part(top, short, lifted, part)
    peer, _ = party.pair_received((yield party.pair_step([part], nbytes)))
    elementwise.truncation_join(u, part, _as_shorts(peer, d), d, party.inner(out))
    return out


def _shorts(stream: Stream, count: int, d: int) -> NDArray[np.unsignedinteger]:
    return _as_shorts(stream.take(short_bytes(count, d)), d)


def _empty_shorts(count: int, d: int) -> NDArray[np.unsignedinteger]:
    # Zeros, not empty: what pads the message to whole words must not be old memory.
    return np.zeros(short_bytes(count, d) // np.dtype(short_type(d)).itemsize, short_type(d))


def _as_shorts(data: Bytes, d: int) -> NDArray[np.unsignedinteger]:
    return data.view(short_type(d))
