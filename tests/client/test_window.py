"""How many queries are on their way: the window grows with answers, and a refusal halves it once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keras_private.client.window import Window
from keras_private.config import Limits

LIMITS = Limits(queue=64)  # begins with 8, ends with 32


def filled(window: Window, nbytes: int = 0) -> list[int]:
    """Enters as many as fit; their numbers."""
    numbers = []
    while window.fits(nbytes):
        numbers.append(window.enter(nbytes))
    return numbers


def test_it_grows_by_one_an_answer_until_the_first_refusal_and_by_one_a_window_from_then_on() -> None:
    window = Window(LIMITS)
    assert len(filled(window)) == 8
    for size in range(9, 33):
        window.answered()
        assert window.size == size
    window.answered()
    assert window.size == 32  # a client alone gets no more
    last = filled(window)[-1]
    assert window.refused(last)
    assert window.size == 16
    for _ in range(15):
        window.answered()
    assert window.size == 16
    window.answered()
    window.answered()
    assert window.size == 17


def test_one_burst_of_refusals_halves_it_once() -> None:
    window = Window(LIMITS)
    numbers = filled(window)
    for number in numbers[4:]:
        assert window.refused(number)
        window.leave(0)
    assert window.size == 4
    later = window.enter(0)
    assert window.refused(later)
    assert window.size == 2


def test_the_last_one_of_a_burst_that_is_refused_was_not_alone() -> None:
    window = Window(LIMITS)
    numbers = filled(window)
    for number in numbers:
        assert window.refused(number)
        window.leave(0)
    assert not window.refused(window.enter(0))  # this one is


def test_who_is_alone_may_always_send_and_is_not_to_blame() -> None:
    window = Window(LIMITS)
    huge = LIMITS.memory_bytes
    assert window.fits(huge)
    number = window.enter(huge)
    assert not window.fits(0)
    assert not window.refused(number)
    window.leave(huge)
    assert window.size == 1
    assert window.fits(huge)


@given(st.lists(st.tuples(st.sampled_from(["enter", "answer", "refuse", "drop"]), st.integers(0, 2**28))))
def test_it_never_stands_still(steps: list[tuple[str, int]]) -> None:
    """Whatever happens: at least one may be on its way, never more than a client may have, and counts are right."""
    window, inside = Window(LIMITS), []
    for step, nbytes in steps:
        if step == "enter" and window.fits(nbytes):
            inside.append((window.enter(nbytes), nbytes, bool(inside)))
        elif step != "enter" and inside:
            number, nbytes, beside = inside.pop(0)
            if step == "answer":
                window.answered()
            elif step == "refuse":
                assert window.refused(number) == (beside or bool(inside))
            window.leave(nbytes)
        assert window.inside == len(inside) <= 32
        assert 1 <= window.size <= 32
        assert inside or window.fits(2**40)
        assert len(inside) <= 1 or sum(size for _, size, _ in inside) <= LIMITS.memory_bytes // 8
