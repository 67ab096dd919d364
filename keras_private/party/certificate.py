"""Looking after a party's certificate: changed files are taken over, and its end is announced before it comes."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable
from typing import Final

from keras_private.errors import ConfigError
from keras_private.logs import Log
from keras_private.net.certificates import expiry_warning
from keras_private.net.identity import Identity

LOOK_S: Final = 2.0  # between two looks at the files; a change is taken over at the second one
_REMIND = datetime.timedelta(days=1)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class CertificateWatch:
    """Call `look` every `LOOK_S` seconds.

    Args:
        renew: called once a day; makes the files anew if that can be done from here and is due.
        clock: the time, UTC.
    """

    def __init__(
        self,
        identity: Identity,
        log: Log,
        renew: Callable[[], object] = lambda: None,
        clock: Callable[[], datetime.datetime] = _now,
    ) -> None:
        self._identity = identity
        self._log = log
        self._renew = renew
        self._clock = clock
        self._renew_at = clock() + _REMIND
        self._said = ""
        self._say_at = self._say_list_at = clock()

    @property
    def expires(self) -> int:
        """When the certificate in use does, seconds since 1970."""
        return int(self._identity.current.expires.timestamp())

    def look(self, *, now: bool = False) -> None:
        """Take over what has changed; say what is to be said now. Warnings are repeated daily.

        Args:
            now: take the files as they are.
        """
        if self._clock() >= self._renew_at:
            self._renew_at = self._clock() + _REMIND
            with contextlib.suppress(ConfigError):  # then the warnings go on
                self._renew()
        try:
            if self._identity.refresh(now=now):
                self._said = ""
                self._log.info("certificate reloaded", expires=f"{self._identity.current.expires:%Y-%m-%d}")
        except ConfigError as error:
            self._log.warning("certificate kept", cause=str(error))
        self._warn()
        self._warn_of_list()

    def _warn_of_list(self) -> None:
        path, now = self._identity.files.crl, self._clock()
        warning = path and self._identity.current.revoked.warning(path, now)
        if warning and now >= self._say_list_at:
            self._say_list_at = now + _REMIND
            self._log.warning("certificate", cause=warning)

    def _warn(self) -> None:
        now, expires = self._clock(), self._identity.current.expires
        warning = expiry_warning(self._identity.files.cert, expires, now)
        stage = "" if warning is None else "expired" if now >= expires else "soon"
        if warning and (stage != self._said or now >= self._say_at):
            self._say_at = now + _REMIND
            if stage == "expired":
                self._log.error("certificate", cause=warning)
            else:
                self._log.warning("certificate", cause=warning)
        self._said = stage
