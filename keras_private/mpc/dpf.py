"""Distributed point functions: two parties' keys to shares of a function that is zero but at one secret place.

Theory of operation. The place is a number v of `bits` bits that the dealer knows; each of the pair gets a key, which
alone tells it nothing. The keys are two binary trees of blocks of 128 bits, one level for each bit of v from the top
on, whose roots are random. A node's lowest bit is its *control bit*. Nodes off the path to v are equal at both parties;
nodes on it differ by a constant, Delta, whose lowest bit is 1. To get there, a level has one public *correction word*
(Guo et al., *Half-Tree*, EUROCRYPT 2023, section 4.1): the children of a node s are

    left = H(s) ^ t·word        right = left ^ s        word = H(s_0) ^ H(s_1) ^ (Delta if v's bit is 0)

with t the control bit. Off the path both parties compute the same;
on it their t differ, so one of them alone adds the word, which makes the child off the path equal at both and leaves
Delta between those on it. At a leaf, or at any node, another hash makes a pad of the block, and a second word turns the
difference of the two pads on the path into what is to be shared there: a *payload* of numbers (Boyle, Gilboa and Ishai,
CCS 2016; at every level: Boneh et al., *Lightweight Techniques for Private Heavy Hitters*, S&P 2021), or 128 bits with
one set, for the 128 places below a leaf. And the control bits are themselves shares of "the path goes through here":
their exclusive or over nodes that cover a range says whether v is in it (Storrier et al., *Grotto*, CCS 2023).

The order of the pair. They want to look at places i of x = u + v, not of v. With no carry resolved, a node's *index* is
(u >> s) + (v >> s) at its width s. The children of index i are 2i + e and 2i + e + 1, where e is the bit of u at their
width. So the indices of consecutive nodes are consecutive, and which of them are needed does not depend on u: only
whether the order begins one earlier or later does, which `expand` arranges without a branch.

Assumption. H(s) = AES_K(linear(s)) ^ linear(s) with a key K that all three know, one for the tree, another for the
pads. That this is circular correlation robust (from the ideal-cipher heuristic: Guo et al., *Efficient and Secure
Multiparty Computation from Fixed-Key Block Ciphers*, S&P 2020, section 7) is what privacy rests on here. Both keys are
drawn anew for every run of a protocol: what somebody computes of AES can be held against the nodes of that run only,
and not before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from keras_private.mpc.kernels import dpf
from keras_private.mpc.masks import Masks
from keras_private.mpc.rounds import Words
from keras_private.plan.spline.cost import CHUNK


def chunks(count: int, step: int = CHUNK) -> Iterator[slice]:
    """Values whose trees are walked together."""
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


class Hash:
    """H(s) = AES_K(linear(s)) ^ linear(s), but for the last step, which the kernels take; K are two words."""

    __slots__ = ("_aes",)

    def __init__(self, key: Words) -> None:
        # ECB is AES on each block by itself, which is what a permutation of blocks is.
        self._aes = Cipher(AES(key.tobytes()), ECB()).encryptor()  # noqa: S305

    def __call__(self, inputs: Words) -> Words:
        """AES of n blocks (…, 2), as (n + 1, 2): one block more, of no meaning."""
        ciphers = np.empty((inputs.size // 2 + 1, 2), np.uint64)
        self._aes.update_into(inputs.view(np.uint8).data, ciphers.view(np.uint8).data)
        return ciphers


class Hashes:
    """Those of one run of a protocol, of four random words that all three know: one for the tree, one for pads."""

    __slots__ = ("pad", "tree")

    def __init__(self, keys: Words) -> None:
        self.tree, self.pad = Hash(keys[:2]), Hash(keys[2:])

    @classmethod
    def fresh(cls, masks: Masks) -> Hashes:
        """All three draw them at the beginning."""
        return cls(masks.common.words(4))


class Path:
    """The dealer goes down n trees, along the bits of v.

    Args:
        hashes: of this run.
        seeds: both parties' random words (2n,).
        v: (n,) words, of which the low `bits` bits are the place.
        levels: how far, at most.
    """

    def __init__(self, hashes: Hashes, seeds: tuple[Words, Words], v: Words, bits: int, levels: int) -> None:
        self._hashes = hashes
        self._turns = iter(bit_masks(v, bits, levels))
        self._blocks = np.concatenate([_root(seeds[0], 0), _root(seeds[1], 1)])
        self._inputs, self._masks = np.empty_like(self._blocks), np.empty(len(self._blocks), np.uint64)
        dpf.enter(self._blocks, self._inputs, self._masks)

    def down(self, word: Words) -> None:
        """One level; `word` (n, 2) becomes its correction word."""
        ciphers = self._hashes.tree(self._inputs)
        dpf.correct(self._blocks, self._inputs, ciphers, self._masks, next(self._turns), word)

    def payload(self, numbers: Words, word: Words) -> None:
        """`word` (n, 2) becomes the one that makes `numbers` (n, 2) the payload at this level."""
        dpf.payload_word(self._inputs, self._hashes.pad(self._inputs), self._masks, numbers, word)

    def bits(self, points: Words, word: Words) -> Words:
        """At the last level: `word` (n, 2) becomes the one that sets, among 128, the bit that `points` (n, 2) has set.

        Returns:
            (n,) 0 or 1, the first party's share of that bit.
        """
        chosen = np.empty(len(word), np.uint64)
        dpf.leaf_word(self._inputs, self._hashes.pad(self._inputs), self._masks, points, word, chosen)
        return chosen


class Leaves(NamedTuple):
    """Nodes at one level of one of the pair's trees, c of each of n: what is hashed of them, and their control bits."""

    inputs: Words
    """(c, n, 2)"""
    masks: Words
    """(c, n), all ones or zero"""
    pad: Hash

    def __repr__(self) -> str:
        return f"Leaves({self.masks.shape})"

    def weigh(self, word: Words, rows: Words, turns: Words, sums: Words) -> None:
        """Adds this party's summands (e, g) of a payload, times rows (T0, T1): T0·e + T1·g and T1·e to sums (2, n).

        Args:
            word: (n, 2), the payload's.
            rows: (c + 1, 2): the first node's is the last one where turns (n,) is all ones.
        """
        dpf.weigh(self.inputs, self.pad(self.inputs), self.masks, word, rows, turns, sums)

    def numbers(self, word: Words) -> Words:
        """Its summands (n, c) of a payload of one number; the other party's are to be taken off them."""
        numbers = np.empty(self.masks.shape[::-1], np.uint64)
        dpf.leaf_numbers(self.inputs, self.pad(self.inputs), self.masks, word, numbers)
        return numbers

    def bits(self, word: Words) -> Words:
        """Its shares (n, 2c) of 128 bits each."""
        bits = np.empty((self.masks.shape[1], 2 * len(self.masks)), np.uint64)
        dpf.leaf_bits(self.inputs, self.pad(self.inputs), self.masks, word, bits)
        return bits


class Frontier:
    """One of the pair goes down n trees, to all nodes of some consecutive indices.

    Args:
        hashes: of this run.
        seed: its random words (2n,).
        u: (n,) words, of which the low `bits` bits take part.
        levels: how far, at most.
        first: whether it is the first of the pair.
    """

    def __init__(self, hashes: Hashes, seed: Words, u: Words, bits: int, levels: int, *, first: bool) -> None:
        self._hashes = hashes
        self._turns = bit_masks(u, bits, levels)
        self._turns[:1] ^= ~np.uint64(0)
        self._level = 0
        self._blocks = _root(seed, int(not first))[None]
        self.nodes = self._room(1, u.size)
        """Those that went on at this level."""
        dpf.enter(self._blocks[0], self.nodes.inputs[0], self.nodes.masks[0])

    @property
    def turns(self) -> Words:
        """(n,) all ones where u's bit at this level is set; the other way round at the first level."""
        turns: Words = self._turns[self._level - 1]
        return turns

    def down(self, word: Words, first: int, size: int) -> Leaves:
        """One level: of the 2c children those from number `first` on, `size` of them, go on.

        Children are counted from index 2a on, for parents that begin at index a. That one is missing where u's bit is
        set; in its place is then the one behind the last, of index 2b. (The root's two children are counted from -1.)

        Args:
            word: (n, 2), the level's correction word.

        Returns:
            the others.
        """
        c, n = self.nodes.masks.shape
        self._level += 1
        blocks, nodes, others = np.empty((size, n, 2), np.uint64), self._room(size, n), self._room(2 * c - size, n)
        ciphers = self._hashes.tree(self.nodes.inputs)
        given = self._blocks, self.nodes.inputs, ciphers, self.nodes.masks
        dpf.expand(*given, word, self.turns, first, blocks, nodes.inputs, nodes.masks, others.inputs, others.masks)
        self._blocks, self.nodes = blocks, nodes
        return others

    def _room(self, count: int, trees: int) -> Leaves:
        return Leaves(np.empty((count, trees, 2), np.uint64), np.empty((count, trees), np.uint64), self._hashes.pad)


def _root(seed: Words, control: int) -> Words:
    """Blocks (n, 2) of two random words each; the lowest bit, a control bit, tells the pair apart."""
    blocks = seed.reshape(-1, 2).copy()
    blocks[:, 0] &= np.uint64(2**64 - 2)
    blocks[:, 0] |= np.uint64(control)
    return blocks


class Span(NamedTuple):
    """What a level keeps: of its children, counted from index 2a on, `size` from number `first` on."""

    first: int
    size: int


@lru_cache(maxsize=1024)
def spans(first: int, stop: int, bits: int, levels: int) -> tuple[tuple[Span, ...], int]:
    """Which nodes may have places of index [first, stop) below them, level by level, and the first one's index in
    the last level.

    Args:
        bits: of the places, which lie from -2^(bits - 2) - 1 on and below 2^(bits - 1).
        levels: up to `bits`.
    """
    found: list[Span] = []
    a = 0
    for level in range(1, levels + 1):
        below = 1 << (bits - level)  # places of a node, before u's lower bits widen it
        low, high = -(-(first + 2) // below) - 2, (stop - 1) // below + 1
        if level <= 2:
            low, high = -(1 << level - 1), 1 << level - 1  # all: indices go around here
            found.append(Span(0, high - low))
        else:
            found.append(Span(low - 2 * a, high - low))
        a = low
    return tuple(found), a


def bit_masks(values: Words, bits: int, count: int) -> Words:
    """(count, n): all ones where a value's bit is set, else zero; of the bits below number `bits`, from the top on."""
    masks = np.empty((count, values.size), np.uint64)
    dpf.bit_masks(values, np.arange(bits - 1, bits - 1 - count, -1), masks)
    return masks
