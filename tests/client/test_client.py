"""Whose model, which plan, asking again, and what comes out."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pytest

from keras_private.client import checks, session
from keras_private.client.answer import _activated
from keras_private.client.session import Session, _check_same
from keras_private.errors import ConfigError, InputError, PartyError, RefusedError, StateError
from keras_private.net.roles import Role
from keras_private.party.causes import SHARED_AGAIN
from keras_private.party.dial import error_of
from keras_private.party.messages import Error
from keras_private.worker import TFEWorker

from .described import described

MODEL = described()
IN_RANGE = described(range=(0.0, 255.96))


def test_the_owner_and_the_plan_can_be_pinned(trio: Any, tiny: Any) -> None:
    model = tiny.upload(trio, owner="alice")
    shapes = (tiny.input_shape, tiny.output_shape, trio)
    with TFEWorker() as client:
        client.connect_to_model(*shapes, owner="alice", digest=model.digest.upper())
        assert (client.owner, client.digest) == ("alice", model.digest)
        with pytest.raises(RefusedError, match=r"belongs to owner 'alice', and that of 'bob' is wanted"):
            client.connect_to_model(*shapes, owner="bob")
        with pytest.raises(RefusedError, match=f"hold plan {model.digest}, and {'b' * 64} is wanted"):
            client.connect_to_model(*shapes, digest="b" * 64)
        assert client.owner is None
        for wrong in ("b" * 63, "x" * 64, 7):
            with pytest.raises(InputError, match="64 hexadecimal digits"):
                client.connect_to_model(*shapes, digest=wrong)
        with pytest.raises(InputError, match="owner is the name"):
            client.connect_to_model(*shapes, owner=7)
    model.stop()


def test_what_waits_when_a_model_is_shared_again_is_not_lost(trio: Any, tiny: Any, until: Any) -> None:
    """It is answered, in the version that it was asked of, once the new one is served."""
    first = tiny.upload(trio)
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        tickets = [client.query_model_async(tiny.batch(2, seed=seed)) for seed in range(3)]
        impatient = client.query_model_async(tiny.batch(1), retries=0)
        until(lambda: trio.waiting() == [4, 4, 4], "they wait")
        again = tiny.upload(trio)
        assert again.version == first.version + 1
        assert again.serve(4) == 4
        assert client.model == ("model", first.version)
        np.testing.assert_allclose(impatient.result(20), tiny.expected(tiny.batch(1)), atol=1e-3)
        for seed, ticket in enumerate(tickets):
            np.testing.assert_allclose(ticket.result(20), tiny.expected(tiny.batch(2, seed=seed)), atol=1e-3)
        again.stop()


def test_a_version_that_goes_is_asked_for_again(trio: Any, tiny: Any, until: Any) -> None:
    """When an owner's memory is needed, say: what waits is asked again of the new version, with new shares."""
    first = tiny.upload(trio)
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        tickets = [client.query_model_async(tiny.batch(2, seed=seed)) for seed in range(3)]
        impatient = client.query_model_async(tiny.batch(1), retries=0)
        until(lambda: trio.waiting() == [4, 4, 4], "they wait")
        again = tiny.upload(trio)
        leader = trio.servers[0]
        leader.duty.names._let_go(leader.node.shelf.get(first._id), SHARED_AGAIN)
        with pytest.raises(RefusedError, match=r"^the model was replaced by its owner; call connect_to_model again$"):
            impatient.result(20)
        until(lambda: trio.waiting() == [3, 3, 3], "they wait again")
        again.serve(3)
        for seed, ticket in enumerate(tickets):
            np.testing.assert_allclose(ticket.result(20), tiny.expected(tiny.batch(2, seed=seed)), atol=1e-3)
        assert client.model == ("model", again.version) == ("model", first.version + 1)
        again.stop()


def test_a_client_goes_over_to_a_new_version(trio: Any, tiny: Any, serving: Any, until: Any) -> None:
    """Of the same plan; nothing that is asked meanwhile fails, and nobody needs the old version then."""
    data = tiny.batch(2)
    with serving(trio, tiny) as model, TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        client.query_model(data)
        assert client.model == ("model", model.version)
        first = model.version
        model.replace(tiny.executable.plan, {name: -value for name, value in tiny.executable.values.items()})

        def gone_over() -> bool:
            answer = client.query_model(data, retries=0)
            return client.model == ("model", first + 1) and not np.allclose(answer, tiny.expected(data), atol=1e-3)

        until(gone_over, "it has gone over")
        until(lambda: trio.digests() == [[model.digest]] * 3, "the old one has gone")
        client.query_model(data, retries=0)


def test_another_model_is_not_taken_for_it(trio: Any, tiny: Any, other_tiny: Any, serving: Any) -> None:
    first, data = tiny.upload(trio), tiny.batch(1)
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        with serving(trio, other_tiny) as second:
            np.testing.assert_allclose(client.query_model(data), tiny.expected(data), atol=1e-3)
            leader = trio.servers[0]
            leader.duty.names._let_go(leader.node.shelf.get(first._id), SHARED_AGAIN)
            with pytest.raises(RefusedError, match=f"hold plan {second.digest}, and {first.digest} is wanted"):
                client.query_model(data)


@pytest.mark.parametrize("data", [[1e9, 0, 0, 0], [0, -1024.0, 0, 0], np.array([2**40] * 4, dtype=np.int64)])
def test_without_a_range_the_models_values_are_the_limit(data: Any) -> None:
    limited = described(limit=1024.0)
    checks.check_data(np.full((1, 4), 1023.9), limited)
    with pytest.raises(InputError, match=r"its values fit for inputs below 2\^10 = 1024 only"):
        checks.check_data([data], limited)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.full((1, 4), 256.0, np.float16), "from 256 to 256, the model was shared for values from 0 to 255.96"),
        (np.full((1, 4), np.nextafter(255.96, 300)), "from 255.96000000000004 to"),
        (np.array([[0, 0, 0, 2**62 + 1]]), "4.611686018427388e+18"),
        (np.full((1, 4), np.inf, np.longdouble), "NaN or infinite"),
        (np.full((1, 4), np.longdouble("1e4000")), "NaN or infinite"),
        (np.array([[0, 1, 2, None]], dtype=object), "type object"),
        (np.ma.masked_equal([[0, 1, 2, 3]], 2), "masked"),
    ],
)
def test_everything_is_compared_as_float64(data: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        checks.check_data(data, IN_RANGE)
    assert words in str(caught.value)


def test_a_range_is_shown_with_all_its_digits() -> None:
    model = described(range=(0.0, 1.0))
    with pytest.raises(InputError, match=r"from 0 to 1\.0000001, the model was shared for values from 0 to 1;"):
        checks.check_data([[0, 0, 0, 1.0000001]], model)


def test_final_activations() -> None:
    values = np.array([[1000.0, 999.0, -1000.0], [0.0, 1.0, 2.0]])
    softmax = _activated(values, "softmax")
    np.testing.assert_allclose(softmax[0], [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0], atol=1e-12)
    np.testing.assert_allclose(softmax.sum(axis=1), 1)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(_activated(values, "sigmoid")[0], [1, 1, 0], atol=1e-12)
    np.testing.assert_allclose(_activated(values, "sigmoid")[1], 1 / (1 + np.exp(-values[1])))
    np.testing.assert_array_equal(_activated(values, ""), values)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_one_sentence_whoever_notices_that_a_party_is_gone(make_trio: Any, tiny: Any, until: Any, index: int) -> None:
    trio = make_trio()
    tiny.upload(trio)
    sentence = f"server{index} is gone or out of reach; ask again when it is back"
    with TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        tickets = [client.query_model_async(tiny.batch(1), retries=0) for _ in range(5)]
        until(lambda: trio.waiting() == [5, 5, 5], "they wait")
        trio.servers[index].stop()
        assert {str(ticket.exception(20)) for ticket in tickets} == {sentence}
        with pytest.raises(PartyError, match=f"^{sentence}$"):
            client.query_model(tiny.batch(1), retries=0)


def test_a_connection_that_broke_is_made_anew(trio: Any, tiny: Any, serving: Any) -> None:
    with serving(trio, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        for index in range(3):
            assert client._session is not None
            client._session._channels[index].close("a blip")
            np.testing.assert_allclose(client.query_model(tiny.batch(2)), tiny.expected(tiny.batch(2)), atol=1e-3)


def test_close_ends_what_waits_in_a_session_that_was_left(trio: Any, tiny: Any, until: Any) -> None:
    model = tiny.upload(trio)
    with TFEWorker() as client, ThreadPoolExecutor(1) as pool:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        waits = pool.submit(client.query_model, tiny.batch(1), retries=0)
        until(lambda: trio.waiting() == [1, 1, 1], "it waits")
        client._session.retire()
        other = client.query_model_async(tiny.batch(1))  # in a new session
        client.close()
        for pending in (waits, other):
            with pytest.raises(StateError, match="closed"):
                pending.result(20)
    model.stop()


def test_a_terminal_need_not_obey_what_a_party_says(trio: Any, tiny: Any, serving: Any) -> None:
    with serving(trio, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        assert client._session is not None
        failure = error_of(client._session._channels[1], Error("failed", "\x1b[2Jbad\x07\nworse", None, None))
        assert str(failure) == "server1: ?[2Jbad?\nworse"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digest": "b" * 64}, "hold different plans, server0 a{64} and server2 b{64}"),
        ({"digest": "\x1b[2J"}, r"server2 \?\[2J;"),
        ({"max_batch": 64}, "server0 takes 128 rows at once and server2 64; .* write the same limits.max_batch"),
        ({"model": bytes(15) + b"1"}, "server0 and server2 hold different uploads"),
    ],
)
def test_parties_that_differ(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        _check_same([MODEL, MODEL, msgspec.structs.replace(MODEL, **changes)])
    assert caught.value.transient == ("max_batch" not in changes)  # only a new upload may be on its way
    assert ("share the model again" in str(caught.value)) == ("max_batch" not in changes)


@pytest.mark.parametrize("name", [None, 7, "", "a b"])
def test_names_that_are_none(name: Any) -> None:
    with pytest.raises(ConfigError, match="cannot name"):
        TFEWorker(name=name)


def test_clients_without_a_name_are_counted_one_by_one(trio: Any) -> None:
    entrance = trio.servers[0]._entrance
    unnamed, bob = Role("client", "client"), Role("client", "bob")
    for role, most in ((unnamed, 100), (bob, 64)):
        refusals = [entrance._take_place(role) for _ in range(most + 1)]
        assert refusals.count(None) == (most + 1 if role == unnamed else most)
        entrance._places.subtract({role: most + 1 if role == unnamed else most})


class Line:
    closed = False

    def receive(self, *_: object) -> bytes:
        return b"an answer to somebody"

    def close(self, _: str = "") -> None:
        self.closed = True

    def wait(self, *_: object) -> list[int]:
        return [0]


def test_ctrl_c_while_an_answer_is_taken_in_loses_it_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose it was would wait for it until the deadline, if the connection were used on."""

    def interrupted(_: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "decode", interrupted)
    line: Any = Line()
    shared = Session(line, [line] * 3, MODEL)
    with pytest.raises(KeyboardInterrupt):
        shared.wait(lambda: False, time.monotonic() + 20)
    assert not shared.usable
