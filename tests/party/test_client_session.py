"""A client that does not read its answers is nobody else's concern."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from keras_private.errors import LinkError
from keras_private.party import client_session
from keras_private.party.batch import answer
from keras_private.party.budget import Budget
from keras_private.party.client_session import ClientSession, _Open
from keras_private.party.metrics import Metrics
from keras_private.party.queue import Request
from keras_private.sharing.share import Share


class Stuck:
    """A connection whose reader takes nothing: `send` waits until it is closed."""

    peer = "client:bob"

    def __init__(self) -> None:
        self.sending, self.hung_up = threading.Event(), threading.Event()

    def fileno(self) -> int:
        return -1

    def send(self, *_: bytes) -> None:
        self.sending.set()
        self.hung_up.wait(20)
        raise LinkError("closed")

    def close(self, reason: str = "") -> None:
        assert "does not take its answers" in reason
        self.hung_up.set()


class Named:
    name = "server0"
    metrics = Metrics()


def test_answers_never_wait_for_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_session, "_OUTBOX_BYTES", 100_000)
    before = set(threading.enumerate())
    channel: Any = Stuck()
    node: Any = Named()
    session = ClientSession(node, channel, lambda _: None, lambda _: None, lambda _: None)
    session.refuse(b"1" * 16, "refused", "x" * 50_000)  # large: not sent at once
    assert channel.sending.wait(20)

    def more() -> None:
        for _ in range(10):
            session.refuse(b"2" * 16, "refused", "small")
        assert not channel.hung_up.is_set()

    lane = threading.Thread(target=more)
    lane.start()
    lane.join(10)
    assert not lane.is_alive()
    assert len(set(threading.enumerate()) - before) == 1  # one writer, however many answers
    session.refuse(b"3" * 16, "refused", "x" * 60_000)  # over the cap
    assert channel.hung_up.is_set()


def test_an_answer_that_cannot_be_made_holds_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    channel: Any = Stuck()
    node: Any = SimpleNamespace(memory=Budget(1000, "bytes"), name="server0", metrics=Metrics())
    session = ClientSession(node, channel, lambda _: None, lambda _: None, lambda _: None)
    node.memory.take(session._client, 100)
    session._open[bytes(16)] = _Open(100)

    def no_memory(_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(client_session, "encode", no_memory)
    with pytest.raises(MemoryError):
        session.answer(bytes(16), Share(np.zeros(1, np.uint64), np.zeros(1, np.uint64)))
    assert node.memory.used == 0


def test_what_cannot_be_sent_ends_the_session(until: Any) -> None:
    """Nobody else would send what waits behind it; the client asks again."""

    class NoMemory(Stuck):
        def send(self, *_: bytes) -> None:
            raise MemoryError

    channel: Any = NoMemory()
    told: list[str] = []
    log = SimpleNamespace(error=lambda event, **_: told.append(event))
    node: Any = SimpleNamespace(memory=Budget(1_000_000, "bytes"), name="server0", log=log, metrics=Metrics())
    session = ClientSession(node, channel, lambda _: None, lambda _: None, lambda _: None)
    node.memory.take(session._client, 500_000)
    session._open[bytes(16)] = _Open(500_000)
    words = np.zeros(10_000, np.uint64)
    session.answer(bytes(16), Share(words, words))  # large: by a thread of its own
    assert channel.hung_up.wait(20)
    assert told == ["session failed"]
    until(lambda: node.memory.used == 0, "it holds no memory")


def test_who_gets_no_answer_is_told() -> None:
    said: list[tuple[bytes, str, str]] = []
    nothing: Any = None
    node: Any = SimpleNamespace(name="server0", log=SimpleNamespace(error=lambda *_, **__: None))
    request = Request(bytes(16), "bob", b"", "", 1, nothing, nothing, lambda *what: said.append(what))
    answer(node, 0, [request])  # it has no output: that it cannot be put together is no matter of the lane
    assert [(id_, code) for id_, code, *_ in said] == [(bytes(16), "broken")]
