"""access: which clients may query which models and how much, and which owners may share which."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, PrivateAttr, field_validator, model_validator

from keras_private.config.sections import Section, checked, no_bool, read_yaml
from keras_private.errors import ConfigError

ANY: Final = "*"
"""Whoever, or whichever model, is not named."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def _named(value: Any, what: str) -> Any:
    if isinstance(value, Mapping):
        for name in value:
            if name != ANY and not (isinstance(name, str) and _NAME.fullmatch(name)):
                raise ValueError(f"{name!r} names no {what}: give its name, or '{ANY}' for all that are not named")
    return value


def _models(value: Any) -> Any:
    """`"*"`, a name, a list of names, or a mapping from names to quotas, which may be left empty."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        if not all(isinstance(name, str) for name in value):
            raise ValueError(f"a list of models' names, or '{ANY}' for all of them, is wanted, not {value!r}")
        value = dict.fromkeys(value)
    if isinstance(value, Mapping):
        value = {name: {} if quota is None else quota for name, quota in value.items()}
    return _named(value, "model")


class Quota(Section):
    """How many rows a client may ask for; None: any number."""

    _numbers = field_validator("rows_per_minute", "rows_total", mode="before")(no_bool)

    rows_per_minute: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Within any minute."""
    rows_total: Annotated[int, Field(ge=0, le=1_000_000_000_000_000)] | None = None
    """Since counting began."""


class ClientAccess(Quota):
    """What a client may ask: which models, how much of each, and how much of all of them together."""

    models: dict[str, Quota]

    _named = field_validator("models", mode="before")(_models)

    def of(self, model: str) -> Quota | None:
        """What is granted of one model; None: it may not be queried."""
        return self.models.get(model, self.models.get(ANY))


class OwnerAccess(Section):
    """Under which names an owner may share models."""

    models: dict[str, Section]

    _named = field_validator("models", mode="before")(_models)

    def allows(self, model: str) -> bool:
        return model in self.models or ANY in self.models


class Rules(Section):
    """Who may do what. Who is not named may do what "*" may, and nothing if that is not there."""

    clients: dict[str, ClientAccess]
    owners: dict[str, OwnerAccess]

    @field_validator("clients", "owners", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return _named(value, "participant")

    def client(self, name: str) -> ClientAccess | None:
        return self.clients.get(name, self.clients.get(ANY))

    def owner(self, name: str) -> OwnerAccess | None:
        return self.owners.get(name, self.owners.get(ANY))

    @classmethod
    def load(cls, path: str | Path) -> Rules:
        """Read a file of rules.

        Raises:
            ConfigError: it cannot be read, or says something that is not known, all problems at once.
        """
        path, data = read_yaml(path)
        if not isinstance(data, Mapping):
            raise ConfigError(f"{path}: must be a mapping with the fields 'clients' and 'owners'")
        return checked(cls, data, str(path))


class AccessConfig(Section):
    """The rules, or the file where they are (`access: access.yaml`)."""

    _found_in: Path | None = PrivateAttr(None)

    file: Path | None = None
    clients: dict[str, ClientAccess] | None = None
    owners: dict[str, OwnerAccess] | None = None

    _names = field_validator("clients", "owners", mode="before")(lambda value: _named(value, "participant"))

    @model_validator(mode="before")
    @classmethod
    def _of_path(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_place(self) -> AccessConfig:
        if self.file is not None:
            if self.clients is not None or self.owners is not None:
                raise ValueError("either names a file or says 'clients' and 'owners' here, not both")
        elif self.clients is None or self.owners is None:
            missing = "clients" if self.clients is None else "owners"
            raise ValueError(f"needs 'clients' and 'owners', or the name of a file that has both; {missing} is missing")
        return self

    def found_in(self, path: Path) -> AccessConfig:
        """The same, as a section of the file at `path`: a relative path is taken from its folder, `~` from the user's
        home."""
        if self.file is not None:
            return AccessConfig(file=path.parent.absolute() / self.file.expanduser())
        here = self.model_copy()
        here._found_in = path.absolute()
        return here

    @property
    def source(self) -> Path | None:
        """The file that has the rules; None: they came without one."""
        return self.file or self._found_in

    @property
    def rules(self) -> Rules:
        """Those given here, or in the file.

        Raises:
            ConfigError: as `Rules.load`.
        """
        if self.file is not None:
            return Rules.load(self.file)
        return Rules(clients=self.clients or {}, owners=self.owners or {})

    def read_again(self) -> Rules:
        """The rules as they are now. Of cluster.yaml only its section `access` is looked at.

        Raises:
            ConfigError: as `Rules.load`.
        """
        if self._found_in is None:
            return self.rules
        path, data = read_yaml(self._found_in)
        if not isinstance(data, Mapping):
            raise ConfigError(f"{path}: must be a mapping with the field 'access'")
        return checked(_Around, data, str(path)).access.found_in(path).rules


class _Around(Section):
    """cluster.yaml as far as it matters here."""

    model_config = ConfigDict(extra="ignore")

    access: AccessConfig
