"""Files that only this party can read, and that nobody can change without being noticed.

Theory of operation. Who takes the disk, or a backup of it, must learn nothing of the shares; who can write to it must
not be able to make the party believe anything but what it wrote itself. Each file is a header and a row of chunks:

    header    magic and version 8 · id of the storage key 8 · nonce 12 · wrapped data key 48 · prefix 7
    chunk i   AES-256-GCM under the data key of up to 1 MiB, and a tag of 16 bytes

*Data key.* Each file has a random key of its own, which stands in the header, wrapped by the storage key (AES-256-GCM,
random nonce of 96 bits: up to 2^32 files a storage key, NIST SP 800-38D, 8.3). So a file is shredded by overwriting
83 bytes, and no chunk nonce can ever meet another file's.

*Chunks* are the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár ("Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance", CRYPTO 2015, section 7): the nonce of chunk i is prefix ‖ i ‖ (1 if it is the last, else
0), so a chunk that is left out, doubled, moved, or the last of a file that was cut short, does not decrypt. Nothing of
a chunk is handed out before its tag was checked, and nothing of a file is believed before its last chunk was read.

*Context.* Where the file belongs (cluster, party, kind, id) is associated data of the wrapped key and of every chunk,
and so is the rest of the header: what stands before the key is bound to the key, the prefix to the chunks. So a file
does not decrypt under another name, at another party, in another cluster, or as another kind of file, though the
storage key be the same.

What this does not do: an *older* file of the same context, put back, is as good as the new one (docs/security.md).

The storage key itself encrypts nothing: the wrapping key and the key's id, by which a wrong key is told from damage,
are derived from it (HKDF-SHA256). GCM does not commit to its key; that is no matter here, where keys are random and
nobody else chooses them.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from keras_private.errors import StorageError

KEY_BYTES: Final = 32
CHUNK_BYTES: Final = 1 << 20
VERSION: Final = 1
_MAGIC: Final = b"KPREST"
_START: Final = _MAGIC + VERSION.to_bytes(2, "big")
_ID, _NONCE, _TAG, _PREFIX = 8, 12, 16, 7
_BOUND = len(_START) + _ID  # of the header: what the wrapped key is bound to
HEADER_BYTES: Final = _BOUND + _NONCE + KEY_BYTES + _TAG + _PREFIX
_MOST_CHUNKS = 1 << 32


class StorageKey:
    """What wraps the keys of files.

    Args:
        secret: 32 random bytes.
    """

    __slots__ = ("_wrap", "id")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise StorageError(f"a storage key has {KEY_BYTES} bytes, not {len(secret)}")
        self._wrap = AESGCM(_derive(secret, b"wrap", KEY_BYTES))
        self.id = _derive(secret, b"id", _ID)

    def __repr__(self) -> str:
        return f"StorageKey({self.id.hex()})"

    def wrap(self, data_key: bytes, bound: bytes) -> bytes:
        """The key of a file, encrypted and bound to `bound`, behind its nonce."""
        nonce = os.urandom(_NONCE)
        return nonce + self._wrap.encrypt(nonce, data_key, bound)

    def unwrap(self, wrapped: bytes, bound: bytes) -> bytes:
        """Raises:
        InvalidTag: it was wrapped by another key, bound to something else, or changed.
        """
        return self._wrap.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], bound)


def context(*parts: str | bytes) -> bytes:
    """Where a file belongs, as associated data: each part behind its length, so that no two lists look the same."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


class Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


class Sealer:
    """Writes a sealed file, from its beginning; `finish` writes its end, without which it cannot be read.

    Args:
        where: the `context` of the file.
    """

    def __init__(self, file: Writable, key: StorageKey, where: bytes) -> None:
        data_key, prefix = os.urandom(KEY_BYTES), os.urandom(_PREFIX)
        bound = _START + key.id
        header = bound + key.wrap(data_key, bound + where) + prefix
        self._file = file
        self._cipher = _Chunks(data_key, prefix, where)
        self._waiting = bytearray()
        file.write(header)

    def write(self, data: bytes | memoryview) -> None:
        """The next bytes of the file's content; raises what the file raises."""
        rest = memoryview(data).cast("B")
        while len(rest):
            if len(self._waiting) == CHUNK_BYTES:  # something follows, so this is not the last
                self._seal(last=False)
            room = CHUNK_BYTES - len(self._waiting)
            self._waiting += rest[:room]
            rest = rest[room:]

    def finish(self) -> None:
        """Write what is left, as the last chunk."""
        self._seal(last=True)

    def _seal(self, *, last: bool) -> None:
        sealed = self._cipher.seal(self._waiting, last=last)
        self._waiting = bytearray()
        self._file.write(sealed)


class Opener:
    """Reads a sealed file, from its beginning. What it gives is to be believed when `finish` has returned.

    Args:
        where: the `context` that the file must have been written with.

    Raises:
        StorageError: it is not such a file. `damaged` says that it is of no use to anybody; else it may be to another
            key, place or version.
    """

    def __init__(self, file: BinaryIO, key: StorageKey, where: bytes) -> None:
        header = file.read(HEADER_BYTES)
        if len(header) != HEADER_BYTES or not header.startswith(_MAGIC):
            raise StorageError("it is not a file that a party wrote", damaged=True)
        if not header.startswith(_START):
            version = int.from_bytes(header[len(_MAGIC) : len(_START)], "big")
            raise StorageError(f"it has version {version} of the format, this release knows version {VERSION}")
        if header[len(_START) : _BOUND] != key.id:
            raise StorageError(f"it was written with another storage key ({header[len(_START) : _BOUND].hex()})")
        prefix = header[-_PREFIX:]
        try:
            data_key = key.unwrap(header[_BOUND:-_PREFIX], header[:_BOUND] + where)
        except InvalidTag:
            raise StorageError("it was changed, or belongs elsewhere") from None  # perhaps only a name was mistyped
        self._file = file
        self._cipher = _Chunks(data_key, prefix, where)
        self._left = _size(file) - HEADER_BYTES  # of chunks, tags included
        if self._left < _TAG:
            raise StorageError("it was cut short", damaged=True)
        self._content = memoryview(b"")

    @property
    def size(self) -> int:
        """Bytes of content that have not been read, as the file's size has it. Not yet believed."""
        chunks = -(-self._left // (CHUNK_BYTES + _TAG))
        return self._left - chunks * _TAG + len(self._content)

    def read(self, size: int) -> bytes:
        """The next `size` bytes of content.

        Raises:
            StorageError: there are fewer, or they were changed.
            OSError: they cannot be read.
        """
        if size > self.size:
            raise StorageError("it ends too early", damaged=True)
        pieces = []
        while size:
            if not self._content:
                self._open_next()
            piece, self._content = self._content[:size], self._content[size:]
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def finish(self) -> None:
        """The file must end here. Raises as `read`."""
        if self._left and not self._content:  # an empty last chunk
            self._open_next()
        if self._left or self._content:
            raise StorageError("it goes on beyond its end", damaged=True)

    def _open_next(self) -> None:
        if not self._left:
            raise StorageError("it ends too early", damaged=True)
        sealed = self._file.read(min(self._left, CHUNK_BYTES + _TAG))
        self._left -= len(sealed)
        try:
            self._content = memoryview(self._cipher.open(sealed, last=self._left <= 0))
        except InvalidTag:
            raise StorageError("it was changed or cut short", damaged=True) from None


class _Chunks:
    """The chunks of one file, in order."""

    def __init__(self, key: bytes, prefix: bytes, where: bytes) -> None:
        self._cipher = AESGCM(key)
        self._prefix = prefix
        self._bound = _START + where
        self._number = 0

    def seal(self, data: bytes | bytearray, *, last: bool) -> bytes:
        return self._cipher.encrypt(self._nonce(last=last), data, self._bound)

    def open(self, data: bytes, *, last: bool) -> bytes:
        return self._cipher.decrypt(self._nonce(last=last), data, self._bound)

    def _nonce(self, *, last: bool) -> bytes:
        if self._number >= _MOST_CHUNKS:
            raise StorageError("a file has up to 2^32 chunks")
        number = self._number.to_bytes(4, "big")
        self._number += 1
        return self._prefix + number + bytes([last])


def _derive(secret: bytes, purpose: bytes, size: int) -> bytes:
    return HKDFExpand(SHA256(), size, b"keras_private storage " + purpose).derive(secret)


def _size(file: BinaryIO) -> int:
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return end
