"""cluster.yaml as a whole: what it may say, and what is said when it says something else.

Everything is checked before anything starts. An error names the file, the field, what was wrong and, for a misspelt
field, the nearest known one. All problems of a file come in one `ConfigError`, so that nobody fixes them one by one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from keras_private.config.access import AccessConfig
from keras_private.config.limits import Limits
from keras_private.config.metrics import MetricsConfig
from keras_private.config.parties import PARTY_NAMES, PartyConfig, parse_endpoint
from keras_private.config.sections import Section, checked, nearest, no_bool, read_yaml
from keras_private.config.storage import StorageConfig
from keras_private.config.tls import TLSConfig
from keras_private.errors import ConfigError

CLUSTER_FILE: Final = "cluster.yaml"
START_S: Final = 60.0
"""Seconds that a party may take to start."""

REST: Final = "parties[]"
"""What a list of triples is read as: the first is `parties`, the others this, by number. Nobody writes such a key."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LANES: Final = 4  # by default, however many cores there are


Triple = dict[str, PartyConfig]
"""The three parties by name, in order."""


class ClusterConfig(Section):
    """One cluster: three parties, fixed point precision, certificates, limits.

    There may be further *triples* of parties, replicas of the first, that know nothing of each other. `replica` gives
    the cluster with one of them alone, which is all that a party, a session or an upload sees of it.
    """

    cluster: str = "cluster"
    parties: Triple
    """Of the first triple."""
    further: Annotated[dict[int, Triple], Field(default_factory=dict, validation_alias=REST, exclude=True)]
    precision_fractional: Annotated[int, Field(ge=4, le=24), BeforeValidator(no_bool)] = 16
    truncation: Literal["probabilistic", "exact"] = "probabilistic"
    tls: TLSConfig | None = None
    limits: Limits = Limits()
    metrics: MetricsConfig | None = None
    storage: StorageConfig | None = None
    access: AccessConfig | None = None

    @field_validator("cluster")
    @classmethod
    def _cluster(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"{value!r} is not a name: use up to 63 letters, digits, '-', '_' and '.'")
        return value

    @model_validator(mode="before")
    @classmethod
    def _triples(cls, data: Any) -> Any:
        """One mapping of parties, or a list of such."""
        if not isinstance(data, Mapping) or not isinstance(given := data.get("parties"), list):
            return data
        if not given:
            raise ValueError("parties: the list is empty; it names a triple of parties for each replica")
        return {**data, "parties": given[0], REST: dict(enumerate(given[1:], 1))}

    @field_validator("further", mode="before")
    @classmethod
    def _each_three(cls, value: Any) -> Any:
        return {number: cls._three(each) for number, each in value.items()} if isinstance(value, dict) else value

    @field_validator("parties", mode="before")
    @classmethod
    def _three(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("must name three parties, as in 'server0: {host: localhost:4000}'")
        names = tuple(value)
        if names == PARTY_NAMES:
            return value
        wanted = ", ".join(PARTY_NAMES)
        if len(names) != len(PARTY_NAMES):
            raise ValueError(f"exactly three parties are needed ({wanted}); there are {len(names)}")
        unknown = [name for name in names if name not in PARTY_NAMES]
        if unknown:
            raise ValueError(f"unknown party {unknown[0]!r}{nearest(str(unknown[0]), PARTY_NAMES)}; use {wanted}")
        raise ValueError(f"the parties must be listed in order ({wanted}); the first is the leader")

    @model_validator(mode="after")
    def _hosts(self) -> ClusterConfig:
        seen: dict[tuple[str, int], str] = {}
        for name, party in self.named():
            where, port = party.address
            place = ("127.0.0.1" if where.lower() == "localhost" else where.lower(), port)
            if place in seen:
                raise ValueError(f"parties.{name}.host: {party.host!r} is taken by {seen[place]} already")
            seen[place] = name
        for name, party in self.named():
            if party.auto_managed and not party.is_loopback:
                raise ValueError(
                    f"parties.{name}.auto_managed: {party.host!r} is not on this machine; "
                    "only parties on localhost can be started from here"
                )
            if self.tls is None and not party.is_loopback:
                raise ValueError(
                    f"tls: is missing, and parties.{name} ({party.host}) is not on this machine; add 'tls: "
                    '{ca: "certs/{name}/ca.crt", cert: "certs/{name}/{name}.crt", key: "certs/{name}/{name}.key"}\' '
                    "and make the files with 'keras-private certs'"
                )
        return self

    @model_validator(mode="after")
    def _metrics(self) -> ClusterConfig:
        seen: dict[tuple[str, object], str] = {}
        for name, party in self.named():
            where = "localhost" if party.is_loopback else party.address[0].lower()
            if (address := self._metrics_of(party)) is None:
                continue
            if (where, address) in seen:
                raise ValueError(
                    f"metrics.host: {seen[where, address]} and {name} are on one host and cannot share a port; give "
                    f"each its own, as in parties.{name}.metrics: 'localhost:{address[1] + 1}'"
                )
            seen[where, address] = name
        return self

    @property
    def lanes(self) -> int:
        """Runs side by side at this party: what `limits.lanes` says, or one for each core that a party has.

        Parties that share a machine share its cores.
        """
        if self.limits.lanes is not None:
            return self.limits.lanes
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(cores // len(PARTY_NAMES) if self.is_loopback else cores, _LANES))

    def named(self) -> Iterator[tuple[str, PartyConfig]]:
        """All parties; those of several triples as in "1.server0"."""
        for number, triple in enumerate(self.triples):
            for name, party in triple.items():
                yield self.called(number, name), party

    def called(self, replica: int, name: str) -> str:
        """What a party is called beside those of other triples, if there are any."""
        return f"{replica}.{name}" if self.further else name

    @classmethod
    def load(cls, path: str | Path) -> ClusterConfig:
        """Read cluster.yaml; relative certificate paths are taken from the folder it lies in.

        Raises:
            ConfigError: the file cannot be read, or says something that is not known, all problems at once.
        """
        path, data = read_yaml(path)
        config = cls.parse(data, source=str(path))
        folder = path.parent.absolute()
        tls, storage = config.tls and config.tls.under(folder), config.storage and config.storage.under(folder)
        access = config.access and config.access.found_in(path)
        return config.model_copy(update={"tls": tls, "storage": storage, "access": access})

    @classmethod
    def parse(cls, data: object, source: str = "cluster configuration") -> ClusterConfig:
        """Check a plain mapping; `source` names it in errors.

        Raises:
            ConfigError: as `load`.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"{source}: must be a mapping with at least the field 'parties'")
        return checked(cls, data, source)

    @classmethod
    def of_hosts(
        cls, hosts: Sequence[str], auto_managed: Sequence[bool] | None = None, cluster: str = "cluster"
    ) -> ClusterConfig:
        """A configuration from three host strings, in order, with everything else at its default; three more for each
        further replica."""
        managed = auto_managed if auto_managed is not None else [False] * len(hosts)
        if not hosts or len(hosts) % len(PARTY_NAMES):
            raise ConfigError(f"a cluster has exactly three parties, or three a replica; {len(hosts)} were given")
        given = [{"host": host, "auto_managed": bool(auto)} for host, auto in zip(hosts, managed, strict=True)]
        step = len(PARTY_NAMES)
        triples = [dict(zip(PARTY_NAMES, given[at : at + step], strict=True)) for at in range(0, len(given), step)]
        return cls.parse({"cluster": cluster, "parties": triples}, source="workers")

    def with_tls(self, tls: TLSConfig | None) -> ClusterConfig:
        """The same cluster with other certificate files."""
        return self.model_copy(update={"tls": tls})

    def to_json(self) -> str:
        """One line that `parse(json.loads(…))` reads back: what a started party is told on its standard input."""
        data = self.model_dump(mode="json")
        if self.further:
            data["parties"] = [{name: party.model_dump(mode="json") for name, party in t.items()} for t in self.triples]
        return json.dumps(data, separators=(",", ":"))

    @property
    def triples(self) -> tuple[Triple, ...]:
        """The parties of each replica."""
        return (self.parties, *self.further.values())

    def replica(self, number: int) -> ClusterConfig:
        """The same cluster with one triple alone.

        Raises:
            ConfigError: there is no such triple.
        """
        if not 0 <= number < len(self.triples):
            numbers = "there is one triple, replica 0" if not self.further else f"use 0 to {len(self.triples) - 1}"
            raise ConfigError(f"this cluster has no replica {number}; {numbers}")
        storage = self.storage and self.storage.for_replica(number)
        return self.model_copy(update={"parties": self.triples[number], "further": {}, "storage": storage})

    def party(self, index: int) -> PartyConfig:
        return self.parties[PARTY_NAMES[index]]

    def metrics_address(self, index: int) -> tuple[str, int] | None:
        """(IP address, port) where party `index` shows its metrics on its own host; None: nowhere."""
        return self._metrics_of(self.party(index))

    def _metrics_of(self, party: PartyConfig) -> tuple[str, int] | None:
        host = party.metrics or (self.metrics.host if self.metrics else None)
        return None if host is None else parse_endpoint(host)

    @property
    def is_loopback(self) -> bool:
        """Whether all parties are on this machine."""
        return all(party.is_loopback for _, party in self.named())
