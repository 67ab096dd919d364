"""The other parties as this participant reaches them: name, port, TLS, who it is, its release, limits and clock."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

import keras_private
from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.doctor.finding import Finding, Findings, good, warning, wrong
from keras_private.errors import KerasPrivateError, LinkError, RefusedError, TrustError
from keras_private.net.frames import printable
from keras_private.net.handshake import format_address
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles, explain
from keras_private.party.dial import ask, call
from keras_private.party.messages import AskStatus, Figures, Hello, Status
from keras_private.party.network import TLSNetwork

REACH_S: Final = 5.0
SKEW_S: Final = 5.0
"""Clocks so far apart are said: expiry is looked at by each host's own, and logs are compared by it."""
_Result = TypeVar("_Result")


def parties(config: ClusterConfig, role: Role, files: TLSFiles | None) -> Findings:
    """Every party that this participant calls. A party calls those with lower numbers; an owner is told the most."""
    if files is None:
        return
    called = [name for name in PARTY_NAMES if role.kind != "party" or name < role.name]
    if not called:
        yield good("parties", f"{role.name} calls nobody; look at the others from their hosts, or as an owner")
        return
    places = [(number, name) for number in range(len(config.triples)) for name in called]
    with ThreadPoolExecutor(len(places)) as pool:
        looks = [pool.submit(_look, config, role, files, number, PARTY_NAMES.index(name)) for number, name in places]
        found = {config.called(*place): look.result() for place, look in zip(places, looks, strict=True)}
    for findings, _ in found.values():
        yield from findings
    yield from _alike(config, {name: figures for name, (_, figures) in found.items() if figures})


def _look(
    whole: ClusterConfig, role: Role, files: TLSFiles, number: int, index: int
) -> tuple[list[Finding], Figures | None]:
    """What can be said of one party of a triple; the first thing that is wrong ends it."""
    config, name = whole.replica(number), whole.called(number, PARTY_NAMES[index])
    host, port = config.party(index).address
    where = f"{name} at {format_address((host, port))}"
    try:
        found = _within(REACH_S, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        where += f" ({', '.join(sorted({str(each[4][0]) for each in found}))})"
    except OSError as error:
        return [wrong(name, f"{where}: {explain(error)}", "correct parties.*.host, or this host's name server")], None
    network = TLSNetwork(config, files)
    try:
        if role.kind == "party":  # saying more would take the place of the party that runs
            network.connect(index, REACH_S).close()
            return [good(name, f"{where}: there, and accepts our certificate")], None
        before = time.time()
        channel = call(network, index, Hello.plain(role.kind, config.cluster), REACH_S)
        try:
            if role.kind == "client":
                return [good(name, f"{where}: there, of this cluster, and takes us for {role}")], None
            status = ask(channel, AskStatus(), Status, REACH_S)
        finally:
            channel.close()
    except TrustError as error:
        do = (
            "both sides need certificates of one authority: compare their ca.crt; and each host its own: parties.*.host"
        )
        return [wrong(name, str(error), do)], None
    except RefusedError as error:
        return [wrong(name, str(error), "both sides need the same cluster.yaml and the same release")], None
    except LinkError as error:
        do = "start it; if it runs: is a firewall between, does it listen at another port or address (`bind`)?"
        return [wrong(name, str(error), do)], None
    except KerasPrivateError as error:
        return [wrong(name, str(error), "see that party's log")], None
    said = [good(name, f"{where}: there, and takes us for {role}")]
    ahead = status.figures.clock - (before + time.time()) / 2
    if abs(ahead) > SKEW_S + (time.time() - before):
        said.append(warning(name, f"its clock is {ahead:+.0f} s off this host's", "have both hosts keep time (NTP)"))
    said += [
        warning(name, f"not ready: {printable(reason.encode())}", "normal for a minute after a start; else see its log")
        for reason in status.figures.unready
    ]
    return said, status.figures


def _within(seconds: float, act: Callable[[], _Result]) -> _Result:
    """What `act` returns, if it does within so many seconds; a name server may take minutes.

    Raises:
        TimeoutError: it did not.
    """
    result: Future[_Result] = Future()

    def live() -> None:
        try:
            result.set_result(act())
        except Exception as error:  # noqa: BLE001  the caller's
            result.set_exception(error)

    threading.Thread(target=live, name="name server", daemon=True).start()  # nobody waits for it at the end either
    return result.result(seconds)


def _alike(config: ClusterConfig, found: dict[str, Figures]) -> Findings:
    """Releases and limits have to be the same everywhere, this file's among them."""
    ours = keras_private.__version__
    for name, figures in found.items():
        if figures.release != ours:
            theirs = printable(figures.release.encode())
            yield warning(name, f"runs release {theirs}, here is {ours}", "install the same release everywhere")
    here = dict(_split(f"{field}={value}") for field, value in config.limits)
    alike = True
    for name, figures in found.items():
        theirs_all = dict(_split(each) for each in figures.limits)
        for field in sorted(here.keys() | theirs_all.keys()):
            mine, theirs = here.get(field, "unknown"), theirs_all.get(field, "unknown")
            if mine != theirs:
                alike = False
                theirs = printable(theirs.encode())
                yield warning(
                    name,
                    f"limits.{printable(field.encode())} is {theirs} there, {mine} in this file",
                    "write the same limits into all files, and restart what has others",
                )
    if alike and found:
        yield good("limits", f"the same at {', '.join(found)} and in this file")


def _split(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value
