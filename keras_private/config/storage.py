"""storage: where a party keeps its shares of models over a restart, and where the key to them comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from keras_private.config.sections import Section, placed

Word = Annotated[str, Field(min_length=1)]


class StorageConfig(Section):
    """A folder, and one of three ways to its key. `{name}` in a path stands for the party's name, `{replica}`
    for the number of its triple."""

    path: Path
    key_file: Path | None = None
    key_env: Word | None = None
    """The name of an environment variable."""
    key_command: Annotated[tuple[Word, ...], Field(min_length=1)] | None = None
    """A program and its arguments; no shell reads them. What it prints is the key."""

    @model_validator(mode="after")
    def _one_key(self) -> StorageConfig:
        ways = ("key_file", "key_env", "key_command")
        given = [way for way in ways if getattr(self, way) is not None]
        if len(given) != 1:
            said = f"{' and '.join(given)} are given" if given else "none is given"
            raise ValueError(f"needs one of {', '.join(ways)}; {said}")
        return self

    def for_name(self, name: str) -> StorageConfig:
        """One party's."""
        return self._filled("{name}", name)

    def for_replica(self, number: int) -> StorageConfig:
        """One triple's."""
        return self._filled("{replica}", str(number))

    def _filled(self, word: str, value: str) -> StorageConfig:
        def fill(path: Path) -> Path:
            return Path(str(path).replace(word, value))

        return self.model_copy(update={"path": fill(self.path), "key_file": self.key_file and fill(self.key_file)})

    def under(self, folder: Path) -> StorageConfig:
        """The same, relative paths taken from `folder`, `~` from the user's home."""
        key = self.key_file and placed(self.key_file, folder)
        return self.model_copy(update={"path": placed(self.path, folder), "key_file": key})
