"""Real credentials, real sockets on free ports of loopback, one thread a party."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from keras_private.errors import LinkError
from keras_private.net.certificates import create_authority, issue
from keras_private.net.connection import Connection
from keras_private.net.handshake import Listener, connect
from keras_private.net.link import Link
from keras_private.net.memory import memory_links
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles
from keras_private.net.tls_link import TLSLink

PARTIES = [Role("party", f"server{i}") for i in range(3)]
OWNER = Role("owner", "alice")
CLIENT = Role("client", "bob")
ANY = ("localhost", 0)

Links = tuple[Link, Link, Link]


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> dict[Role, TLSFiles]:
    folder: Path = tmp_path_factory.mktemp("certificates")
    create_authority(folder)
    return {role: issue(folder, role, ["localhost"]) for role in (*PARTIES, OWNER, CLIENT)}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(12) as executor:
        yield executor


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Closes at the end of the test what it was given."""
    with ExitStack() as stack:
        yield stack


class Pairs:
    """Makes pairs of connected connections."""

    def __init__(self, credentials: dict[Role, TLSFiles], pool: ThreadPoolExecutor, closing: ExitStack) -> None:
        self.credentials, self.pool, self.closing = credentials, pool, closing

    def __call__(
        self, caller: Role = CLIENT, called: Role = PARTIES[0], timeout: float = 10.0
    ) -> tuple[Connection, Connection]:
        """(the caller's end, the called's end)."""
        listener = Listener(ANY, self.credentials[called])
        try:
            accepted: Future[Connection] = self.pool.submit(lambda: listener.accept(10.0).handshake(timeout))
            there = connect(listener.address, self.credentials[caller], called, timeout)
            here = accepted.result(10.0)
        finally:
            listener.close()
        for connection in (there, here):
            self.closing.callback(connection.close)
        return there, here


@pytest.fixture
def pairs(credentials: dict[Role, TLSFiles], pool: ThreadPoolExecutor, closing: ExitStack) -> Pairs:
    return Pairs(credentials, pool, closing)


def tls_links(pairs: Pairs, timeout: float, lanes: tuple[int, int, int] = (0, 0, 0)) -> Links:
    ends = [pairs(PARTIES[i], PARTIES[(i + 1) % 3]) for i in range(3)]  # party i calls the next one
    zero, one, two = (
        TLSLink(i, next=ends[i][0], prev=ends[(i - 1) % 3][1], lane=lanes[i], timeout=timeout) for i in range(3)
    )
    return zero, one, two


@pytest.fixture(params=["memory", "tls"])
def make_links(request: pytest.FixtureRequest, pairs: Pairs, closing: ExitStack) -> Callable[..., Links]:
    """A function of a timeout that makes the three ends of a lane."""

    def make(timeout: float = 10.0) -> Links:
        links: Links = memory_links(timeout) if request.param == "memory" else tls_links(pairs, timeout)
        for link in links:
            closing.callback(link.close)
        return links

    return make


def failure(call: Callable[[], object]) -> LinkError:
    with pytest.raises(LinkError) as caught:
        call()
    return caught.value
