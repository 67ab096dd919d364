"""Who may do what, and how much: the rules, the minutes, and the ledger."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.config import Rules
from keras_private.errors import QuotaError, RefusedError, StorageError
from keras_private.party.access import MINUTE, Access, Window
from keras_private.party.ledger import LEAST_AHEAD, Ledger

BOB, CAROL = "client:bob", "client:carol"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.25

    def __call__(self) -> float:
        return self.now


def rules(clients: dict[str, Any], owners: dict[str, Any] | None = None) -> Rules:
    return Rules.model_validate({"clients": clients, "owners": owners or {}})


def test_without_rules_everybody_may_and_nothing_is_counted() -> None:
    access = Access()
    access.check_client(BOB, "digits")
    access.check_owner("owner:ann", "digits")
    assert access.take(BOB, "digits", 10**9) is None


def test_clients_see_the_models_that_they_may_query() -> None:
    access = Access(rules({"bob": {"models": ["digits"]}, "*": {"models": "weather"}}))
    access.check_client(BOB, "digits")
    access.check_client(CAROL, "weather")
    for client, model in ((BOB, "weather"), (BOB, "none such"), (CAROL, "digits")):
        with pytest.raises(RefusedError) as caught:
            access.check_client(client, model)
        assert str(caught.value).startswith(f"there is no model {model!r} that {client} may query")
        assert not caught.value.transient
        with pytest.raises(RefusedError):
            access.take(client, model, 1)


def test_who_is_not_named_may_nothing() -> None:
    access = Access(rules({"bob": {"models": "*"}}, {"ann": {"models": ["digits"]}}))
    with pytest.raises(RefusedError):
        access.check_client(CAROL, "digits")
    access.check_owner("owner:ann", "digits")
    for owner, model in (("owner:ann", "weather"), ("owner:eve", "digits")):
        with pytest.raises(RefusedError, match="may not share or serve"):
            access.check_owner(owner, model)


def test_other_rules_apply_to_the_next_query_and_find_what_was_counted() -> None:
    access = Access(rules({"*": {"models": "*"}}))
    assert access.take(BOB, "digits", 10) is not None
    access.replace(rules({"*": {"models": "*", "rows_total": 12}}))
    with pytest.raises(QuotaError, match="may ask for 12 rows in all and has had 10: 3 more are too many"):
        access.take(BOB, "digits", 3)
    access.take(BOB, "digits", 2)
    access.replace(rules({}))
    with pytest.raises(RefusedError, match="there is no model"):
        access.take(BOB, "digits", 1)


def test_rows_a_minute() -> None:
    clock = Clock()
    access = Access(rules({"*": {"models": "*", "rows_per_minute": 10}}), clock=clock)
    access.take(BOB, "digits", 6)
    clock.now += 20
    access.take(BOB, "weather", 4)
    access.take(CAROL, "digits", 10)  # each has its own
    with pytest.raises(QuotaError, match=r"10 rows a minute and has had 10: come again in 41 s for 3 more") as caught:
        access.take(BOB, "digits", 3)
    assert caught.value.transient
    after = caught.value.after
    assert after is not None
    clock.now += after - 0.01
    with pytest.raises(QuotaError):
        access.take(BOB, "digits", 3)
    clock.now += 0.01
    access.take(BOB, "digits", 3)
    with pytest.raises(QuotaError, match="a query of 11 is too large; send smaller ones") as caught:
        access.take(BOB, "digits", 11)
    assert caught.value.after is None  # waiting does not help
    assert not caught.value.transient


def test_a_model_has_limits_of_its_own_beside_those_of_all() -> None:
    mine = {"models": {"digits": {"rows_per_minute": 2}, "weather": {"rows_total": 3}, "*": None}, "rows_total": 8}
    access = Access(rules({"bob": mine}))
    access.take(BOB, "digits", 2)
    with pytest.raises(QuotaError, match="2 rows of 'digits' a minute"):
        access.take(BOB, "digits", 1)
    access.take(BOB, "weather", 3)
    with pytest.raises(QuotaError, match="3 rows of 'weather' in all"):
        access.take(BOB, "weather", 1)
    access.take(BOB, "others", 3)
    with pytest.raises(QuotaError, match="may ask for 8 rows in all and has had 8"):
        access.take(BOB, "others", 1)


def test_what_did_not_run_is_given_back() -> None:
    access = Access(rules({"*": {"models": "*", "rows_per_minute": 10, "rows_total": 10}}))
    grant = access.take(BOB, "digits", 10)
    assert grant is not None
    grant.settle(ran=4)
    with pytest.raises(QuotaError):
        access.take(BOB, "digits", 7)
    again = access.take(BOB, "digits", 6)
    assert again is not None
    again.settle(ran=6)
    with pytest.raises(QuotaError):
        access.take(BOB, "digits", 1)


STEPS = st.lists(
    st.tuples(st.floats(0, 40), st.integers(1, 12), st.one_of(st.none(), st.integers(0, 12))), min_size=1, max_size=60
)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 30))
def test_never_more_than_allowed_in_any_minute_and_who_waits_as_told_is_let_in(
    steps: list[tuple[float, int, int | None]], most: int
) -> None:
    clock, taken = Clock(), list[tuple[float, int]]()
    access = Access(rules({"*": {"models": "*", "rows_per_minute": most}}), clock=clock)
    for pause, rows, ran in steps:
        clock.now += pause
        try:
            grant = access.take(BOB, "digits", rows)
        except QuotaError as error:
            after = error.after
            if (after is None) != (rows > most):
                raise
            if after is None:
                continue
            clock.now += min(after, MINUTE + 1.0)
            grant = access.take(BOB, "digits", rows)
        assert grant is not None
        if ran is not None and ran < rows:
            grant.settle(ran)
            rows = ran
        taken.append((clock.now, rows))
    for start, _ in taken:
        assert sum(rows for at, rows in taken if start <= at < start + MINUTE) <= most


def test_windows_of_who_asks_no_more_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_private.party.access._SWEEP", 10)
    clock = Clock()
    access = Access(rules({"*": {"models": "*", "rows_per_minute": 5}}), clock=clock)
    for number in range(100):
        clock.now += 30
        access.take(f"client:c{number}", "digits", 5)
    assert len(access._windows) < 20
    with pytest.raises(QuotaError):
        access.take("client:c99", "digits", 1)


def test_a_window_says_when_there_is_room() -> None:
    window = Window()
    window.add(5, 3)
    window.add(9, 4)
    assert (window.room_at(3), window.room_at(4)) == (5 + MINUTE + 1, 9 + MINUTE + 1)


class Disk:
    def __init__(self) -> None:
        self.notes: list[bytes] = []

    def ledger(self) -> Ledger:
        return Ledger(self.notes.append, self.notes[-1] if self.notes else None)


def test_rows_are_counted_over_a_restart_exactly() -> None:
    disk = Disk()
    ledger = disk.ledger()
    for rows in (5, 40, -3):
        ledger.add(BOB, "digits", rows)
    ledger.add(BOB, "weather", 1)
    ledger.keep()
    ledger.close()
    again = disk.ledger()
    assert (again.rows(BOB), again.rows(BOB, "digits"), again.rows(CAROL)) == (43, 42, 0)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from([BOB, CAROL]), st.sampled_from(["digits", "weather"]), st.integers(-20, 500)),
            st.sampled_from(["keep", "crash"]),
        ),
        max_size=80,
    )
)
def test_a_crash_gives_no_rows_back(steps: list[Any]) -> None:
    disk, true, crashes = Disk(), dict[tuple[str, str], int](), 0
    ledger = disk.ledger()
    for step in steps:
        if step == "keep":
            ledger.keep()
        elif step == "crash":
            ledger, crashes = disk.ledger(), crashes + 1
        else:
            client, model, rows = step
            rows = max(rows, -true.get((client, model), 0))
            true[client, model] = true.get((client, model), 0) + rows
            ledger.add(client, model, rows)
        for (client, model), rows in true.items():
            assert ledger.rows(client, model) >= rows
            if not crashes:
                assert ledger.rows(client, model) == rows


def test_most_queries_wait_for_no_disk() -> None:
    disk = Disk()
    ledger = disk.ledger()
    for _ in range(10_000):
        ledger.add(BOB, "digits", 1)
    assert len(disk.notes) < 12  # each write doubles what is ahead
    assert LEAST_AHEAD < 10_000
    ledger.keep()
    count = len(disk.notes)
    for _ in range(10_000):
        ledger.add(BOB, "digits", 1)
    assert len(disk.notes) == count


def test_nobody_waits_while_the_marks_are_written() -> None:
    inside, go_on, notes = threading.Event(), threading.Event(), list[bytes]()

    def write(note: bytes) -> None:
        notes.append(note)
        if len(notes) == 2:
            inside.set()
            assert go_on.wait(20)

    ledger = Ledger(write)
    ledger.add(BOB, "digits", 1)
    keeping = threading.Thread(target=ledger.keep)
    keeping.start()
    assert inside.wait(20)
    for _ in range(2):  # the new mark, which may not be on the disk yet, is 3
        ledger.add(BOB, "digits", 1)
    assert ledger.rows(BOB) == 3
    go_on.set()
    keeping.join(20)
    ledger.add(BOB, "digits", 1)
    assert len(notes) == 3  # beyond it
    assert Ledger(None, notes[-1]).rows(BOB) >= 4


def test_a_full_disk_ends_no_query() -> None:
    failures: list[Exception] = []

    def write(_: bytes) -> None:
        raise StorageError("no space left")

    ledger = Ledger(write, failed=failures.append)
    ledger.add(BOB, "digits", 7)
    assert ledger.rows(BOB) == 7
    assert [str(error) for error in failures] == ["no space left"]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (b"", "Expecting value"),
        (b"[]", "not what clients have asked for"),
        (b"{}", "not what clients have asked for"),
        (b'{"version":2,"rows":{}}', "version 2 is not known"),
        (b'{"version":1,"rows":{"b":{"d":-1}}}', "a number of rows is none"),
    ],
)
def test_what_no_ledger_wrote(written: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Ledger(None, written)
