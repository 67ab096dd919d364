"""Thousands of connections without a certificate, beside clients that ask.

Each party has its share of `--strangers` connections open all the time, from many addresses: some say nothing, some
begin a handshake and stop, some speak something else, some shake hands and have no certificate to show. Whoever is hung
up on calls again. A new client must get in beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import select
import socket
import ssl
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.row import Row
from benchmarks.serving.checked import asking
from benchmarks.serving.operators import ROOT, Operators, serving
from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.errors import KerasPrivateError
from keras_private.net.roles import Role
from keras_private.party.dial import call
from keras_private.party.messages import Hello
from keras_private.party.network import TLSNetwork, credentials

_CLIENTS = 4
_A_SECOND = 150  # calls that one party gets from strangers, at most
_HALF = bytes.fromhex("16030100c8010000c40303") + bytes(20)  # of a hello
_ELSE = b"GET / HTTP/1.1\r\n\r\n"


def rows(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Throughput beside strangers to that without, measured in turns; how long a new client takes to get in."""
    alone: list[float] = []
    beside: list[float] = []
    entering: list[float] = []
    calls, most, shut_out = 0, 0, 0
    with (
        Operators(folder, "limits: {timeout_s: 10}\n") as operators,
        serving(operators) as model,
        asking(operators.path, model, _CLIENTS) as watch,
    ):
        config = ClusterConfig.load(operators.path)
        pids = {name: process.pid for name, process in operators.parties.items()}
        network = TLSNetwork(config, credentials(config, Role("client", "late")))
        for turn in range(options.turns):
            began = time.monotonic()
            time.sleep(options.seconds)
            alone.append(watch.rate(began, time.monotonic()))
            crowds = [_crowd(operators.path, index, options, turn) for index in range(len(PARTY_NAMES))]
            time.sleep(2.0)  # until they are all there
            began = time.monotonic()
            while time.monotonic() < began + options.seconds:
                asked = time.monotonic()
                try:
                    call(network, 0, Hello.plain("client", config.cluster), 10.0).close()
                    entering.append(time.monotonic() - asked)
                except KerasPrivateError:
                    shut_out += 1
                time.sleep(0.5)
            beside.append(watch.rate(began, time.monotonic()))
            for crowd in crowds:
                called, held = map(int, crowd.communicate("\n")[0].split())
                calls, most = calls + called, max(most, held)
        crashes = sum(not process.is_running() or process.pid != pids[n] for n, process in operators.parties.items())
        broken, failed, wrong = operators.tracebacks(), sum(watch.failures.values()), watch.wrong
    without, with_ = statistics.median(alone), statistics.median(beside)
    detail = f"{options.strangers} at once, {calls} calls, up to {most} held by one party"
    return [
        Row("strangers: crashes and tracebacks", crashes + broken, "", 0, detail),
        Row("strangers: queries lost or wrong", failed + wrong, "", 0),
        Row("strangers: clients shut out", shut_out, "", 0, f"of {shut_out + len(entering)} that came meanwhile"),
        Row("strangers: a client gets in", 1000 * statistics.median(entering or [0.0]), "ms", None, "median"),
        Row(
            "strangers: throughput beside them",
            100 * with_ / without,
            "%",
            70,
            f"{with_:.0f} a second, {without:.0f} without",
            at_least=True,
        ),
    ]


def _crowd(config: Path, index: int, options: argparse.Namespace, turn: int) -> subprocess.Popen[str]:
    count = options.strangers // len(PARTY_NAMES)
    command = [sys.executable, "-m", "benchmarks.serving.strangers", str(config), str(index), str(count), str(turn)]
    return subprocess.Popen(  # noqa: S603
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _stand_about(config: str, index: int, count: int, seed: int) -> None:
    """So many strangers at one party, until standard input says something; prints their calls, and how many were held.

    Strangers have machines of their own: here they only get what the parties and the clients leave of this one.
    """
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    source = random.Random(f"{index} {seed}")  # noqa: S311  the same each time
    address = ClusterConfig.load(config).party(index).address
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    there: dict[int, socket.socket] = {}
    poller, calls, most, began = select.poll(), 0, 0, time.monotonic()
    poller.register(sys.stdin, select.POLLIN)
    while True:
        room = int(_A_SECOND * (time.monotonic() - began)) + count - calls  # the first ones come all at once
        while len(there) < count and room > 0:
            room -= 1
            calls += 1
            with contextlib.suppress(OSError):
                sock = _one(address, source, context)
                there[sock.fileno()] = sock
                poller.register(sock, select.POLLIN)
        most = max(most, len(there))
        for number, _ in poller.poll(20):
            if number == sys.stdin.fileno():
                print(calls, most)
                return
            if _is_over(there[number]):
                poller.unregister(number)
                there.pop(number).close()


def _one(address: tuple[str, int], source: random.Random, context: ssl.SSLContext) -> socket.socket:
    sock = socket.create_connection(
        address, 10, source_address=(f"127.0.{source.randrange(8)}.{source.randrange(1, 255)}", 0)
    )
    sock.setblocking(False)
    what = source.random()
    if what < 0.4:
        return sock
    if what < 0.6:
        sock.send(_HALF)
        return sock
    if what < 0.8:
        sock.send(_ELSE)
        return sock
    tls = context.wrap_socket(sock, do_handshake_on_connect=False)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return tls


def _is_over(sock: socket.socket) -> bool:
    try:
        if isinstance(sock, ssl.SSLSocket):
            sock.do_handshake()
        return not sock.recv(1000)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
        return False
    except OSError:
        return True


if __name__ == "__main__":
    _stand_about(sys.argv[1], *map(int, sys.argv[2:5]))
