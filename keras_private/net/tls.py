"""TLS contexts: version 1.3 only, both sides with a certificate of the cluster's authority.

Peers are recognised by the authority and by the role in their certificate, not by host names: a party may move to
another host, and a name server is not to be trusted with who is who.
"""

from __future__ import annotations

import os
import socket
import ssl
import stat
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509

from keras_private.errors import ConfigError, LinkError, LinkTimeoutError, TrustError
from keras_private.net.command import output_of
from keras_private.net.revocation import Revoked, load_revoked
from keras_private.net.roles import Role

_PASSWORD_BYTES = 1000  # OpenSSL takes 1024
CHUNK_BYTES = 1 << 18
"""The most that OpenSSL is given at a time; it makes records of 16 kB. Frames up to this size are copied whole."""


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """Where one participant's credentials lie, PEM: the authority's certificate, its own certificate, its own key, a
    list of revoked certificates; and the command that prints the key's password."""

    ca: Path
    cert: Path
    key: Path
    crl: Path | None = None
    password_command: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for field in ("ca", "cert", "key", "crl"):  # plain strings, as cluster.yaml has them, are welcome
            path = getattr(self, field)
            object.__setattr__(self, field, path if path is None else Path(path).expanduser())

    @property
    def revoked(self) -> Revoked:
        """The certificates that count no more.

        Raises:
            ConfigError: as `load_revoked`.
        """
        return Revoked() if self.crl is None else load_revoked(self.crl, self.ca)


def server_context(files: TLSFiles) -> ssl.SSLContext:
    """The context of a listener.

    Raises:
        ConfigError: a file is missing, malformed or does not fit the others, or others may read the key.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, files)
    context.num_tickets = 0  # sessions are never resumed, and tickets would be records nobody waits for
    return context


def client_context(files: TLSFiles) -> ssl.SSLContext:
    """The context of whoever connects. Raises as `server_context` does."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, files)


def _context(protocol: int, files: TLSFiles) -> ssl.SSLContext:
    check_key(files.key)
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the role is checked instead, see the top of this file
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(files.ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot read the authority's certificate {files.ca}: {_reason(error)}") from None
    try:
        context.load_cert_chain(files.cert, files.key, password=partial(_password, files.password_command))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"certificate {files.cert} and key {files.key} do not load: {_reason(error)}") from None
    return context


def _password(command: tuple[str, ...] | None) -> bytes:
    """Asked for if a key is encrypted. Without this OpenSSL would ask at the terminal, and a server hang there."""
    if command is None:
        raise ConfigError("the key is encrypted; tls.key_password_command says how to get its password")
    name = f"tls.key_password_command: {command[0]}"
    password = output_of(command, name, 4 * _PASSWORD_BYTES).removesuffix(b"\n").removesuffix(b"\r")
    if not 1 <= len(password) <= _PASSWORD_BYTES:
        raise ConfigError(f"{name} printed {len(password)} bytes; a password has from 1 to {_PASSWORD_BYTES}")
    return password


def check_key(key: Path) -> None:
    """Makes sure that nobody else can read a private key, by `open_to_others`.

    Raises:
        ConfigError: the file is missing, or its mode lets others in.
    """
    try:
        found = key.stat()
    except OSError as error:
        raise ConfigError(f"cannot read the key {key}: {_reason(error)}") from None
    if open_to_others(found, os.geteuid()):
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError(f"the key {key} can be read by others (mode {mode:04o}); run: chmod 600 {key}")


def open_to_others(found: os.stat_result, user: int) -> bool:
    """Whether a key's file can be read, or changed, by anybody but `user` and root.

    The group may read root's files, unless the user is root: it is how a system hands a key to the one service that is
    in that group, and which then cannot change it (a credential of systemd, a secret of Kubernetes with `fsGroup`).
    PostgreSQL takes its key by the same rule.
    """
    refused = 0o037 if found.st_uid == 0 != user else 0o077
    return bool(stat.S_IMODE(found.st_mode) & refused)


def role_of(cert: Path) -> Role:
    """The role that a certificate file states.

    Raises:
        ConfigError: the file is missing or malformed, or its certificate states no role.
    """
    certificate = load_certificate(cert)
    try:
        names = certificate.extensions  # read when it is asked for
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ConfigError(f"cannot read the certificate {cert}: {_reason(error)}") from None
    try:
        alternative = names.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        uris: list[str] = []
    else:
        uris = alternative.get_values_for_type(x509.UniformResourceIdentifier)
    try:
        return Role.from_uris(uris)
    except ConfigError as error:
        raise ConfigError(f"{cert}: {error}") from None


def load_certificate(cert: Path) -> x509.Certificate:
    """Reads the first certificate of a PEM file.

    Raises:
        ConfigError: the file is missing or malformed.
    """
    try:
        return x509.load_pem_x509_certificate(Path(cert).read_bytes())
    except (OSError, ValueError, x509.InvalidVersion) as error:
        raise ConfigError(f"cannot read the certificate {cert}: {_reason(error)}") from None


def peer_role(sock: ssl.SSLSocket) -> tuple[Role, int]:
    """The role in the verified certificate of the other side, and that certificate's number.

    Raises:
        ConfigError: it states no role, or several.
    """
    certificate: dict[str, Any] = sock.getpeercert() or {}
    role = Role.from_uris(value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI")
    return role, int(str(certificate.get("serialNumber", "0")), 16)


# What an operator should read instead of OpenSSL's words. "it" is the other side.
_VERIFY_CODES = {
    9: "its certificate is not valid yet; compare the two hosts' clocks",
    10: "its certificate has expired; issue a new one (keras-private certs)",
    18: "its certificate is not from our authority",
    19: "its certificate is not from our authority",
    20: "its certificate is not from our authority",
    21: "its certificate is not from our authority",
    26: "its certificate is not meant for this use",
}
_REFUSED_US = "it refused our certificate"
_CORRUPTED = "bytes were corrupted on the way; look at the network between the two"
_PASSING = {  # may be gone the next time
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": _CORRUPTED,
    "SSLV3_ALERT_BAD_RECORD_MAC": _CORRUPTED,
    "UNEXPECTED_EOF_WHILE_READING": "it closed the connection",
}
_REASONS = {
    **_PASSING,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it sent no certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it refused us: it wants a certificate",
    "TLSV1_ALERT_UNKNOWN_CA": f"{_REFUSED_US}: not from its authority",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_REFUSED_US}: expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": _REFUSED_US,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REFUSED_US,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": f"{_REFUSED_US}: not meant for this use",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not speak TLS 1.3",
    "UNSUPPORTED_PROTOCOL": "it does not speak TLS 1.3",
    "HTTP_REQUEST": "it speaks HTTP, not TLS",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
}


def explain(error: BaseException) -> str:
    """The cause of a failed connection, in words an operator can act on."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_CODES.get(error.verify_code, f"its certificate was not accepted: {error.verify_message}")
    if isinstance(error, ssl.SSLEOFError):
        return "it closed the connection"
    if isinstance(error, ssl.SSLError):
        return _REASONS.get(error.reason or "", f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}")
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there; is that party started?"
    if isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return "it closed the connection"
    if isinstance(error, socket.gaierror):
        return f"the host name is not known ({error.strerror})"
    if isinstance(error, TimeoutError):
        return "it took too long"
    return _reason(error)


def link_error(error: BaseException, sides: str, party: str = "") -> LinkError:
    """`error` as this package's own, with both sides named by `sides`; `party`: see `LinkError`."""
    kind = LinkTimeoutError if isinstance(error, TimeoutError) else TrustError if _lasts(error) else LinkError
    return kind(f"{sides}: {explain(error)}", party)


def _lasts(error: BaseException) -> bool:
    """Whether one side said no to the other, so that asking again is no use; a broken connection may come back."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    return isinstance(error, ssl.SSLError) and error.reason in _REASONS.keys() - _PASSING.keys()


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
