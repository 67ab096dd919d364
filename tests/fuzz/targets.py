"""What reads bytes of others: one function each, which raises only if the reader does not keep its promises.

Each takes any bytes. It lets the reader raise the exceptions that it declares and no others, and where the reader
accepts, what it read is written again: that must give the same bytes, or at least the same meaning.
"""

from __future__ import annotations

import contextlib
import functools
import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from keras_private.config import ClusterConfig
from keras_private.errors import ConfigError, FrameError, InputError, PlanError
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


TARGETS: Final = {
    "frame": Target(frame, _frames, longest=64),
    "message": Target(message, _messages, tree=True, longest=2048),
    "plan": Target(plan, _plans, tree=True),
    "config": Target(config, _configs, longest=1024, weight=4096, steps=4096),
    "role": Target(role, _roles, longest=256),
    "certificate": Target(certificate, _certificates, longest=2048),
}
