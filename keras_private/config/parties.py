"""parties: who the three are, where they are called, and where they listen."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from pydantic import field_validator

from keras_private.config.sections import Section

PARTY_NAMES: Final = ("server0", "server1", "server2")
"""The three parties, in order."""

LEADER: Final = 0
FOLLOWERS: Final = (1, 2)
"""By number: who decides what runs, and who follows."""

ALL_INTERFACES: Final = "::"

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+):(?P<port>[0-9]{1,5})")


class PartyConfig(Section):
    """Where a party is called, where it listens, and whether `TFECluster.start` runs it as a local process."""

    host: str
    bind: str | None = None
    metrics: str | None = None
    """Where it shows its metrics, instead of where `metrics.host` says."""
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

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, value: str | None) -> str | None:
        if value is not None:
            parse_endpoint(value)
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


def parse_endpoint(value: str) -> tuple[str, int]:
    """'localhost:9100' or 'IP:port' as (IP address of this host, port).

    Raises:
        ValueError: malformed, or without a port.
    """
    name, port = parse_host(value)
    return ("127.0.0.1", port) if name.lower() == "localhost" else parse_bind(value, port)


def _is_loopback(name: str) -> bool:
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
