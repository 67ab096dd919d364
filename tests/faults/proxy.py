"""A loopback proxy that breaks connections on command, in a process of its own.

Theory of operation. Each *link*, one participant's way to one party, has a listener of its own, so each can be broken
alone. Bytes pass through `_pump`, one task for each direction ("up" is towards the party), which asks the link before
it passes anything on. What TCP itself would never do, such as bytes twice or in another order, is what somebody in the
network may do; TLS has to notice.

The parent writes one JSON command a line and reads one answer a line, so a command is in force when `Proxy.do` returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

UP, DOWN = "up", "down"
TRICKS: Final = ("duplicate", "reorder", "corrupt")
"""What is done to the next bytes of a direction, once."""
_PIECE: Final = 1 << 16
_AT_ONCE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class Link:
    """One listener, the party behind it, and what is wrong with it at the moment."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.refuse = False
        self.delay = 0.0  # seconds, for each piece of each direction
        self.tricks: dict[str, deque[str]] = {UP: deque(), DOWN: deque()}
        self.closed_ways: set[tuple[asyncio.StreamWriter, str]] = set()
        self.open: dict[str, asyncio.Event] = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        self.pairs: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}  # caller's and party's side
        for event in self.open.values():
            event.set()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Look after one caller."""
        if self.refuse:
            _reset(writer)
            return
        try:
            party_reader, party_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:  # nobody listens there
            _reset(writer)
            return
        self.pairs[writer] = party_writer
        try:
            await asyncio.gather(self._pump(reader, party_writer, UP), self._pump(party_reader, writer, DOWN))
            party_writer.close()
            writer.close()
        except OSError:  # one side is gone, or was cut off: so is the other
            _reset(party_writer)
            _reset(writer)
        finally:
            self.pairs.pop(writer, None)
            self.closed_ways -= {(writer, DOWN), (party_writer, UP)}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        while data := await reader.read(_PIECE):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self.open[way].wait()
            if (writer, way) in self.closed_ways:
                continue
            if self.tricks[way]:
                data = _played(self.tricks[way].popleft(), data)
            writer.write(data)
            await writer.drain()
        await self.open[way].wait()
        if writer.can_write_eof():
            with contextlib.suppress(OSError):
                writer.write_eof()

    def do(self, command: Mapping[str, Any]) -> None:
        """Obey: cut, half_close, stall, delay, refuse, heal, or one of `TRICKS`."""
        what, way = command["do"], command.get("way", UP)
        if what == "cut":
            for pair in self.pairs.items():
                for writer in pair:
                    _reset(writer)
        elif what == "half_close":
            for caller, party in self.pairs.items():
                writer = party if way == UP else caller
                self.closed_ways.add((writer, way))
                with contextlib.suppress(OSError, RuntimeError):
                    writer.write_eof()
        elif what == "stall":
            self.open[way].clear()
        elif what == "delay":
            self.delay = command["ms"] / 1000
        elif what == "refuse":
            self.refuse = True
        elif what in TRICKS:
            self.tricks[way].append(what)
        elif what == "heal":  # what was half closed stays so until its connection ends, as in a network
            self.refuse, self.delay = False, 0.0
            for way in (UP, DOWN):
                self.tricks[way].clear()
                self.open[way].set()
        else:
            raise ValueError(what)


def _played(trick: str, data: bytes) -> bytes:
    middle = len(data) // 2
    if trick == "duplicate":
        return data + data
    if trick == "reorder" and data[middle:] + data[:middle] != data:
        return data[middle:] + data[:middle]
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    links = {name: Link(port) for name, port in json.loads(await stdin.readline()).items()}
    servers = {name: await asyncio.start_server(link.meet, "127.0.0.1", 0) for name, link in links.items()}
    _say({name: server.sockets[0].getsockname()[1] for name, server in servers.items()})
    while line := await stdin.readline():
        command = json.loads(line)
        for name in [command["link"]] if command["link"] else links:
            links[name].do(command)
        _say({"connections": {name: len(link.pairs) for name, link in links.items()}})
    os._exit(0)  # the parent is gone; connections end with the process


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class Proxy:
    """The parent's side: starts the process, which ends with it.

    Args:
        links: of each link, by name, the port of the party behind it.

    Attributes:
        ports: of each link where the proxy listens for it.
    """

    def __init__(self, links: Mapping[str, int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.proxy"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lock = threading.Lock()
        self.ports: dict[str, int] = self._ask(dict(links))

    def do(self, link: str | None, what: str, **more: Any) -> dict[str, int]:
        """Break one link, or all (None); returns how many connections each has."""
        answer = self._ask({"link": link, "do": what, **more})
        found: dict[str, int] = answer["connections"]
        return found

    def _ask(self, what: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())
