"""How connections come to be: one side listens, the other connects, each proves its role.

In TLS 1.3 a client has finished its handshake before the server has looked at its certificate. So the accepting side
greets: one CONTROL frame that says welcome, or why not. `connect` returns only after the welcome.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable

from keras_private.config import ALL_INTERFACES, parse_host
from keras_private.errors import ConfigError, LinkError, LinkTimeoutError, TrustError
from keras_private.net.certificates import is_loopback
from keras_private.net.connection import Connection
from keras_private.net.frames import FrameType, printable
from keras_private.net.identity import Identity
from keras_private.net.link import DEFAULT_TIMEOUT
from keras_private.net.revocation import REVOKED
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles, client_context, explain, link_error, peer_role, role_of

Address = tuple[str, int]

_WELCOME = b"keras-private/1 welcome"
_YOURS_REVOKED = f"your {REVOKED}"
_MAX_GREETING = 1000
_RECORD_HEADER, _RECORD_BYTES = 5, 1 << 14  # of TLS
_BACKLOG = 1024  # callers not yet accepted; beyond that they try again a second later, so let a crowd wait here


def format_address(address: Address) -> str:
    """Like "localhost:4000", or "[::1]:4000"."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def describe_listening(address: Address) -> str:
    """Like "127.0.0.1:4000 (this machine only)"."""
    host = address[0]
    if host in (ALL_INTERFACES, "0.0.0.0"):  # noqa: S104  it is being said, not done
        return f"{format_address(address)} (all {'interfaces' if host == ALL_INTERFACES else 'IPv4 interfaces'})"
    return format_address(address) + (" (this machine only)" if is_loopback(host) else "")


def connect(
    address: str | Address, tls: TLSFiles | Identity, expect: Role | None = None, timeout: float = DEFAULT_TIMEOUT
) -> Connection:
    """Connects, proves who we are, makes sure who they are, and waits for their welcome.

    Args:
        address: "host:port" or (host, port).
        tls: files are read anew for every connection.
        expect: who has to be there; None takes anyone with a certificate of our authority.
        timeout: seconds for all of it; it also becomes the connection's timeout.

    Raises:
        ConfigError: our own certificate files are missing or wrong.
        LinkTimeoutError, LinkError: why it failed, with both sides named.
    """
    host, port = _parse(address)
    if isinstance(tls, Identity):
        local, context, revoked = tls.current.role, tls.current.client, tls.current.revoked
    else:
        local, context, revoked = role_of(tls.cert), client_context(tls), tls.revoked
    party = expect.party if expect else ""
    there = f"{expect.name} at " if expect else ""
    sides = f"{local.name} → {there}{format_address((host, port))}"
    deadline = time.monotonic() + timeout
    try:
        raw = socket.create_connection((host, port), timeout)
    except OSError as error:
        raise link_error(error, sides, party) from None
    sock = _wrap(context, raw, False, sides, party)
    try:
        peer, serial = _shake(sock, deadline, sides, party)
    except BaseException:
        sock.close()
        raise
    if expect is not None and peer != expect:
        sock.close()
        raise TrustError(f"{sides}: it is {peer}, not {expect}; is the address right?", party)
    if serial in revoked.serials:
        sock.close()
        raise TrustError(f"{sides}: its {REVOKED}", party)
    connection = Connection(sock, local, peer, timeout)
    connection.phase = "greeting"
    if isinstance(tls, Identity):
        tls.hold(connection, serial)
    try:
        greeting = connection.receive_frame(FrameType.CONTROL, _MAX_GREETING, max(0.0, deadline - time.monotonic()))
        if greeting != _WELCOME:
            kind = TrustError if greeting == _YOURS_REVOKED.encode() else LinkError
            raise kind(f"{sides}: it refused us: {printable(greeting)}", party)
    except LinkError:
        connection.close()
        raise
    connection.phase = "connected"
    return connection


class Pending:
    """A caller that was accepted but not yet looked at. `handshake` is for one thread, `close` for any."""

    def __init__(self, sock: socket.socket, address: Address, identity: Identity) -> None:
        self.address = address
        self._sock = sock
        self._identity = identity
        self._context = identity.current.server
        self._local = identity.current.role
        self._due = _RECORD_HEADER  # bytes that have to be there before it is worth a look
        self._asked_for = 0  # for how many poll() has been asked
        self._lock = threading.Lock()  # around the fields below, and around whatever changes the file descriptor
        self._busy = False
        self._over = False
        self._reason = ""

    def fileno(self) -> int:
        """For poll(), which stays quiet until it is time to `look` (by SO_RCVLOWAT); -1 once closed."""
        return self._sock.fileno()

    def look(self) -> bool:
        """Whether the first record has come whole, so that a handshake can begin. Waits for nothing.

        Raises:
            LinkError: it hung up, or does not speak TLS; or `close` was called. The socket is closed.
        """
        sides = f"{self._local.name} ← {format_address(self.address)}"
        with self._lock:
            if self._over:
                raise LinkError(f"{sides}: {self._reason}")
            try:
                wrong = self._look()
            except BlockingIOError:
                return False
            except OSError as error:
                wrong = explain(error)
            if wrong:
                self._over = True
                self._sock.close()
                raise LinkError(f"{sides}: {wrong}")
            return self._due == 1

    def _look(self) -> str:
        """What is wrong with what has come; afterwards `_due` bytes are due, or 1 if all is there."""
        if self._due == 1:
            return ""
        come = self._sock.recv(self._due, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        if not come:
            return "it closed the connection"
        if come[:1] != b"\x16":
            return (
                "it speaks HTTP, not TLS"
                if come[:4] in (b"GET ", b"HEAD", b"POST", b"PUT ")
                else "it does not speak TLS"
            )
        if self._due == _RECORD_HEADER and len(come) == self._due:
            size = int.from_bytes(come[3:], "big")
            if come[1] != 3 or not 0 < size <= _RECORD_BYTES:
                return "it does not speak TLS"
            self._due += size
            come = self._sock.recv(self._due, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        if len(come) == self._due:
            self._due = 1
        elif self._asked_for == self._due:  # poll() has spoken, and so much has not come: nothing more will
            return "it closed the connection"
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, self._due)
        self._asked_for = self._due
        return ""

    def handshake(
        self, timeout: float = DEFAULT_TIMEOUT, admit: Callable[[Role], str | None] | None = None
    ) -> Connection:
        """Finds out who it is, and greets it.

        Args:
            timeout: seconds for all of it; it also becomes the connection's timeout.
            admit: returns why a role is not welcome, or None if it is; the caller is told the reason.

        Raises:
            LinkTimeoutError, LinkError: no certificate, a foreign or expired one, a role that is not welcome,
                no TLS at all, too slow; or `close` was called meanwhile. The socket is closed.
        """
        deadline = time.monotonic() + timeout
        sides = f"{self._local.name} ← {format_address(self.address)}"
        sock, peer, serial = self._identify(deadline, sides)
        connection = Connection(sock, self._local, peer, timeout)
        connection.phase = "greeting"
        if serial in self._identity.current.revoked.serials:
            refusal: str | None = _YOURS_REVOKED
        else:
            self._identity.hold(connection, serial)
            refusal = admit(peer) if admit else None
        greeting = _WELCOME if refusal is None else refusal.encode()[:_MAX_GREETING]
        connection.send_frame(FrameType.CONTROL, [greeting], max(0.0, deadline - time.monotonic()))
        if refusal is not None:
            connection.finish(max(0.0, min(1.0, deadline - time.monotonic())))
            raise LinkError(f"{sides}: refused {peer}: {refusal}")
        connection.phase = "connected"
        return connection

    def _identify(self, deadline: float, sides: str) -> tuple[ssl.SSLSocket, Role, int]:
        try:
            with self._lock:
                if self._over:
                    raise LinkError(f"{sides}: {self._reason}")
                self._busy = True
                self._sock = tls = _wrap(self._context, self._sock, True, sides)
            role, serial = _shake(tls, deadline, sides)
            with self._lock:
                if self._reason:
                    raise LinkError(f"{sides}: {self._reason}")
                self._over = True
        except BaseException as error:
            with self._lock:
                self._over = True
                self._sock.close()
            if self._reason and isinstance(error, LinkError):
                raise LinkError(f"{sides}: {self._reason}") from None
            raise
        return tls, role, serial

    def close(self, reason: str = "we hung up") -> None:
        """Hangs up without a word, also in the middle of a handshake; does nothing after one."""
        with self._lock:
            if self._over:
                return
            self._reason = reason
            if self._busy:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # wakes the handshake, which then closes
            else:
                self._over = True
                self._sock.close()


class Listener:
    """Accepts connections at an address. `accept` is for one thread, `close` for any.

    Attributes:
        address: where it listens, "::" for all interfaces; with port 0 asked for, the port that it got.
    """

    def __init__(self, address: str | Address, tls: TLSFiles | Identity) -> None:
        """Begins to listen.

        Raises:
            ConfigError: our certificate files are missing or wrong.
            LinkError: the address is taken, or not one of this host; names the address.
        """
        host, port = _parse(address)
        self._identity = tls if isinstance(tls, Identity) else Identity(tls)
        self._local = self._identity.current.role
        try:
            self._sock = _listen(host, port)
        except OSError as error:
            cause = {
                errno.EADDRINUSE: "another process listens there; stop it or choose another port",
                errno.EADDRNOTAVAIL: "this host has no such address",
                errno.EACCES: "this user may not listen there; choose a port above 1023",
            }.get(error.errno or 0, error.strerror or str(error))
            raise LinkError(f"{self._local.name} cannot listen at {format_address((host, port))}: {cause}") from None
        self.address: Address = (host, self._sock.getsockname()[1])
        self._waker, self._wake = socket.socketpair()
        self._poller = select.poll()
        self._poller.register(self._sock, select.POLLIN)
        self._poller.register(self._waker, select.POLLIN)
        self._lock = threading.Lock()  # around the two fields below
        self._accepting = False
        self._closed = False

    def accept(self, timeout: float = DEFAULT_TIMEOUT) -> Pending:
        """The next caller; its handshake is left to do, best in a thread of its own.

        Raises:
            LinkTimeoutError: nobody called.
            LinkError: the listener was closed, or the system is out of file descriptors.
        """
        here = f"{self._local.name} at {format_address(self.address)}"
        with self._lock:
            if self._closed:
                raise LinkError(f"{here}: the listener was closed")
            self._accepting = True
        try:
            accepted = self._accept(time.monotonic() + timeout)
            if accepted is None:
                raise LinkTimeoutError(f"{here}: nobody connected in {timeout:g} s")
            sock, address = accepted
            return Pending(sock, address, self._identity)
        except LinkError:
            raise
        except OSError as error:
            cause = "the listener was closed" if self._closed else f"cannot accept: {error.strerror}"
            raise LinkError(f"{here}: {cause}") from None
        finally:
            with self._lock:
                self._accepting = False
                if self._closed:
                    self._release()

    def _accept(self, deadline: float) -> tuple[socket.socket, Address] | None:
        while self._poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            if self._closed:
                raise OSError(errno.EBADF, "closed")
            # A caller may have changed its mind in the meantime.
            with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
                sock, (host, port, *_) = self._sock.accept()
                return sock, (host.removeprefix("::ffff:"), port)  # as IPv4 callers show at an IPv6 socket
        return None

    def close(self) -> None:
        """Stops listening and ends a waiting `accept`. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._accepting:
                self._wake.send(b"!")  # the accepting thread closes: its poll() must not see another file's number
            else:
                self._release()

    def _release(self) -> None:
        for sock in (self._sock, self._waker, self._wake):
            sock.close()


def _parse(address: str | Address) -> Address:
    if isinstance(address, tuple):
        return address
    try:
        return parse_host(address)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _listen(host: str, port: int) -> socket.socket:
    if host == ALL_INTERFACES:
        return _listen_everywhere(port)
    # "localhost" may mean ::1 as well; callers try every address, so one is enough, and IPv4 is always there.
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _listen_everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            sock = socket.create_server(
                (ALL_INTERFACES, port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
            )
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # IPv6 is switched off
                raise
        else:
            sock.setblocking(False)
            return sock
    sock = socket.create_server(("", port), backlog=_BACKLOG)
    sock.setblocking(False)
    return sock


def _wrap(context: ssl.SSLContext, raw: socket.socket, server_side: bool, sides: str, party: str = "") -> ssl.SSLSocket:
    """TLS over a fresh socket, nothing said yet. The socket is closed if that fails."""
    try:
        _tune(raw)
        raw.settimeout(None)
        return context.wrap_socket(raw, server_side=server_side, do_handshake_on_connect=False)
    except OSError as error:
        raw.close()
        raise link_error(error, sides, party) from None


def _shake(sock: ssl.SSLSocket, deadline: float, sides: str, party: str = "") -> tuple[Role, int]:
    """The other side's role and its certificate's number, after a handshake. The socket stays open if that fails."""
    try:
        sock.settimeout(max(1e-3, deadline - time.monotonic()))
        sock.do_handshake()
        return peer_role(sock)
    except OSError as error:
        raise link_error(error, sides, party) from None
    except ConfigError as error:
        raise LinkError(f"{sides}: {error}", party) from None


def _tune(sock: socket.socket) -> None:
    # No SO_SNDBUF and SO_RCVBUF: they would end the kernel's own tuning, which goes to megabytes, and most systems cap
    # them at 200 kB. Measured on loopback, up to 8 MB each way: no difference.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer whose host lost power never says goodbye: notice within about a minute and a half.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPALIVE", 30), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
