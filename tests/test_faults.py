"""Bad input and faults: what hostile or broken participants can do, and that the cluster goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from keras_private.errors import ClusterError, LinkError, NoModelError, PartyError, PlanError, RefusedError
from keras_private.net.certificates import create_authority, issue, local_authority
from keras_private.net.frames import FrameType, pack_header
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles, client_context
from keras_private.party.dial import ask, call
from keras_private.party.entrance import HANDSHAKE_S
from keras_private.party.messages import (
    VERSION,
    Accepted,
    AskTiming,
    Describe,
    Description,
    Error,
    Hello,
    Load,
    Publish,
    Query,
    Serve,
    Stop,
    Undeploy,
    Welcome,
)
from keras_private.party.network import TLSNetwork, credentials
from keras_private.party.server import HELLO_BYTES
from keras_private.party.wire import decode, encode
from keras_private.plan.serialise import serialise
from keras_private.sharing import fixed
from keras_private.sharing.share import split
from keras_private.worker import TFEWorker
from tests.checks import goes_on

CLIENT, OWNER = Role("client", "client"), Role("owner", "owner")


def refused(trio: Any, index: int, until: Any, *words: str) -> None:
    """The party has logged a refusal with these words."""
    until(
        lambda: any(all(word in line for word in words) for line in trio.logs[index].causes("refused")),
        f"a log line with {words}; there are {trio.logs[index].lines}",
    )


# -- Who is let in -----------------------------------------------------------------------------------------------------


def test_no_certificate(trio: Any, tiny: Any, serving: Any, until: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for index in range(3):
        with (
            socket.create_connection(trio.config.party(index).address, 10) as raw,
            contextlib.suppress(ssl.SSLError, ConnectionError),
            context.wrap_socket(raw) as sock,
        ):
            assert sock.recv(100) == b""
        refused(trio, index, until, "sent no certificate")
    goes_on(trio, tiny, serving)


def test_a_foreign_authority(trio: Any, tiny: Any, serving: Any, until: Any, tmp_path: Path) -> None:
    create_authority(tmp_path)
    issued = issue(tmp_path, OWNER)
    ours = credentials(trio.config, OWNER)
    foreign = TLSFiles(ours.ca, issued.cert, issued.key)  # it trusts our parties, they do not trust it
    for index in range(3):
        with pytest.raises(LinkError, match="not from its authority"):
            TLSNetwork(trio.config, foreign).connect(index, 5)
        refused(trio, index, until, "not from our authority")
    goes_on(trio, tiny, serving)


def test_an_expired_certificate(trio: Any, tiny: Any, serving: Any, until: Any, tmp_path: Path) -> None:
    expired = issue(tmp_path, OWNER, days=-0.01, authority=local_authority())  # type: ignore[arg-type]
    with pytest.raises(LinkError, match="expired"):
        TLSNetwork(trio.config, expired).connect(0, 5)
    refused(trio, 0, until, "expired")
    goes_on(trio, tiny, serving)


@pytest.mark.parametrize("purpose", ["owner", "control", "lane", "anything"])
def test_a_clients_certificate_is_for_clients(trio: Any, until: Any, purpose: str) -> None:
    with pytest.raises(RefusedError, match=f"client:client does not allow what was asked for \\({purpose}\\)"):
        call(trio.network(CLIENT), 0, Hello.plain(purpose, "test"), 5)
    refused(trio, 0, until, "client:client", purpose)


def test_a_client_cannot_load_serve_or_stop(trio: Any, tiny: Any, serving: Any, until: Any) -> None:
    hello = Hello.plain("client", "test")
    for message in (
        Load(bytes(16), "digits", 0, 0, serialise(tiny.executable.plan)),
        Serve(bytes(16), None),
        Stop(bytes(16)),
    ):
        channel = call(trio.network(CLIENT), 0, hello, 5)
        with pytest.raises((RefusedError, LinkError), match="may not send"):
            ask(channel, message, Accepted, 5)
        channel.close()
    goes_on(trio, tiny, serving)


@pytest.mark.parametrize("name", ["server0", "server1", "stranger"])
def test_a_party_is_called_by_higher_parties_only(trio: Any, until: Any, name: str) -> None:
    with pytest.raises(LinkError, match=f"party:{name} does not call server1"):
        trio.network(Role("party", name)).connect(1, 5)
    refused(trio, 1, until, f"party:{name}")


def test_another_cluster_and_another_version(trio: Any) -> None:
    with pytest.raises(RefusedError, match=r"belongs to cluster 'test', not 'other'"):
        call(trio.network(CLIENT), 0, Hello.plain("client", "other"), 5)
    with pytest.raises(RefusedError, match=r"version \d+ of the messages.*version 99"):
        call(trio.network(CLIENT), 0, Hello("client", 99, "test", 0, None), 5)


def test_a_model_belongs_to_its_owner(trio: Any, tiny: Any, other_tiny: Any, serving: Any) -> None:
    model = tiny.upload(trio, owner="alice")
    with pytest.raises(RefusedError, match="'model' belongs to owner:alice, and only they can share under it"):
        other_tiny.upload(trio, owner="mallory")
    channel = call(trio.network(Role("owner", "mallory")), 0, Hello.plain("owner", "test"), 5)
    asked = (Stop(model._id), Serve(model._id, None), AskTiming(model._id), Publish(model._id, True))
    for message in (*asked, Undeploy("model", keep=False)):
        with pytest.raises(RefusedError, match="belongs to owner:alice"):
            ask(channel, message, Accepted, 5)
    channel.close()
    assert {each.owner for server in trio.servers for each in server.status().models} == {"owner:alice"}
    model.stop()
    goes_on(trio, tiny, serving)


# -- Hostile bytes -----------------------------------------------------------------------------------------------------


def frame(payload: bytes, sequence: int = 0, kind: FrameType = FrameType.MESSAGE) -> bytes:
    return pack_header(len(payload), kind, 0, sequence) + payload


HOSTILE = {
    "random bytes": os.urandom(4096),
    "zeros": bytes(4096),
    "half a frame": frame(encode(Describe("", None)))[:20],
    "half a header": b"\x01",
    "a frame of 2^32 bytes": struct.pack("<IBBHQ", 2**32 - 1, FrameType.MESSAGE, 0, 0, 0),
    "a frame of 2^40 bytes": (2**40).to_bytes(8, "little") + bytes(8),
    "a frame over the limit": struct.pack("<IBBHQ", 2**27, FrameType.MESSAGE, 0, 0, 0),
    "an unknown type": struct.pack("<IBBHQ", 10, 77, 0, 0, 0) + bytes(10),
    "a share instead of a message": frame(bytes(64), kind=FrameType.DATA),
    "a wrong sequence number": frame(encode(Describe("", None)), sequence=5),
    "another lane": struct.pack("<IBBHQ", 10, FrameType.MESSAGE, 0, 3, 0) + bytes(10),
    "not msgpack": frame(b"\xc1" * 100),
    "a blob of 2^32 bytes": frame(b"\xc6\xff\xff\xff\xff"),
    "a list of 2^32 items": frame(b"\xdd\xff\xff\xff\xff"),
    "a message of the wrong kind": frame(encode(Welcome("server0"))),
    "nothing": b"",
}


def greeted(config: Any, index: int, role: Role) -> ssl.SSLSocket:
    """A bare TLS socket with a good certificate, after the party's greeting."""
    raw = socket.create_connection(config.party(index).address, 10)
    sock = client_context(credentials(config, role)).wrap_socket(raw)
    welcome = sock.recv(1000)
    while len(welcome) < 16 + int.from_bytes(welcome[:4], "little"):
        welcome += sock.recv(1000)
    return sock


def hung_up(sock: socket.socket) -> bool:
    """The other side says at most an error, and closes."""
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        while sock.recv(4096):
            pass
    return True


@pytest.fixture(scope="module")
def process_sizes(process_cluster: Any) -> Iterator[Any]:
    def measure() -> list[int]:
        return [psutil.Process(pid).memory_info().rss for pid in process_cluster.pids.values()]

    return measure


def test_a_first_message_is_small(process_cluster: Any) -> None:
    """No budget knows its sender yet, so nothing may be taken in for it: the party hangs up and waits for no more."""
    with greeted(process_cluster.config, 0, CLIENT) as sock:
        sock.settimeout(HANDSHAKE_S / 2)
        sock.sendall(struct.pack("<IBBHQ", HELLO_BYTES + 1, FrameType.MESSAGE, 0, 0, 0))
        assert hung_up(sock)


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("when", ["before TLS", "instead of hello", "as a client", "as an owner", "as a lane"])
def test_hostile_bytes(process_cluster: Any, process_sizes: Any, what: str, when: str) -> None:
    config, before = process_cluster.config, process_sizes()
    index = 0 if when == "as a lane" else len(what) % 3
    if when == "before TLS":
        sock: socket.socket = socket.create_connection(config.party(index).address, 10)
    else:
        role = {"as an owner": OWNER, "as a lane": Role("party", "server2")}.get(when, CLIENT)
        sock = greeted(config, index, role)
    data = HOSTILE[what]
    purpose = {"as a client": "client", "as an owner": "owner", "as a lane": "lane"}.get(when)
    with sock:
        sock.settimeout(20)
        if purpose:
            sock.sendall(frame(encode(Hello(purpose, VERSION, config.cluster, 0, bytes(16)))))
            if len(data) >= 16 and data[8:16] == bytes(8):  # the right sequence number, so that it is not the fault
                data = data[:8] + struct.pack("<Q", 1) + data[16:]
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            sock.sendall(data)
        with contextlib.suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_WR)  # of the socket beneath TLS, if there is TLS
        assert hung_up(sock)
    for grown, old in zip(process_sizes(), before, strict=True):
        assert grown - old < 60e6


def test_after_hostile_bytes_the_cluster_goes_on(process_cluster: Any, tiny: Any, serving: Any) -> None:
    goes_on(process_cluster, tiny, serving)


def test_a_connection_that_says_nothing_is_not_waited_for(trio: Any, tiny: Any, serving: Any) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(socket.create_connection(trio.config.party(0).address, 10))
        goes_on(trio, tiny, serving)
        stack.enter_context(greeted(trio.config, 0, CLIENT))
        goes_on(trio, tiny, serving)


# -- Malformed uploads and queries -------------------------------------------------------------------------------------


def test_a_plan_that_is_not_one(trio: Any, tiny: Any, serving: Any) -> None:
    good = serialise(tiny.executable.plan)
    for plan in (b"", os.urandom(500), good[:-1], good + b"\x00", good.replace(b"matmul", b"matmuk")):
        channel = call(trio.network(OWNER), 1, Hello.plain("owner", "test"), 5)
        with pytest.raises(RefusedError, match=r"server1: .*(plan|op)"):
            ask(channel, Load(bytes(16), "hostile", 0, 0, plan), Accepted, 5)
        channel.close()
    goes_on(trio, tiny, serving)


def test_a_model_over_the_limit(make_trio: Any, serving: Any, tiny: Any) -> None:
    from tests.conftest import make_tiny

    trio = make_trio(model_mb=1)
    with pytest.raises(RefusedError, match=r"server0: .*take .* MB, the limit is 1 MB"):
        make_tiny(hidden=300, depth=2).upload(trio)
    goes_on(trio, tiny, serving)


def raw_query(
    channels: Any, tiny: Any, model: bytes, rows: int = 1, request: bytes | None = None, **changes: Any
) -> bytes:
    """Send one query to the parties of `channels` (by number), with fields changed at will."""
    request = request or os.urandom(16)
    packages = split(fixed.encode(tiny.batch(rows), 16))  # of what `rows` says unless `changes` says otherwise
    for index, channel in channels.items():
        fields = {"mine": bytes(packages[index].mine), "next": bytes(packages[index].next), "claimed": rows} | changes
        channel.send(encode(Query(request, model, fields["claimed"], None, None, fields["mine"], fields["next"])))
    return request


@contextlib.contextmanager
def clients(trio: Any, name: str = "client") -> Iterator[tuple[dict[int, Any], Description]]:
    channels = {
        index: call(trio.network(Role("client", name)), index, Hello.plain("client", trio.config.cluster), 5)
        for index in range(3)
    }
    description = ask(channels[0], Describe("", None), Description, 5)
    yield channels, description
    for channel in channels.values():
        channel.close()


def reply(channel: Any, timeout: float = 10.0) -> Any:
    return decode(channel.receive(timeout))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mine": b"x" * 31}, "share of shape"),
        ({"mine": b""}, "share of shape"),
        ({"next": bytes(8 * 6 + 8)}, "share of shape"),
        ({"claimed": 0}, "from 1 to 128 rows"),
        ({"claimed": 129}, "from 1 to 128 rows"),
        ({"claimed": 2**61}, "from 1 to 128 rows"),
    ],
)
def test_a_malformed_query(trio: Any, tiny: Any, changes: Any, words: str) -> None:
    model = tiny.upload(trio)
    with clients(trio) as (channels, description):
        request = raw_query(channels, tiny, description.model, **changes)
        for channel in channels.values():
            answer = reply(channel)
            assert isinstance(answer, Error)
            assert answer.request == request
            assert words in answer.text
    assert trio.waiting() == [0, 0, 0]
    model.stop()


def test_the_parties_are_sent_different_sizes(trio: Any, tiny: Any, serving: Any, until: Any) -> None:
    with serving(trio, tiny), clients(trio) as (channels, description):
        request = os.urandom(16)
        for index, rows in enumerate((1, 2, 2)):
            raw_query({index: channels[index]}, tiny, description.model, rows, request)
        for channel in channels.values():
            assert "different requests under one id" in reply(channel).text
        until(lambda: trio.waiting() == [0, 0, 0], "forgotten")
    goes_on(trio, tiny, serving)


def test_an_id_twice(trio: Any, tiny: Any) -> None:
    model = tiny.upload(trio)
    with clients(trio) as (channels, description):
        request = raw_query({0: channels[0]}, tiny, description.model)
        raw_query({0: channels[0]}, tiny, description.model, request=request)
        assert "in use already" in reply(channels[0]).text
    model.stop()


def test_the_queue_is_full(make_trio: Any, tiny: Any, until: Any) -> None:
    trio = make_trio(queue=6)  # of which one client gets half
    model = tiny.upload(trio)
    with contextlib.ExitStack() as stack:  # each knows of its own queries, and sends no more than fit
        unnamed = [stack.enter_context(TFEWorker().connect_to_model(trio)) for _ in range(4)]
        batches = [tiny.batch(1, seed=seed) for seed in range(3)]
        tickets = [client.query_model_async(data) for client, data in zip(unnamed, batches, strict=False)]
        until(lambda: trio.waiting() == [3, 3, 3], "three wait")
        with pytest.raises(RefusedError, match=r"client:client has its share of the queue already \(3 requests of 6"):
            unnamed[3].query_model(tiny.batch(1))
        model.serve(3)
        for ticket, data in zip(tickets, batches, strict=True):  # those that were there before are not disturbed
            np.testing.assert_allclose(ticket.result(20), tiny.expected(data), atol=1e-3)
    model.stop()


def test_a_request_that_one_party_never_gets_expires(make_trio: Any, tiny: Any, serving: Any, until: Any) -> None:
    trio = make_trio(timeout_s=1)
    with serving(trio, tiny), clients(trio) as (channels, description):
        raw_query({0: channels[0], 2: channels[2]}, tiny, description.model)
        for index in (0, 2):
            assert "server1 did not receive the request within 1 s" in reply(channels[index]).text
        raw_query({1: channels[1]}, tiny, description.model)
        assert "server0 and server2 did not receive" in reply(channels[1]).text
        until(lambda: trio.waiting() == [0, 0, 0], "forgotten")
        assert not trio.servers[0].duty.queue._holds


# -- Serving -----------------------------------------------------------------------------------------------------------


def test_an_owner_who_leaves_pauses_serving(trio: Any, tiny: Any, until: Any) -> None:
    model = tiny.upload(trio)
    leader = trio.servers[0].duty.queue
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        channel = call(trio.network(OWNER), 0, Hello.plain("owner", "test"), 5)
        channel.send(encode(Serve(model._id, None)))
        until(lambda: leader.serving, "serving")
        client.query_model(tiny.batch(1))
        with pytest.raises(RefusedError, match="being served already"):
            model.serve(1)
        channel.close()
        until(lambda: not leader.serving, "paused")
        client.query_model_async(tiny.batch(1))
        until(lambda: trio.waiting() == [1, 1, 1], "the query waits")
        assert model.serve(1) == 1
        client.query_model_join()
    model.stop()


def test_stop_refuses_what_waits(trio: Any, tiny: Any, until: Any) -> None:
    model = tiny.upload(trio)
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        client.query_model_async(tiny.batch(1))
        until(lambda: trio.waiting() == [1, 1, 1], "the query waits")
        model.stop()
        with pytest.raises(RefusedError, match="stopped by its owner"):
            client.query_model_join()
        with pytest.raises(RefusedError, match="holds no model"):
            client.query_model(tiny.batch(1))
    until(lambda: trio.waiting() == [0, 0, 0], "nothing waits")


def test_stop_ends_serving_elsewhere(trio: Any, tiny: Any) -> None:
    model, started, served = tiny.upload(trio), threading.Event(), []
    thread = threading.Thread(target=lambda: served.append(model.serve(None, lambda _: started.set())))
    thread.start()
    assert started.wait(10)
    with pytest.raises(RefusedError, match="belongs to owner:owner"):
        tiny.upload(trio, owner="bob")
    assert thread.is_alive()  # what was refused does no harm
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        client.query_model(tiny.batch(1))
    model.stop()
    thread.join(10)
    assert served == [1]


def test_an_old_handle_does_nothing_to_a_new_model(trio: Any, tiny: Any, other_tiny: Any, until: Any) -> None:
    old = tiny.upload(trio)
    new = other_tiny.upload(trio)
    with pytest.raises(RefusedError, match="holds a newer version of this model by now, or none; share this one again"):
        old.serve(1)
    old.stop()
    until(lambda: trio.digests() == [[new.digest]] * 3, "the old one is gone")
    new.stop()
    assert trio.digests() == [[], [], []]


def test_an_upload_that_fails_leaves_nothing(trio: Any, tiny: Any, until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise PlanError("no room")

    monkeypatch.setattr("keras_private.party.intake.Upload.add", full)
    with pytest.raises(RefusedError, match="server0: no room"):
        tiny.upload(trio)
    monkeypatch.undo()
    trio.servers[2].node.shelf.put = full
    with pytest.raises(RefusedError, match="server2: no room"):
        tiny.upload(trio)
    del trio.servers[2].node.shelf.put
    until(lambda: trio.digests() == [[], [], []], "nothing is left")


# -- Different plans ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def different_plans(trio: Any, tiny: Any, other_tiny: Any) -> Iterator[tuple[Any, Any]]:
    """As one upload server2 holds another plan than server0 and server1, and the leader does not hear of it."""
    ours, theirs = tiny.upload(trio), other_tiny.upload(trio, name="other")
    shelf = trio.servers[2].node.shelf
    kept, other = shelf.get(ours._id), shelf.get(theirs._id)
    shelf._models[ours._id] = dataclasses.replace(other, id=ours._id, name=kept.name)
    try:
        yield ours, theirs
    finally:
        ours.stop()
        theirs.stop()


def test_different_plans_are_noticed_by_clients(trio: Any, tiny: Any, other_tiny: Any, serving: Any) -> None:
    with different_plans(trio, tiny, other_tiny) as (ours, theirs):
        with pytest.raises(RefusedError) as caught:
            TFEWorker().connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        assert ours.digest in str(caught.value)
        assert theirs.digest in str(caught.value)
        assert "server2" in str(caught.value)
    goes_on(trio, tiny, serving)


def test_different_plans_are_noticed_by_the_leader(
    trio: Any, tiny: Any, other_tiny: Any, serving: Any, until: Any
) -> None:
    """When it hears of them. It says so, and has the follower forget what is not the model."""
    with different_plans(trio, tiny, other_tiny) as (ours, theirs):
        shelf = trio.servers[2].node.shelf
        shelf.restore([shelf.get(ours._id)])
        until(
            lambda: any(
                ours.digest in cause and theirs.digest in cause for cause in trio.logs[0].causes("model incomplete")
            ),
            "server0 logs both hashes",
        )
        until(lambda: shelf.get(ours._id) is None, "server2 forgets it")
        with pytest.raises(NoModelError, match="server2"):
            ours.serve(1, reshare=False)
    goes_on(trio, tiny, serving)


def test_different_plans_never_run(trio: Any, tiny: Any, other_tiny: Any, until: Any) -> None:
    """A client that does not care asks all the same: an error on all sides, with both hashes."""
    with different_plans(trio, tiny, other_tiny) as (ours, theirs), clients(trio) as (channels, _):
        request = os.urandom(16)
        runs = [server.node.served for server in trio.servers]
        for index in channels:
            raw_query({index: channels[index]}, tiny, ours._id, request=request)
        for channel in channels.values():
            answer = reply(channel)
            assert isinstance(answer, Error)
            assert ours.digest in answer.text
            assert theirs.digest in answer.text
        until(lambda: trio.waiting() == [0, 0, 0], "nothing waits")
        assert runs == [server.node.served for server in trio.servers]


def test_a_plan_that_changes_before_the_run(trio: Any, tiny: Any, other_tiny: Any, serving: Any, until: Any) -> None:
    """The followers compare the hash once more when the run is announced."""
    model = tiny.upload(trio)
    other = other_tiny.executable.plan
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        client.query_model_async(tiny.batch(1))
        until(lambda: trio.waiting() == [1, 1, 1], "the query waits")
        shelf = trio.servers[2].node.shelf
        changed = dataclasses.replace(shelf.get(model._id), digest="f" * 64, plan=other)
        shelf._models[model._id] = changed  # and the leader does not hear of it
        thread = threading.Thread(target=quietly, args=(model.serve,))
        thread.start()
        with pytest.raises(PartyError) as caught:
            client.query_model_join()
        assert model.digest in str(caught.value)
        assert "f" * 64 in str(caught.value)
        assert "server2" in str(caught.value)
        for index in (0, 2):
            until(
                lambda index=index: any(
                    model.digest in cause and "f" * 64 in cause for cause in trio.logs[index].causes("run failed")
                ),
                f"server{index} logs both hashes",
            )
        until(lambda: trio.waiting() == [0, 0, 0], "nothing waits")
        model.stop()
        thread.join(10)
    goes_on(trio, tiny, serving)


def quietly(call_: Any) -> None:
    with contextlib.suppress(ClusterError):
        call_(None)


# -- Secrets -----------------------------------------------------------------------------------------------------------


def test_logs_and_status_hold_no_secret(make_trio: Any, tiny: Any, serving: Any) -> None:
    trio = make_trio()
    goes_on(trio, tiny, serving)
    allowed = {"host", "bind", "peer", "cause", "lane", "requests", "rows", "rounds", "bytes", "ms"}
    allowed |= {"owner", "model", "version", "deployed", "digest", "ops", "served"}
    for log in trio.logs:
        for _, event, fields in log.lines:
            assert fields.keys() <= allowed, event
            for value in fields.values():
                assert isinstance(value, str | int | float | None), event
                assert len(str(value)) < 300, event
