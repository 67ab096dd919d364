"""Masks: the keystream of AES-256 in counter mode, handed out once.

Theory of operation. Two parties that hold the same key make the same `Stream` and take the same sizes in the same
order, so they agree on masks without a message. What makes a mask safe is that it is never used twice: the counter
only moves forward, a buffer that was handed out is never written again (a refill allocates a new one), and a stream
can be neither copied, nor pickled, nor carried into a forked child.

The stream is continuous: apart from rounding every take up to whole words, how it is cut into takes does not change it.
Not thread-safe: one lane thread owns it.
"""

from __future__ import annotations

import os
import weakref
from typing import NoReturn

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from keras_private.errors import InputError, StateError

KEY_BYTES = 32
_BLOCK_WORDS = 8192  # 64 kB a refill: below malloc's mmap threshold, so no page faults
_ZEROS = memoryview(bytes(1 << 18))


class Stream:
    """AES-256-CTR keystream from a counter of zero.

    Args:
        key: 32 secret bytes; use one key for one stream only.

    Raises:
        InputError: the key is not 32 bytes.
    """

    __slots__ = ("__weakref__", "_bytes", "_encryptor", "_position", "_size", "_words")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise InputError(f"a stream key must be {KEY_BYTES} bytes, not {len(key)}")
        self._encryptor = Cipher(AES(bytes(key)), CTR(bytes(16))).encryptor()
        self._words: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._bytes = self._words.view(np.uint8)
        self._position = 0  # bytes handed out of the current buffer, always a multiple of 8
        self._size = 0
        _streams.add(self)

    def take(self, nbytes: int) -> NDArray[np.uint8]:
        """Fresh keystream: uint8[nbytes], 8-byte aligned, the caller's to overwrite. Uses up whole words."""
        start = self._position
        end = start + nbytes
        if end > self._size or nbytes < 0:
            self._refill(nbytes)
            start = 0
            end = nbytes
        self._position = (end + 7) & ~7
        return self._bytes[start:end]

    def words(self, count: int) -> NDArray[np.uint64]:
        """Fresh keystream: uint64[count], the caller's to overwrite."""
        start = self._position
        end = start + 8 * count
        if end > self._size or count < 0:
            self._refill(8 * count)
            start = 0
            end = 8 * count
        self._position = end
        return self._words[start >> 3 : end >> 3]

    def _refill(self, nbytes: int) -> None:
        """A new buffer of at least `nbytes` that begins with what the old one had left."""
        if nbytes < 0:
            raise InputError(f"cannot take {nbytes} bytes from a stream")
        if self._size < 0:
            raise StateError("this mask stream belongs to the parent process; agree on new keys after a fork")
        rest = (self._size - self._position) >> 3
        total = rest + max(_BLOCK_WORDS, ((nbytes + 7) >> 3) - rest)
        words = np.empty(total, np.uint64)
        words[:rest] = self._words[self._position >> 3 :]
        _encrypt_zeros(self._encryptor, words, 8 * rest)
        self._words, self._bytes = words, words.view(np.uint8)
        self._position, self._size = 0, 8 * total

    def __repr__(self) -> str:
        return "Stream(<key hidden>)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Stream cannot be copied or pickled: its masks would be used twice")


def keystream(key: bytes, count: int) -> NDArray[np.uint64]:
    """The first `count` words of `Stream(key)`, made alone: for a key that is used for nothing else.

    Raises:
        InputError: the key is not 32 bytes.
    """
    if len(key) != KEY_BYTES:
        raise InputError(f"a stream key must be {KEY_BYTES} bytes, not {len(key)}")
    words = np.empty(count, np.uint64)
    _encrypt_zeros(Cipher(AES(bytes(key)), CTR(bytes(16))).encryptor(), words, 0)
    return words


def _encrypt_zeros(encryptor: CipherContext, words: NDArray[np.uint64], start: int) -> None:
    """The next keystream, from byte `start` of `words` to their end."""
    target = words.view(np.uint8).data
    for at in range(start, words.nbytes, len(_ZEROS)):
        size = min(len(_ZEROS), words.nbytes - at)
        encryptor.update_into(_ZEROS[:size], target[at : at + size])


_streams: weakref.WeakSet[Stream] = weakref.WeakSet()


def _disable_in_child() -> None:
    """A forked child must not hand out the masks that its parent will hand out."""
    for stream in _streams:
        stream._size = -1


os.register_at_fork(after_in_child=_disable_in_child)
