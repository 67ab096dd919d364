"""Both ends of a standing connection stay alive for each other, idle and busy; a silent one is given up."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from keras_private.errors import LinkError, LinkTimeoutError
from keras_private.net.roles import Role
from keras_private.party.causes import TAKEN_BACK
from keras_private.party.heartbeat import Heartbeat
from keras_private.party.memory import MemoryNetwork
from keras_private.party.messages import Drop
from keras_private.party.wire import encode

TIMEOUT = 0.4


@pytest.fixture
def ends() -> tuple[Any, Any]:
    leader, follower = MemoryNetwork(Role("party", "server0")), Role("party", "server1")
    door = leader.listen(0)
    with ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(lambda: door.accept(10).handshake(10))
        calling = leader.as_role(follower).connect(0, 10)
        return accepted.result(10), calling


def listen(channel: Any, heard: list[Any]) -> None:
    """What a party's control thread does, until the connection ends."""
    heartbeat = Heartbeat(channel, TIMEOUT)
    try:
        while True:
            heard.append(heartbeat.receive())
    except LinkError as error:
        heard.append(error)
        channel.close()


@pytest.mark.parametrize("busy", [False, True])
def test_nobody_is_given_up_for_dead(ends: tuple[Any, Any], busy: bool) -> None:
    """One side may speak all the time or not at all: the connection outlives many timeouts either way."""
    heard: tuple[list[Any], list[Any]] = ([], [])
    threads = [threading.Thread(target=listen, args=pair) for pair in zip(ends, heard, strict=True)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 4 * TIMEOUT
    pause = threading.Event()  # never set: a wait with an end
    while time.monotonic() < deadline:
        if busy:
            ends[1].send(encode(Drop(bytes(16), *TAKEN_BACK)))
        pause.wait(TIMEOUT / 20)
    alive = [not end.closed for end in ends]
    ends[0].close()
    for thread in threads:
        thread.join(10)
    assert alive == [True, True]
    assert len(heard[0]) > (10 if busy else 0)
    assert len(heard[1]) == 1  # the end


def test_silence_is_noticed(ends: tuple[Any, Any]) -> None:
    with pytest.raises(LinkTimeoutError):
        Heartbeat(ends[0], TIMEOUT).receive()
    assert not ends[1].closed
