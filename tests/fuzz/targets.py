"""What reads bytes of others: one function each, which raises only if the reader does not keep its promises.

Each takes any bytes. It lets the reader raise the exceptions that it declares and no others, and where the reader
accepts, what it read is written again: that must give the same bytes, or at least the same meaning.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np

from keras_private.config import ClusterConfig, StorageConfig
from keras_private.config.access import Rules
from keras_private.errors import ConfigError, FrameError, InputError, PlanError, StorageError
from keras_private.logs import party_log
from keras_private.net.frames import (
    HEADER_BYTES,
    LIMITS,
    FrameType,
    check_header,
    pack_header,
    parse_header,
    payload_bytes,
    printable,
)
from keras_private.net.roles import Role
from keras_private.net.tls import role_of
from keras_private.party.messages import Query
from keras_private.party.storage import vault
from keras_private.party.storage.store import Store
from keras_private.party.wire import decode, encode
from keras_private.plan import serialise as plans
from keras_private.sharing.share import Package

VECTORS: Final = Path(__file__).resolve().parents[1] / "vectors"


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        run: feeds it.
        seeds: inputs that it accepts, to begin with.
        tree: whether inputs are msgpack, so that whole values in them can be replaced.
        longest: bytes of an input that the fuzzer makes.
        weight: bytes that the reader may take for each byte of an input, beside `FREE_BYTES`.
        steps: calls that it may make for each byte, beside `FREE_STEPS`.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    tree: bool = False
    longest: int = 4096
    weight: int = 64
    steps: int = 64


FREE_BYTES: Final = 1 << 20
FREE_STEPS: Final = 20_000


class BrokenError(AssertionError):
    """A reader does not keep a promise."""


def _equal(found: Any, expected: Any, what: str) -> None:
    if found != expected:
        raise BrokenError(f"{what}: {str(found)[:200]} is not {str(expected)[:200]}")


# Frames ---------------------------------------------------------------------------------------------------------------

_DUE = struct.Struct("<BHQi i")  # kind, lane, sequence, exact length or -1, limit or -1


def frame(data: bytes) -> None:
    """What is due, then a header: it is either refused, or exactly the one that was due."""
    if len(data) < _DUE.size + HEADER_BYTES:
        return
    kind, lane, sequence, length, limit = _DUE.unpack_from(data)
    header = data[_DUE.size :]
    due = FrameType(1 + kind % 4)
    with contextlib.suppress(FrameError):
        found = check_header(
            header, due, lane, sequence, length=None if length < 0 else length, limit=None if limit < 0 else limit
        )
        if found > LIMITS[due] or (length >= 0 and found != length) or (0 <= limit < found):
            raise BrokenError("more than was allowed")
        _equal(pack_header(found, due, lane, sequence), header[:HEADER_BYTES], "a frame's header")
    _equal(parse_header(header).sequence, int.from_bytes(header[8:16], "little"), "a sequence number")
    if not printable(header).isprintable():
        raise BrokenError("what a peer says could be obeyed by a terminal")
    _equal(payload_bytes([header, np.frombuffer(header, np.uint8)]), 2 * len(header), "a payload")


def _frames() -> Iterator[bytes]:
    for kind in FrameType:
        for length, exact, limit in ((0, 0, -1), (1000, -1, -1), (70_000, -1, 65_536), (80, 80, 100)):
            yield _DUE.pack(kind - 1, 3, 7, exact, limit) + struct.pack("<IBBHQ", length, kind, 0, 3, 7) + b"payload"


# Messages -------------------------------------------------------------------------------------------------------------


def message(data: bytes) -> None:
    """A party's, a client's or an owner's message; a package in it is taken apart."""
    try:
        found = decode(data)
    except FrameError:
        return
    again = encode(found)
    _equal(decode(again), found, "a message")
    repr(found)
    if len(again) > len(data):
        raise BrokenError("there is a shorter way to write a message")
    if isinstance(found, Query):
        with contextlib.suppress(InputError):
            shape = (min(found.rows, 4), 3)
            _equal(Package(found.mine, found.next).expand(shape).shape, shape, "a share's shape")


def _messages() -> Iterator[bytes]:
    for text in json.loads((VECTORS / "messages.json").read_text())["vectors"].values():
        yield bytes.fromhex(text)


# Plans ----------------------------------------------------------------------------------------------------------------


def plan(data: bytes) -> None:
    """An owner's plan."""
    try:
        found = plans.parse(data)
    except PlanError:
        return
    _equal(plans.serialise(found), data, "a plan")
    _equal(plans.parse(data), found, "a plan")


def _plans() -> Iterator[bytes]:
    vectors = json.loads((VECTORS / "plans.json").read_text())["vectors"].values()
    yield from (data for text in vectors if len(data := bytes.fromhex(text)) < 1000)


# Configuration --------------------------------------------------------------------------------------------------------


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="keras-private-fuzz-")  # until the process ends


def _written(name: str, data: bytes) -> Path:
    path = Path(_folder().name) / name
    path.write_bytes(data)
    return path


def config(data: bytes) -> None:
    """A cluster.yaml; what it says is passed on to child processes as JSON."""
    try:
        found = ClusterConfig.load(_written("cluster.yaml", data))
    except ConfigError as error:
        if len(str(error)) > 200 * (len(data) + 50):
            raise BrokenError("an error much longer than the file") from None
        return
    _equal(ClusterConfig.parse(json.loads(found.to_json())), found, "a configuration")


def _configs() -> Iterator[bytes]:
    parties = "".join(f"  server{i}: {{host: 'localhost:400{i}'}}\n" for i in range(3))
    yield f"cluster: c\nparties:\n{parties}".encode()
    yield f"parties:\n{parties}limits: {{max_batch: 8, timeout_s: 2.5}}\nprecision_fractional: 12\n".encode()
    yield f"parties:\n{parties}tls: {{ca: a, cert: '~/b', key: c}}\ntruncation: exact\n".encode()
    yield b"parties: &a\n  server0: {host: '[::1]:1', bind: 0.0.0.0:2, auto_managed: true}\n  server1: *a\n"


# Roles ----------------------------------------------------------------------------------------------------------------


def role(data: bytes) -> None:
    """The names in a certificate, one a line; and one as people write it."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(ConfigError):
        found = Role.from_uris(text.split("\n"))
        _equal(Role.from_uris([found.uri]), found, "a role")
        _equal(Role.parse(str(found)), found, "a role")
    with contextlib.suppress(ConfigError):
        _equal(str(Role.parse(text)), text, "a role")


def _roles() -> Iterator[bytes]:
    for kind in ("party", "owner", "client"):
        yield f"keras-private:{kind}/some-name.0_1".encode()
        yield f"{kind}:name".encode()
    yield b"https://example.org\nkeras-private:client/bob\nkeras-private:owner/bob"


def certificate(data: bytes) -> None:
    """A certificate file: PEM around what is given."""
    with contextlib.suppress(ConfigError):
        found = role_of(_written("party.crt", _pem(data)))
        _equal(Role.parse(str(found)), found, "a role")


def _pem(data: bytes) -> bytes:
    from base64 import encodebytes

    return b"-----BEGIN CERTIFICATE-----\n" + encodebytes(data) + b"-----END CERTIFICATE-----\n"


def _certificates() -> Iterator[bytes]:
    """Keys and signatures are drawn anew each time, so the kept corpus has some that stay."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from keras_private.net.certificates import create_authority, issue

    with tempfile.TemporaryDirectory() as folder:
        create_authority(Path(folder))
        for who in (Role("party", "server0"), Role("client", "bob")):
            pem = issue(Path(folder), who).cert.read_bytes()
            yield x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


# Access rules ---------------------------------------------------------------------------------------------------------


def access(data: bytes) -> None:
    """A file of rules; each that it grants can be looked up."""
    with contextlib.suppress(ConfigError):
        found = Rules.load(_written("access.yaml", data))
        for name in (*found.clients, "nobody"):
            granted = found.client(name)
            if granted is not None:
                repr([granted.of(model) for model in (*granted.models, "x")])
        repr([owner.allows("x") for owner in found.owners.values()])


def _rules() -> Iterator[bytes]:
    yield b"clients:\n  bob: {models: [digits, x], rows_per_minute: 100}\n  '*': {models: '*'}\nowners: {}\n"
    yield b"clients: {ann: {models: {digits: {rows_total: 5}, y: }}}\nowners: {alice: {models: digits}}\n"


# Storage --------------------------------------------------------------------------------------------------------------

_WHERE = vault.context("cluster", "server0", "note", "n")
_ID = bytes(16)


@functools.cache
def _key() -> vault.StorageKey:
    return vault.StorageKey(bytes(range(32)))


def _sealed(content: bytes, where: bytes) -> bytes:
    file = io.BytesIO()
    sealer = vault.Sealer(file, _key(), where)
    sealer.write(content)
    sealer.finish()
    return file.getvalue()


@functools.cache
def _good() -> tuple[bytes, bytes]:
    """Content of several chunks, and its file."""
    content = bytes(range(256))
    with mock.patch.object(vault, "CHUNK_BYTES", 64):
        return content, _sealed(content, _WHERE)


def sealed(data: bytes) -> None:
    """Changes of a sealed file, of which nobody but the party must be able to make any; or bytes instead of one.

    Four bytes each: what to do (overwrite, remove, double, swap, cut off), where (two), with what.
    """
    content, file = _good()
    changed = bytearray(file)
    for what, high, low, value in zip(*[iter(data)] * 4, strict=False):
        at = (high << 8 | low) % (len(changed) + 1)
        if what % 5 == 0 and at < len(changed):
            changed[at] = value
        elif what % 5 == 1:
            del changed[at : at + value]
        elif what % 5 == 2 and len(changed) < 4096:
            changed[at:at] = changed[at : at + value]
        elif what % 5 == 3:
            other = at + value
            changed[at:other], changed[other : other + value] = changed[other : other + value], changed[at:other]
        elif what % 5 == 4:
            del changed[at:]
    for each, genuine in ((bytes(changed), bytes(changed) == file), (data, False)):
        with contextlib.suppress(StorageError), mock.patch.object(vault, "CHUNK_BYTES", 64):
            opener = vault.Opener(io.BytesIO(each), _key(), _WHERE)
            found = opener.read(opener.size)
            opener.finish()
            if not genuine:
                raise BrokenError("a file that somebody changed is believed")
            _equal(found, content, "a file's content")


def _sealings() -> Iterator[bytes]:
    yield b""
    for what in range(5):
        for at in (0, 10, 30, 90, 120, 250, 400):
            yield bytes([what, at >> 8, at & 255, 16])


@functools.cache
def _store() -> Store:
    folder = Path(_folder().name)
    key = _written("storage.key", bytes(range(32)))
    key.chmod(0o600)
    return Store(
        StorageConfig(path=folder / "kept", key_file=key), "cluster", "server0", party_log("server0", "critical")
    )


def stored(data: bytes) -> None:
    """The content of a model's file, as another release or a defect may have written it: it is read to its end."""
    store = _store()
    path = Path(_folder().name) / "kept" / _ID.hex()
    path.write_bytes(_sealed(data, vault.context("cluster", "server0", "model", _ID)))
    path.chmod(0o600)
    with contextlib.suppress(StorageError), store.reading(_ID) as kept:
        left = len(data) - len(kept.facts) - len(kept.plan)
        for _ in range(4):
            left -= len(kept.piece()[0])
            if left < 0:
                raise BrokenError("more than was written")
        kept.finish()


def _stores() -> Iterator[bytes]:
    def block(content: bytes, flag: int = 0) -> bytes:
        return (len(content) | flag).to_bytes(4, "big") + content

    yield b"\x01" + block(b"facts") + block(b"plan") + block(b"piece") * 3 + block(b"last", 1 << 31)
    yield b"\x02" + block(b"facts")
    yield b"\x01" + block(b"") + b"\xff\xff\xff\xff"


TARGETS: Final = {
    "frame": Target(frame, _frames, longest=64),
    "message": Target(message, _messages, tree=True, longest=2048),
    "plan": Target(plan, _plans, tree=True),
    "config": Target(config, _configs, longest=1024, weight=4096, steps=4096),
    "access": Target(access, _rules, longest=1024, weight=4096, steps=4096),
    "sealed": Target(sealed, _sealings, longest=64, steps=256),
    "stored": Target(stored, _stores, longest=512),
    "role": Target(role, _roles, longest=256),
    "certificate": Target(certificate, _certificates, longest=2048),
}
