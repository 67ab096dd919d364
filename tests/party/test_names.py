"""Names over the real protocol: whatever breaks in between, nothing is published by halves, and nothing is left."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from keras_private.errors import LinkError, NoModelError, RefusedError
from keras_private.net.roles import Role
from keras_private.owner import undeploy
from keras_private.party.causes import NOT_HELD
from keras_private.party.dial import ask, call
from keras_private.party.messages import Accepted, Hello, Load, Loaded, Publish, Published
from keras_private.party.wire import encode
from keras_private.plan.serialise import serialise
from keras_private.worker import TFEWorker
from tests.party.test_intake import pieces

ALICE = Role("owner", "owner")


def owner(trio: Any, index: int = 0, role: Role = ALICE) -> Any:
    return call(trio.network(role), index, Hello.plain("owner", trio.config.cluster), 10)


def bring(channel: Any, tiny: Any, party: int, id_: bytes, version: int = 0) -> int:
    """One party's part of an upload, whole."""
    version = ask(channel, Load(id_, "model", version, 0, serialise(tiny.executable.plan)), Accepted, 10).version
    sent = pieces(tiny, party)
    for piece in sent[:-1]:
        channel.send(encode(piece))
    ask(channel, sent[-1], Loaded, 20)
    return version


def right(trio: Any, tiny: Any) -> None:
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        np.testing.assert_allclose(client.query_model(tiny.batch(2)), tiny.expected(tiny.batch(2)), atol=1e-3)


def test_an_owner_who_dies_before_publishing_leaves_nothing(trio: Any, tiny: Any, until: Any) -> None:
    before = tiny.upload(trio, deploy=True)
    id_ = bytes(15) + b"a"
    channels = [owner(trio, index) for index in range(3)]
    version = bring(channels[0], tiny, 0, id_)
    for index in (1, 2):
        bring(channels[index], tiny, index, id_, version)
    assert [len(held) for held in trio.digests()] == [2, 2, 2]
    for channel in channels:
        channel.close()
    until(lambda: trio.digests() == [[before.digest]] * 3, "it is gone everywhere")
    right(trio, tiny)
    before.stop()


def test_what_reached_only_two_parties_is_not_published(
    trio: Any, tiny: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras_private.party.leader.names._MEETING_S", 0.05)
    id_ = bytes(15) + b"b"
    with_leader, with_follower = owner(trio, 0), owner(trio, 1)
    bring(with_follower, tiny, 1, id_, bring(with_leader, tiny, 0, id_))
    with pytest.raises(NoModelError, match="server2 holds no model 'model' version"):
        ask(with_leader, Publish(id_, True), Published, 10)
    with pytest.raises(NoModelError, match="does not hold this upload"):
        ask(with_leader, Publish(bytes(16), True), Published, 10)
    with_leader.close()
    until(lambda: trio.digests() == [[], [], []], "it is gone")
    with_follower.close()


def test_a_follower_is_told_of_what_it_missed(make_trio: Any, tiny: Any, until: Any) -> None:
    """It holds what the leader never heard of, or let go while it was away."""
    trio = make_trio()
    until(lambda: trio.servers[0].duty.followers.complete, "the parties have met")
    stray = owner(trio, 1)
    bring(stray, tiny, 1, bytes(15) + b"c", 7)
    until(lambda: trio.digests() == [[], [], []], "the leader does not keep it")
    assert any(event == "model lost" for _, event, _ in trio.logs[0].lines)
    stray.close()


def test_a_deployed_model_that_a_party_lost(make_trio: Any, tiny: Any, until: Any) -> None:
    trio = make_trio()
    model = tiny.upload(trio, deploy=True)
    right(trio, tiny)
    trio.servers[2].node.shelf.remove(model._id, NOT_HELD)  # as if it had been restarted
    until(lambda: [each.state for each in trio.servers[0].status().models] == ["incomplete"], "status says so")
    assert "server2 holds no model" in trio.logs[0].causes("model incomplete")[0]
    with TFEWorker() as client, pytest.raises(NoModelError, match="server2: does not hold this upload"):
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
    again = tiny.upload(trio)  # its name is deployed: so is the next version
    assert again.version == model.version + 1
    right(trio, tiny)
    undeploy(trio.config, [trio.network(ALICE)], "model")
    until(lambda: trio.digests() == [[], [], []], "it is gone")


def test_shares_that_somebody_else_brings_never_run(make_trio: Any, tiny: Any, until: Any) -> None:
    """Under the id of another's upload, to a party that lost its own."""
    trio = make_trio()
    model = tiny.upload(trio, deploy=True)
    shelf, leader = trio.servers[2].node.shelf, trio.servers[0]
    kept = shelf.get(model._id)
    right(trio, tiny)
    shelf.remove(model._id, NOT_HELD)
    mallory = owner(trio, 2, Role("owner", "mallory"))
    bring(mallory, tiny, 2, model._id, model.version)
    until(lambda: not shelf.models, "the leader has it forgotten")
    until(lambda: leader.duty.queue.serving_of(model._id) is None, "nothing of it runs")
    mallory.close()
    shelf.restore([dataclasses.replace(kept, ended=None)])  # as from storage
    until(lambda: leader.duty.queue.serving_of(model._id), "it is served again")
    right(trio, tiny)
    model.stop()


def test_room_is_made_of_an_owners_retired_versions(make_trio: Any, tiny: Any, until: Any) -> None:
    trio = make_trio()
    model = tiny.upload(trio, deploy=True)
    size = trio.servers[0].node.shelf.models[0].size
    for server in trio.servers:
        limits = server.node.config.limits
        server.node.shelf._limits = limits.model_copy(update={"owner_mb": 2 * size / 2**20})  # two of it, to the byte
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        model.replace(tiny.executable.plan, tiny.executable.values)
        assert trio.servers[0].status().models[0].state == "retired"
        model.replace(tiny.executable.plan, tiny.executable.values)  # the first one goes for it
        client.query_model(tiny.batch(1))
    until(lambda: [len(held) for held in trio.digests()] == [1, 1, 1], "nobody needs the others")
    tiny.upload(trio, name="other")
    with pytest.raises(RefusedError, match=r"server0: this upload takes .* owner:owner holds .* 'model' version 3"):
        model.replace(tiny.executable.plan, tiny.executable.values)
    right(trio, tiny)
    tiny.upload(trio, name="bobs", owner="bob").stop()


def test_an_older_version_is_not_shared_over_a_newer_one(trio: Any, tiny: Any, other_tiny: Any, until: Any) -> None:
    """By a process that goes on serving, when a party has lost everything."""
    old = tiny.upload(trio)
    new = other_tiny.upload(trio)
    with pytest.raises(RefusedError, match=f"'model' has version {new.version} by now, and this is version"):
        old._upload()
    until(lambda: trio.digests() == [[new.digest]] * 3, "the newer one stays")
    new.stop()
    with pytest.raises((RefusedError, LinkError)):
        old.serve(1)
