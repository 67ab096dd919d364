"""Evaluation from end to end: three parties of this process, an owner and clients; and clients that break the rules."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.client import session as session_module
from keras_private.client.answer import share_of
from keras_private.client.client import Client
from keras_private.client.evaluation import Score, told_of
from keras_private.cluster import TFECluster
from keras_private.errors import InputError, NoModelError, PartyError, RefusedError, StateError
from keras_private.net.roles import Role
from keras_private.owner import OwnedModel, results_of
from keras_private.party import batch, tally
from keras_private.party.causes import TAKEN_BACK
from keras_private.party.dial import ask, call
from keras_private.party.messages import AskEvaluations, Evaluations, Hello, InputPort, Part, Query
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Draft
from keras_private.plan.scoring import evaluations_of
from keras_private.sharing import fixed
from keras_private.sharing.share import Package, Share, split
from keras_private.worker import TFEWorker

from .conftest import until

Array = np.ndarray[Any, Any]
WEIGHTS = np.random.default_rng(0).normal(size=(6, 7))
X = np.random.default_rng(1).uniform(-1, 1, (200, 6))
LOGITS = X @ WEIGHTS
Y = np.where(np.arange(200) % 4, LOGITS.argmax(1), (LOGITS.argmax(1) + 1) % 7)  # three in four are right
TARGET = InputPort("target", (), "integer", 0, (0.0, 6.0), None)
ALLOWED = {
    "accuracy": "client",
    "top5": ("owner", 30),
    "mean_absolute_error": "client",
    "mean_squared_error": "client",
}


def draft(allowed: Any = ALLOWED, **checks: bool) -> Draft:
    builder = PlanBuilder((6,), (-1.0, 1.0))
    recorded = builder.finish(builder.op("matmul", builder.input, weights=[builder.weight(WEIGHTS, "w")]))
    made = optimise(recorded, **checks)
    return replace(made, plan=replace(made.plan, evaluations=evaluations_of(allowed, made.plan)))


@contextlib.contextmanager
def served(cluster: Any, model: Draft, num_requests: int | None = None) -> Iterator[OwnedModel]:
    owned = OwnedModel.upload(cluster, model.plan, model.values, owner="owner")
    thread = threading.Thread(target=owned.serve, args=(num_requests,))
    thread.start()
    try:
        yield owned
    finally:
        owned.stop()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def own_cluster() -> Iterator[TFECluster]:
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def model(memory_cluster: Any) -> Iterator[OwnedModel]:
    with served(memory_cluster, draft()) as owned:
        yield owned


@pytest.fixture
def client(memory_cluster: Any, model: OwnedModel) -> Iterator[Client]:
    with Client(name="bob", timeout=30) as found:
        yield found.connect_to_model(memory_cluster)


def tallies(cluster: Any) -> list[int]:
    """How many evaluations go on at each party."""
    return [len(lane.tallies) for server in cluster._servers for lane in server.duty.lanes]


# --- what comes of it


@pytest.mark.parametrize("batch", [None, 200, 64, 33])
def test_the_client_is_told_the_number_of_right_answers(client: Client, batch: int | None, memory_cluster: Any) -> None:
    score = client.evaluate_model(X, Y, batch=batch)
    assert score == Score("accuracy", 200, 150.0, 0.75)
    assert float(score) == 0.75
    assert str(score) == "accuracy of 200 rows: 0.75"
    assert tallies(memory_cluster) == [0, 0, 0]


def test_targets_as_keras_takes_them(client: Client) -> None:
    for y in (Y, Y.tolist(), Y[:, None], np.eye(7)[Y], Y.astype(np.float32)):
        assert client.evaluate_model(X, y).total == 150


@pytest.mark.parametrize("metric", ["mean_absolute_error", "mean_squared_error"])
def test_errors(client: Client, metric: str) -> None:
    y = LOGITS + np.random.default_rng(5).normal(size=LOGITS.shape)
    expected = {"mean_absolute_error": np.abs, "mean_squared_error": np.square}[metric](LOGITS - y).mean()
    assert client.evaluate_model(X, y, metric, batch=70).value == pytest.approx(expected, abs=1e-3)


def test_the_owner_alone_is_told(client: Client, model: OwnedModel) -> None:
    before = len(model.evaluations())
    score = client.evaluate_model(X, Y, "top5", batch=90, recipient="owner")
    assert score == Score("top5", 200, None, None)
    assert str(score) == "top5 of 200 rows: told to the owner"
    with pytest.raises(InputError, match="told to the model's owner"):
        float(score)
    right = (np.argsort(-LOGITS, axis=1)[:, :5] == Y[:, None]).any(1).sum()
    assert model.evaluations()[before:] == [Score("top5", 200, float(right), right / 200, "bob")]
    assert model.evaluations() == model.evaluations()


def test_several_at_once_beside_queries(memory_cluster: Any, client: Client) -> None:
    """Nobody's rows get into another's total."""
    results: dict[int, float | None] = {}

    def ask(number: int) -> None:
        rows = slice(20 * number, 20 * number + 80)
        with Client(name=f"c{number % 2}", timeout=60) as each:
            each.connect_to_model(memory_cluster)
            results[number] = each.evaluate_model(X[rows], Y[rows], batch=13 + number).total

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        np.testing.assert_allclose(client.query_model(X[:9]), LOGITS[:9], atol=1e-3)
    for thread in threads:
        thread.join(60)
    assert results == dict.fromkeys(range(5), 60.0)


def test_an_evaluation_counts_as_one_request(own_cluster: Any) -> None:
    with served(own_cluster, draft(), num_requests=2) as owned, Client(timeout=30) as client:
        client.connect_to_model(own_cluster)
        assert client.evaluate_model(X, Y, batch=20).total == 150
        client.query_model(X[:1])
        until(lambda: owned.served == 2, "both were counted")


# --- what is refused before anything is sent


def test_the_client_refuses(client: Client) -> None:
    for x, y, metric, reason in (
        (X, Y, "auc", "allows no evaluation by 'auc', but by accuracy, mean_absolute_error"),
        (X, Y, "binary_accuracy", "allows no evaluation by 'binary_accuracy'"),
        (X[:19], Y[:19], "accuracy", "from 20 rows on; the data has 19"),
        (X[:29], Y[:29], "top5", "from 30 rows on; the data has 29"),
        (X, Y[:100], "accuracy", "x has 200 rows and y has 100"),
        (X, Y + 1, "accuracy", "targets for accuracy: the data reaches from"),
        (X, Y + 0.5, "accuracy", "not whole"),
        (X, Y.astype(str), "accuracy", "cannot be queried"),
        (X, [[1], [2, 3]], "accuracy", "not a rectangular array"),
        (X, np.eye(8)[Y], "accuracy", "targets for accuracy: the data has shape"),
        (X, 3, "accuracy", "targets for accuracy: the data has shape"),
        (X, np.full((200, 7), np.nan), "mean_absolute_error", "NaN"),
        (X, np.full((200, 7), 1e9), "mean_absolute_error", "the data reaches from"),
        (X * 2, Y, "accuracy", "the data reaches from"),
        (X[:, :5], Y, "accuracy", "the data has shape"),
    ):
        recipient = "owner" if metric == "top5" else "client"
        with pytest.raises(InputError, match=reason):
            client.evaluate_model(x, y, metric, recipient=recipient)
    with pytest.raises(InputError, match=r"by top5 are told to the owner, .* not to 'client'"):
        client.evaluate_model(X, Y, "top5")
    with pytest.raises(InputError, match=r"by accuracy are told to the client, .* not to 'owner'"):
        client.evaluate_model(X, Y, recipient="owner")
    with pytest.raises(InputError, match="batch is 1 or more"):
        client.evaluate_model(X, Y, batch=0)
    with pytest.raises(InputError, match="batch is a whole number"):
        client.evaluate_model(X, Y, batch=1.5)


def test_nothing_is_allowed_unless_the_owner_says_so(own_cluster: Any) -> None:
    with served(own_cluster, draft(None)), Client(timeout=30) as client:
        client.connect_to_model(own_cluster)
        assert client.evaluations == {}
        with pytest.raises(InputError, match="allows no evaluation by 'accuracy', nor by any other metric"):
            client.evaluate_model(X, Y)
        with pytest.raises(RefusedError, match="allows no evaluation by 'accuracy' of this model, but none"):
            Hostile(client, TARGET).part(os.urandom(16))


# --- rows without an answer


@pytest.mark.parametrize("metric", ["accuracy", "mean_absolute_error", "top5"])
def test_rows_without_an_answer_are_counted_and_score_nothing(own_cluster: Any, metric: str) -> None:
    """Inputs that the parties refuse: in secret, so that they are told of only as a number."""
    with served(own_cluster, draft(enforce_range=True)) as owned, Client(name="bob", timeout=30) as client:
        client.connect_to_model(own_cluster)
        session = client._session
        assert session is not None
        sent = session.send

        def send(values: Any, *given: Any, **more: Any) -> Any:
            x, y = values
            outside = np.arange(len(x)) % 10 == 3
            return sent([np.where(outside[:, None], 1.5, x), y], *given, **more)

        session.send = send  # type: ignore[method-assign]
        y = LOGITS + 0.5 if metric == "mean_absolute_error" else Y
        recipient = "owner" if metric == "top5" else "client"
        score = client.evaluate_model(X, y, metric, batch=60, recipient=recipient)
        kept = np.arange(200) % 60 % 10 != 3
        if metric == "top5":
            assert score.value is None
            (score,) = owned.evaluations()
            right = (np.argsort(-LOGITS, axis=1)[:, :5] == Y[:, None]).any(1)
        else:
            right = np.argmax(LOGITS, 1) == Y
        assert (score.rows, score.unanswered) == (200, 20)
        assert "200 rows" in str(score)
        assert "20 of them without an answer" in str(score)
        if metric == "mean_absolute_error":
            assert score.value == pytest.approx(0.5, abs=1e-3)
        else:
            assert score.total == right[kept].sum()
            assert score.value == right[kept].sum() / 200


# --- clients that break the rules


class Hostile:
    """Sends parts as it likes, over a client's session."""

    def __init__(self, client: Client, target: InputPort = TARGET) -> None:
        assert client._session is not None
        self.session, self.target, self.x = client._session, target, X

    def part(
        self, evaluation: bytes, start: int = 0, rows: int = 25, *, last: bool = False, metric: str = "accuracy"
    ) -> int:
        """Words of the parties' answers. Rows begin anew where there are no more."""
        taken = np.arange(start, start + rows) % len(X)
        ports = (*self.session.model.inputs, self.target)
        y = np.zeros((rows, *self.target.shape)) + Y[taken].reshape(rows, *(1,) * len(self.target.shape))
        request = self.session.send([self.x[taken], y], ports, Part(evaluation, metric, start, last))
        answers = self.session.answers(request, time.monotonic() + 20)
        (words,) = {len(part) // 8 for answer in answers.values() for part in (answer.mine, answer.next)}
        return words


@pytest.mark.parametrize("bit", [3, 4, 33, 63])
def test_a_class_number_is_one_whatever_is_sent(hostile: Hostile, monkeypatch: pytest.MonkeyPatch, bit: int) -> None:
    """Modulo 16, of seven classes: no target is right for two of them."""
    encode = fixed.encode

    def beyond(values: Array, frac: int) -> Array:
        words = encode(values, frac)
        return words if values.ndim > 1 else words + np.uint64(1 << bit)

    monkeypatch.setattr(fixed, "encode", beyond)
    request = hostile.session.send(
        [X[:64], LOGITS[:64].argmax(1)],
        (*hostile.session.model.inputs, TARGET),
        Part(os.urandom(16), "accuracy", 0, True),
    )
    answers = hostile.session.answers(request, time.monotonic() + 20)
    (total,) = told_of([share_of(answers[index], (1,), index) for index in range(3)], 0)
    assert total == (0 if bit == 3 else 64)


@pytest.fixture
def hostile(client: Client) -> Hostile:
    return Hostile(client)


def test_only_the_last_part_tells_anything(hostile: Hostile) -> None:
    id_ = os.urandom(16)
    assert [hostile.part(id_, 0), hostile.part(id_, 25), hostile.part(id_, 50, last=True)] == [0, 0, 1]


def test_the_owners_metrics_tell_the_client_nothing(hostile: Hostile) -> None:
    assert hostile.part(os.urandom(16), rows=40, last=True, metric="top5") == 0


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([{"last": True, "rows": 19}], "at least 20 rows, not 19"),
        ([{"rows": 10}, {"start": 10, "rows": 9, "last": True}], "at least 20 rows, not 19"),
        ([{"metric": "auc"}], "allows no evaluation by 'auc'"),
        ([{"metric": "binary_accuracy"}], "allows no evaluation by 'binary_accuracy'"),
        ([{"start": 25}], "do not know this evaluation"),
        ([{}, {"start": 24}], "come to row 25, and this part begins at 24"),
        ([{}, {"start": 26}], "come to row 25, and this part begins at 26"),
        ([{}, {}], "come to row 25, and this part begins at 0"),
        ([{}, {"start": 25, "last": True}, {"start": 50, "last": True}], "do not know this evaluation"),
        ([{}, {"start": 25, "metric": "top5"}], "in use, for something else"),
        ([{"rows": 129}], "from 1 to 128 rows, not 129"),
        ([{"rows": 0}], "from 1 to 128 rows, not 0"),
        ([{"start": (1 << 32) - 24}], "has up to 4294967296 rows"),
        ([{"metric": "mean_squared_error"}], "a share of shape"),  # targets of another shape
    ],
)
def test_parts_that_are_none(hostile: Hostile, parts: list[dict[str, Any]], reason: str, memory_cluster: Any) -> None:
    id_ = os.urandom(16)
    for part in parts[:-1]:
        hostile.part(id_, **part)
    with pytest.raises((RefusedError, PartyError), match=reason):
        hostile.part(id_, **parts[-1])
    hostile.session.give_up(id_)
    until(lambda: tallies(memory_cluster) == [0, 0, 0], "it is forgotten")
    assert hostile.part(os.urandom(16), last=True) == 1  # the lane still stands


def test_another_clients_evaluation(memory_cluster: Any, hostile: Hostile) -> None:
    id_ = os.urandom(16)
    hostile.part(id_)
    with Client(name="eve", timeout=30) as eve:
        theirs = Hostile(eve.connect_to_model(memory_cluster))
        for start in (0, 25):
            with pytest.raises(RefusedError, match="in use, for something else"):
                theirs.part(id_, start, last=True)
        theirs.session.give_up(os.urandom(16))  # of nobody
        assert theirs.part(os.urandom(16), last=True) == 1
        assert hostile.part(id_, 25, last=True) == 1


def test_no_more_than_so_many_go_on(memory_cluster: Any, hostile: Hostile) -> None:
    ids = [os.urandom(16) for _ in range(tally.OPEN)]
    for id_ in ids:
        hostile.part(id_, rows=1)
    with pytest.raises(RefusedError, match=r"client:bob has 16 evaluations that go on, and may have 16"):
        hostile.part(os.urandom(16))
    with Client(name="carol", timeout=30) as carol:
        assert Hostile(carol.connect_to_model(memory_cluster)).part(os.urandom(16), last=True) == 1
    assert hostile.part(ids[0], 1, last=True) == 1
    assert hostile.part(os.urandom(16), last=True) == 1
    assert tallies(memory_cluster) == [15, 15, 15]
    hostile.session.close(StateError("a test"))
    until(lambda: tallies(memory_cluster) == [0, 0, 0], "they went with their client")


def test_what_does_not_go_on_is_forgotten(own_cluster: Any) -> None:
    with served(own_cluster, draft()), Client(timeout=30) as client:
        hostile, id_ = Hostile(client.connect_to_model(own_cluster)), os.urandom(16)
        hostile.part(id_)
        leader = own_cluster._servers[0].duty
        leader.expire()
        assert tallies(own_cluster) == [1, 1, 1]
        (going,) = leader.lanes[0].tallies._open.values()
        going.touched -= 1e6
        until(lambda: tallies(own_cluster) == [0, 0, 0], "it is forgotten")
        with pytest.raises(PartyError, match="do not know this evaluation any more; begin it again"):
            hostile.part(id_, 25, last=True)
        with pytest.raises(PartyError, match="do not know this evaluation any more; begin it again"):
            hostile.part(id_, 0, last=True)  # a follower may not have heard of it yet
        assert client.evaluate_model(X, Y).total == 150


def test_a_lane_takes_its_evaluations_with_it_and_the_client_begins_again(own_cluster: Any) -> None:
    with served(own_cluster, draft()), Client(timeout=30) as client:
        client.connect_to_model(own_cluster)
        session = client._session
        assert session is not None
        sent, parts = session.send, []

        def send(*given: Any, **more: Any) -> Any:
            parts.append(given[-1])
            if len(parts) == 3:
                own_cluster._servers[1].duty.lanes[0].interrupt()
                until(lambda: tallies(own_cluster) == [0, 0, 0], "the tallies are gone")
            return sent(*given, **more)

        session.send = send  # type: ignore[method-assign]
        assert client.evaluate_model(X, Y, batch=50).total == 150
        assert [part.start for part in parts] == [0, 50, 100, 0, 50, 100, 150]
        assert len({part.evaluation for part in parts}) == 2


def test_parties_whose_tallies_differ_stop_and_the_client_begins_again(own_cluster: Any) -> None:
    """The party that knows less refuses, and tells nothing of what it added; the lane stands."""
    with served(own_cluster, draft()), Client(timeout=30) as client:
        client.connect_to_model(own_cluster)
        session = client._session
        assert session is not None
        sent, parts = session.send, []
        epoch = own_cluster._servers[0].duty.lanes[0]._epoch

        def send(*given: Any, **more: Any) -> Any:
            parts.append(given[-1])
            if len(parts) == 2:
                own_cluster._servers[2].duty.lanes[0].tallies.clear()
            return sent(*given, **more)

        session.send = send  # type: ignore[method-assign]
        assert client.evaluate_model(X, Y, batch=100).total == 150
        assert [part.start for part in parts] == [0, 100, 0, 100]
        assert own_cluster._servers[0].duty.lanes[0]._epoch == epoch


@pytest.mark.parametrize("start", [24, 0])
def test_a_request_with_the_id_of_an_evaluation_stops_no_lane(
    own_cluster: Any, monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    """What is refused, or taken back, under the evaluation's id: neither puts the parties at odds."""
    with served(own_cluster, draft()), Client(timeout=30) as client:
        hostile, id_ = Hostile(client.connect_to_model(own_cluster)), os.urandom(16)
        hostile.part(id_)
        lane, request = own_cluster._servers[0].duty.lanes[0], session_module.Request
        epoch = lane._epoch
        with monkeypatch.context() as patched:
            patched.setattr(session_module, "Request", lambda _, rows: request(id_, rows))
            patched.setattr(hostile.session, "take_back", lambda _: None)
            with pytest.raises(RefusedError, match=f"this part begins at {start}"):
                hostile.part(id_, start)
        for begin in (25, 0):
            with pytest.raises(PartyError, match="do not know this evaluation any more"):
                hostile.part(id_, begin)
        assert hostile.part(os.urandom(16), last=True) == 1
        assert lane._epoch == epoch


def test_what_is_given_up_while_its_last_part_runs_is_told_to_nobody(
    own_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even of the rows of that part: one alone, here."""
    with served(own_cluster, draft()) as owned, Client(timeout=30) as client:
        hostile, id_, add_up = Hostile(client.connect_to_model(own_cluster)), os.urandom(16), batch._add_up
        hostile.part(id_, rows=40, metric="top5")

        def late(*given: Any) -> None:
            own_cluster._servers[0].duty.drop(id_, TAKEN_BACK)
            until(lambda: tallies(own_cluster) == [0, 0, 0], "it is forgotten")
            add_up(*given)

        monkeypatch.setattr(batch, "_add_up", late)
        with pytest.raises(PartyError, match="do not know this evaluation any more"):
            hostile.part(id_, 40, 1, last=True, metric="top5")
        assert owned.evaluations() == []
        assert tallies(own_cluster) == [0, 0, 0]


def test_results_under_one_id_are_not_mixed_up() -> None:
    """A party that has two already, and one that has the first alone, mean the same."""
    words = np.arange(2, dtype="<u8").tobytes()
    two = Evaluations((bytes(16),) * 2, ("bob",) * 2, ("top5",) * 2, (40,) * 2, words, words)
    one = Evaluations((bytes(16),), ("bob",), ("top5",), (40,), words[:8], words[:8])
    assert [next(iter(results_of(each, 0).values())).mine[0] for each in (one, two)] == [0, 0]


def test_two_copies_of_a_part_are_refused_and_nothing_of_it_is_added(
    hostile: Hostile, memory_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_faced(secret: Array) -> tuple[Package, ...]:
        honest = split(secret)
        return honest[0], honest[1], Package(honest[2].mine + np.uint64(1 << 16), honest[2].next)

    id_ = os.urandom(16)
    hostile.part(id_)
    with monkeypatch.context() as patched:
        patched.setattr(session_module, "split", two_faced)
        for last in (False, True):
            with pytest.raises(RefusedError, match="different copies of the same share"):
                hostile.part(id_, 25, last=last)
    assert tallies(memory_cluster) == [1, 1, 1]
    assert [hostile.part(id_, 25), hostile.part(id_, 50, last=True)] == [0, 1]


@pytest.mark.parametrize("changed", [{"start": 1}, {"last": True}, {"metric": "top5"}, {"evaluation": bytes(16)}])
def test_parties_that_are_told_different_things_run_nothing(
    hostile: Hostile, memory_cluster: Any, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    encode, count = session_module.encode, itertools.count()

    def differently(message: Any) -> bytes:
        if isinstance(message, Query) and message.part and next(count) == 1:
            message = msgspec.structs.replace(message, part=msgspec.structs.replace(message.part, **changed))
        return encode(message)

    with monkeypatch.context() as patched:
        patched.setattr(session_module, "encode", differently)
        with pytest.raises((RefusedError, PartyError), match="different requests under one id"):
            hostile.part(os.urandom(16), 0, 40)
    until(lambda: tallies(memory_cluster) == [0, 0, 0], "nothing goes on")


def test_a_part_that_a_busy_party_refuses_is_sent_again(client: Client) -> None:
    session = client._session
    assert session is not None
    sent, parts = session.send, []

    def send(*given: Any, **more: Any) -> Any:
        parts.append(given[-1])
        if len(parts) == 2:
            raise RefusedError("busy").again()
        return sent(*given, **more)

    session.send = send  # type: ignore[method-assign]
    assert client.evaluate_model(X, Y, batch=100).total == 150
    assert [part.start for part in parts] == [0, 100, 100]
    assert len({part.evaluation for part in parts}) == 1


def test_a_client_that_gives_up_leaves_nothing(client: Client, memory_cluster: Any) -> None:
    session = client._session
    assert session is not None
    sent, parts = session.send, []

    def send(*given: Any, **more: Any) -> Any:
        parts.append(given[-1])
        if len(parts) == 2:
            raise KeyboardInterrupt
        return sent(*given, **more)

    session.send = send  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        client.evaluate_model(X, Y, batch=100)
    until(lambda: tallies(memory_cluster) == [0, 0, 0], "it is forgotten")


def test_results_are_their_owners(memory_cluster: Any, client: Client, model: OwnedModel) -> None:
    hello = Hello.plain("owner", memory_cluster.config.cluster)
    channel = call(memory_cluster.network(Role("owner", "mallory")), 0, hello, 10)
    with pytest.raises(RefusedError, match="belongs to owner:owner"):
        ask(channel, AskEvaluations(model._id), Evaluations, 10)
    with pytest.raises(NoModelError, match="does not hold this upload"):
        ask(channel, AskEvaluations(bytes(16)), Evaluations, 10)
    channel.close()


def test_so_many_results_are_kept_and_show_nothing() -> None:
    results = tally.Results()
    secret = Share(np.full(1, 123456789, np.uint64), np.full(1, 987654321, np.uint64))
    for number in range(tally.KEPT + 5):
        results.add(tally.Result(number.to_bytes(16, "big"), "client:bob", "top5", 30, secret))
    assert len(results.all()) == tally.KEPT
    assert results.all()[-1].evaluation == (tally.KEPT + 4).to_bytes(16, "big")
    for shown in (repr(results), repr(results.all()[0]), repr(tally.Tally(b"", "client:bob", "top5", share=secret))):
        assert "123456789" not in shown
        assert "987654321" not in shown


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from(["ann", "bob"]), st.integers(0, 40), st.integers(1, 20), st.booleans()
        ),
        max_size=30,
    )
)
def test_tallies_add_up_what_they_take(parts: list[tuple[int, str, int, int, bool]]) -> None:
    """Whatever parts come: those without an obstacle make one sequence of rows each, and its sum."""
    tallies, rows, totals = tally.Tallies(), {}, {}
    for number, client, start, count, last in parts:
        part = Part(bytes([number]) * 16, "accuracy", start, last)
        words = np.arange(count, dtype=np.uint64).reshape(count, 1)
        if tallies.obstacle(part, b"model", client):
            going = rows.get(number)
            assert going is None or going != (client, start) or start
            continue
        assert rows.get(number, (client, 0)) == (client, start)
        made = tallies.add(part, b"model", client, Share(words, -words), 1)
        totals[number] = totals.get(number, 0) + int(words.sum())
        assert (made.rows, int(made.share.mine[0]), int((-made.share.next)[0])) == (
            start + count,
            totals[number],
            totals[number],
        )
        rows[number] = (client, start + count)
        if last:
            del rows[number], totals[number]
    assert len(tallies) == len(rows)


# --- real processes, real connections, the shipped model


@pytest.mark.slow
def test_the_shipped_model_is_as_good_in_private(process_cluster: TFECluster) -> None:
    import tensorflow as tf

    from keras_private import KerasHook

    root = Path(__file__).resolve().parents[1] / "models"
    with np.load(root / "mnist_sample.npz", allow_pickle=False) as sample:
        images, digits = sample["images"].reshape(-1, 28, 28, 1) / 255, sample["labels"]
    KerasHook(tf.keras)
    model = tf.keras.models.load_model(root / "mnist_cnn.keras")
    right = model.predict(images, verbose=0).argmax(1) == digits
    top = np.argsort(-model.predict(images, verbose=0), axis=1)[:, :5]
    in_top = (top == digits[:, None]).any(1)
    model.share(process_cluster, input_range=(0, 1), evaluation={"accuracy": "client", "top5": "owner"}, verbose=0)
    serving = threading.Thread(target=model.serve, kwargs={"verbose": 0})
    serving.start()
    try:
        with Client(name="bob", timeout=120) as client:
            client.connect_to_model(process_cluster)
            assert client.evaluate_model(images, digits, batch=50) == Score("accuracy", 1000, right.sum(), right.mean())
            assert client.evaluate_model(images, digits, "top5", recipient="owner") == Score("top5", 1000, None, None)
        assert model.evaluations() == [Score("top5", 1000, in_top.sum(), in_top.mean(), "bob")]
    finally:
        model.stop()
        serving.join(60)
    found = model.private_accuracy(images, digits, input_range=(0, 1))
    assert found.plain == found.private == right.mean()
    assert found.changed == 0
