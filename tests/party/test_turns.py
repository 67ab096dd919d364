"""Whose rows come next: fairness by rows, order within a client, and how long a run gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.party.leader import turns as turns_module
from keras_private.party.leader.turns import FIRST_ROWS, LEAST_ROWS, Pace, Turns, share_out
from keras_private.party.messages import Part
from keras_private.party.queue import Piece, Request
from keras_private.sharing.share import Share

WAITING = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.integers(1, 128), min_size=1, max_size=6), min_size=1)


def request(client: str, rows: int) -> Request:
    words = np.arange(rows, dtype=np.uint64)[:, None]
    nothing: Any = None
    return Request(bytes(16), client, bytes(16), "", rows, Share(words, words), nothing, nothing)


def make(waiting: dict[str, list[int]]) -> dict[str, list[Request]]:
    return {client: [request(client, rows) for rows in sizes] for client, sizes in waiting.items()}


@given(st.lists(st.integers(0, 200), max_size=20), st.integers(0, 300))
def test_nobody_gets_more_than_another_who_wants_more(wanted: list[int], room: int) -> None:
    given_ = share_out(wanted, room)
    assert sum(given_) == min(room, sum(wanted))
    for mine, want in zip(given_, wanted, strict=True):
        assert mine <= want
        assert mine == want or all(other <= mine + 1 for other in given_)


@given(WAITING, st.integers(1, 200), st.integers(1, 40))
def test_a_run(sizes: dict[str, list[int]], room: int, most: int) -> None:
    waiting = make(sizes)
    pieces = Turns().choose(waiting, lambda _: room, most)
    assert pieces
    assert len(pieces) <= most
    assert sum(piece.rows for piece in pieces) <= room
    for client, requests in waiting.items():
        mine = [piece for piece in pieces if piece.request.client == client]
        assert [piece.request for piece in mine] == requests[: len(mine)]  # in order of arrival
        assert all(piece.rows == piece.request.rows for piece in mine[:-1])  # only the last is cut
        assert all(1 <= piece.rows <= piece.request.rows for piece in mine)


@given(WAITING, st.lists(st.booleans(), min_size=36, max_size=36), st.integers(1, 200))
def test_a_part_of_an_evaluation_runs_alone(sizes: dict[str, list[int]], parts: list[bool], room: int) -> None:
    waiting, turns, marks = make(sizes), Turns(), iter(parts)
    for number, each in enumerate(request for requests in waiting.values() for request in requests):
        if next(marks):
            each.part = Part(number.to_bytes(16, "big"), "accuracy", 0, last=False)
    left = sum(map(sum, sizes.values()))
    while waiting:
        asked: list[Part | None] = []

        def rows(part: Part | None, asked: list[Part | None] = asked) -> int:
            asked.append(part)
            return room if part is None else 3

        pieces = turns.choose(waiting, rows, 1000)
        kinds = {piece.request.part for piece in pieces}
        assert kinds == set(asked)
        if kinds != {None}:
            assert len(pieces) == 1
            assert pieces[0].rows <= 3
        for piece in pieces:
            piece.request.done += piece.rows
            left -= piece.rows
        waiting = {client: [each for each in requests if each.done < each.rows] for client, requests in waiting.items()}
        waiting = {client: requests for client, requests in waiting.items() if requests}
    assert left == 0


@settings(max_examples=30)
@given(WAITING, st.integers(1, 64))
def test_everything_runs_in_the_end_and_nobody_is_passed_over(sizes: dict[str, list[int]], room: int) -> None:
    waiting, turns, runs = make(sizes), Turns(), 0
    due = sum(map(sum, sizes.values()))
    last = dict.fromkeys(sizes, 0)
    while waiting:
        pieces, runs = turns.choose(waiting, lambda _: room, 1000), runs + 1
        for request, rows in pieces:
            request.done += rows
            due -= rows
            last[request.client] = runs
        assert all(runs - last[client] < len(sizes) for client in waiting)
        waiting = {c: left for c, requests in waiting.items() if (left := [r for r in requests if r.done < r.rows])}
    assert due == 0


def test_one_image_beside_large_batches() -> None:
    turns, batch = Turns(), request("batch", 100)
    assert turns.choose({"batch": [batch]}, lambda _: 128, 1000) == [Piece(batch, 100)]  # alone: as it is
    image = request("image", 1)
    run = turns.choose({"batch": [batch], "image": [image]}, lambda _: 128, 1000)
    assert run == [
        Piece(image, 1),
        Piece(batch, 31),
    ]
    assert turns.choose({"batch": [batch]}, lambda _: 128, 1000) == [Piece(batch, 32)]  # the other one will be back


def test_what_is_larger_than_the_room_runs_in_pieces() -> None:
    large, small = request("a", 50), request("a", 1)
    turns, runs = Turns(), []
    for _ in range(3):
        run = turns.choose({"a": [r for r in (large, small) if r.done < r.rows]}, lambda _: 20, 1000)
        for piece in run:
            first = int(piece.share.mine[0, 0])
            runs.append((piece.request.rows, first, piece.rows))
            piece.request.done += piece.rows
    assert runs == [(50, 0, 20), (50, 20, 20), (50, 40, 10), (1, 0, 1)]


@pytest.mark.parametrize(("fixed", "each", "low", "high"), [(3e-3, 1.5e-3, 12, 16), (1.0, 1.5e-3, 4000, 5000)])
def test_the_pace_follows_what_was_measured(fixed: float, each: float, low: int, high: int) -> None:
    pace = Pace()
    assert pace.rows == FIRST_ROWS
    for rows in (1, 2, 1, 30, 100, 1, 5) * 5:
        pace.note(rows, fixed + each * rows)
    assert low <= pace.rows <= high


def test_a_pace_without_spread_or_sense() -> None:
    pace = Pace()
    for _ in range(20):
        pace.note(1, 0.005)
    assert pace.rows == FIRST_ROWS
    pace.note(100, 0.001)  # a large run faster than a small one
    assert pace.rows == FIRST_ROWS
    quick = Pace()
    for rows in (1, 10, 100):
        quick.note(rows, 1e-6 + rows)
    assert quick.rows == LEAST_ROWS


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_a_run_waits_for_those_who_will_be_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(turns_module, "time", clock)
    turns, both, alone = Turns(), make({"a": [1], "b": [1]}), make({"a": [1]})
    assert turns.patience(both) == 0
    turns.choose(both, lambda _: 8, 8)
    turns.ended(2, 0.004)
    clock.now += 0.001
    assert turns.patience(alone) == pytest.approx(0.003)  # no longer than a run takes
    assert turns.patience(both) == 0
    turns.choose(both, lambda _: 8, 8)
    turns.ended(2, 0.004)
    clock.now += 0.005  # b has not come
    assert turns.patience(alone) == 0
    for _ in range(turns_module._IMPATIENT):  # and for a while nobody is waited for
        turns.choose(both, lambda _: 8, 8)
        turns.ended(2, 0.004)
        last = turns.patience(alone)
    assert last == pytest.approx(0.004)


def test_after_a_run_that_hung_nobody_is_waited_for_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "time", Clock())
    turns = Turns()
    turns.choose(make({"a": [1], "b": [1]}), lambda _: 8, 8)
    turns.ended(2, 50.0)
    assert turns.patience(make({"a": [1]})) == pytest.approx(turns_module.COMPANY_S)


def test_nobody_waits_for_a_client_that_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "time", Clock())
    turns, alone = Turns(), make({"a": [1]})
    turns.choose(make({"a": [1], "b": [1]}), lambda _: 8, 8)
    turns.ended(2, 0.004)
    for _ in range(turns_module._LATEST):
        assert turns.patience(alone) > 0
        turns.choose(alone, lambda _: 8, 8)
        turns.ended(1, 0.004)
    assert turns.patience(alone) == 0


def test_a_client_alone_never_waits() -> None:
    turns, alone = Turns(), make({"a": [1]})
    for _ in range(5):
        assert turns.patience(alone) == 0
        turns.choose(alone, lambda _: 8, 8)
        turns.ended(1, 1.0)
