"""Where parties listen, beside where they are called: behind NAT, in a container, with a name of no use at home."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES, ClusterConfig, PartyConfig
from keras_private.net.certificates import create_authority, issue
from keras_private.net.handshake import Listener, connect, describe_listening
from keras_private.net.roles import Role
from keras_private.party.network import credentials
from tests.checks import goes_on
from tests.conftest import Trio

PARTY, CLIENT = Role("party", "server0"), Role("client", "bob")


def own_address() -> str | None:
    """An IPv4 address of this machine that is not loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # of a datagram socket: nothing is sent
        return str(probe.getsockname()[0])
    return None


def works(address: str) -> bool:
    """Whether this machine has the address."""
    with (
        contextlib.suppress(OSError),
        socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET),
    ):
        return True
    return False


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.1.1", "::1", own_address()])
def test_all_interfaces(tmp_path: Path, address: str | None) -> None:
    if address is None or not works(address):
        pytest.skip("this machine has no such address")
    create_authority(tmp_path)
    files, bob = issue(tmp_path, PARTY), issue(tmp_path, CLIENT)
    listener = Listener(("::", 0), files)
    accepted: list[Any] = []
    thread = threading.Thread(target=lambda: accepted.append(listener.accept(10).handshake(10)))
    thread.start()
    try:
        connect((address, listener.address[1]), bob, PARTY, 10).close()
    finally:
        thread.join(10)
        listener.close()
    assert accepted[0].peer == CLIENT
    accepted[0].close()


def test_an_ipv4_caller_is_named_as_such(tmp_path: Path) -> None:
    create_authority(tmp_path)
    listener = Listener(("::", 0), issue(tmp_path, PARTY))
    try:
        with socket.create_connection(("127.0.0.1", listener.address[1]), 10):
            caller = listener.accept(10)
            assert caller.address[0] == "127.0.0.1"
            caller.close()
    finally:
        listener.close()


def test_in_words() -> None:
    assert describe_listening(("::", 1)) == "[::]:1 (all interfaces)"
    assert describe_listening(("0.0.0.0", 1)) == "0.0.0.0:1 (all IPv4 interfaces)"
    assert describe_listening(("localhost", 1)) == "localhost:1 (this machine only)"
    assert describe_listening(("::1", 1)) == "[::1]:1 (this machine only)"
    assert describe_listening(("10.0.0.5", 1)) == "10.0.0.5:1"


@pytest.mark.parametrize(
    ("host", "bind", "where"),
    [
        ("party0.invalid:{}", None, "[::]:{} (all interfaces)"),  # a name that resolves to nothing here
        ("party0.invalid:9", "127.0.0.1:{}", "127.0.0.1:{} (this machine only)"),
        ("127.0.0.1:{}", None, "127.0.0.1:{} (this machine only)"),
    ],
)
def test_a_party_says_where_it_listens(
    tmp_path: Path, free_ports: Any, host: str, bind: str | None, where: str
) -> None:
    ports = free_ports()
    create_authority(tmp_path / "ca")
    for role in (PARTY, CLIENT):
        issue(tmp_path, role, authority=tmp_path / "ca")
    parties = {
        "server0": {"host": host.format(ports[0]), "bind": bind and bind.format(ports[0])},
        "server1": {"host": f"127.0.0.1:{ports[1]}"},
        "server2": {"host": f"127.0.0.1:{ports[2]}"},
    }
    tls = {"ca": "ca.crt", "cert": "{name}.crt", "key": "{name}.key"}
    path = tmp_path / "cluster.yaml"
    path.write_text(json.dumps({"parties": parties, "tls": tls}))
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_private.cli", "party", "--config", str(path), "--name", "server0"],
        env=os.environ | {"KERAS_PRIVATE_LOG": "info"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    try:
        assert process.stdout
        called, expected = host.format(ports[0]), where.format(ports[0])
        assert process.stdout.readline() == f"server0 listens at {expected}; others call it at {called}\n"
        files = credentials(ClusterConfig.load(path), Role("client", "bob"))
        connect(("127.0.0.1", ports[0]), files, PARTY, 10).close()
    finally:
        process.terminate()
        _, log = process.communicate(timeout=20)
    (line,) = [line for line in map(json.loads, log.splitlines()) if line["event"] == "listening"]
    assert (line["host"], line["bind"]) == (called, expected)


class Forwarder:
    """What maps an outside port to an inside one, as a router or a container's host does."""

    def __init__(self, outside: int, inside: int) -> None:
        self._inside = inside
        self._server = socket.create_server(("127.0.0.1", outside))
        self._socks = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                outer, _ = self._server.accept()
                inner = socket.create_connection(("127.0.0.1", self._inside), 10)
                self._socks += [outer, inner]
                for ends in ((outer, inner), (inner, outer)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@pytest.fixture
def mapped(make_config: Any, free_ports: Any) -> Iterator[ClusterConfig]:
    """A cluster that listens at other ports than it is called at."""
    config, inside = make_config(managed=False), free_ports()
    parties = {
        name: PartyConfig(host=config.parties[name].host, bind=f"127.0.0.1:{port}")
        for name, port in zip(PARTY_NAMES, inside, strict=True)
    }
    forwarders = [Forwarder(config.party(index).address[1], inside[index]) for index in range(3)]
    yield config.model_copy(update={"parties": parties})
    for forwarder in forwarders:
        forwarder.close()


def test_mapped_ports(mapped: ClusterConfig, tiny: Any, serving: Any) -> None:
    trio = Trio(mapped)
    try:
        goes_on(trio, tiny, serving)
    finally:
        trio.stop()


def test_ipv6_alone(make_config: Any, tiny: Any, serving: Any) -> None:
    if not works("::1"):
        pytest.skip("this machine has no IPv6")
    config = make_config()
    parties = {
        name: PartyConfig(host=f"[::1]:{party.address[1]}", auto_managed=True) for name, party in config.parties.items()
    }
    with TFECluster.from_config(config.model_copy(update={"parties": parties})) as cluster:
        goes_on(cluster, tiny, serving)
