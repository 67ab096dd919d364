"""One party inside one lane: who it is, how it reaches its peers, and the masks it shares with them.

Roles. A secret x = x_0 + x_1 + x_2 (mod 2^64) is held replicated: P_i has (x_i, x_{i+1}). The protocols read it as a
sum of two numbers, x = u + v, and give the parties the roles P0, P1 and P2:

    u = x_1          known to P0 and P1, the *pair*
    v = x_2 + x_0    known to P2, the *dealer*

Seen from one of the pair, x_1 is its *inner* summand (held with the other of the pair) and the other one, x_0 at P0
and x_2 at P1, its *outer* one (held with the dealer); its outer mask stream is the one whose key the dealer holds
too. Written in these words a protocol is one piece of code for P0 and P1 and one for P2.

The dealer's number is often known a round before the pair's, because P2's two summands of a fresh secret are pure
masks (`reshare`); what the dealer has to send then travels in the round that opens u.

The sharing looks the same from every party, so the roles may be given to server0, server1, server2 in any cyclic order.
`take_turns` gives them out anew for every stage of a plan (`plan.schedule`): the dealer sends most, so everybody is it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from keras_private.mpc.masks import Masks
from keras_private.mpc.rounds import IDLE, Array, Bytes, Protocol, Received, Step, T, Words, run
from keras_private.net.link import Link
from keras_private.sharing.random import Stream
from keras_private.sharing.share import Share

DEALER: Final = 2


class Party:
    """A party's view of one lane. Used by one thread."""

    __slots__ = ("index", "is_dealer", "layer", "link", "masks", "outer_masks", "role", "turns")

    def __init__(self, link: Link, masks: Masks) -> None:
        self.index = link.index
        self.link = link
        self.masks = masks
        self.layer = ""  # that runs now: for this party's own log, not for errors, which may reach clients
        self.take_turn(0)

    def take_turns(self, turns: tuple[int, ...]) -> None:
        """Take the role of P_(index + turn) for the first of these turns; all three parties must call it alike.

        What splits its values among several dealers takes the others through `seats`.
        """
        self.turns = turns
        self.role = (self.index + turns[0]) % 3
        self.is_dealer = self.role == DEALER
        # Of the pair: the stream shared with the dealer (k_0 at P0, k_2 at P1). The dealer uses `masks` itself.
        self.outer_masks: Stream = self.masks.next if self.role == 1 else self.masks.mine

    def take_turn(self, turn: int) -> None:
        """Take the role of P_(index + turn) alone."""
        self.take_turns((turn,))

    def seats(self, turns: tuple[int, ...] | None = None) -> list[Party]:
        """This party in each of its roles, or in those of other turns: the same masks and link, so that what they draw
        never repeats."""
        found = []
        for turn in self.turns if turns is None else turns:
            found.append(Party(self.link, self.masks))
            found[-1].take_turn(turn)
        return found

    def run(self, protocol: Protocol[T]) -> T:
        """Drive a protocol to its end over this party's link.

        Raises:
            LinkError: a peer is gone, silent, or sent something other than what was due.
        """
        return run(self.link, protocol)

    def outer(self, share: Share) -> Words:
        """Of the pair: the flat summand that the dealer holds too."""
        return (share.mine if self.role == 0 else share.next).reshape(-1)

    def inner(self, share: Share) -> Words:
        """Of the pair: the flat summand x_1."""
        return (share.next if self.role == 0 else share.mine).reshape(-1)

    def pair_step(self, to_peer: Sequence[Array] = (), from_peer: int = 0, from_dealer: int = 0) -> Step:
        """A round at one of the pair; sizes in bytes."""
        if not to_peer and not from_peer and not from_dealer:
            return IDLE
        if self.role == 0:
            return Step(to_peer, (), from_peer, from_dealer)
        return Step((), to_peer, from_dealer, from_peer)

    def pair_received(self, received: Received) -> tuple[Bytes, Bytes]:
        """Of the pair: what a round brought (from the other of the pair, from the dealer)."""
        return received if self.role == 0 else (received.prev, received.next)

    def dealer_step(self, to_p0: Sequence[Array] = (), to_p1: Sequence[Array] = ()) -> Step:
        """A round at the dealer, which receives nothing in it."""
        return Step(to_p0, to_p1, 0, 0) if to_p0 or to_p1 else IDLE

    def __repr__(self) -> str:
        return f"Party(server{self.index})"
