"""tls: certificate files."""

from __future__ import annotations

from pathlib import Path

from keras_private.config.sections import Section, placed


class TLSConfig(Section):
    """Certificate files. `{name}` in a path stands for the party's name, or `owner` or `client`."""

    ca: Path
    cert: Path
    key: Path

    def for_name(self, name: str) -> TLSConfig:
        """The files of one participant."""

        def fill(path: Path) -> Path:
            return Path(str(path).replace("{name}", name))

        return TLSConfig(ca=fill(self.ca), cert=fill(self.cert), key=fill(self.key))

    def under(self, folder: Path) -> TLSConfig:
        """The same files, relative paths taken from `folder`, `~` from the user's home."""
        return TLSConfig(ca=placed(self.ca, folder), cert=placed(self.cert, folder), key=placed(self.key, folder))
