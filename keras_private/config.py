"""cluster.yaml: what it may say, and what is said when it says something else.

Everything is checked before anything starts. An error names the file, the field, what was wrong and, for a misspelt
field, the nearest known one. All problems of a file come in one `ConfigError`, so that nobody fixes them one by one.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from keras_private.errors import ConfigError

PARTY_NAMES: Final = ("server0", "server1", "server2")
"""The three parties, in order."""

LEADER: Final = 0
FOLLOWERS: Final = (1, 2)
"""By number: who decides what runs, and who follows."""

REQUESTS_IN_MEMORY: Final = 12
"""The least `memory_mb`, in largest requests: a quarter is what a client that is alone may take (`party.budget`), and
a request takes three times its message's size when it is read."""
ALL_INTERFACES: Final = "::"
CLUSTER_FILE: Final = "cluster.yaml"
START_S: Final = 60.0
"""Seconds that a party may take to start."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+):(?P<port>[0-9]{1,5})")


def _no_bool(value: Any) -> Any:
    """pydantic would take `true` for 1."""
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is not a number")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Limits(_Section):
    """What a party accepts. All three parties' files must hold the same numbers."""

    _numbers = field_validator("*", mode="before")(_no_bool)

    max_batch: Annotated[int, Field(ge=1, le=65536)] = 128
    """Rows of one query, and of one run of the plan."""
    queue: Annotated[int, Field(ge=1, le=1_000_000)] = 512
    """Requests that may wait; the next is refused. A client alone may fill half of these places."""
    request_mb: Annotated[int, Field(ge=1, le=1000)] = 64
    """Megabytes of one message."""
    model_mb: Annotated[int, Field(ge=1, le=1_048_576)] = 2048
    """Megabytes of one model's shares at a party."""
    memory_mb: Annotated[int, Field(ge=1, le=1_048_576)] = 2048
    """Megabytes that everything else may take at a party: half for runs, half for what clients send and are sent."""
    timeout_s: Annotated[float, Field(gt=0, le=86400)] = 30.0
    """Seconds that a party or a client waits for another before it gives up."""

    @model_validator(mode="after")
    def _memory(self) -> Limits:
        if self.memory_mb < REQUESTS_IN_MEMORY * self.request_mb:
            raise ValueError(
                f"memory_mb ({self.memory_mb}) must be at least {REQUESTS_IN_MEMORY} times request_mb "
                f"({self.request_mb}), or the largest request would find no room"
            )
        return self

    @property
    def memory_bytes(self) -> int:
        return self.memory_mb * 2**20

    @property
    def request_bytes(self) -> int:
        return self.request_mb * 2**20

    @property
    def model_bytes(self) -> int:
        return self.model_mb * 2**20


class TLSConfig(_Section):
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

        def place(path: Path) -> Path:
            return folder / path.expanduser()

        return TLSConfig(ca=place(self.ca), cert=place(self.cert), key=place(self.key))


class PartyConfig(_Section):
    """Where a party is called, where it listens, and whether `TFECluster.start` runs it as a local process."""

    host: str
    bind: str | None = None
    auto_managed: bool = False

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        parse_host(value)
        return value

    @field_validator("bind")
    @classmethod
    def _bind(cls, value: str | None) -> str | None:
        if value is not None:
            parse_bind(value, 1)
        return value

    @property
    def address(self) -> tuple[str, int]:
        """(host name or IP address, port), as others call it."""
        return parse_host(self.host)

    @property
    def listen_address(self) -> tuple[str, int]:
        """(IP address or localhost, port) where it listens; "::" is all interfaces, IPv4 and IPv6.

        Nothing is looked up: what a host's own name resolves to there (behind NAT, in a container, or with Debian's
        127.0.1.1 for it) says little about where others reach it.
        """
        name, port = self.address
        if self.bind is not None:
            return parse_bind(self.bind, port)
        return (name, port) if self.is_loopback else (ALL_INTERFACES, port)

    @property
    def is_loopback(self) -> bool:
        return _is_loopback(self.address[0])


class ClusterConfig(_Section):
    """One cluster: three parties, fixed point precision, certificates, limits."""

    cluster: str = "cluster"
    parties: dict[str, PartyConfig]
    precision_fractional: Annotated[int, Field(ge=4, le=24), BeforeValidator(_no_bool)] = 16
    truncation: Literal["probabilistic", "exact"] = "probabilistic"
    tls: TLSConfig | None = None
    limits: Limits = Limits()

    @field_validator("cluster")
    @classmethod
    def _cluster(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"{value!r} is not a name: use up to 63 letters, digits, '-', '_' and '.'")
        return value

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
            raise ValueError(f"unknown party {unknown[0]!r}{_nearest(str(unknown[0]), PARTY_NAMES)}; use {wanted}")
        raise ValueError(f"the parties must be listed in order ({wanted}); the first is the leader")

    @model_validator(mode="after")
    def _hosts(self) -> ClusterConfig:
        seen: dict[tuple[str, int], str] = {}
        for name, party in self.parties.items():
            where, port = party.address
            place = ("127.0.0.1" if where.lower() == "localhost" else where.lower(), port)
            if place in seen:
                raise ValueError(f"parties.{name}.host: {party.host!r} is taken by {seen[place]} already")
            seen[place] = name
        for name, party in self.parties.items():
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

    @classmethod
    def load(cls, path: str | Path) -> ClusterConfig:
        """Read cluster.yaml; relative certificate paths are taken from the folder it lies in.

        Raises:
            ConfigError: the file cannot be read, or says something that is not known, all problems at once.
        """
        try:
            path = Path(path).expanduser()
        except TypeError:
            raise ConfigError(f"a cluster.yaml is named by its path, not by {type(path).__name__}") from None
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from None
        try:
            data = yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader that also refuses duplicate keys
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: is not valid YAML: {error}") from None
        config = cls.parse(data, source=str(path))
        return config if config.tls is None else config.with_tls(config.tls.under(path.parent.absolute()))

    @classmethod
    def parse(cls, data: object, source: str = "cluster configuration") -> ClusterConfig:
        """Check a plain mapping; `source` names it in errors.

        Raises:
            ConfigError: as `load`.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"{source}: must be a mapping with at least the field 'parties'")
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise ConfigError(_explain(error, source)) from None

    @classmethod
    def of_hosts(
        cls, hosts: Sequence[str], auto_managed: Sequence[bool] | None = None, cluster: str = "cluster"
    ) -> ClusterConfig:
        """A configuration from three host strings, in order, with everything else at its default."""
        managed = auto_managed if auto_managed is not None else [False] * len(hosts)
        if len(hosts) != len(PARTY_NAMES):
            raise ConfigError(f"a cluster has exactly three parties; {len(hosts)} were given")
        parties = {
            name: {"host": host, "auto_managed": bool(auto)}
            for name, host, auto in zip(PARTY_NAMES, hosts, managed, strict=True)
        }
        return cls.parse({"cluster": cluster, "parties": parties}, source="workers")

    def with_tls(self, tls: TLSConfig | None) -> ClusterConfig:
        """The same cluster with other certificate files."""
        return self.model_copy(update={"tls": tls})

    def to_json(self) -> str:
        """One line that `parse(json.loads(…))` reads back: what a started party is told on its standard input."""
        return json.dumps(self.model_dump(mode="json"), separators=(",", ":"))

    def party(self, index: int) -> PartyConfig:
        return self.parties[PARTY_NAMES[index]]

    @property
    def is_loopback(self) -> bool:
        """Whether all three parties are on this machine."""
        return all(party.is_loopback for party in self.parties.values())


def parse_host(value: str) -> tuple[str, int]:
    """'name:port' or '[IPv6]:port' as (name, port).

    Raises:
        ValueError: malformed.
    """
    match = _HOST.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not 'host:port', as in 'localhost:4000'")
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise ValueError(f"{value!r}: a port is a number from 1 to 65535")
    return match["name"].strip("[]"), port


def parse_bind(value: str, port: int) -> tuple[str, int]:
    """An IP address, alone or with a port ('10.0.0.5:4000', '[::]:4000'), as (address, port).

    Args:
        port: taken if `value` names none.

    Raises:
        ValueError: malformed.
    """
    text = value
    try:
        text, port = parse_host(value)
    except ValueError:
        if re.fullmatch(r"[^:]+:[0-9]+|\[.*\]:[0-9]+", value):  # a port, and it is the fault
            raise
    try:
        return str(ipaddress.ip_address(text.strip("[]"))), port
    except ValueError:
        raise ValueError(
            f"{value!r} is not an IP address of this host, with or without a port, as in '10.0.0.5', '0.0.0.0:4000' "
            "or '[::]:4000'"
        ) from None


def _is_loopback(name: str) -> bool:
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class _Loader(yaml.SafeLoader):
    """YAML data only, and no key twice in one mapping (YAML itself silently keeps the last)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key, str):
                line = key_node.start_mark.line + 1
                raise yaml.MarkedYAMLError(problem=f"a key must be a word, not a list or mapping (line {line})")
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} appears twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _known_fields(path: Sequence[int | str]) -> list[str]:
    """The fields that the section at `path` has."""
    section: type[BaseModel] = ClusterConfig
    if path:
        sections: dict[str, type[BaseModel]] = {"parties": PartyConfig, "tls": TLSConfig, "limits": Limits}
        section = sections[str(path[0])]
    return list(section.model_fields)


def _explain(error: ValidationError, source: str) -> str:
    """pydantic's findings in words a user of cluster.yaml understands."""
    lines = []
    for finding in error.errors():
        path, kind, value = finding["loc"], finding["type"], finding.get("input")
        context = finding.get("ctx", {})
        field = ".".join(str(part) for part in path)
        if kind == "extra_forbidden":
            known = _known_fields(path[:-1])
            what = f"is not a known field{_nearest(str(path[-1]), known)} (known are {', '.join(known)})"
        elif kind == "missing":
            what = "is missing"
        elif kind == "value_error":
            what = str(context.get("error", finding["msg"]))
        elif kind in {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}:
            what = f"{value!r} is out of range: {finding['msg'].removeprefix('Input ')}"
        elif kind.startswith(("int", "float", "finite")):
            what = f"{value!r} is not a {'whole ' if kind.startswith('int') else ''}number"
        elif kind.startswith("bool"):
            what = f"{value!r} is neither true nor false"
        elif kind == "literal_error":
            what = f"{value!r} is none of {context.get('expected', '').replace(' or ', ', ')}"
        elif kind.startswith(("model", "dict")):
            what = f"{value!r} is not a mapping of fields"
        else:
            what = f"{value!r} is not text" if kind == "string_type" else f"{value!r} is not valid"
        lines.append(f"{field}: {what}" if field else what)
    return "\n".join(f"{source}: {line}" for line in lines)
