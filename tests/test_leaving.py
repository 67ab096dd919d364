"""Parties that are asked to end: what runs is finished, what comes is told to come again, and nobody loses a query."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from keras_private.config import PARTY_NAMES
from keras_private.errors import KerasPrivateError, PartyError
from keras_private.party.client_session import ClientSession
from keras_private.worker import TFEWorker


def held_up(server: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Runs at this party wait before they begin; (one has come so far, they may go on)."""
    from keras_private.mpc.program import Program

    reached, go_on, run = threading.Event(), threading.Event(), Program.protocol

    def waiting(self: Program, party: Any, share: Any) -> Any:
        if party.index == server.node.index:
            reached.set()
            assert go_on.wait(20)
        return run(self, party, share)

    monkeypatch.setattr(Program, "protocol", waiting)
    return reached, go_on


@pytest.mark.parametrize("index", [0, 2])
def test_what_runs_is_finished_and_what_comes_is_told_to_come_again(
    index: int,
    make_trio: Any,
    tiny: Any,
    serving: Any,
    until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trio = make_trio()
    leaver, data = trio.servers[index], tiny.batch(2)
    reached, go_on = held_up(leaver, monkeypatch)
    with serving(trio, tiny), TFEWorker() as first, TFEWorker() as second, ThreadPoolExecutor(3) as pool:
        for client in (first, second):
            client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        runs = pool.submit(first.query_model, data, retries=0)
        assert reached.wait(20)
        waits = pool.submit(second.query_model, data, retries=0)
        until(lambda: trio.waiting() == [2, 2, 2], "the second query waits")
        leaves = pool.submit(leaver.drain, lambda: False)
        failure = waits.exception(20)
        assert isinstance(failure, PartyError)
        assert str(failure) == f"{PARTY_NAMES[index]} is about to end; ask again when it is back"
        assert failure.transient
        assert failure.after == 0.5
        with pytest.raises(PartyError, match="is about to end"):
            second.query_model(data, retries=0)
        with pytest.raises(PartyError, match="is about to end"):
            tiny.upload(trio)
        assert not runs.done()
        assert not leaves.done()
        go_on.set()
        np.testing.assert_allclose(runs.result(20), tiny.expected(data), atol=1e-2)
        leaves.result(20)


@pytest.mark.parametrize("goodbye", [True, False], ids=["goodbye", "gone"])
def test_what_a_party_answered_before_it_ended_is_not_lost(
    goodbye: bool, make_trio: Any, tiny: Any, serving: Any, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the two others answer later: the client waits for them, and asks nothing else in that session."""
    trio = make_trio()
    leaver, data = trio.servers[2], tiny.batch(2)
    held_back: list[Callable[[], None]] = []
    answer = ClientSession.answer

    def later(self: ClientSession, id_: bytes, output: Any) -> None:
        if self._node is leaver.node:
            answer(self, id_, output)
        else:
            held_back.append(lambda: answer(self, id_, output))

    monkeypatch.setattr(ClientSession, "answer", later)
    with serving(trio, tiny), TFEWorker() as client, ThreadPoolExecutor(1) as pool:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        runs = pool.submit(client.query_model, data, retries=0)
        until(lambda: len(held_back) == 2, "the others have an answer too")
        session = client._session
        assert session is not None
        if goodbye:
            leaver.drain(lambda: False)
        leaver.stop()
        until(lambda: not session.usable, "the client has noticed")
        with pytest.raises(KerasPrivateError, match="server2"):
            client.query_model(data, retries=0)
        assert not runs.done()
        for give in held_back:
            give()
        np.testing.assert_allclose(runs.result(20), tiny.expected(data), atol=1e-2)
        assert not session._there  # it is over
        assert session.load == 0


def test_leaving_ends_with_its_time_and_at_once_when_it_is_urgent(
    make_trio: Any, tiny: Any, serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limits, hurry in (({"drain_s": 0.05}, False), ({"drain_s": 3600}, True)):
        trio = make_trio(**limits)
        reached, go_on = held_up(trio.servers[1], monkeypatch)
        with serving(trio, tiny), TFEWorker() as client, ThreadPoolExecutor(2) as pool:
            client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
            runs = pool.submit(client.query_model, tiny.batch(1), retries=0)
            assert reached.wait(20)
            urgent = threading.Event()
            leaves = pool.submit(trio.servers[1].drain, urgent.is_set)
            if hurry:
                urgent.set()
            leaves.result(20)
            assert not runs.done() or runs.exception()
            go_on.set()


def test_a_signal_that_another_thread_takes_is_noticed() -> None:
    """As happens to a process that was stopped and is told to go on and to end at once."""
    code = (
        "import signal, threading, time\n"
        "from keras_private.party.__main__ import Ending\n"
        "ending = Ending()\n"
        "signal.signal(signal.SIGTERM, lambda *_: ending.set())\n"
        "def take():\n"
        "    while open(f'/proc/self/task/{threading.main_thread().native_id}/stat').read().split()[2] != 'S':\n"
        "        time.sleep(0.01)\n"  # until the main thread waits
        "    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)\n"
        "threading.Thread(target=take, daemon=True).start()\n"
        "ending.wait()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_signals_that_interrupt_each_other_end_the_wait_too() -> None:
    """Handlers run anywhere in the main thread, in the middle of another one as well: a lock would be for ever."""
    code = (
        "import os, signal, threading\n"
        "from keras_private.party.__main__ import Ending\n"
        "ending, over = Ending(), []\n"
        "for number in (signal.SIGTERM, signal.SIGINT):\n"
        "    signal.signal(number, lambda *_: ending.set())\n"
        "def storm():\n"
        "    for _ in range(5000):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    over.append(True)\n"
        "threading.Thread(target=storm, daemon=True).start()\n"
        "while not over:\n"
        "    ending.set()\n"
        "assert ending.wait()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
