"""All checks of one participant, in the order in which one would look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.doctor.files import certificates, files_of
from keras_private.doctor.finding import Finding, Findings, good, warning, wrong
from keras_private.doctor.host import host
from keras_private.doctor.parties import parties
from keras_private.errors import ConfigError, KerasPrivateError


def examine(path: Path, name: str, replica: int = 0) -> list[Finding]:
    """Look at everything that concerns the participant of that name: server0, server1, server2, an owner, a client.

    Args:
        replica: of which triple a party is. An owner or client has to do with all.
    """
    found: list[Finding] = []
    try:
        config = ClusterConfig.load(path)
    except ConfigError as error:
        do = "correct the file; docs/configuration.md has every field"
        return [wrong("configuration", line, do) for line in str(error).splitlines()]
    found += _noting("configuration", lambda: _configuration(path, config))
    if name in PARTY_NAMES:
        try:
            config = config.replica(replica)
        except ConfigError as error:
            return [*found, wrong("configuration", str(error), "say --replica as this party is started")]
    role, files = files_of(config, name)
    trusted = list(_noting("certificate", lambda: certificates(config, role, files, name)))
    found += trusted
    if role and role.kind == "party":
        number = PARTY_NAMES.index(role.name) if role.name in PARTY_NAMES else None
        usable = None if any(each.level == "wrong" for each in trusted) else files
        found += _noting("host", lambda: host(config, role, number, usable))
    if role and not any(each.level == "wrong" for each in trusted):
        found += _noting("parties", lambda: parties(config, role, files))
    return found


def _noting(about: str, check: Callable[[], Findings]) -> list[Finding]:
    """What a check finds, though it fails."""
    found: list[Finding] = []
    try:
        for each in check():
            found.append(each)  # noqa: PERF402  what was found before it fails stays
    except (OSError, KerasPrivateError) as error:
        found.append(wrong(about, str(error), "see what it says"))
    return found


def _configuration(path: Path, config: ClusterConfig) -> Findings:
    yield good("configuration", f"{path}: cluster {config.cluster!r}")
    if path.expanduser().stat().st_mode & 0o022:
        yield warning(
            "configuration",
            f"{path} can be changed by others: who changes it says which certificates are trusted",
            f"chmod go-w {path}",
        )
    if config.tls is None:
        yield good("configuration", "without `tls`: certificates of this user's development authority")
    if config.is_loopback:
        yield warning(
            "configuration",
            "all three parties are on this machine: whoever runs it has all the shares",
            "for real use, three operators run one party each",
        )
