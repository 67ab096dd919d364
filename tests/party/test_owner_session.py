"""Owners at one party: what one does ends nothing of another's."""

from __future__ import annotations

from typing import Any

import pytest

from keras_private.errors import RefusedError
from keras_private.net.roles import Role
from keras_private.party.dial import call, expect
from keras_private.party.messages import VERSION, Accepted, Hello, Load, Progress, Serve, encode
from keras_private.plan.serialise import serialise


def owner(trio: Any, name: str) -> Any:
    return call(trio.network(Role("owner", name)), 0, Hello("owner", VERSION, trio.config.cluster), 10)


def test_a_stale_session_ends_nobody_elses_serving(trio: Any, tiny: Any, until: Any) -> None:
    queue, log = trio.servers[0].node.queue, trio.logs[0]
    model = tiny.upload(trio)
    with_alice = owner(trio, "owner")
    with_alice.send(encode(Serve(model._id, None)))
    expect(with_alice, Progress, 10)
    queue.stop_serving(queue.current)  # somebody stopped it; the session has not been told yet, or has
    bobs = queue.start_serving(None)
    gone = len([line for line in log.lines if line[1] == "gone"])
    with_alice.close()
    until(lambda: len([line for line in log.lines if line[1] == "gone"]) > gone, "the session ended")
    assert queue.current is bobs
    queue.stop_serving(bobs)
    model.stop()


def test_one_upload_at_a_time(trio: Any, tiny: Any, until: Any) -> None:
    first = owner(trio, "alice")
    first.send(encode(Load(bytes(16), serialise(tiny.executable.plan))))
    expect(first, Accepted, 10)
    with pytest.raises(RefusedError, match="another model is being uploaded; try again"):
        tiny.upload(trio)
    first.close()  # in the middle
    until(lambda: not trio.servers[0].node.shelf._upload.locked(), "the upload was given up")
    tiny.upload(trio).stop()
