"""Who somebody is: a kind and a name, as written in their certificate."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from keras_private.errors import ConfigError

Kind = Literal["party", "owner", "client"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
_URI = "keras-private:"


@dataclass(frozen=True, slots=True)
class Role:
    """A participant, as its certificate states it; `str(role)` is for instance "party:server0"."""

    kind: Kind
    name: str

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"unknown role {self.kind!r}; a role is one of {', '.join(get_args(Kind))}")
        if not (isinstance(self.name, str) and _NAME.fullmatch(self.name)):
            raise ConfigError(
                f"{self.name!r} cannot name an owner, a client or a party; "
                "use up to 50 letters, digits, '.', '_' or '-', beginning with a letter or digit"
            )

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def party(self) -> str:
        """The name, if it is a party's; else empty."""
        return self.name if self.kind == "party" else ""

    @property
    def uri(self) -> str:
        """The role as a certificate's subject alternative name holds it: "keras-private:party/server0"."""
        return f"{_URI}{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Role:
        """The inverse of `str`.

        Raises:
            ConfigError: `text` is not a kind, a colon and a name.
        """
        kind, _, name = text.partition(":")
        return cls(kind, name)  # type: ignore[arg-type]  # the constructor checks the kind

    @classmethod
    def from_uris(cls, uris: Iterable[str]) -> Role:
        """The role among a certificate's URI names, of which exactly one must be ours.

        Raises:
            ConfigError: none, several, or one that is malformed.
        """
        ours = [uri.removeprefix(_URI) for uri in uris if uri.startswith(_URI)]
        if len(ours) != 1:
            raise ConfigError(f"a certificate must name one role ({_URI}kind/name), this one names {len(ours)}")
        kind, _, name = ours[0].partition("/")
        return cls(kind, name)  # type: ignore[arg-type]
