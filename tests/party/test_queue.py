"""The queue: who may run, in which order, and what is discarded."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec
import numpy as np
import pytest

from keras_private.errors import PartyError, RefusedError
from keras_private.party.causes import EXPIRED, INTERRUPTED, STOPPED, Cause, gone
from keras_private.party.leader.queue import LeaderQueue
from keras_private.party.messages import FAILED, REFUSED, Hold, Part
from keras_private.party.queue import Request, RequestQueue
from keras_private.party.run_memory import RunMemory
from keras_private.sharing.share import Share

MODEL, OTHER, DIGEST = bytes(16), bytes([1]) * 16, "d" * 64


class Desk:
    """A leader's queue and everything it was told to say."""

    def __init__(self, limit: int = 100, timeout_s: float = 30.0) -> None:
        self.discarded: list[tuple[list[bytes], Cause]] = []
        self.refused: dict[bytes, Cause] = {}
        self.queue = LeaderQueue(limit, timeout_s, lambda ids, cause: self.discarded.append((ids, cause)))
        self.count = 0

    def request(self, rows: int = 1, model: bytes = MODEL, client: str = "client:bob") -> Request:
        self.count += 1
        words = np.zeros((rows, 2), np.uint64)
        return Request(
            self.count.to_bytes(16, "big"), client, model, DIGEST, rows, Share(words, words), self.answer, self.refuse
        )

    def answer(self, *_: object) -> None:
        raise AssertionError("nothing runs here")

    def refuse(self, id_: bytes, code: str, text: str, after: float | None = None) -> None:
        assert id_ not in self.refused
        self.refused[id_] = Cause(code, text, after)

    def add(self, rows: int = 1, holders: tuple[int, ...] = (1, 2), **fields: Any) -> Request:
        request = self.request(rows, **fields)
        self.queue.add(request)
        for index in holders:
            self.queue.hold(index, hold_of(request))
        return request

    def take(self, max_rows: int = 10, lane: int = 0) -> list[Request]:
        """What would run next; nothing if nothing would."""
        looked = iter([False])
        return [
            piece.request
            for piece in self.queue.take(lane, lambda _: max_rows, lambda _: None, lambda: next(looked, True))
        ]

    def finish(self, requests: list[Request]) -> list[Request]:
        """A run with all their rows went well."""
        for request in requests:
            request.done = request.rows
        return self.queue.finish([request.id for request in requests], served=True)


def hold_of(request: Request, **changes: Any) -> Hold:
    hold = Hold(request.id, request.client, request.model, request.digest, request.rows, request.part)
    return msgspec.structs.replace(hold, **changes)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_private.party.leader.queue._LOOK_UP_S", 0.01)


def test_order_of_arrival_and_rows(desk: Desk) -> None:
    requests = [desk.add(rows) for rows in (3, 4, 5, 1)]
    desk.queue.start_serving(MODEL)
    assert desk.take(10) == requests[:2]
    assert desk.take(10) == requests[2:]
    assert desk.take(10) == []


def test_a_request_larger_than_what_is_left_is_not_overtaken(desk: Desk) -> None:
    first, second, third = desk.add(6), desk.add(6), desk.add(1)
    desk.queue.start_serving(MODEL)
    assert desk.take(10) == [first]
    assert desk.take(10) == [second, third]


def test_only_what_all_three_hold_runs(desk: Desk) -> None:
    late = desk.add(holders=(1,))
    ready = desk.add()
    desk.queue.start_serving(MODEL)
    assert desk.take() == [ready]
    desk.queue.hold(2, hold_of(late))
    assert desk.take() == [late]


def test_a_follower_may_be_first(desk: Desk) -> None:
    request = desk.request()
    desk.queue.hold(2, hold_of(request))
    desk.queue.hold(1, hold_of(request))
    desk.queue.start_serving(MODEL)
    assert desk.take() == []
    desk.queue.add(request)
    assert desk.take() == [request]


def test_what_ran_and_is_refused_was_not_served(desk: Desk) -> None:
    """A client that gave the parties differing copies gets no answer, and takes none of what the owner serves."""
    refused, good = desk.add(), desk.add()
    serving = desk.queue.start_serving(MODEL, 1)
    assert desk.take() == [refused]
    refused.honest = False
    assert desk.finish([refused]) == [refused]
    assert desk.queue.wait_progress(serving, 0, 0.0) == (0, False, "")
    assert desk.take() == [good]
    desk.finish([good])
    assert desk.queue.wait_progress(serving, 0, 0.0) == (1, True, "")


def test_models_do_not_mix_and_take_turns(desk: Desk) -> None:
    mine = [desk.add(client=client) for client in ("client:ann", "client:bob")]
    theirs = desk.add(model=OTHER)
    desk.queue.start_serving(MODEL)
    assert desk.take(1) == [mine[0]]
    assert desk.take(1) == [mine[1]]
    more = desk.add()
    desk.queue.start_serving(OTHER)
    assert desk.take(1) == [theirs]  # its last run is longer ago
    assert desk.take(1) == [more]


def test_versions_of_a_model_have_one_serving(desk: Desk) -> None:
    """Its budget is for all of them; it ends with the last of them, or when its owner ends it."""
    old, new = desk.add(), desk.add(model=OTHER)
    serving = desk.queue.start_serving(MODEL, 2)
    desk.queue.cover(MODEL, OTHER)
    assert desk.queue.serving_of(OTHER) is serving
    assert desk.queue.waiting_under(serving) == 2
    assert desk.take() == [old]
    assert desk.take() == [new]
    desk.finish([old])
    assert not serving.over
    desk.finish([new])
    assert (serving.served, serving.over) == (2, True)
    assert not desk.queue.serving
    serving = desk.queue.start_serving(MODEL, standing=True)
    desk.queue.cover(MODEL, OTHER)
    desk.queue.uncover(MODEL)
    assert not serving.over
    assert desk.queue.serving_of(MODEL) is None
    desk.queue.uncover(OTHER)
    assert serving.over
    desk.queue.uncover(OTHER)
    desk.queue.cover(MODEL, OTHER)
    assert not desk.queue.serving


def test_a_model_goes_when_nothing_of_it_runs(desk: Desk) -> None:
    running, waiting, theirs = desk.add(), desk.add(), desk.add(model=OTHER)
    heard = desk.add()  # by a follower alone
    desk.queue.hold(1, msgspec.structs.replace(hold_of(heard), request=bytes(15) + b"x"))
    desk.queue.start_serving(MODEL)
    desk.take(1)
    desk.queue.discard_model(MODEL, STOPPED)
    assert desk.refused.keys() == {waiting.id, heard.id}
    assert desk.discarded[-1][0] == [waiting.id, heard.id, bytes(15) + b"x"]
    desk.queue.wait_idle(MODEL, 0.0)
    assert [desk.queue.waiting_for(model) for model in (MODEL, OTHER)] == [1, 1]
    ended = threading.Timer(0.02, desk.finish, [[running]])
    ended.start()
    desk.queue.wait_idle(MODEL, 20)
    assert desk.queue.waiting_for(MODEL) == 0
    ended.join()
    assert desk.queue.peek([theirs.id]) == [theirs]


def test_not_served_not_run(desk: Desk) -> None:
    request = desk.add()
    assert desk.take() == []
    desk.queue.start_serving(MODEL, 1)
    assert desk.take() == [request]


def test_the_budget(desk: Desk) -> None:
    requests = [desk.add() for _ in range(5)]
    serving = desk.queue.start_serving(MODEL, 3)
    batch = desk.take()
    assert batch == requests[:3]
    assert desk.take() == []
    desk.queue.finish([request.id for request in batch], served=False)  # failed: they do not count
    assert desk.queue.wait_progress(serving, 0, 0.0) == (0, False, "")
    batch = desk.take()
    assert batch == requests[3:]
    desk.finish(batch)
    assert desk.queue.wait_progress(serving, 0, 0.0) == (2, False, "")
    last = [desk.add(), desk.add()][0]
    assert desk.take() == [last]
    desk.finish([last])
    assert desk.queue.wait_progress(serving, 2, 0.0) == (3, True, "")
    assert not desk.queue.serving


def test_full() -> None:
    desk = Desk(limit=2)
    desk.add(client="client:a"), desk.add(client="client:b")
    with pytest.raises(RefusedError, match=r"full \(2 requests"):
        desk.add(client="client:c")
    desk.queue.start_serving(MODEL)
    batch = desk.take()
    with pytest.raises(RefusedError, match="full"):  # those that run still take their place
        desk.add(client="client:c")
    desk.finish(batch)
    desk.add(client="client:c")


def test_one_client_cannot_fill_the_queue() -> None:
    queue, desk = RequestQueue(100), Desk()
    for _ in range(50):
        queue.add(desk.request(client="client:greedy"))
    with pytest.raises(RefusedError, match=r"client:greedy has its share.*50 requests of 100"):
        queue.add(desk.request(client="client:greedy"))
    good = [desk.request(client="client:good") for _ in range(25)]
    for request in good:
        queue.add(request)
    with pytest.raises(RefusedError, match="client:good has its share"):
        queue.add(desk.request(client="client:good"))
    queue.add(desk.request(client="client:third"))
    queue.refuse_all(FAILED, "gone")
    assert queue.places.used == 0


def test_an_id_twice(desk: Desk) -> None:
    request = desk.add()
    with pytest.raises(RefusedError, match="in use"):
        desk.queue.add(request)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": 2}, "different requests under one id"),
        ({"client": "client:eve"}, "different requests under one id"),
        ({"part": Part(bytes(16), "accuracy", 0, last=True)}, "different requests under one id"),
        ({"digest": "e" * 64}, f"server0 {DIGEST} and server2 {'e' * 64}"),
        ({"model": bytes([9]) * 16}, "different uploads"),
    ],
)
@pytest.mark.parametrize("first", ["leader", "follower"])
def test_contradictions_are_discarded_everywhere(desk: Desk, changes: Any, words: str, first: str) -> None:
    request = desk.request()
    if first == "leader":
        desk.queue.add(request)
    desk.queue.hold(2, hold_of(request, **changes))
    if first == "follower":
        desk.queue.add(request)
    assert words in desk.refused[request.id][1]
    assert [ids for ids, _ in desk.discarded] == [[request.id]]
    assert desk.queue.waiting == 0
    assert not desk.queue._holds


def test_drop(desk: Desk) -> None:
    waits, runs = desk.add(), desk.add()
    desk.queue.drop(waits.id)
    assert desk.refused[waits.id][0] == REFUSED
    desk.queue.start_serving(MODEL)
    assert desk.take() == [runs]
    desk.queue.drop(runs.id)  # too late
    assert runs.id not in desk.refused
    assert desk.finish([runs]) == [runs]
    assert desk.queue.waiting == 0


def test_a_follower_is_gone(desk: Desk) -> None:
    runs = desk.add()
    desk.queue.start_serving(MODEL)
    assert desk.take() == [runs]
    waits, alone = desk.add(), desk.request()
    desk.queue.hold(1, hold_of(alone))
    desk.queue.forget_party(1)
    assert desk.refused == {waits.id: gone("server1")}  # what runs is the lane's to answer
    assert set(desk.discarded[0][0]) == {waits.id, alone.id}
    assert not desk.queue._holds.keys() - {runs.id}


def test_expiry_only_while_serving() -> None:
    desk = Desk(timeout_s=0.0)
    desk.queue.lane_is(0, up=True)
    alone, ready, ghost = desk.add(holders=(2,)), desk.add(), desk.request()
    desk.queue.hold(1, hold_of(ghost))
    desk.queue.expire()
    assert not desk.discarded
    desk.queue.start_serving(MODEL)
    desk.queue.expire()
    said = {id_: cause.text for ids, cause in desk.discarded for id_ in ids}
    assert said.keys() == {alone.id, ghost.id}
    assert said[alone.id].startswith("server1 did not receive")
    assert said[ghost.id].startswith("server0 and server2 did not receive")
    assert desk.take() == [ready]


def test_expiry_when_no_lane_is_up() -> None:
    desk = Desk(timeout_s=0.0)
    request = desk.add()
    desk.queue.start_serving(MODEL)
    desk.queue.expire()
    assert "not connected with each other" in desk.refused[request.id][1]


def test_serving_ends_with_a_reason(desk: Desk) -> None:
    serving = desk.queue.start_serving(MODEL)
    assert desk.queue.stop_serving(serving, "server1 holds no model")
    assert not desk.queue.stop_serving(serving)  # the first reason stays
    assert desk.queue.wait_progress(serving, 0, 0.0) == (0, True, "server1 holds no model")


def test_take_wakes_up(desk: Desk) -> None:
    taken: list[list[Request]] = []
    thread = threading.Thread(
        target=lambda: taken.append(
            [piece.request for piece in desk.queue.take(0, lambda _: 10, lambda _: None, lambda: False)]
        )
    )
    thread.start()
    desk.queue.start_serving(MODEL)
    request = desk.add()
    thread.join(10)
    assert taken == [[request]]


def test_requests_show_no_shares(desk: Desk) -> None:
    assert "Share(shape=(1, 2))" in repr(desk.request())


@pytest.mark.parametrize("late", ["leader", "follower"])
def test_what_was_discarded_stays_discarded(desk: Desk, late: str) -> None:
    """A client takes a request back before its package has reached every party."""
    request = desk.request()
    desk.queue.hold(1, hold_of(request))
    desk.queue.drop(request.id)
    assert len(desk.discarded) == 1
    if late == "leader":
        desk.queue.add(request)
        assert desk.refused[request.id][0] == REFUSED
    else:
        desk.queue.hold(2, hold_of(request))
    assert [ids for ids, _ in desk.discarded] == [[request.id]] * 2
    assert desk.queue.waiting == 0
    assert not desk.queue._holds


def test_only_so_much_is_remembered(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_private.party.leader.queue._REMEMBERED", 10)
    for number in range(30):
        desk.queue.drop(number.to_bytes(16, "big"))
    assert len(desk.queue._gone) == 10


def test_nobody_ends_another_serving(desk: Desk) -> None:
    first = desk.queue.start_serving(MODEL)
    with pytest.raises(RefusedError, match="served already"):
        desk.queue.start_serving(MODEL)
    desk.queue.stop_serving(first)
    second = desk.queue.start_serving(MODEL)
    assert not desk.queue.stop_serving(first, "alice hung up")
    assert desk.queue.serving
    assert desk.queue.wait_progress(first, 0, 0.0) == (0, True, "")
    assert desk.queue.wait_progress(second, 0, 0.0) == (0, False, "")


def test_a_run_counts_where_it_began(desk: Desk) -> None:
    request = desk.add()
    first = desk.queue.start_serving(MODEL, 1)
    assert desk.take() == [request]
    desk.queue.stop_serving(first)
    second = desk.queue.start_serving(MODEL, 1)
    desk.finish([request])
    assert desk.queue.wait_progress(second, 0, 0.0) == (0, False, "")
    another = desk.add()
    assert desk.take() == [another]


def test_what_runs_is_not_discarded(desk: Desk) -> None:
    runs, waits = desk.add(), desk.add()
    desk.queue.start_serving(MODEL, 1)
    assert desk.take() == [runs]
    desk.queue.discard([runs.id, waits.id], REFUSED, "the model was stopped")  # found before `take`, say
    assert desk.refused.keys() == {waits.id}
    assert [ids for ids, _ in desk.discarded] == [[waits.id]]
    assert desk.finish([runs]) == [runs]
    assert desk.refused.keys() == {waits.id}


def begin(desk: Desk) -> Request:
    """A request of which the first of three rows is running."""
    request = desk.add(3)
    desk.queue.start_serving(MODEL)
    assert desk.take(1) == [request]
    return request


def end_first_run(desk: Desk, request: Request) -> None:
    request.done = 1
    assert desk.queue.finish([request.id], served=True) == []


def test_the_rest_of_a_request_does_not_outlive_its_model(desk: Desk) -> None:
    request = begin(desk)
    desk.queue.discard_model(MODEL, STOPPED)
    assert not desk.refused
    end_first_run(desk, request)
    assert desk.refused == {request.id: STOPPED}
    assert desk.queue.waiting == 0


def test_the_rest_of_a_request_does_not_outlive_a_follower(desk: Desk) -> None:
    request = begin(desk)
    desk.queue.forget_party(2)
    end_first_run(desk, request)
    assert desk.refused == {request.id: gone("server2")}
    assert desk.queue.waiting == 0


def test_the_rest_of_a_request_does_not_outlive_its_lane(desk: Desk) -> None:
    """A follower that failed at the end of a run has forgotten its requests: announced, they would fail others."""
    request = begin(desk)
    desk.queue.lane_is(0, up=True)
    end_first_run(desk, request)
    waits = desk.add()
    desk.queue.lane_is(0, up=False)
    assert desk.refused == {request.id: INTERRUPTED}
    assert desk.take() == [waits]


def test_what_its_client_no_longer_waits_for_does_not_run(desk: Desk) -> None:
    late, waits = desk.add(), desk.add()
    half = desk.add(20)
    late.deadline = time.monotonic()
    desk.queue.start_serving(MODEL)
    assert desk.take(12) == [waits]
    assert desk.take(12) == [half]
    half.done, half.deadline = 12, time.monotonic()
    assert desk.queue.finish([half.id], served=True) == []
    assert desk.take(12) == []
    desk.queue.expire()
    assert desk.refused == {late.id: EXPIRED, half.id: EXPIRED}
    assert [sorted(ids) for ids, _ in desk.discarded] == [sorted([late.id, half.id])]  # the followers forget them too


def test_a_request_that_began_in_a_lane_goes_on_there(desk: Desk) -> None:
    large, other = desk.add(20), desk.add(20)
    desk.queue.start_serving(MODEL)
    for lane in (0, 1):
        desk.queue.lane_is(lane, up=True)
    assert desk.take(10, lane=1) == [large]
    large.done = 10
    desk.queue.finish([large.id], served=True)
    assert desk.take(10, lane=0) == [other]
    other.done = 10
    desk.queue.finish([other.id], served=True)
    assert desk.take(10, lane=0) == [other]
    desk.queue.lane_is(1, up=False)  # ends what began in it, and nothing else
    assert desk.refused == {large.id: INTERRUPTED}
    assert desk.take(10, lane=1) == []


def test_an_evaluation_stays_in_its_lane(desk: Desk) -> None:
    def part(start: int, *, last: bool = False) -> Request:
        request = desk.request(5)
        request.part = Part(b"e" * 16, "accuracy", start, last=last)
        desk.queue.add(request)
        for index in (1, 2):
            desk.queue.hold(index, hold_of(request))
        return request

    desk.queue.start_serving(MODEL)
    for lane in (0, 1):
        desk.queue.lane_is(lane, up=True)
    first = part(0)
    assert desk.take(lane=1) == [first]
    desk.finish([first])
    second = part(5)
    assert desk.take(lane=0) == []
    assert desk.take(lane=1) == [second]
    desk.finish([second])
    third = part(10)
    desk.queue.lane_is(1, up=False)  # its tally is lost: any lane may say so
    assert desk.take(lane=0) == [third]


def test_memory_that_other_lanes_take_is_not_given_twice() -> None:
    memory = RunMemory(100)
    memory.take(60)
    assert memory.free == 40
    with pytest.raises(PartyError, match=r"limits\.lanes"):
        memory.take(41)
    memory.take(40)
    memory.give_back(60)
    memory.give_back(40)
    memory.take(500)  # one that is alone was held against the limits before
    assert memory.take_peak() == 500
