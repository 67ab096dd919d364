"""Runs one party: what `keras-private party --config cluster.yaml --name server0` does.

`--config -` is how `TFECluster.start` runs it: the configuration comes as one JSON line on standard input, "ready" or
"failed <cause>" goes to standard output, and the party stops when its standard input ends.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import json
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, NoReturn, TextIO

from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.errors import KerasPrivateError
from keras_private.extras import require
from keras_private.net.identity import Identity
from keras_private.net.roles import Role
from keras_private.party.heap import keep_freed
from keras_private.party.network import TLSNetwork, credentials
from keras_private.party.notify import READY, STOPPING, tell
from keras_private.tracing import start_party

if TYPE_CHECKING:
    from keras_private.party.server import PartyServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a party until SIGTERM, SIGINT or, when managed, the end of standard input; then the process ends, with exit
    code 0. Returns the exit code if the party could not be started.

    The first signal lets what runs be finished (`PartyServer.drain`), the second one does not.
    """
    parser = argparse.ArgumentParser(prog="python -m keras_private.party", description="Run one party of a cluster.")
    parser.add_argument("--config", required=True, help="the cluster's cluster.yaml")
    parser.add_argument("--name", required=True, choices=PARTY_NAMES, help="which party this is")
    parser.add_argument("--replica", type=int, default=0, help="of which triple, where cluster.yaml lists several")
    options = parser.parse_args(arguments)
    return run(options.config, options.name, options.replica)


def run(config: str, name: str, replica: int = 0) -> int:
    """See `main`."""
    _hold_standard_files()
    _dump_no_core()
    managed, stop = config == "-", Ending()
    # Handlers interrupt the main thread anywhere, each other too: what they call must take no lock that it may hold.
    signals: list[int] = []
    hangups: SimpleQueue[int] = SimpleQueue()

    def on_signal(number: int, _: object) -> None:
        signals.append(number)
        stop.set()

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, on_signal)
    signal.signal(signal.SIGHUP, lambda number, _: hangups.put(number))
    try:
        server = _start(config, name, replica)
    except (KerasPrivateError, json.JSONDecodeError) as error:
        if managed:
            _say(f"failed {' '.join(str(error).split())}")
        else:
            _say(f"{name}: {error}", sys.stderr)
        stop.close()
        return 1
    if not managed:
        _say(f"{name} listens at {server.listens_at}; others call it at {server.node.config.parties[name].host}")
        tell(READY)
    else:
        _say("ready")
        threading.Thread(target=_watch_parent, args=(stop,), name="parent", daemon=True).start()
    threading.Thread(target=_reload, args=(server, hangups, stop), name="reload", daemon=True).start()
    stop.wait()
    tell(STOPPING)
    if signals:
        server.drain(lambda: len(signals) > 1)
    server.stop()
    stop.close()
    return _end()


def _end() -> NoReturn:
    """End the process now: somebody waits to start the party again. All is closed; taking the interpreter apart, with
    all its modules and with threads that it stops anywhere, takes seconds under load, and sometimes for ever."""
    atexit._run_exitfuncs()  # logs and spans are written
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(0)


class Ending:
    """Set by a signal's handler or by a thread; the main thread, and no other, waits for it.

    The kernel may give a signal to any thread, to another one than the main thread if that was stopped just before,
    and Python runs the handler only when the main thread does something. So that one waits for bytes: each signal sends
    one, whichever thread took it.
    """

    def __init__(self) -> None:
        self._set = False
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        with contextlib.suppress(OSError):  # full: it is awake anyway
            self._wake.send(b"\0")

    def wait(self, timeout: float | None = None) -> bool:
        self._woken.settimeout(timeout)
        with contextlib.suppress(TimeoutError):
            while not self._set:
                self._woken.recv(64)
        return self._set

    def close(self) -> None:
        """Once nobody waits any more."""
        signal.set_wakeup_fd(-1)
        self._wake.close()
        self._woken.close()


def _reload(server: PartyServer, hangups: SimpleQueue[int], stop: Ending) -> None:
    """At each SIGHUP take over what the files say; end if it came because our terminal has gone."""
    at_terminal = _has_terminal()
    while True:
        hangups.get()
        while not hangups.empty():
            hangups.get()
        if at_terminal and not _has_terminal():
            stop.set()
            return
        server.reload(now=True)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _start(source: str, name: str, replica: int) -> PartyServer:
    require("party", "a party")
    from keras_private.logs import party_log
    from keras_private.mpc.kernels import check_cache
    from keras_private.party.certificate import CertificateWatch
    from keras_private.party.server import PartyServer

    check_cache()
    keep_freed()  # before there are threads
    start_party(name)
    log = party_log(name)
    config = ClusterConfig.parse(json.loads(sys.stdin.readline())) if source == "-" else ClusterConfig.load(source)
    config = config.replica(replica)
    role = Role("party", name)
    identity = Identity(credentials(config, role))
    server = PartyServer(
        config,
        PARTY_NAMES.index(name),
        TLSNetwork(config, identity),
        log=log,
        certificate=CertificateWatch(identity, log, renew=lambda: credentials(config, role)),
    )
    server.start()
    return server


def _hold_standard_files() -> None:
    """Open what was closed of 0, 1 and 2: a connection that got such a number would be sent what libraries print."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _dump_no_core() -> None:
    """Memory holds shares and keys. A limit of 1 byte, unlike 0, is also kept to where the system pipes cores away."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    limit = 0 if hard == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def _say(line: str, stream: TextIO | None = None) -> None:
    stream = stream or sys.stdout
    if stream is not None:  # closed before this process began
        with contextlib.suppress(OSError):  # the parent may be gone; then our standard input ends too
            stream.write(line + "\n")
            stream.flush()


def _watch_parent(stop: Ending) -> None:
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin.buffer.read(1):
            pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
