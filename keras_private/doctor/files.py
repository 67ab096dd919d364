"""Certificates and keys on disk: there, closed to others, fitting each other, of the right role, and still good."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.doctor.finding import Findings, good, warning, wrong
from keras_private.errors import ConfigError
from keras_private.net.certificates import WARNING_DAYS
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles, check_key, client_context, load_certificate, role_of
from keras_private.party.network import credentials

ABOUT = "certificate"
RENEW = "issue a new one: keras-private certs"


def files_of(config: ClusterConfig, name: str) -> tuple[Role | None, TLSFiles | None]:
    """Who `name` is, as far as can be told, and their files.

    A party is known by its name, an owner or client by the certificate; or, in a cluster on this machine, where
    everybody's is made when it is needed, a client by being called `client`.
    """
    if name in PARTY_NAMES:
        role: Role | None = Role("party", name)
    else:
        role = Role("client" if name == "client" else "owner", name)
    if config.tls is not None:
        tls = config.tls.for_name(name)
        files = TLSFiles(tls.ca, tls.cert, tls.key, tls.crl, tls.key_password_command)
        if name not in PARTY_NAMES:
            with contextlib.suppress(ConfigError):
                role = role_of(files.cert)
        return role, files
    try:
        return role, credentials(config, role) if role else None
    except ConfigError:
        return role, None


def certificates(config: ClusterConfig, role: Role | None, files: TLSFiles | None, name: str) -> Findings:
    if files is None or role is None:
        credentials(config, role or Role("owner", name))  # says why there are none
        return
    missing = [path for path in (files.ca, files.cert, files.key) if not path.is_file()]
    for path in missing:
        yield wrong(ABOUT, f"there is no file {path}", "put it there; keras-private certs makes a folder for everybody")
    modes = list(_modes(files))
    yield from modes
    if missing:
        return
    own = load_certificate(files.cert)
    try:
        authorities, (_, *between) = _all(files.ca), _all(files.cert)
    except ValueError as error:
        raise ConfigError(f"{files.ca} or {files.cert} is no certificate: {error}") from None
    found = role_of(files.cert)
    if found.name != name or (name in PARTY_NAMES) != (found.kind == "party"):
        yield wrong(ABOUT, f"{files.cert} is the certificate of {found}, not of {name}", f"put {name}'s there")
    for authority in authorities:
        yield from _dates(files.ca, authority, "of the authority: nobody trusts anybody without it; make a new one")
    yield from _dates(files.cert, own, RENEW)
    if not any(_issued(own, issuer) for issuer in (*authorities, *between)):
        yield wrong(ABOUT, f"{files.cert} was not issued by {files.ca}", "put the two there that belong together")
        return
    if any(each.level == "wrong" for each in modes):
        return  # nobody loads a key that others can read
    client_context(files)  # that the key fits, and whatever else OpenSSL says no to
    yield good(ABOUT, f"{files.cert}: {found}, issued by {files.ca}, and the key fits")
    yield from _uses(config, files.cert, own, found)
    yield from _revoked(files, own)


def _all(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def _issued(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _revoked(files: TLSFiles, own: x509.Certificate) -> Findings:
    """The list of what the authority has taken back."""
    if files.crl is None:
        return
    revoked = files.revoked
    if own.serial_number in revoked.serials:
        yield wrong("revocation", f"{files.cert} was taken back by its authority: nobody accepts it", RENEW)
    if said := revoked.warning(files.crl, datetime.datetime.now(datetime.UTC)):
        yield warning("revocation", said, "keras-private certs makes one beside the authority; bring it here")
    else:
        yield good("revocation", f"{files.crl} takes {len(revoked.serials)} certificates back")


def _modes(files: TLSFiles) -> Findings:
    if files.key.is_file():
        try:
            check_key(files.key)
        except ConfigError as error:
            yield wrong("key", str(error), f"chmod 600 {files.key}, and think about who read it")
    for path in dict.fromkeys((files.ca, files.cert, files.ca.parent, files.key.parent)):
        if path.exists() and path.stat().st_mode & 0o022:
            yield warning(ABOUT, f"{path} can be changed by others", f"chmod go-w {path}")


def _dates(path: Path, cert: x509.Certificate, do: str) -> Findings:
    now = datetime.datetime.now(datetime.UTC)
    begins, ends = cert.not_valid_before_utc, cert.not_valid_after_utc
    if now < begins:
        yield wrong(ABOUT, f"{path} is not valid before {begins:%Y-%m-%d %H:%M} UTC", "is this host's clock right?")
    elif now >= ends:
        yield wrong(ABOUT, f"{path} has expired ({ends:%Y-%m-%d})", do)
    elif ends - now < datetime.timedelta(days=WARNING_DAYS):
        yield warning(ABOUT, f"{path} expires on {ends:%Y-%m-%d}, in {(ends - now).days} days", do)
    else:
        yield good(ABOUT, f"{path} is valid until {ends:%Y-%m-%d} ({(ends - now).days} days)")


def _uses(config: ClusterConfig, path: Path, cert: x509.Certificate, role: Role) -> Findings:
    """Whether it may be used as it is going to be."""
    with contextlib.suppress(x509.ExtensionNotFound):
        uses = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        due = {"clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH}
        if role.kind == "party":
            due["serverAuth"] = ExtendedKeyUsageOID.SERVER_AUTH
        lacking = [name for name, oid in due.items() if oid not in uses]
        if lacking:
            yield wrong(ABOUT, f"{path} may not be used for {', '.join(lacking)}", RENEW)
    if role.kind == "party" and role.name in PARTY_NAMES:
        host = config.parties[role.name].address[0]
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if host.lower() not in _hosts(names):
            yield warning(
                ABOUT,
                f"{path} does not name the host {host}; parties, owners and clients look at its role alone",
                f"where other tools look at host names: {RENEW}",
            )


def _hosts(names: x509.SubjectAlternativeName) -> set[str]:
    found = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    return found | {str(ipaddress.ip_address(each)) for each in map(str, names.get_values_for_type(x509.IPAddress))}
