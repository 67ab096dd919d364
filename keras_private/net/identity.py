"""A party's credentials while it runs: what was loaded from its files, and loaded anew when they change.

A new pair is taken over only if it is complete and works: a handshake of the party with itself, in memory, must succeed
with the new files, which shows that key and certificate belong together, that the authority's certificate is the
issuer's, that the dates are right and the uses allowed. Until then the old pair stays. Connections that exist are not
touched; new handshakes use the new pair. Files are left alone while they are still changing from one look to the next.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from keras_private.errors import ConfigError
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles, client_context, explain, load_certificate, role_of, server_context
from keras_private.net.watched import Watched


@dataclass(frozen=True, slots=True)
class Loaded:
    """One state of the files. `expires`: when the certificate stops being valid, UTC."""

    role: Role
    server: ssl.SSLContext
    client: ssl.SSLContext
    expires: datetime

    @classmethod
    def of(cls, files: TLSFiles) -> Loaded:
        expires = load_certificate(files.cert).not_valid_after_utc
        return cls(role_of(files.cert), server_context(files), client_context(files), expires)


class Identity:
    """`current` is for any thread, `refresh` for one.

    Raises:
        ConfigError: a file is missing, malformed or does not fit the others, or others may read the key.
    """

    def __init__(self, files: TLSFiles) -> None:
        self.files = files
        self._watched = Watched((files.ca, files.cert, files.key))
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
        return True


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
