"""`/metrics`, `/healthz` and `/readyz` over HTTP, for Prometheus and for whoever starts and stops parties.

Theory of operation. One thread with an event loop of its own serves all callers, so that slow ones pile up nothing:
each has `PATIENCE_S` seconds for all of it and `HEAD_BYTES` for what it asks, and when more than `CALLERS` are there
the oldest goes. What is answered is fixed: three paths, GET, no body, one answer a connection. Nothing of a request is
ever used but its first line, which is compared with what is known.

There is no password and no TLS: the address is this machine's own loopback unless the operator writes another one, and
then the network has to keep others away. What can be read there says how busy a party is, never what it works on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from keras_private.config import ALL_INTERFACES
from keras_private.errors import LinkError
from keras_private.net.handshake import format_address
from keras_private.party.monitor import Monitor

CALLERS: Final = 32
PATIENCE_S: Final = 5.0
HEAD_BYTES: Final = 8192
_TEXT: Final = "text/plain; charset=utf-8"
_STOP_S: Final = 2.0


class Reply(NamedTuple):
    status: str
    body: bytes
    type: str = _TEXT
    allow: str = ""


Page = Callable[[], Reply]


def health(found: Callable[[], list[str]], good: str) -> Page:
    """A page that says what is wrong, a line each, with 503; or that nothing is."""

    def page() -> Reply:
        lines = found()
        if lines:
            return Reply("503 Service Unavailable", "".join(f"{line}\n" for line in lines).encode())
        return Reply("200 OK", f"{good}\n".encode())

    return page


def pages(monitor: Monitor, metrics: Callable[[], bytes], metrics_type: str) -> dict[bytes, Page]:
    """What there is, by its path."""
    return {
        b"/metrics": lambda: Reply("200 OK", metrics(), metrics_type),
        b"/healthz": health(monitor.unhealthy, "ok"),
        b"/readyz": health(monitor.unready, "ready"),
    }


class Exporter:
    """Serves pages at an address, from a thread of its own.

    Raises:
        LinkError: the address is taken, or not one of this host; names it.
    """

    def __init__(self, address: tuple[str, int], pages: Mapping[bytes, Page], name: str) -> None:
        self._pages = pages
        try:
            six = ":" in address[0]
            both = address[0] == ALL_INTERFACES and socket.has_dualstack_ipv6()  # as `bind` has it
            family = socket.AF_INET6 if six else socket.AF_INET
            self._socket = socket.create_server(address, family=family, backlog=CALLERS, dualstack_ipv6=both)
        except OSError as error:
            where = format_address(address)
            raise LinkError(f"{name} cannot show its metrics at {where}: {error.strerror or error}") from None
        self._callers: dict[asyncio.Task[None], None] = {}  # in order of arrival
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._live, name=f"{name} metrics", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        host, port, *_ = self._socket.getsockname()
        return host, port

    def close(self) -> None:
        """End every connection, and the thread. Idempotent."""
        with contextlib.suppress(RuntimeError):  # its loop is closed already
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(_STOP_S)

    def _live(self) -> None:
        try:
            self._loop.run_until_complete(self._accept())
        finally:
            self._loop.close()

    async def _accept(self) -> None:
        server = await asyncio.start_server(self._met, sock=self._socket, limit=HEAD_BYTES, backlog=CALLERS)
        await self._ending.wait()
        server.close()
        for task in (callers := list(self._callers)):
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        if len(self._callers) >= CALLERS:
            oldest = next(iter(self._callers))
            del self._callers[oldest]
            oldest.cancel()
        self._callers[task] = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._serve(reader, writer)
        except (TimeoutError, asyncio.CancelledError, OSError, EOFError):
            pass  # it was slow, made room for another one, or went away
        finally:
            self._callers.pop(task, None)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            reply = Reply("431 Request Header Fields Too Large", b"too much\n")
        else:
            reply = self._reply(head.split(b"\r\n", 1)[0])
        fields = f"HTTP/1.1 {reply.status}\r\nContent-Type: {reply.type}\r\nContent-Length: {len(reply.body)}\r\n"
        fields += f"Allow: {reply.allow}\r\n" if reply.allow else ""
        fields += "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        writer.write(fields.encode() + reply.body)
        await writer.drain()
        writer.write_eof()
        await reader.read(1)  # until they have it: to hang up on what was not read would take it from them

    def _reply(self, line: bytes) -> Reply:
        words = line.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return Reply("400 Bad Request", b"that is not HTTP/1.1\n")
        method, target, _ = words
        page = self._pages.get(target.split(b"?", 1)[0])
        if page is None:
            return Reply("404 Not Found", b"there are " + b", ".join(self._pages) + b"\n")
        if method != b"GET":
            return Reply("405 Method Not Allowed", b"GET alone\n", allow="GET")
        try:
            return page()
        except Exception as error:  # noqa: BLE001  a defect: its words could hold anything
            return Reply("500 Internal Server Error", f"{type(error).__name__}\n".encode())
