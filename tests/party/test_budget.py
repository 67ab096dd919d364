"""What clients may occupy: never more than there is, and always something for whoever comes next."""

from __future__ import annotations

import contextlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.errors import RefusedError
from keras_private.party.budget import Budget

STEPS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 60), st.booleans()), max_size=60)


@given(STEPS, st.integers(1, 200))
def test_the_rule(steps: list[tuple[str, int, bool]], total: int) -> None:
    budget, held = Budget(total, "MB"), dict.fromkeys("abcd", 0)
    for client, amount, back in steps:
        if back:
            amount = min(amount, held[client])
            if amount:
                budget.give_back(client, amount)
                held[client] -= amount
            continue
        free = total - sum(held.values()) - amount
        allowed = free >= 0 and (not held[client] or held[client] + amount <= free)
        try:
            budget.take(client, amount)
        except RefusedError:
            assert not allowed
        else:
            assert allowed
            held[client] += amount
        assert budget.used == sum(held.values()) <= total
        assert {client: budget.held(client) for client in held} == held


@pytest.mark.parametrize("greedy", [1, 2, 5])
def test_greedy_clients_leave_room_for_one_more(greedy: int) -> None:
    budget = Budget(600, "requests")
    for _ in range(600):
        for client in range(greedy):
            with contextlib.suppress(RefusedError):
                budget.take(f"client:{client}", 1)
    part = 600 // (greedy + 1)
    assert all(abs(budget.held(f"client:{client}") - part) <= 1 for client in range(greedy))
    with pytest.raises(RefusedError, match=r"client:0 has its share of the queue already"):
        budget.take("client:0", 1)
    assert budget.crowded == (greedy > 1)
    budget.take("client:good", part // 2)


def test_what_fits_at_all_gets_in() -> None:
    budget = Budget(100, "MB")
    budget.take("a", 100)
    with pytest.raises(RefusedError, match=r"the queue is full \(100 MB of 100 MB are taken\)"):
        budget.take("b", 1)
    budget.give_back("a", 100)
    budget.take("b", 100)
    assert budget.take_peak() == 100
    budget.give_back("b", 100)
    assert (budget.take_peak(), budget.take_peak()) == (100, 0)


def test_waiting_for_room_ends_when_there_is_some_or_the_time_is_over() -> None:
    budget = Budget(100, "MB")
    budget.take("a", 80)
    with pytest.raises(RefusedError, match="full"):
        budget.take("b", 30, wait=0.01)
    waited: list[float] = []
    thread = threading.Thread(target=lambda: waited.append(budget.take("b", 30, wait=20)))
    thread.start()
    budget.give_back("a", 20)
    thread.join(10)
    assert waited
    assert waited[0] < 10
    assert budget.used == 90
