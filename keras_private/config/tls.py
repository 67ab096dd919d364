"""tls: certificate files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from keras_private.config.sections import Section, placed

Word = Annotated[str, Field(min_length=1)]


class TLSConfig(Section):
    """Certificate files. `{name}` stands for the party's name, or `owner` or `client`."""

    ca: Path
    cert: Path
    key: Path
    crl: Path | None = None
    """Which certificates the authority has taken back."""
    key_password_command: Annotated[tuple[Word, ...], Field(min_length=1)] | None = None
    """A program and its arguments; no shell reads them. What it prints is the password of the key."""

    def for_name(self, name: str) -> TLSConfig:
        """The files of one participant."""

        def fill(path: Path) -> Path:
            return Path(str(path).replace("{name}", name))

        words = self.key_password_command
        return TLSConfig(
            ca=fill(self.ca),
            cert=fill(self.cert),
            key=fill(self.key),
            crl=self.crl and fill(self.crl),
            key_password_command=words and tuple(word.replace("{name}", name) for word in words),
        )

    def under(self, folder: Path) -> TLSConfig:
        """The same files, relative paths taken from `folder`, `~` from the user's home."""
        return TLSConfig(
            ca=placed(self.ca, folder),
            cert=placed(self.cert, folder),
            key=placed(self.key, folder),
            crl=self.crl and placed(self.crl, folder),
            key_password_command=self.key_password_command,
        )
