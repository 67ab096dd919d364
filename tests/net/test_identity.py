"""A party's files change while it runs: what works is taken over, whatever does not leaves all as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from keras_private.errors import ConfigError
from keras_private.net.certificates import create_authority, expires_at, issue
from keras_private.net.handshake import Listener, connect
from keras_private.net.identity import Identity
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles

PARTY, OTHER, CLIENT = Role("party", "server0"), Role("party", "server1"), Role("client", "bob")


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    create_authority(tmp_path / "authority")
    return tmp_path / "authority"


@pytest.fixture
def renew(tmp_path: Path, authority: Path) -> Callable[..., TLSFiles]:
    """Issues the party's certificate, again."""

    def run(days: float = 100, role: Role = PARTY, by: Path = authority) -> TLSFiles:
        folder = tmp_path / "party"
        folder.mkdir(exist_ok=True)
        files = issue(folder, role, days=days, authority=by)  # type: ignore[arg-type]
        if role != PARTY:
            for field in ("cert", "key"):
                shutil.move(getattr(files, field), folder / f"server0.{getattr(files, field).suffix[1:]}")
        return TLSFiles(folder / "ca.crt", folder / "server0.crt", folder / "server0.key")

    return run


def settled(identity: Identity) -> bool:
    """What the second look at the same files finds."""
    assert not identity.refresh()
    return identity.refresh()


def test_a_renewed_pair_is_taken_over(renew: Callable[..., TLSFiles]) -> None:
    files = renew(days=100)
    identity = Identity(files)
    old = identity.current
    assert not settled(identity)
    renew(days=200)
    assert settled(identity)
    assert identity.current.expires == expires_at(files.cert) > old.expires
    assert identity.current.server is not old.server
    assert not settled(identity)


def test_new_handshakes_use_it(renew: Callable[..., TLSFiles], pool: object, authority: Path, tmp_path: Path) -> None:
    bob = issue(tmp_path, CLIENT, authority=authority)
    identity = Identity(renew(days=100))
    listener = Listener(("localhost", 0), identity)

    def not_after() -> str:
        accepted = pool.submit(lambda: listener.accept(10).handshake(10))  # type: ignore[attr-defined]
        there = connect(listener.address, bob, PARTY, 10)
        certificate = there._sock.getpeercert()
        accepted.result(10).close()
        there.close()
        assert certificate
        return str(certificate["notAfter"])

    try:
        before = not_after()
        renew(days=200)
        assert not_after() == before
        assert settled(identity)
        assert not_after() != before
    finally:
        listener.close()


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda files, _renew, _aside: half(files.cert), "cannot read the certificate"),
        (lambda files, _renew, _aside: half(files.key), "do not load"),
        (lambda files, _renew, _aside: half(files.ca), "authority's certificate"),
        (lambda files, _renew, _aside: files.key.unlink(), "cannot read the key"),
        (lambda files, renew, _aside: (renew(), files.key.chmod(0o644)), "can be read by others"),
        (lambda files, renew, _aside: (renew(), shutil.copy(_aside / "server0.key", files.key)), "do not load"),
        (lambda _files, renew, _aside: renew(role=OTHER), "is the certificate of party:server1, not of party:server0"),
        (lambda _files, renew, _aside: renew(days=-0.01), "does not work: its certificate has expired"),
        (
            lambda files, renew, aside: (renew(by=aside / "foreign"), shutil.copy(aside / "ca.crt", files.ca)),
            "does not work: its certificate is not from our authority",
        ),
    ],
)  # fmt: skip
def test_what_is_of_no_use_changes_nothing(
    renew: Callable[..., TLSFiles], tmp_path: Path, spoil: Callable[..., object], words: str
) -> None:
    files = renew()
    aside = tmp_path / "aside"
    shutil.copytree(files.ca.parent, aside)
    create_authority(aside / "foreign")
    identity = Identity(files)
    old = identity.current
    spoil(files, renew, aside)
    with pytest.raises(ConfigError, match=words):
        settled(identity)
    assert identity.current is old
    assert not settled(identity)  # said once
    files.key.unlink(missing_ok=True)
    files = renew(days=200)
    assert settled(identity)
    assert identity.current.expires == expires_at(files.cert)


def test_files_that_still_change_are_left_alone(renew: Callable[..., TLSFiles]) -> None:
    identity = Identity(renew())
    for days in (101, 102, 103):
        renew(days=days)
        assert not identity.refresh()
    assert identity.refresh()
