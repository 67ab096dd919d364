from __future__ import annotations

import datetime
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keras_private.errors import ConfigError
from keras_private.net.certificates import (
    create_authority,
    days_left,
    expires_at,
    expiry_warning,
    home,
    is_loopback,
    issue,
    local_authority,
    local_credentials,
)
from keras_private.net.roles import Role
from keras_private.net.tls import client_context, load_certificate, role_of, server_context

PARTY = Role("party", "server0")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_PRIVATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_what_an_authority_may_do(tmp_path: Path) -> None:
    create_authority(tmp_path / "certs")
    certificate = load_certificate(tmp_path / "certs" / "ca.crt")
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    assert mode(tmp_path / "certs") == 0o700
    assert mode(tmp_path / "certs" / "ca.key") == 0o600


@pytest.mark.parametrize("kind", ["party", "owner", "client"])
def test_what_a_leaf_may_do(tmp_path: Path, kind: str) -> None:
    create_authority(tmp_path)
    role = Role.parse(f"{kind}:some.body")
    files = issue(tmp_path, role, ["example.org", "10.0.0.7", "[::1]", "example.org"])
    certificate = load_certificate(files.cert)
    extensions = certificate.extensions
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign) == (True, False)
    uses = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    listens = {ExtendedKeyUsageOID.SERVER_AUTH} if kind == "party" else set()
    assert uses == {ExtendedKeyUsageOID.CLIENT_AUTH} | listens
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"keras-private:{kind}/some.body"]
    assert names.get_values_for_type(x509.DNSName) == ["example.org"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7", "::1"]
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == str(role)
    assert role_of(files.cert) == role
    assert mode(files.key) == mode(files.cert) == 0o600
    certificate.verify_directly_issued_by(load_certificate(files.ca))


def test_certificates_are_renewed_under_the_same_authority(tmp_path: Path) -> None:
    create_authority(tmp_path)
    first = issue(tmp_path, PARTY, ["localhost"], days=90)
    assert 89 < days_left(first.cert) < 90
    client_context(first)
    server_context(first)
    again = issue(tmp_path, PARTY, ["localhost"])
    load_certificate(again.cert).verify_directly_issued_by(load_certificate(first.ca))
    assert days_left(again.cert) > 300
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_authority_is_not_replaced(tmp_path: Path) -> None:
    create_authority(tmp_path)
    with pytest.raises(ConfigError, match="holds an authority already"):
        create_authority(tmp_path)


def test_an_authority_whose_key_is_open_or_foreign_signs_nothing(tmp_path: Path) -> None:
    create_authority(tmp_path / "a")
    create_authority(tmp_path / "b")
    (tmp_path / "a" / "ca.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        issue(tmp_path / "a", PARTY)
    (tmp_path / "b" / "ca.key").replace(tmp_path / "a" / "ca.key")
    with pytest.raises(ConfigError, match="is not the key of"):
        issue(tmp_path / "a", PARTY)
    with pytest.raises(ConfigError, match="cannot read the key"):
        issue(tmp_path / "b", PARTY)


def test_expiry_is_read_and_warned_of(tmp_path: Path) -> None:
    create_authority(tmp_path)
    now = datetime.datetime.now(datetime.UTC)
    for days, warning in ((365, None), (29, "expires in 28 days"), (0, "has expired")):
        cert = issue(tmp_path, PARTY, days=days).cert
        assert abs(expires_at(cert) - now - datetime.timedelta(days=days)) < datetime.timedelta(minutes=5)
        said = expiry_warning(cert)
        assert (said is None) if warning is None else (said is not None and warning in said)
    assert days_left(cert) < 0


# ---- this machine's own


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.3.2.1", "::1", "[::1]"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "10.0.0.1", "localhost.example.org", "::"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_local_credentials_are_made_once(own_home: Path) -> None:
    files = local_credentials(PARTY, ["localhost", "::1"])
    assert home() == own_home
    assert role_of(files.cert) == PARTY
    assert local_credentials(PARTY) == files
    before = files.cert.read_bytes()
    assert local_credentials(PARTY).cert.read_bytes() == before
    for folder in (own_home / "local", files.cert.parent, local_authority()):
        assert mode(folder) == 0o700
    server_context(files)
    # The same name in another role is somebody else.
    assert role_of(local_credentials(Role("client", "server0")).cert) == Role("client", "server0")
    assert files.cert.read_bytes() == before


def test_local_credentials_are_for_loopback_only(own_home: Path) -> None:
    with pytest.raises(ConfigError, match=r"10\.0\.0\.1 is not on this machine"):
        local_credentials(PARTY, ["localhost", "10.0.0.1"])
    assert not own_home.exists()


def test_local_credentials_are_renewed_in_time(own_home: Path) -> None:
    files = local_credentials(PARTY)
    issue(files.cert.parent, PARTY, days=29, authority=local_authority())
    assert days_left(files.cert) < 30
    assert days_left(local_credentials(PARTY).cert) > 300


def test_a_renewed_authority_renews_its_leaves(own_home: Path) -> None:
    files = local_credentials(PARTY)
    folder = local_authority()
    for name in ("ca.crt", "ca.key"):
        (folder / name).unlink()
    create_authority(folder, days=20)  # about to expire
    assert days_left(local_authority() / "ca.crt") > 300
    again = local_credentials(PARTY)
    assert again == files
    load_certificate(again.cert).verify_directly_issued_by(load_certificate(folder / "ca.crt"))


def test_threads_that_race_agree(own_home: Path) -> None:
    roles = [Role("party", f"server{i % 3}") for i in range(12)]
    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(local_credentials, roles))
    assert len({files.ca.read_bytes() for files in made}) == 1
    for files in made:
        server_context(files)
    assert sorted(path.name for path in (own_home / "local").iterdir()) == [
        "authority", "party-server0", "party-server1", "party-server2",
    ]  # fmt: skip


def test_processes_that_race_agree(own_home: Path) -> None:
    code = (
        "from keras_private.net.certificates import local_credentials; from keras_private.net.roles import Role; "
        "print(local_credentials(Role('party', 'server0')).ca.read_text())"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(set(said)) == 1
    assert b"BEGIN CERTIFICATE" in said[0]


def test_a_home_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERAS_PRIVATE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="KERAS_PRIVATE_HOME"):
        local_credentials(PARTY)
