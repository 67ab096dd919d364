"""Whose rows come next: fairness by rows, order within a client, and how long a run gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.party.leader import turns as turns_module
from keras_private.party.leader.turns import FIRST_ROWS, Limits, Pace, Turns
from keras_private.party.messages import Part
from keras_private.party.queue import Piece, Request
from keras_private.sharing.share import Share

MODELS = [bytes([letter]) * 16 for letter in b"mn"]
SIZES = st.integers(1, 128)
WAITING = st.dictionaries(st.sampled_from("abcdef"), st.lists(SIZES, min_size=1, max_size=6), min_size=1)


def request(client: str, rows: int, model: bytes = MODELS[0]) -> Request:
    words = np.arange(rows, dtype=np.uint64)[:, None]
    nothing: Any = None
    return Request(bytes(16), client, model, "", rows, Share(words, words), nothing, nothing)


def make(waiting: dict[str, list[int]]) -> dict[str, list[Request]]:
    return {client: [request(client, rows) for rows in sizes] for client, sizes in waiting.items()}


def limits(rows: int, requests: int = 1000) -> Limits:
    return lambda _: (rows, requests)


def run(waiting: dict[str, list[Request]], pieces: Sequence[Piece]) -> dict[str, list[Request]]:
    """What waits after these have run."""
    for piece in pieces:
        piece.request.done += piece.rows
    left = {client: [each for each in own if each.done < each.rows] for client, own in waiting.items()}
    return {client: own for client, own in left.items() if own}


@given(WAITING, st.integers(1, 200), st.integers(1, 40))
def test_a_run(sizes: dict[str, list[int]], room: int, most: int) -> None:
    waiting = make(sizes)
    pieces = Turns().choose(waiting, limits(room, most))
    assert pieces
    assert len(pieces) <= most
    assert sum(piece.rows for piece in pieces) <= room
    for client, requests in waiting.items():
        mine = [piece for piece in pieces if piece.request.client == client]
        assert [piece.request for piece in mine] == requests[: len(mine)]  # in order of arrival
        assert all(1 <= piece.rows <= piece.request.rows for piece in mine)
    if any(piece.rows < piece.request.rows for piece in pieces):
        assert len(pieces) == 1  # what is cut runs alone: nobody else waits for the end of it


@given(WAITING, st.lists(st.booleans(), min_size=36, max_size=36), st.integers(1, 200))
def test_a_part_of_an_evaluation_runs_alone(sizes: dict[str, list[int]], parts: list[bool], room: int) -> None:
    waiting, turns, marks = make(sizes), Turns(), iter(parts)
    for number, each in enumerate(request for requests in waiting.values() for request in requests):
        if next(marks):
            each.part = Part(number.to_bytes(16, "big"), "accuracy", 0, last=False)
    left = sum(map(sum, sizes.values()))
    while waiting:
        pieces = turns.choose(waiting, lambda first: (room if first.part is None else 3, 1000))
        kinds = {piece.request.part for piece in pieces}
        assert pieces
        if kinds != {None}:
            assert len(pieces) == 1
            assert pieces[0].rows <= 3
        left -= sum(piece.rows for piece in pieces)
        waiting = run(waiting, pieces)
    assert left == 0


@settings(max_examples=60)
@given(WAITING, st.integers(1, 64))
def test_everything_runs_in_the_end(sizes: dict[str, list[int]], room: int) -> None:
    waiting, turns, due = make(sizes), Turns(), sum(map(sum, sizes.values()))
    while waiting:
        pieces = turns.choose(waiting, limits(room))
        assert pieces  # a run is never empty while something can run
        due -= sum(piece.rows for piece in pieces)
        waiting = run(waiting, pieces)
    assert due == 0


def rows_got(sizes: list[int], room: int, part: Part | None) -> dict[str, int]:
    """Of each client with requests of its own size without end (the first one's are parts of an evaluation), after each
    of forty runs."""
    turns, got = Turns(), dict.fromkeys(map(str, range(len(sizes))), 0)
    waiting: dict[str, list[Request]] = {}
    for _ in range(40):
        for client, size in zip(got, sizes, strict=True):
            own = waiting.setdefault(client, [])
            own += [request(client, size) for _ in range(room - len(own))]
            for each in own if client == "0" else ():
                each.part = part
        pieces = turns.choose(waiting, limits(room))
        assert pieces
        for piece in pieces:
            got[piece.request.client] += piece.rows
        waiting = run(waiting, pieces)
    return got


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.just(1), SIZES), min_size=2, max_size=8), st.integers(8, 64))
def test_clients_that_always_wait_get_equally_many_rows(sizes: list[int], room: int) -> None:
    """Nobody is ahead of another by more than a share and the largest piece, twice: deficits are within one of them
    of each other (Shreedhar and Varghese, lemma 2)."""
    got, largest = rows_got(sizes, room, None).values(), min(room, FIRST_ROWS)
    assert max(got) - min(got) <= 2 * (max(largest, len(sizes)) // 2 + largest)


@settings(max_examples=60, deadline=None)
@given(st.lists(SIZES, min_size=2, max_size=8), st.integers(8, 64))
def test_an_evaluation_is_not_ahead_of_queries(sizes: list[int], room: int) -> None:
    got, largest = rows_got(sizes, room, Part(bytes(16), "accuracy", 0, last=False)), min(room, FIRST_ROWS)
    assert got["0"] - min(got.values()) <= 2 * (max(largest, len(sizes)) // 2 + largest)


@given(st.lists(st.sampled_from(MODELS), min_size=2, max_size=12))
def test_a_run_is_of_one_model_and_no_model_is_passed_over(models: list[bytes]) -> None:
    turns = Turns()
    waiting = {str(number): [request(str(number), 1, model)] for number, model in enumerate(models)}
    first = turns.choose(waiting, limits(100))
    assert {piece.request.model for piece in first} == {models[0]}
    assert len(first) == min(models.count(models[0]), max(FIRST_ROWS, models.count(models[0])))
    left = run(waiting, first)
    if left:
        assert {piece.request.model for piece in turns.choose(left, limits(100))} == {*MODELS} - {models[0]}


def test_what_cannot_run_now_lets_others_pass() -> None:
    turns, waiting = Turns(), {"a": [request("a", 1, MODELS[0])], "b": [request("b", 1, MODELS[1])]}
    (piece,) = turns.choose(waiting, lambda first: (8, 8 if first.client == "b" else 0))
    assert piece.request.client == "b"
    assert turns.choose(waiting, limits(0)) == []


def test_one_image_beside_large_batches() -> None:
    turns, batch = Turns(), request("batch", 100)
    assert turns.choose({"batch": [batch]}, limits(128)) == [Piece(batch, 100)]  # alone: as it is
    image = request("image", 1)
    assert turns.choose({"batch": [batch], "image": [image]}, limits(128)) == [Piece(image, 1)]
    assert turns.choose({"batch": [batch]}, limits(128)) == [Piece(batch, FIRST_ROWS)]  # the other one will be back


def test_what_is_larger_than_the_room_runs_in_pieces() -> None:
    large, small = request("a", 50), request("a", 1)
    turns, runs = Turns(), []
    for _ in range(4):
        for piece in turns.choose({"a": [r for r in (large, small) if r.done < r.rows]}, limits(20)):
            first = int(piece.share.mine[0, 0])
            runs.append((piece.request.rows, first, piece.rows))
            piece.request.done += piece.rows
        if small.done:
            break
    assert runs == [(50, 0, 20), (50, 20, 20), (50, 40, 10), (1, 0, 1)]


@pytest.mark.parametrize(("fixed", "each", "low", "high"), [(3e-3, 1.5e-3, 9, 10), (1.0, 1.5e-3, 1900, 2100)])
def test_the_pace_follows_what_was_measured(fixed: float, each: float, low: int, high: int) -> None:
    pace = Pace()
    assert pace.rows == FIRST_ROWS
    for rows in (1, 2, 1, 30, 100, 1, 5) * 5:
        pace.note(rows, fixed + each * rows)
    assert low <= pace.rows <= high
    assert fixed + each * pace.rows <= 4 * (fixed + each)


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
    assert quick.rows == 4


def test_each_model_has_its_pace_and_few_are_remembered() -> None:
    turns = Turns()
    for rows in (1, 10, 100):
        turns.ended(MODELS[0], rows, 1.0 + rows)
    assert turns.pace(MODELS[0]).rows in (6, 7)
    assert turns.pace(MODELS[1]).rows == FIRST_ROWS
    for number in range(1000):
        turns.ended(number.to_bytes(16, "big"), 1, 1.0)
    assert len(turns._paces) == turns_module._MODELS


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_nobody_waits_unless_the_operator_says_so() -> None:
    assert Turns().patience(make({"a": [1], "b": [1]}), limits(8)) == 0


def test_a_run_waits_for_more_requests_as_long_as_the_operator_says(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(turns_module, "time", clock)
    turns, waiting = Turns(0.010), make({"a": [1], "b": [1]})
    waiting["a"][0].arrived, waiting["b"][0].arrived = 99.996, 99.999
    assert turns.patience(waiting, limits(8)) == pytest.approx(0.006)  # from the first one on
    assert turns.patience(waiting, limits(2)) == 0  # no more would fit
    clock.now += 0.006
    assert turns.patience(waiting, limits(8)) == pytest.approx(0)
