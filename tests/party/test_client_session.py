"""A client that does not read its answers is nobody else's concern."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from keras_private.errors import LinkError
from keras_private.party import client_session
from keras_private.party.client_session import ClientSession


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


def test_answers_never_wait_for_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_session, "_OUTBOX_BYTES", 100_000)
    before = set(threading.enumerate())
    channel: Any = Stuck()
    node: Any = Named()
    session = ClientSession(node, channel, lambda _: None, lambda _: None)
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
