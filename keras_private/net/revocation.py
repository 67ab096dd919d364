"""Certificates that their authority has taken back: reading its lists (CRL, RFC 5280), and adding to ours.

A list counts if an authority of ours signed it. One that has run out (`nextUpdate`) is kept to and warned of: what was
taken back does not become good again by time passing, and a file that nobody renewed must not stop a service. Whoever
keeps an operator from getting the next list hides from that party what was taken back since; so look at the warning.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keras_private.errors import ConfigError

CRL: Final = "crl.pem"  # file name

REVOKED: Final = "certificate has been revoked"


@dataclass(frozen=True, slots=True)
class Revoked:
    """Numbers of certificates that count no more. `until`: when the list should have been replaced; None: never."""

    serials: frozenset[int] = frozenset()
    until: datetime.datetime | None = None

    def warning(self, path: Path, now: datetime.datetime) -> str | None:
        """What to tell an operator of a list that has run out."""
        if self.until is None or now < self.until:
            return None
        return (
            f"the list of revoked certificates {path} has run out ({self.until:%Y-%m-%d}); it is still kept to, but "
            "what was revoked since is not known: get a new one from the authority"
        )


def load_revoked(path: Path, ca: Path) -> Revoked:
    """Reads a PEM file of one or more lists.

    Args:
        ca: certificates of the authorities that may sign them.

    Raises:
        ConfigError: a file is missing or malformed, or a list is not signed by one of these authorities.
    """
    try:
        blocks = path.read_text(encoding="ascii").split("-----END X509 CRL-----")
        lists = [x509.load_pem_x509_crl(f"{block}-----END X509 CRL-----\n".encode()) for block in blocks[:-1]]
        authorities = x509.load_pem_x509_certificates(ca.read_bytes())
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is malformed"
        raise ConfigError(f"cannot read the list of revoked certificates {path}: {cause}") from None
    if not lists:
        raise ConfigError(f"{path} holds no list of revoked certificates (PEM, X509 CRL)")
    for each in lists:
        if not any(_signed_by(each, authority) for authority in authorities):
            raise ConfigError(f"the list of revoked certificates {path} is not signed by our authority {ca}")
    ends = [each.next_update_utc for each in lists if each.next_update_utc is not None]
    return Revoked(frozenset(entry.serial_number for each in lists for entry in each), min(ends, default=None))


def _signed_by(revocations: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    if revocations.issuer != authority.subject:
        return False
    try:
        return revocations.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # of a kind that signs
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False


def revoke(path: Path, ca: x509.Certificate, signer: ec.EllipticCurvePrivateKey, serials: frozenset[int]) -> bytes:
    """The list at `path`, or a first one, with these certificates added; PEM. It runs out with its authority.

    Raises:
        ConfigError: what is at `path` is no list of this authority's.
    """
    now, number = datetime.datetime.now(datetime.UTC), 1
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject)
    builder = builder.last_update(now).next_update(ca.not_valid_after_utc)
    entries: dict[int, datetime.datetime] = {}
    if path.exists():
        try:
            before = x509.load_pem_x509_crl(path.read_bytes())
            number = before.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
        except (OSError, ValueError, x509.ExtensionNotFound) as error:
            raise ConfigError(f"cannot go on with the list of revoked certificates {path}: {error}") from None
        if not _signed_by(before, ca):
            raise ConfigError(f"the list of revoked certificates {path} is not signed by the authority beside it")
        entries = {entry.serial_number: entry.revocation_date_utc for entry in before}
    for serial in serials - entries.keys():
        entries[serial] = now
    for serial, date in entries.items():
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(date)
        builder = builder.add_revoked_certificate(entry.build())
    key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(x509.CRLNumber(number), critical=False).add_extension(key, critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
