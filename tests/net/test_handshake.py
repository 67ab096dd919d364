"""How connections come to be: who may connect, who is refused and told why, and where a party listens."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from keras_private.errors import ConfigError, LinkError, LinkTimeoutError
from keras_private.net.certificates import create_authority, issue
from keras_private.net.connection import Connection
from keras_private.net.handshake import Listener, connect, format_address
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles, client_context

from .conftest import ANY, CLIENT, OWNER, PARTIES, failure

pytestmark = pytest.mark.timeout(60)

Credentials = dict[Role, TLSFiles]


# ---- who may connect


class Caller:
    """Connects with some credentials and reports what both sides say."""

    def __init__(self, credentials: Credentials, pool: ThreadPoolExecutor, closing: ExitStack) -> None:
        self.listener = Listener(ANY, credentials[PARTIES[0]])
        closing.callback(self.listener.close)
        self.pool, self.closing = pool, closing

    def accepted(self, **how: object) -> Future[Connection]:
        return self.pool.submit(lambda: self.listener.accept(10.0).handshake(10.0, **how))  # type: ignore[arg-type]

    def both(self, tls: TLSFiles, expect: Role | None = PARTIES[0], **how: object) -> tuple[str, str]:
        here = self.accepted(**how)
        there = failure(lambda: connect(self.listener.address, tls, expect, 10.0))
        return str(failure(lambda: here.result(10.0))), str(there)


@pytest.fixture
def caller(credentials: Credentials, pool: ThreadPoolExecutor, closing: ExitStack) -> Caller:
    return Caller(credentials, pool, closing)


def test_a_foreign_authority(caller: Caller, tmp_path: Path) -> None:
    create_authority(tmp_path)
    here, there = caller.both(issue(tmp_path, CLIENT))
    assert "its certificate is not from our authority" in there  # the client looks first
    assert "it refused our certificate" in here


def test_a_client_with_a_foreign_certificate_that_trusts_us(
    caller: Caller, credentials: Credentials, tmp_path: Path
) -> None:
    create_authority(tmp_path)
    files = issue(tmp_path, CLIENT)
    here, there = caller.both(TLSFiles(credentials[CLIENT].ca, files.cert, files.key))
    assert "server0 ← 127.0.0.1:" in here
    assert "its certificate is not from our authority" in here
    assert "it refused our certificate: not from its authority" in there


def test_an_expired_certificate(caller: Caller, credentials: Credentials, tmp_path: Path) -> None:
    authority = credentials[CLIENT].ca.parent
    files = issue(tmp_path, Role("client", "old"), days=0, authority=authority)
    here, there = caller.both(files)
    assert "its certificate has expired" in here
    assert "it refused our certificate: expired" in there


def test_no_certificate(caller: Caller, credentials: Credentials) -> None:
    here = caller.accepted()
    context = ssl.create_default_context(cafile=str(credentials[CLIENT].ca))
    context.check_hostname = False
    raw = socket.create_connection(caller.listener.address, 10.0)
    with pytest.raises(ssl.SSLError), context.wrap_socket(raw) as sock:
        sock.recv(1)
    assert "it sent no certificate" in str(failure(lambda: here.result(10.0)))


def test_a_certificate_without_a_role(credentials: Credentials, pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    # A whole foreign authority, trusted by mistake: still nobody without a role gets in.
    authority = trustme.CA()
    ca, cert, key = tmp_path / "ca.crt", tmp_path / "some.crt", tmp_path / "some.key"
    leaf = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(ca)
    leaf.private_key_pem.write_to_path(key)
    leaf.cert_chain_pems[0].write_to_path(cert)
    key.chmod(0o600)
    server = credentials[PARTIES[0]]
    server_trusts_it = TLSFiles(ca, server.cert, server.key)
    client_trusts_us = TLSFiles(server.ca, cert, key)
    with pytest.raises(ConfigError, match="must name one role"):
        connect(("localhost", 1), client_trusts_us)
    listener = Listener(ANY, server_trusts_it)
    try:
        here = pool.submit(lambda: listener.accept(10.0).handshake(10.0))
        with socket.create_connection(listener.address, 10.0) as raw:
            sock = client_context(client_trusts_us).wrap_socket(raw)
            assert "must name one role" in str(failure(lambda: here.result(10.0)))
            sock.close()
    finally:
        listener.close()


def test_a_role_that_is_not_welcome_is_told_why(caller: Caller, credentials: Credentials) -> None:
    here, there = caller.both(credentials[OWNER], admit=lambda role: f"no {role.kind}s here")
    assert "refused owner:alice: no owners here" in here
    assert "it refused us: no owners here" in there


def test_somebody_else_is_there(caller: Caller, credentials: Credentials) -> None:
    here = caller.accepted()
    error = failure(lambda: connect(caller.listener.address, credentials[CLIENT], PARTIES[2], 10.0))
    assert error.party == "server2"  # who should have been there
    assert "bob → server2 at localhost:" in str(error)
    assert "it is party:server0, not party:server2" in str(error)
    with contextlib.suppress(LinkError):  # it may have noticed during the greeting already
        here.result(10.0).close()


def test_a_client_cannot_pose_as_a_party(credentials: Credentials, pool: ThreadPoolExecutor) -> None:
    listener = Listener(ANY, credentials[CLIENT])
    try:
        here = pool.submit(lambda: failure(lambda: listener.accept(10.0).handshake(10.0)))
        error = failure(lambda: connect(listener.address, credentials[OWNER], None, 10.0))
        assert "its certificate is not meant for this use" in str(error)
        assert "not meant for this use" in str(here.result(10.0))
    finally:
        listener.close()


def test_old_tls_is_refused(caller: Caller, credentials: Credentials) -> None:
    here = caller.accepted()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(credentials[CLIENT].ca)
    with socket.create_connection(caller.listener.address, 10.0) as raw, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(raw)
    assert "it does not speak TLS 1.3" in str(failure(lambda: here.result(10.0)))


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.0\r\n\r\n", bytes(range(256)), b"\xff" * 16])
def test_something_that_is_not_tls(caller: Caller, noise: bytes) -> None:
    here = caller.accepted()
    with socket.create_connection(caller.listener.address, 10.0) as raw:
        raw.sendall(noise)
        assert "server0 ← 127.0.0.1:" in str(failure(lambda: here.result(10.0)))


def test_a_silent_caller_holds_up_nobody(caller: Caller, credentials: Credentials, pool: ThreadPoolExecutor) -> None:
    with socket.create_connection(caller.listener.address, 10.0):
        silent = caller.listener.accept(10.0)
        here = caller.accepted()
        connect(caller.listener.address, credentials[CLIENT], PARTIES[0], 10.0).close()
        here.result(10.0).close()
        assert isinstance(failure(lambda: silent.handshake(0.05)), LinkTimeoutError)


def test_a_server_that_never_welcomes(credentials: Credentials, caller: Caller) -> None:
    error = failure(lambda: connect(caller.listener.address, credentials[CLIENT], PARTIES[0], 0.1))
    assert error.party == "server0"
    assert isinstance(error, LinkTimeoutError)
    assert "bob → server0 at localhost:" in str(error)


# ---- listening


def test_a_port_in_use_is_named(caller: Caller, credentials: Credentials) -> None:
    address = format_address(caller.listener.address)
    error = failure(lambda: Listener(address, credentials[PARTIES[1]]))
    assert f"server1 cannot listen at {address}: another process listens there" in str(error)


def test_an_address_of_another_host(credentials: Credentials) -> None:
    assert "no such address" in str(failure(lambda: Listener(("192.0.2.1", 4000), credentials[PARTIES[0]])))


def test_nothing_listens(caller: Caller, credentials: Credentials) -> None:
    caller.listener.close()
    error = failure(lambda: connect(caller.listener.address, credentials[CLIENT], PARTIES[0], 10.0))
    assert "nothing listens there; is that party started?" in str(error)


def test_addresses_are_checked(credentials: Credentials) -> None:
    with pytest.raises(ConfigError, match="host:port"):
        connect("localhost", credentials[CLIENT])
    assert format_address(("::1", 4000)) == "[::1]:4000"


def test_accept_gives_up_in_time_and_ends_with_close(caller: Caller, pool: ThreadPoolExecutor) -> None:
    assert isinstance(failure(lambda: caller.listener.accept(0.01)), LinkTimeoutError)
    begun = threading.Event()

    def wait() -> LinkError:
        begun.set()
        return failure(lambda: caller.listener.accept(10.0))

    waiting = pool.submit(wait)
    assert begun.wait(10.0)
    caller.listener.close()
    caller.listener.close()
    assert "the listener was closed" in str(waiting.result(10.0))


def test_a_pending_caller_can_be_hung_up_on(caller: Caller) -> None:
    with socket.create_connection(caller.listener.address, 10.0) as raw:
        caller.listener.accept(10.0).close()
        assert raw.recv(1) == b""
