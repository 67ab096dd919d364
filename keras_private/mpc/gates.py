"""Formulas over shared bits (`plan/gates.py`), any number of them in one exchange of the pair.

Theory of operation. Every bit that goes in is the exclusive or of one that the pair knows and one that the dealer
knows, c_i ^ s_i, as at every level of `sign`. The product of the bits of a set M is then the exclusive or, over all
subsets U of M, of c_(M without U) s_U, where a set as an index stands for a product. The dealer shares the products
s_U that occur in a formula, the pair multiplies them by its own bits, which it has in plain, adds up, and exchanges
the results under fresh masks.

    round 1   P2 -> P1   the products s_U, masked: one bit each
    later     P0 <-> P1  one bit a formula

Of shared bits b, s = b_2 ^ b_0 is shared between P0 and P1 already, and only products of two bits and more are dealt.
The dealer's message depends on its own bits alone and travels ahead. (Gates of many inputs from dealt products of all
subsets of their masks: Ohata and Nuida, FC 2020; Patra et al., ABY2.0, USENIX Security 2021.)
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from keras_private.mpc.bits import SharedBits
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol, Words, as_words
from keras_private.plan.gates import Gates, Monomial


def gates(
    party: Party, formulas: Gates, b: SharedBits, *, variants: int = 1, wait: int = 0, out: SharedBits | None = None
) -> Protocol[SharedBits]:
    """The shared bits that `formulas` make of b. 2 + `wait` rounds, with messages in the first and the last one.

    Args:
        b: planes (inputs, 1, words). Where the formulas are `fresh`, the dealer's bits are mine ^ next, and the pair
            has its own in its inner planes, (inputs, variants, words). The pair's part may be filled until the last
            round.
        variants: how many bits of the pair's meet every bit of the dealer's; more than one of `fresh` bits only.
        wait: rounds between the dealer's message and the exchange.
        out: planes (outputs, variants, words) to put the result in; the dealer's part is there before the first round.
    """
    words = b.mine.shape[-1]
    shape = (len(formulas.outputs), variants, words)
    out = empty_planes(shape) if out is None else out
    size, rows = len(formulas.outputs) * variants * words, len(formulas.dealt)
    if party.is_dealer:
        secret = _Products((b.mine ^ b.next)[:, 0])
        dealt = party.masks.next.words(rows * words).reshape(rows, words)
        sent = np.empty((rows, words), np.uint64)
        for row, product in enumerate(formulas.dealt):
            np.bitwise_xor(dealt[row], secret[product], out=sent[row])
        out.next[:] = party.masks.next.words(size).reshape(shape)
        out.mine[:] = party.masks.mine.words(size).reshape(shape)
        yield party.dealer_step((), [sent])
        for _ in range(wait + 1):
            yield party.dealer_step()
        return out

    first = party.role == 0
    if first:
        dealt = party.outer_masks.words(rows * words).reshape(rows, words)
        masks = party.outer_masks.words(size).reshape(shape)
        yield party.pair_step()
    else:
        masks = party.outer_masks.words(size).reshape(shape)
        _, got = party.pair_received((yield party.pair_step((), 0, 8 * rows * words)))
        dealt = as_words(got).reshape(rows, words)
    for _ in range(wait):
        yield party.pair_step()
    known, shared = (b.next, b.mine) if first else (b.mine, b.next)
    shares: dict[Monomial, Words] = dict(zip(formulas.dealt, dealt, strict=True))
    if not formulas.fresh:
        shares |= {(i,): shared[i, 0] for i in range(formulas.inputs)}
    if first:  # what the dealer has no part in is added once
        shares[()] = np.full(words, ~np.uint64(0))
    part, own = masks.copy(), _Products(known)
    for number, terms in enumerate(formulas.terms):
        for factor, rests in terms:
            if factor in shares:
                part[number] ^= reduce(np.bitwise_xor, [own[rest] for rest in rests]) & shares[factor]
    peer, _ = party.pair_received((yield party.pair_step([part], 8 * size)))
    inner, outer = (out.next, out.mine) if first else (out.mine, out.next)
    outer[:] = masks
    np.bitwise_xor(part, as_words(peer).reshape(shape), out=inner)
    return out


def empty_planes(shape: tuple[int, ...]) -> SharedBits:
    """Planes for a protocol to fill while others that read them later run beside it."""
    return SharedBits(np.empty(shape, np.uint64), np.empty(shape, np.uint64))


class _Products(dict[Monomial, Words]):
    """Products of some planes, each made once of a smaller one."""

    def __init__(self, planes: Words) -> None:
        super().__init__({(): np.full(planes.shape[1:], ~np.uint64(0))})
        self._planes = planes

    def __missing__(self, places: Monomial) -> Words:
        self[places] = self[places[:-1]] & self._planes[places[-1]]
        return self[places]

    def __repr__(self) -> str:
        return f"_Products({len(self)})"
