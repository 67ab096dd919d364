"""Owners at one party: what one does ends nothing of another's."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from keras_private.errors import LinkError, NoModelError, RefusedError
from keras_private.net.roles import Role
from keras_private.party.causes import NOT_HELD
from keras_private.party.dial import call, expect
from keras_private.party.messages import Accepted, Hello, Load, Progress, Serve
from keras_private.party.shelf import Reservation
from keras_private.party.wire import encode
from keras_private.plan.serialise import serialise
from keras_private.worker import TFEWorker


def owner(trio: Any, name: str) -> Any:
    return call(trio.network(Role("owner", name)), 0, Hello.plain("owner", trio.config.cluster), 10)


def test_a_stale_session_ends_nobody_elses_serving(trio: Any, tiny: Any, until: Any) -> None:
    queue, log = trio.servers[0].duty.queue, trio.logs[0]
    model = tiny.upload(trio)
    with_alice = owner(trio, "owner")
    with_alice.send(encode(Serve(model._id, None)))
    expect(with_alice, Progress, 10)
    queue.stop_serving(queue.serving_of(model._id))  # somebody stopped it; the session has not been told yet, or has
    bobs = queue.start_serving(model._id)
    gone = len([line for line in log.lines if line[1] == "gone"])
    with_alice.close()
    until(lambda: len([line for line in log.lines if line[1] == "gone"]) > gone, "the session ended")
    assert queue.serving_of(model._id) is bobs
    queue.stop_serving(bobs)
    model.stop()


def test_one_upload_of_a_name_at_a_time(trio: Any, tiny: Any, until: Any) -> None:
    first = owner(trio, "alice")
    first.send(encode(Load(bytes(16), "model", 0, 0, serialise(tiny.executable.plan))))
    assert expect(first, Accepted, 10).version == 1
    with pytest.raises(
        RefusedError, match="another upload of 'model', by owner:alice, is on its way; try again"
    ) as caught:
        tiny.upload(trio)
    assert caught.value.transient
    tiny.upload(trio, name="other").stop()
    first.close()  # in the middle
    until(lambda: not trio.servers[0].node.shelf.uploads, "the upload was given up")
    tiny.upload(trio).stop()


def test_owner_and_log_are_told_of_a_follower_that_goes_and_comes(make_trio: Any, tiny: Any, until: Any) -> None:
    trio = make_trio()
    model, log = tiny.upload(trio), trio.logs[0]
    session = owner(trio, "owner")
    session.send(encode(Serve(model._id, None)))
    until(lambda: expect(session, Progress, 10).trouble == "", "all is well")
    trio.servers[2].stop()
    trouble = until(lambda: expect(session, Progress, 10).trouble, "the owner is told")
    assert trouble.startswith("server2 is away (server0 ← server2, control: ")
    assert ("warning", "serving stalled", {"cause": trouble}) in log.lines
    trio.servers[2] = trio.make(2)
    trio.servers[2].start()
    with pytest.raises(NoModelError, match=r"server2 holds no model 'model' version 1 \(it was restarted\)"):
        until(lambda: expect(session, Progress, 10) is None, "it holds no model")
    session.close()
    model.stop()


def test_the_next_serving_may_begin_as_soon_as_the_last_owner_is_gone(trio: Any, tiny: Any) -> None:
    """Even if the leader has not noticed yet that she is."""
    model = tiny.upload(trio)
    for _ in range(20):
        session = owner(trio, "owner")
        session.send(encode(Serve(model._id, None)))
        expect(session, Progress, 10)
        session.close()
    model.stop()


def test_a_lane_that_cannot_be_built_is_a_warning_said_once(
    make_trio: Any, tiny: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trio = make_trio()
    log = trio.logs[0]
    until(lambda: all(server.status().lanes for server in trio.servers), "the lane is up")
    assert not [line for line in log.lines if line[:2] == ("warning", "lane failed")]
    nobody = "server2 → server1 at localhost:1: nothing listens there"

    def refuse(index: int, timeout: float) -> Any:
        if index == 1:
            raise LinkError(nobody, "server1")
        return type(trio.servers[2].node.network).connect(trio.servers[2].node.network, index, timeout)

    monkeypatch.setattr(trio.servers[2].node.network, "connect", refuse)
    trio.servers[0].duty.lanes[0].interrupt()
    until(lambda: len(log.causes("lane failed")) > 3, "it is tried again and again")
    warned = [fields["cause"] for level, event, fields in log.lines if (level, event) == ("warning", "lane failed")]
    assert warned == [f"the lane between the parties failed at server1: {nobody}"]
    model = tiny.upload(trio)
    session = owner(trio, "owner")
    session.send(encode(Serve(model._id, None)))
    assert expect(session, Progress, 10).trouble == warned[0]
    monkeypatch.undo()
    until(lambda: expect(session, Progress, 20).trouble == "", "the lane is up again")
    session.close()
    model.stop()


def test_sharing_again_waits_for_another_upload_to_end(
    trio: Any, tiny: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras_private.party.leader.serving.REPORTS_S", 0.05)
    model, data = tiny.upload(trio), tiny.batch(2)
    trio.servers[1].node.shelf.remove(model._id, NOT_HELD)  # as if it had been restarted
    busy = threading.Event()
    served: list[int] = []

    def hear(trouble: str) -> None:
        if trouble == "server0: another upload of 'model', by owner:owner, is on its way; try again; trying again":
            busy.set()

    thread = threading.Thread(target=lambda: served.append(model.serve(1, on_trouble=hear)))
    with trio.servers[0].node.shelf.uploading(Reservation(bytes(16), "model", "owner:owner", 1)):
        thread.start()
        assert busy.wait(20)
        assert thread.is_alive()
    with TFEWorker() as client:

        def connects() -> bool:
            try:
                client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
            except RefusedError:
                return False
            return True

        until(connects, "the model is shared again")
        np.testing.assert_allclose(client.query_model(data), tiny.expected(data), atol=1e-3)
    thread.join(20)
    assert served == [1]
    model.stop()
