"""Leader and follower: what each refuses that is the other's, and that no defect ends one of their threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from keras_private.errors import RefusedError
from keras_private.net.roles import Role
from keras_private.party import server as server_module
from keras_private.party.dial import ask, call, expect
from keras_private.party.messages import VERSION, Discard, Hello, Progress, Publish, Serve, Stopped, Undeploy
from keras_private.party.wire import encode


def test_a_follower_neither_leads_nor_serves(trio: Any) -> None:
    network = trio.network(Role("party", "server2"))
    with pytest.raises(RefusedError, match="control connections go to the leader, server0"):
        call(network, 1, Hello.plain("control", trio.config.cluster), 10)
    with pytest.raises(RefusedError, match="server1 has no lane 7"):
        call(network, 1, Hello("lane", VERSION, trio.config.cluster, 7, bytes(16)), 10)
    owner = call(trio.network(Role("owner", "owner")), 1, Hello.plain("owner", trio.config.cluster), 10)
    owner.send(encode(Serve(bytes(16), None)))
    with pytest.raises(RefusedError, match="server1: the leader, server0, serves; ask it"):
        expect(owner, Progress, 10)
    for message in (Publish(bytes(16), False), Undeploy("digits", False)):
        with pytest.raises(RefusedError, match="server1: names are the leader's, server0; ask it"):
            ask(owner, message, Stopped, 10)
    owner.close()


def test_what_each_says_about_itself(trio: Any, tiny: Any, serving: Any, until: Any) -> None:
    with serving(trio, tiny):
        leader, *followers = [server.status() for server in trio.servers]
        assert [each.state for each in leader.models] == ["serving"]
        assert set(leader.peers) == {"server1", "server2"}
        assert [(each.models[0].state, each.peers) for each in followers] == [("held", ("server0",))] * 2
    until(lambda: not trio.servers[0].duty.queue.serving, "serving has ended")


def test_upkeep_outlives_a_defect(make_trio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_UPKEEP_S", 0.01)
    trio = make_trio()
    again, calls = threading.Event(), []

    def expire() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        again.set()

    monkeypatch.setattr(trio.servers[0].duty, "expire", expire)
    assert again.wait(20)
    assert [fields["what"] for _, event, fields in trio.logs[0].lines if event == "upkeep failed"] == [
        "requests and memory"
    ]


def test_control_outlives_a_defect(make_trio: Any, until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trio = make_trio()
    leader, follower = trio.servers[0].duty, trio.servers[1].duty
    until(lambda: follower.peers, "it has found the leader")
    with monkeypatch.context() as patched:
        patched.setattr(follower.line, "_heard", lambda _: 1 / 0)

        def told() -> bool:
            leader.followers.send(1, Discard((), "refused", "", None))  # the first may still meet what was there before
            return any(event == "session failed" for _, event, _ in trio.logs[1].lines)

        until(told, "the operator is told")
    until(lambda: follower.peers and leader.followers.complete, "it has found the leader again")
