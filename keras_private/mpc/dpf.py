"""Distributed point functions: two parties' keys to shares of a function that is zero but at one secret place.

Theory of operation. The place is a number v of `bits` bits that the dealer knows; each of the pair gets a key, which
alone tells it nothing. The keys are two binary trees of blocks of 128 bits, one level for each bit of v from the top
on, whose roots are random. A node's lowest bit is its *control bit*. Nodes off the path to v are equal at both parties;
nodes on it differ by a constant, Delta, whose lowest bit is 1. To get there, a level has one public *correction word*
(Guo et al., *Half-Tree*, EUROCRYPT 2023, section 4.1): the children of a node s are

    left = H(s) ^ t·word        right = left ^ s        word = H(s_0) ^ H(s_1) ^ (Delta if v goes right, else 0 …)

with t the control bit, and Delta in the word exactly if the path goes left. Off the path both parties compute the same;
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

Assumption. H(s) = AES_K(linear(s)) ^ linear(s) with a fixed public key K, one for the tree, others for the pads. That
this is circular correlation robust (from the ideal-cipher heuristic: Guo et al., *Efficient and Secure Multiparty
Computation from Fixed-Key Block Ciphers*, S&P 2020, section 7) is what privacy rests on here.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from keras_private.mpc.kernels import dpf
from keras_private.mpc.rounds import Words
from keras_private.plan.spline.cost import CHUNK


def chunks(count: int) -> Iterator[slice]:
    """Values whose trees are walked together."""
    for start in range(0, count, CHUNK):
        yield slice(start, min(start + CHUNK, count))


class Hash:
    """H(s) = AES_K(linear(s)) ^ linear(s), but for the last step, which the kernels take; K is public and fixed."""

    __slots__ = ("_aes",)

    def __init__(self, purpose: str) -> None:
        # ECB is AES on each block by itself, which is what a fixed permutation is.
        key = sha256(f"keras_private distributed point function: {purpose}".encode()).digest()[:16]
        self._aes = Cipher(AES(key), ECB()).encryptor()  # noqa: S305

    def __call__(self, inputs: Words) -> Words:
        """AES of blocks (n, 2), and one block more, of no meaning."""
        ciphers = np.empty((inputs.shape[0] + 1, 2), np.uint64)
        self._aes.update_into(inputs.reshape(-1).view(np.uint8).data, ciphers.reshape(-1).view(np.uint8).data)
        return ciphers


class Hashes:
    """One for the tree, one for pads."""

    __slots__ = ("pad", "tree")

    def __init__(self) -> None:
        self.tree, self.pad = Hash("tree"), Hash("pad")


class Nodes:
    """Blocks (n, 2) ready to be hashed."""

    __slots__ = ("blocks", "inputs", "masks")

    def __init__(self, blocks: Words) -> None:
        self.blocks = blocks.reshape(-1, 2)
        self.inputs, self.masks = np.empty_like(self.blocks), np.empty(len(self.blocks), np.uint64)
        dpf.enter(self.blocks, self.inputs, self.masks)


def roots(seed: Words, first: bool) -> Words:
    """Blocks (n, 2) of two random words each as roots: the lowest bit is 0 at the first of the pair, 1 at the other."""
    blocks = seed.reshape(-1, 2).copy()
    blocks[:, 0] &= np.uint64(2**64 - 2)
    if not first:
        blocks[:, 0] |= np.uint64(1)
    return blocks


class Path:
    """The dealer goes down n trees, along the bits of v.

    Args:
        seeds: both parties' random words (2n,).
        v: (n,) words, of which the low `bits` bits are the place.
    """

    def __init__(self, hashes: Hashes, seeds: tuple[Words, Words], v: Words, bits: int) -> None:
        self._hashes, self._v, self._position = hashes, v, bits
        self._nodes = Nodes(np.concatenate([roots(seeds[0], True), roots(seeds[1], False)]))

    def down(self, word: Words) -> None:
        """One level; `word` (n, 2) becomes its correction word."""
        self._position -= 1
        nodes, turns = self._nodes, bit_masks(self._v, self._position)
        dpf.correct(nodes.blocks, nodes.inputs, self._hashes.tree(nodes.inputs), nodes.masks, turns, word)
        self._nodes = Nodes(nodes.blocks)

    def payload(self, numbers: Words) -> Words:
        """The word that makes `numbers` (d, n), d up to 2, the payload at this level: of the same shape."""
        word, nodes = np.empty_like(numbers), self._nodes
        dpf.payload_word(nodes.inputs, self._hashes.pad(nodes.inputs), nodes.masks, numbers, word)
        return word

    def bits(self, points: Words, word: Words) -> Words:
        """At the last level: `word` (n, 2) becomes the one that sets, among 128, the bit that `points` (n, 2) has set.

        Returns:
            (n,) 0 or 1, the first party's share of that bit.
        """
        nodes, chosen = self._nodes, np.empty(len(word), np.uint64)
        dpf.leaf_word(nodes.inputs, self._hashes.pad(nodes.inputs), nodes.masks, points, word, chosen)
        return chosen


class Frontier:
    """One of the pair goes down n trees, to all nodes of some consecutive indices.

    Args:
        seed: its random words (2n,).
        u: (n,) words, of which the low `bits` bits take part.
    """

    def __init__(self, hashes: Hashes, seed: Words, u: Words, bits: int, *, first: bool) -> None:
        self._hashes, self._u, self._position = hashes, u, bits
        self._nodes = Nodes(roots(seed, first))
        self._count = 1  # nodes of a tree
        self.turns = np.empty(0, np.uint64)
        """All ones where u's bit at this level is set; the other way round at the first level."""
        self._below_root = True

    def down(self, word: Words, first: int, count: int) -> Words:
        """One level: of the 2c children those from number `first` on, `count` of them, go on.

        Children are counted from index 2a on, for parents that begin at index a. That one is missing where u's bit is
        set; in its place is then the one behind the last, of index 2b. (The root's two children are counted from -1.)

        Args:
            word: (n, 2), the level's correction word.

        Returns:
            the others, (n, 2c - count, 2).
        """
        self._position -= 1
        self.turns = bit_masks(self._u, self._position)
        if self._below_root:
            self.turns, self._below_root = ~self.turns, False
        n, nodes = len(self._u), self._nodes
        kept, dropped = np.empty((n, count, 2), np.uint64), np.empty((n, 2 * self._count - count, 2), np.uint64)
        ciphers = self._hashes.tree(nodes.inputs)
        dpf.expand(nodes.blocks, nodes.inputs, ciphers, nodes.masks, word, self.turns, first, kept, dropped)
        self._nodes, self._count = Nodes(kept), count
        return dropped

    def numbers(self, word: Words) -> Words:
        """Summands (n, c) of a payload of one number at every node; `word` (n,). The other party's are to be taken
        off them."""
        numbers = np.empty((len(self._u), self._count), np.uint64)
        nodes = self._nodes
        dpf.leaf_numbers(nodes.inputs, self._hashes.pad(nodes.inputs), nodes.masks, word, numbers)
        return numbers

    def bits(self, word: Words) -> Words:
        """Shares (n, 2c) of the 128 bits of every node; `word` (n, 2)."""
        bits = np.empty((len(self._u), 2 * self._count), np.uint64)
        nodes = self._nodes
        dpf.leaf_bits(nodes.inputs, self._hashes.pad(nodes.inputs), nodes.masks, word, bits)
        return bits


def weigh(hashes: Hashes, leaves: Words, word: Words, rows: Words, turns: Words) -> Words:
    """Sums (e, n) of the payloads at leaves (n, l, 2), times their rows.

    Args:
        word: (d, n), the payload's correction word.
        rows: (l + 1, e, d): a leaf's e numbers are its row times its payload. The first leaf's row is the last one
            where turns (n,) is all ones.
    """
    nodes, sums = Nodes(leaves), np.zeros((rows.shape[1], len(leaves)), np.uint64)
    dpf.weigh(nodes.inputs, hashes.pad(nodes.inputs), nodes.masks, word, rows, turns, sums)
    return sums


class Span(NamedTuple):
    """What a level keeps: of its children, counted from index 2a on, `size` from number `first` on."""

    first: int
    size: int


def spans(first: int, stop: int, bits: int, levels: int) -> tuple[list[Span], int]:
    """Which nodes may have places of index [first, stop) below them, level by level, and the first one's index in
    the last level.

    Args:
        bits: of the places; |index| <= 2^(bits - 2).
        levels: up to `bits`.
    """
    found, a = [], 0
    for level in range(1, levels + 1):
        below = 1 << (bits - level)  # places of a node, before u's lower bits widen it
        low, high = -(-(first + 2) // below) - 2, (stop - 1) // below + 1
        if level <= 2:
            low, high = -(1 << level - 1), 1 << level - 1  # all: indices go around here
            found.append(Span(0, high - low))
        else:
            found.append(Span(low - 2 * a, high - low))
        a = low
    return found, a


def bit_masks(values: Words, position: int) -> Words:
    """(n,): all ones where a value's bit is set, else zero."""
    masks = np.empty(values.size, np.uint64)
    dpf.bit_masks(values, position, masks)
    return masks
