"""Certificates: a small authority for one cluster, and a leaf with a role for each participant.

A role is in the certificate's common name ("party:server0") for people, and in a URI name
("keras-private:party/server0") for programs. ECDSA P-256, PEM. Keys have mode 0600 and lie in folders of mode 0700.

    <folder>/ca.crt                 goes to everyone
    <folder>/ca.key                 stays where it is: whoever has it can become anyone
    <folder>/issued.txt             stays there too: what was issued to whom, so that it can be taken back
    <folder>/crl.pem                what was taken back; goes to everyone
    <folder>/<name>.crt, <name>.key go to that participant alone

`local_credentials` keeps an authority of its own for each user of this machine, so that a cluster on loopback needs
no preparation. Its folders appear complete or not at all (made aside, then renamed), so two processes may race.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import ipaddress
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import platformdirs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keras_private.errors import ConfigError
from keras_private.net.revocation import CRL, load_revoked
from keras_private.net.revocation import revoke as sign_list
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles, check_key, load_certificate

CA_CERT, CA_KEY = "ca.crt", "ca.key"  # file names
ISSUED = "issued.txt"
"""File name. Of each certificate that the authority issued a line: number in hex, role, last day."""
AUTHORITY_DAYS = 3650
LEAF_DAYS = 365
WARNING_DAYS = 30

_CLOCK_SKEW = datetime.timedelta(hours=1)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def create_authority(folder: Path, days: int = AUTHORITY_DAYS) -> None:
    """Makes ca.crt and ca.key in `folder`.

    Raises:
        ConfigError: there is one already; a new one would orphan every certificate of the old.
    """
    _private_folder(folder)
    if (folder / CA_KEY).exists() or (folder / CA_CERT).exists():
        raise ConfigError(f"{folder} holds an authority already; remove it by hand if it is to be replaced")
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own for each: a certificate of another authority is then foreign, and not "badly signed".
    name = _name(f"keras_private authority {secrets.token_hex(4)}")
    builder = (
        _builder(name, name, key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
    )
    _write(folder / CA_KEY, _pem(key))
    _write(folder / CA_CERT, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def issue(
    folder: Path, role: Role, hosts: Iterable[str] = (), days: int = LEAF_DAYS, authority: Path | None = None
) -> TLSFiles:
    """Makes <name>.crt and <name>.key in `folder`; replaces older ones.

    Args:
        authority: the folder of the authority that signs, if it is another one; its ca.crt is then copied.
        hosts: host names and IP addresses where a party listens. keras_private checks roles, not hosts; other tools
            may like to see them.

    Raises:
        ConfigError: no authority there, or its key can be read by others.
    """
    files = _files(folder, role)
    ca, signer = _load_authority(authority or folder)
    key = ec.generate_private_key(ec.SECP256R1())
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]  # owners and clients only ever connect; parties also listen
    if role.kind == "party":
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(role.uri), *map(_host_name, dict.fromkeys(hosts))]
    builder = (
        _builder(_name(str(role)), ca.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if authority is not None:
        _write(files.ca, ca.public_bytes(serialization.Encoding.PEM))
    _write(files.key, _pem(key))
    made = builder.sign(signer, hashes.SHA256())
    _write(files.cert, made.public_bytes(serialization.Encoding.PEM))
    with (authority or folder).joinpath(ISSUED).open("a", encoding="ascii") as issued:
        issued.write(f"{made.serial_number:x} {role} {made.not_valid_after_utc:%Y-%m-%d}\n")
    return files


def revoke(authority: Path, name: str, files: Iterable[Path] = ()) -> int:
    """Takes back the certificates of a participant: adds them to the authority's crl.pem.

    Args:
        name: of the participant: all that was ever issued to them here is taken back.
        files: certificates, which are taken back too, wherever they were made.

    Returns:
        how many of them were not revoked yet.

    Raises:
        ConfigError: the authority knows none of theirs, a file is none of its certificates, or its files are unusable.
    """
    ca, signer = _load_authority(authority)
    serials = {int(number, 16) for number, role in _issued(authority) if role.name == name}
    for path in files:
        certificate = load_certificate(path)
        if certificate.issuer != ca.subject:
            raise ConfigError(f"{path} is not from the authority in {authority}")
        serials.add(certificate.serial_number)
    if not serials:
        raise ConfigError(f"the authority in {authority} has issued no certificate to {name!r} that it knows of")
    before = load_revoked(authority / CRL, authority / CA_CERT).serials if (authority / CRL).exists() else frozenset()
    _write(authority / CRL, sign_list(authority / CRL, ca, signer, frozenset(serials)))
    return len(serials - before)


def _issued(authority: Path) -> list[tuple[str, Role]]:
    try:
        lines = (authority / ISSUED).read_text(encoding="ascii").splitlines()
        return [(number, Role.parse(role)) for number, role, _ in map(str.split, lines)]
    except FileNotFoundError:  # an authority from before this file
        return []
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read what the authority has issued, {authority / ISSUED}: {error}") from None


def hand_out_list(authority: Path, folders: Iterable[Path]) -> None:
    """Copies the authority's list of revoked certificates into participants' folders. If there is none yet an empty one
    is made, so that `tls.crl` can be set from the first day on. Raises ConfigError as `revoke`."""
    if not (authority / CRL).exists():
        _write(authority / CRL, sign_list(authority / CRL, *_load_authority(authority), frozenset()))
    data = (authority / CRL).read_bytes()
    for folder in folders:
        _write(folder / CRL, data)


def expires_at(cert: Path) -> datetime.datetime:
    """When a certificate file stops being valid, UTC. Raises ConfigError if it cannot be read."""
    return load_certificate(cert).not_valid_after_utc


def check_dates(cert: Path) -> None:
    """Makes sure that a certificate is valid now.

    Raises:
        ConfigError: it cannot be read, has expired or is not valid yet.
    """
    begins = load_certificate(cert).not_valid_before_utc
    if begins > _now():
        raise ConfigError(
            f"our own certificate {cert} is not valid before {begins:%Y-%m-%d %H:%M} UTC; is the clock right?"
        )
    if days_left(cert) <= 0:
        raise ConfigError(
            f"our own certificate {cert} has expired ({expires_at(cert):%Y-%m-%d}); issue a new one with: "
            "keras-private certs"
        )


def days_left(cert: Path) -> float:
    """Days until then; negative afterwards."""
    return (expires_at(cert) - _now()) / datetime.timedelta(days=1)


def expiry_warning(
    cert: Path, expires: datetime.datetime | None = None, now: datetime.datetime | None = None
) -> str | None:
    """What to tell an operator about a certificate that has expired or soon will, or None.

    Args:
        expires, now: when the certificate in use expires, if it was read earlier, and the time; both UTC.
    """
    expires = expires or expires_at(cert)
    left = expires - (now or _now())
    if left >= datetime.timedelta(days=WARNING_DAYS):
        return None
    what = f"expires in {left.days} days" if left > datetime.timedelta() else "has expired"
    return f"the certificate {cert} {what} ({expires:%Y-%m-%d}); issue a new one with: keras-private certs"


# ---- this user's authority, for clusters on this machine


def home() -> Path:
    """This user's folder for keras_private's own files; KERAS_PRIVATE_HOME names another one."""
    return Path(os.environ.get("KERAS_PRIVATE_HOME") or platformdirs.user_data_dir("keras_private"))


def local_authority() -> Path:
    """The folder of this user's development authority, made on first use.

    Raises:
        ConfigError: this user's folder cannot be written to.
    """
    folder = home() / "local" / "authority"
    _install(folder, lambda: _fresh(folder / CA_CERT), create_authority)
    return folder


def local_credentials(role: Role, hosts: Iterable[str] = ()) -> TLSFiles:
    """Credentials for a cluster on this machine; made on first use, and again a month before they expire.

    Args:
        hosts: where the cluster's parties are, "host" alone.

    Raises:
        ConfigError: one of the hosts is not this machine's loopback, or this user's folder cannot be written to.
    """
    for host in hosts:
        if not is_loopback(host):
            raise ConfigError(
                f"{host} is not on this machine; name certificates under `tls` in cluster.yaml (keras-private certs)"
            )
    authority = local_authority()
    files = _files(home() / "local" / f"{role.kind}-{role.name}", role)

    def good() -> bool:
        return _fresh(files.cert) and files.key.exists() and files.ca.read_bytes() == (authority / CA_CERT).read_bytes()

    def fill(folder: Path) -> None:
        issue(folder, role, _LOOPBACK if role.kind == "party" else (), authority=authority)

    _install(files.cert.parent, good, fill)
    return files


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _fresh(cert: Path) -> bool:
    try:
        return days_left(cert) > WARNING_DAYS
    except ConfigError:
        return False


def _install(folder: Path, good: Callable[[], bool], fill: Callable[[Path], None]) -> None:
    """Makes `folder` anew unless it is good. Another process may be doing the same: whoever renames first wins."""
    try:
        for _ in range(5):
            with contextlib.suppress(FileNotFoundError):
                if good():
                    return
            _private_folder(folder.parent)
            aside = Path(tempfile.mkdtemp(prefix=".aside-", dir=folder.parent))  # with mode 0700
            try:
                made = aside / "made"
                made.mkdir(mode=0o700)
                fill(made)
                with contextlib.suppress(FileNotFoundError):
                    if not good():
                        folder.rename(aside / "stale")
                made.rename(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise ConfigError(
            f"cannot keep certificates in {folder}: {error.strerror}; KERAS_PRIVATE_HOME may name another place"
        ) from None
    raise ConfigError(f"{folder} keeps changing while certificates are made there; is another process at work?")


# ---- the parts of a certificate, and files


def _files(folder: Path, role: Role) -> TLSFiles:
    return TLSFiles(folder / CA_CERT, folder / f"{role.name}.crt", folder / f"{role.name}.key")


def _load_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    path = folder / CA_KEY
    check_key(path)
    ca = load_certificate(folder / CA_CERT)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"cannot use the authority's key {path}: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != ca.public_key():
        raise ConfigError(f"{path} is not the key of {folder / CA_CERT}")
    return ca, key


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _CLOCK_SKEW)
        .not_valid_after(_now() + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _private_folder(folder: Path) -> None:
    """Makes the folder if need be, and closes it to others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _write(path: Path, data: bytes) -> None:
    """Writes a file of mode 0600, which appears complete or not at all."""
    descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(aside, path)
    except OSError:
        os.unlink(aside)
        raise
