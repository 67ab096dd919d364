"""Distributed point functions written down once more, one value at a time, in Python's integers.

A block is an integer of 128 bits, its low word first. Compare `keras_private/mpc/dpf.py`.
"""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

WORD = (1 << 64) - 1


NAME = "keras_private distributed point function: "
KEYS = {purpose: sha256((NAME + purpose).encode()).digest()[:16] for purpose in ("tree", "pad")}  # any two will do


def hashed(purpose: str, block: int) -> int:
    given = linear(block & WORD) | linear(block >> 64) << 64
    cipher = Cipher(AES(KEYS[purpose]), ECB()).encryptor().update(given.to_bytes(16, "little"))  # noqa: S305
    return int.from_bytes(cipher, "little") ^ given


def linear(word: int) -> int:
    low, high = word & 0xFFFFFFFF, word >> 32
    return high | (low ^ high) << 32


def roots(seeds: tuple[int, int]) -> tuple[int, int]:
    return seeds[0] & ~1, seeds[1] | 1


def deal(seeds: tuple[int, int], place: int, bits: int, levels: int) -> tuple[list[int], tuple[int, int]]:
    """The correction words, and both parties' nodes at the path's end."""
    (a, b), words = roots(seeds), []
    for level in range(levels):
        right, apart = place >> (bits - 1 - level) & 1, a ^ b
        word = hashed("tree", a) ^ hashed("tree", b) ^ (0 if right else apart)
        words.append(word)
        a, b = (down(node, word, right) for node in (a, b))
    return words, (a, b)


def down(node: int, word: int, right: int) -> int:
    child = hashed("tree", node) ^ (word if node & 1 else 0)
    return child ^ node if right else child


def node_at(root: int, words: list[int], number: int) -> int:
    """A party's node of this number in the last level."""
    for level, word in enumerate(words):
        root = down(root, word, number >> (len(words) - 1 - level) & 1)
    return root


def bits_word(ends: tuple[int, int], place: int) -> int:
    return hashed("pad", ends[0]) ^ hashed("pad", ends[1]) ^ 1 << (place & 127)


def bits_of(node: int, word: int) -> int:
    return hashed("pad", node) ^ (word if node & 1 else 0)


def number_word(ends: tuple[int, int], number: int) -> int:
    apart = ((hashed("pad", ends[0]) & WORD) - (hashed("pad", ends[1]) & WORD) - number) & WORD
    return -apart & WORD if ends[0] & 1 else apart


def number_of(node: int, word: int) -> int:
    return ((hashed("pad", node) & WORD) + (word if node & 1 else 0)) & WORD
