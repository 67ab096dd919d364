"""The host of a party: what is installed, what the system allows, where things are kept, whether ports are free."""

from __future__ import annotations

import errno
import http.client
import os
import resource
import socket
from pathlib import Path
from typing import Final

from keras_private.config import ALL_INTERFACES, ANY, PARTY_NAMES, ClusterConfig
from keras_private.doctor.finding import Findings, good, warning, wrong
from keras_private.errors import ConfigError, KerasPrivateError
from keras_private.extras import require
from keras_private.net.handshake import format_address
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles, client_context, explain, peer_role
from keras_private.party.storage.keys import load_key

FILES: Final = 1024
"""Open files that a party may come to need (`party.entrance`)."""
_MB: Final = 1 << 20
_ANSWER_S: Final = 5.0


def host(config: ClusterConfig, role: Role, number: int | None, files: TLSFiles | None) -> Findings:
    """All of it, for the party of that number; `files` are its certificates, if they are of use."""
    if number is None:
        return
    try:
        require("party", role.name)
    except ConfigError as error:
        yield wrong("installation", str(error), "install what it names")
    else:
        yield from _kernels()
    yield from _limits()
    yield from _memory(config)
    yield from _storage(config, role)
    yield from _access(config)
    yield from _ports(config, number, files)


def _kernels() -> Findings:
    from keras_private.mpc.kernels import check_cache

    try:
        check_cache()
    except ConfigError as error:
        yield wrong("kernels", str(error), "do as it says")
        return
    from keras_private.mpc.kernels import ring  # numba comes with it

    folder = Path(str(ring.matmul.stats.cache_path))
    if not any(folder.glob("*.nbi")):
        yield warning(
            "kernels",
            "not compiled yet: the first start takes a minute",
            "python -m keras_private.mpc.kernels",
        )
    else:
        yield good("kernels", f"compiled, in {folder}")


def _limits() -> Findings:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < FILES:
        yield warning(
            "system", f"{files} open files are allowed; {FILES} may be needed", "ulimit -n, or LimitNOFILE= of systemd"
        )
    else:
        yield good("system", f"{files} open files are allowed")
    core, _ = resource.getrlimit(resource.RLIMIT_CORE)
    if core:
        yield warning(
            "system", "core dumps are on: one would hold shares of models and data", "ulimit -c 0, or LimitCORE=0"
        )
    try:
        swaps = Path("/proc/swaps").read_text(encoding="utf-8").splitlines()[1:]
    except OSError:  # not Linux
        swaps = []
    if swaps:
        yield warning("system", "there is swap space: shares may reach the disk", "swapoff -a, or MemorySwapMax=0")


def _memory(config: ClusterConfig) -> Findings:
    limits, there = config.limits, _there()
    if there is None:
        return
    wanted = limits.memory_bytes + limits.models_bytes
    said = f"limits.memory_mb and models_mb allow {wanted // _MB} MB, this process may have {there // _MB} MB"
    if wanted > there:
        yield warning("memory", said, "lower the limits, in all three parties' files, or give the host more")
    else:
        yield good("memory", said)


def _there() -> int | None:
    """Bytes that the host has, or that this process' group may have, if that is less."""
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    try:
        allowed = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
    except OSError:
        return there
    return min(there, int(allowed)) if allowed.isdecimal() else there


def _storage(config: ClusterConfig, role: Role) -> Findings:
    if config.storage is None:
        return
    storage = config.storage.for_name(role.name)
    try:
        load_key(storage)  # what it is stays here
    except ConfigError as error:
        yield wrong("storage", str(error), "see what it says; without the key nothing that is kept can be read")
    else:
        yield good("storage", "there is a key")
    folder, mode = storage.path, 0
    if folder.exists():
        mode = folder.stat().st_mode
    first = next(each for each in (folder, *folder.parents) if each.exists())
    if not (first.is_dir() and os.access(first, os.W_OK | os.X_OK)):
        yield wrong(
            "storage", f"{first} is no folder that can be written", f"give it to the user that runs {role.name}"
        )
    elif mode & 0o077:
        yield warning("storage", f"{folder} can be looked into by others", f"chmod 700 {folder}")
    else:
        yield good("storage", f"{folder} can be written")


def _access(config: ClusterConfig) -> Findings:
    if config.access is None:
        return
    source = config.access.source
    try:
        rules = config.access.rules
    except ConfigError as error:
        yield wrong("access", str(error), "correct the file; a party that runs keeps to the rules before")
        return
    entries = f"{len(rules.clients)} entries for clients, {len(rules.owners)} for owners"
    others = f"others by '{ANY}'" if ANY in rules.clients else "other clients may do nothing"
    yield good("access", f"{entries}; {others}")
    if source is not None and source.exists() and source.stat().st_mode & 0o022:
        yield warning("access", f"{source} can be changed by others: so who may query can", f"chmod go-w {source}")


def _ports(config: ClusterConfig, number: int, files: TLSFiles | None) -> Findings:
    places = [("port", config.party(number).listen_address)]
    if (shown := config.metrics_address(number)) is not None:
        places.append(("metrics", shown))
    for about, (name, port) in places:
        where = format_address((name, port))
        try:
            info = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, kind, protocol, _, address = min(info, key=lambda each: each[0] != socket.AF_INET)
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                said = _serves(name, port) if about == "metrics" else _listens(config, number, files)
                if said:
                    do = "end what listens there, or write another port into cluster.yaml"
                    yield wrong(about, f"{where} is in use, and not by this party: {said}", do)
                else:
                    yield good(about, f"{where} is in use, by {'this' if files else 'a'} party")
            else:
                yield wrong(about, f"{where}: {error.strerror or error}", "is the address one of this host?")
        else:
            yield good(about, f"{where} is free")


def _near(name: str) -> str:
    """Where something that listens at this address is called from its own host."""
    return "localhost" if name in (ALL_INTERFACES, "0.0.0.0") else name  # noqa: S104


def _listens(config: ClusterConfig, number: int, files: TLSFiles | None) -> str:
    """Why it cannot be this party that listens at its own port; empty: nothing says so. It is asked for its certificate
    and no more, as no party takes itself for a caller."""
    if files is None:
        return ""
    name, port = config.party(number).listen_address
    try:
        raw = socket.create_connection((_near(name), port), _ANSWER_S)
        with raw, client_context(files).wrap_socket(raw) as shaken:
            found, _ = peer_role(shaken)
    except (OSError, KerasPrivateError) as error:
        return explain(error)
    return "" if found == Role("party", PARTY_NAMES[number]) else f"it is {found}"


def _serves(name: str, port: int) -> str:
    """Why it is no party's metrics that are shown there; empty: they are."""
    call = http.client.HTTPConnection(_near(name), port, timeout=_ANSWER_S)
    try:
        call.request("GET", "/healthz")
        status = call.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer to /healthz ({type(error).__name__})"
    finally:
        call.close()
    return "" if status in (200, 503) else f"/healthz is answered with {status}"
