from __future__ import annotations

import os
import socket
import ssl
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from keras_private.errors import ConfigError, LinkTimeoutError
from keras_private.net.roles import Role
from keras_private.net.tls import (
    TLSFiles,
    check_key,
    client_context,
    explain,
    link_error,
    open_to_others,
    role_of,
    server_context,
)

from .conftest import CLIENT, PARTIES

Credentials = dict[Role, TLSFiles]


def test_contexts_are_mutual_and_new(credentials: Credentials) -> None:
    for context in (server_context(credentials[PARTIES[0]]), client_context(credentials[CLIENT])):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode == ssl.CERT_REQUIRED
    assert server_context(credentials[PARTIES[0]]).num_tickets == 0


def test_roles_are_read_from_files(credentials: Credentials) -> None:
    assert all(role_of(files.cert) == role for role, files in credentials.items())
    with pytest.raises(ConfigError, match="must name one role"):
        role_of(credentials[CLIENT].ca)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_can_read_is_refused(credentials: Credentials, tmp_path: Path, mode: int) -> None:
    key = tmp_path / "some.key"
    key.write_bytes(credentials[CLIENT].key.read_bytes())
    key.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {key}"):
        client_context(TLSFiles(credentials[CLIENT].ca, credentials[CLIENT].cert, key))
    key.chmod(0o400)
    check_key(key)


@pytest.mark.parametrize(
    ("owner", "mode", "user", "refused"),
    [
        (1000, 0o600, 1000, False),
        (1000, 0o640, 1000, True),
        (0, 0o400, 0, False),
        (0, 0o440, 0, True),  # root needs no group
        (0, 0o440, 1000, False),  # a credential of systemd, a secret of Kubernetes
        (0, 0o640, 1000, False),
        (0, 0o660, 1000, True),
        (0, 0o444, 1000, True),
        (0, 0o641, 1000, True),
        (1001, 0o440, 1000, True),  # that user may change it
    ],
)
def test_a_group_may_read_what_root_hands_to_a_service(owner: int, mode: int, user: int, refused: bool) -> None:
    found = os.stat_result((stat.S_IFREG | mode, 0, 0, 1, owner, 0, 0, 0, 0, 0))
    assert open_to_others(found, user) is refused


@pytest.mark.parametrize("field", ["ca", "cert", "key"])
def test_a_missing_file_is_named(credentials: Credentials, tmp_path: Path, field: str) -> None:
    files = credentials[CLIENT]
    paths = {name: getattr(files, name) for name in ("ca", "cert", "key")} | {field: tmp_path / "missing"}
    with pytest.raises(ConfigError, match="No such file"):
        client_context(TLSFiles(**paths))


def test_files_that_do_not_belong_together(credentials: Credentials) -> None:
    mine, other = credentials[CLIENT], credentials[PARTIES[0]]
    with pytest.raises(ConfigError, match="do not load"):
        client_context(TLSFiles(mine.ca, mine.cert, other.key))


def test_an_encrypted_key_does_not_ask_at_the_terminal(credentials: Credentials, tmp_path: Path) -> None:
    files = credentials[CLIENT]
    plain = serialization.load_pem_private_key(files.key.read_bytes(), None)
    key = tmp_path / "locked.key"
    key.touch(mode=0o600)
    key.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    with pytest.raises(ConfigError, match="encrypted"):
        client_context(TLSFiles(files.ca, files.cert, key))


def test_garbage_is_no_certificate(tmp_path: Path) -> None:
    path = tmp_path / "garbage.crt"
    path.write_text("garbage")
    with pytest.raises(ConfigError, match=r"cannot read the certificate .*garbage\.crt"):
        role_of(path)


def test_strings_are_paths() -> None:
    assert TLSFiles("~/ca.crt", "a.crt", "a.key").ca == Path.home() / "ca.crt"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "refused"), "nothing listens there"),
        (ConnectionResetError(104, "reset"), "it closed the connection"),
        (BrokenPipeError(32, "pipe"), "it closed the connection"),
        (socket.gaierror(-2, "Name or service not known"), "the host name is not known"),
        (TimeoutError("timed out"), "it took too long"),
        (OSError(113, "No route to host"), "No route to host"),
    ],
)
def test_causes_are_explained(error: OSError, words: str) -> None:
    assert words in explain(error)
    assert str(link_error(error, "a → b")).startswith("a → b: ")


def test_a_timeout_stays_a_timeout() -> None:
    assert isinstance(link_error(TimeoutError(), "a → b"), LinkTimeoutError)
