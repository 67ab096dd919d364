"""Certificates that are taken back, and keys behind a password."""

from __future__ import annotations

import datetime
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from keras_private.errors import ConfigError, LinkError, TrustError
from keras_private.net import certificates
from keras_private.net.certificates import create_authority, issue, revoke
from keras_private.net.handshake import Listener, connect
from keras_private.net.identity import Identity
from keras_private.net.revocation import CRL, Revoked, load_revoked
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles, client_context, load_certificate

SERVER, BOB, CAROL = Role("party", "server0"), Role("client", "bob"), Role("client", "carol")


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    folder = tmp_path / "authority"
    create_authority(folder)
    return folder


def files_of(authority: Path, role: Role) -> TLSFiles:
    folder = authority.parent / role.name
    folder.mkdir(exist_ok=True)
    return replace(issue(folder, role, authority=authority), crl=authority / CRL)


def test_all_that_was_issued_to_somebody_is_taken_back(authority: Path) -> None:
    old, new = (load_certificate(files_of(authority, BOB).cert).serial_number for _ in range(2))  # renewed
    files_of(authority, CAROL)
    assert revoke(authority, "bob") == 2
    ca = authority / "ca.crt"
    assert load_revoked(authority / CRL, ca).serials == {old, new}
    assert revoke(authority, "bob") == 0
    carol = authority.parent / "carol" / "carol.crt"
    assert revoke(authority, "", [carol]) == 1  # as a file, wherever it was made
    found = load_revoked(authority / CRL, ca)
    assert found.serials == {old, new, load_certificate(carol).serial_number}
    assert found.until == load_certificate(ca).not_valid_after_utc
    with pytest.raises(ConfigError, match="has issued no certificate to 'eve'"):
        revoke(authority, "eve")


def test_lists_that_do_not_count(authority: Path, tmp_path: Path) -> None:
    files_of(authority, BOB)
    revoke(authority, "bob")
    create_authority(tmp_path / "other")
    files = authority / CRL, authority / "ca.crt"
    with pytest.raises(ConfigError, match="is not signed by our authority"):
        load_revoked(files[0], tmp_path / "other" / "ca.crt")
    whole = files[0].read_bytes()
    for data, words in ((whole[:200], "holds no list"), (whole.replace(b"MII", b"MIJ"), "malformed"), (b"", "no list")):
        (tmp_path / "bad.pem").write_bytes(data)
        with pytest.raises(ConfigError, match=words):
            load_revoked(tmp_path / "bad.pem", files[1])
    with pytest.raises(ConfigError, match="No such file"):
        load_revoked(tmp_path / "missing.pem", files[1])
    (tmp_path / "two.pem").write_bytes(whole * 2)  # a list for each of several authorities, say
    assert load_revoked(tmp_path / "two.pem", files[1]) == load_revoked(*files)


def test_a_list_that_has_run_out_is_kept_to_and_said() -> None:
    end = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    assert Revoked(frozenset([7]), end).warning(Path("crl.pem"), end - datetime.timedelta(1)) is None
    warning = Revoked(frozenset([7]), end).warning(Path("crl.pem"), end)
    assert warning is not None
    assert "crl.pem has run out (2030-01-01); it is still kept to" in warning


def test_whoever_is_revoked_is_refused_and_cut_off(authority: Path, pool: Any, closing: Any) -> None:
    server, bob, carol = (files_of(authority, role) for role in (SERVER, BOB, CAROL))
    files_of(authority, Role("client", "nobody"))
    revoke(authority, "nobody")
    identity = Identity(server)
    listener = Listener(("localhost", 0), identity)
    closing.callback(listener.close)

    def meet(files: TLSFiles | Identity) -> Any:
        accepted = pool.submit(lambda: listener.accept(10).handshake(10))
        try:
            mine = connect(("localhost", listener.address[1]), files, timeout=10)
        finally:
            accepted.exception()
        closing.callback(mine.close)
        closing.callback(accepted.result().close)
        return mine, accepted.result()

    (bobs, ours_to_bob), (_, ours_to_carol) = meet(bob), meet(carol)
    revoke(authority, "bob")
    assert identity.refresh(now=True)
    assert ours_to_bob.closed
    with pytest.raises(LinkError):
        bobs.receive(10)
    with pytest.raises(LinkError, match="a certificate has been revoked"):
        ours_to_bob.send(b"x")
    assert not ours_to_carol.closed
    with pytest.raises(TrustError, match="it refused us: your certificate has been revoked"):
        meet(bob)
    meet(carol)

    revoke(authority, "server0")  # callers look at it too, before they say anything
    with pytest.raises(TrustError, match="its certificate has been revoked"):
        meet(carol)


def test_a_list_of_no_use_changes_nothing(authority: Path) -> None:
    server = files_of(authority, SERVER)
    files_of(authority, BOB)
    revoke(authority, "bob")
    identity = Identity(server)
    (authority / CRL).write_bytes(b"garbage")
    with pytest.raises(ConfigError, match="holds no list"):
        identity.refresh(now=True)
    assert len(identity.current.revoked.serials) == 1
    with pytest.raises(ConfigError, match="holds no list"):
        Identity(server)  # nobody starts without the list that was asked for


def locked(files: TLSFiles, *command: str) -> TLSFiles:
    """The same, with its key behind a password."""
    plain = serialization.load_pem_private_key(files.key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"s3cret")
    files.key.write_bytes(
        plain.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    return replace(files, password_command=command or None)


@pytest.mark.parametrize("printed", ["s3cret", "s3cret\n", "s3cret\r\n"])
def test_a_command_prints_the_password(authority: Path, printed: str) -> None:
    files = locked(replace(files_of(authority, BOB), crl=None), sys.executable, "-c", f"print({printed!r}, end='')")
    client_context(files)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((), "the key is encrypted; tls.key_password_command says"),
        (("/no/such/program", "topsecret"), "/no/such/program cannot be run: No such file or directory"),
        ((sys.executable, "-c", "print('topsecret'); raise SystemExit(3)"), "ended with exit code 3"),
        ((sys.executable, "-c", ""), "printed 0 bytes"),
        ((sys.executable, "-c", "print('topsecret' * 1000)"), "printed more than 4000 bytes"),
        ((sys.executable, "-c", "print('topsecret')"), "do not load"),
        ((sys.executable, "-c", "input()"), "ended with exit code 1"),  # it is not given the terminal
    ],
)
def test_commands_of_no_use(authority: Path, command: tuple[str, ...], words: str) -> None:
    files = locked(replace(files_of(authority, BOB), crl=None), *command)
    with pytest.raises(ConfigError, match=words) as caught:
        client_context(files)
    assert "topsecret" not in str(caught.value)


def test_a_command_that_does_not_end(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_private.net.command.COMMAND_S", 0.2)
    files = locked(replace(files_of(authority, BOB), crl=None), sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(ConfigError, match=r"did not end within 0\.2 s"):
        client_context(files)


def test_what_an_authority_issued_cannot_be_read(authority: Path) -> None:
    (authority / certificates.ISSUED).write_text("nonsense\n")
    with pytest.raises(ConfigError, match="cannot read what the authority has issued"):
        revoke(authority, "bob")
