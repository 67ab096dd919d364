"""A party's credentials while it runs: what was loaded from its files, and loaded anew when they change.

A new pair is taken over only if it is complete and works: a handshake of the party with itself, in memory, must succeed
with the new files, which shows that key and certificate belong together, that the authority's certificate is the
issuer's, that the dates are right and the uses allowed. Until then the old pair stays. New handshakes use the new pair.
Connections that exist go on, unless the certificate of the other side has been revoked. Files are left alone while they
are still changing from one look to the next.
"""

from __future__ import annotations

import ssl
import threading
import weakref
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from keras_private.errors import ConfigError
from keras_private.net.revocation import REVOKED, Revoked
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles, client_context, explain, load_certificate, role_of, server_context
from keras_private.net.watched import Watched


@dataclass(frozen=True, slots=True)
class Loaded:
    """One state of the files. `expires`: when the certificate stops being valid, UTC; `revoked`: whose are not."""

    role: Role
    server: ssl.SSLContext
    client: ssl.SSLContext
    expires: datetime
    revoked: Revoked

    @classmethod
    def of(cls, files: TLSFiles) -> Loaded:
        expires = load_certificate(files.cert).not_valid_after_utc
        return cls(role_of(files.cert), server_context(files), client_context(files), expires, files.revoked)


class Held(Protocol):
    """A connection, or what was made of some."""

    def close(self, reason: str = ...) -> None: ...


class Identity:
    """`current` and `hold` are for any thread, `refresh` for one.

    Raises:
        ConfigError: a file is missing, malformed or does not fit the others, or others may read the key.
    """

    def __init__(self, files: TLSFiles) -> None:
        self.files = files
        self._watched = Watched((files.ca, files.cert, files.key, *([files.crl] if files.crl else [])))
        self._held: weakref.WeakKeyDictionary[Held, tuple[int, ...]] = weakref.WeakKeyDictionary()
        self._holding = threading.Lock()  # around the field above
        self._current = Loaded.of(files)

    @property
    def current(self) -> Loaded:
        return self._current

    def refresh(self, *, now: bool = False) -> bool:
        """Look whether the files have changed, and take them over if they have. Each state of them is tried once.

        Args:
            now: take them as they are, whether or not they have changed.

        Returns:
            Whether there is something new in `current`.

        Raises:
            ConfigError: they have changed and are of no use; what was there before stays in use.
        """
        if not self._watched.changed(now=now):
            return False
        new = Loaded.of(self.files)
        if new.role != self._current.role:
            raise ConfigError(f"{self.files.cert} is the certificate of {new.role}, not of {self._current.role}")
        _prove(new, self.files.cert)
        self._current = new
        with self._holding:
            held = list(self._held.items())
        for each, serials in held:
            self._cut_off(each, serials)
        return True

    def hold(self, each: Held, *serials: int) -> None:
        """Close something, now or later, once the certificate of one of these numbers is revoked."""
        with self._holding:
            self._held[each] = serials
        self._cut_off(each, serials)

    def serials_of(self, each: Held) -> tuple[int, ...]:
        """What was said of it to `hold`."""
        with self._holding:
            return self._held.get(each, ())

    def _cut_off(self, each: Held, serials: tuple[int, ...]) -> None:
        if not self._current.revoked.serials.isdisjoint(serials):
            each.close(f"a {REVOKED}")


def _prove(new: Loaded, cert: Path) -> None:
    """A handshake of a party with itself.

    Raises:
        ConfigError: it failed.
    """
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [new.client.wrap_bio(there, here), new.server.wrap_bio(here, there, server_side=True)]
    try:
        for end in ends * 2:  # hello; hello and certificate; certificate; done
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLError as error:
        raise ConfigError(f"the certificate {cert} does not work: {explain(error)}") from None
