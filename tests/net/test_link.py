"""What every link promises, over memory and over TLS. Three threads, as three parties."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from keras_private.errors import FrameError, LinkTimeoutError
from keras_private.net.frames import MAX_CONTROL_BYTES
from keras_private.net.link import Link

from .conftest import failure

Links = tuple[Link, Link, Link]
Make = Callable[..., Links]


def run(pool: ThreadPoolExecutor, links: Links, *steps: Callable[[Link], object]) -> list[object]:
    """One step for all three parties, or one for each; their results."""
    each = steps if len(steps) == 3 else steps * 3
    futures: list[Future[object]] = [pool.submit(step, link) for step, link in zip(each, links, strict=True)]
    return [future.result(20.0) for future in futures]


def test_every_party_hears_both_neighbours(make_links: Make, pool: ThreadPoolExecutor) -> None:
    def step(link: Link) -> None:
        to_next = np.full((2, 3), 10 + link.index, np.uint64)
        to_prev = np.full(5, 20 + link.index, np.uint8)
        from_next, from_prev = link.exchange([to_next], [to_prev[:2], bytes(to_prev[2:])], 5, 48)
        assert from_next.tolist() == [20 + link.next] * 5
        assert from_prev.view(np.uint64).tolist() == [10 + link.prev] * 6

    run(pool, make_links(), step)


def test_the_arrays_are_fresh_aligned_and_writable(make_links: Make, pool: ThreadPoolExecutor) -> None:
    def step(link: Link) -> None:
        mine = np.arange(4, dtype=np.uint64)
        first, _ = link.exchange([], [mine], 32, 0)
        mine[:] = 99  # may be changed as soon as the call returns
        second, empty = link.exchange([], [mine], 32, 0)
        assert first.view(np.uint64).tolist() == [0, 1, 2, 3]
        assert second.view(np.uint64).tolist() == [99] * 4
        for array in (first, second):
            assert array.dtype == np.uint8
            assert array.shape == (32,)
            assert array.ctypes.data % 8 == 0
            assert array.flags.writeable
        assert not np.shares_memory(first, second)
        assert empty.shape == (0,)

    run(pool, make_links(), step)


def test_no_bytes_no_frame(make_links: Make, pool: ThreadPoolExecutor) -> None:
    def step(link: Link) -> None:
        link.exchange([], [b"", np.empty((0, 3), np.uint64)], 0, 0)
        link.exchange([b"x"], [], 0, 1)
        assert (link.stats.rounds, link.stats.sent_bytes, link.stats.sent_frames) == (2, 1, 1)
        link.stats.reset()
        assert (link.stats.rounds, link.stats.sent_bytes, link.stats.sent_frames) == (0, 0, 0)

    run(pool, make_links(), step)


def test_one_party_may_be_rounds_ahead(make_links: Make, pool: ThreadPoolExecutor) -> None:
    zero, one, _ = make_links()
    for number in range(100):
        zero.exchange([bytes([number]) * (number + 1)], [], 0, 0)
    for number in range(100):
        _, got = one.exchange([], [], 0, number + 1)
        assert got.tobytes() == bytes([number]) * (number + 1)


def test_megabytes_all_ways_at_once_do_not_deadlock(make_links: Make, pool: ThreadPoolExecutor) -> None:
    size = 8 << 20

    def step(link: Link) -> None:
        data = np.full(size // 8, link.index + 1, np.uint64)
        from_next, from_prev = link.exchange([data[:1000], data[1000:]], [data], size, size)
        assert (from_next.view(np.uint64) == link.next + 1).all()
        assert (from_prev.view(np.uint64) == link.prev + 1).all()
        got, _ = link.exchange([], [data[:1]], 8, 0)
        assert got.view(np.uint64)[0] == link.next + 1

    run(pool, make_links(), step)


@pytest.mark.parametrize("size", [1, 16, 16367, 16368, 16369, 262143, 262144, 262145])
def test_sizes_around_those_of_records_and_chunks(make_links: Make, pool: ThreadPoolExecutor, size: int) -> None:
    def step(link: Link) -> None:
        data = (np.arange(size) * (link.index + 1)).astype(np.uint8)
        for _ in range(2):
            _, got = link.exchange([data], [], 0, size)
            assert np.array_equal(got, (np.arange(size) * (link.prev + 1)).astype(np.uint8))

    run(pool, make_links(), step)


def test_control_messages_between_rounds(make_links: Make, pool: ThreadPoolExecutor) -> None:
    def leader(link: Link) -> None:
        for peer in (link.next, link.prev):
            link.send_control(peer, b"batch 7")
        link.exchange([b"one"], [b"two"], 0, 0)

    def follower(link: Link) -> None:
        assert link.receive_control(0) == b"batch 7"
        to_next, to_prev = (3, 0) if link.next == 0 else (0, 3)
        link.exchange([], [], to_next and 3, to_prev and 3)
        assert link.stats.sent_frames == 0

    links = make_links()
    links[0].send_control(1, b"")
    assert links[1].receive_control(0) == b""
    run(pool, links, leader, follower, follower)
    assert links[0].stats.sent_frames == 2
    assert links[0].stats.sent_bytes == 6


def test_an_idle_control_timeout_harms_nothing(make_links: Make) -> None:
    zero, one, _ = make_links()
    error = failure(lambda: one.receive_control(0, 0.01))
    assert isinstance(error, LinkTimeoutError)
    assert "server1 ← server0" in str(error)
    zero.send_control(1, b"here")
    assert one.receive_control(0, 5.0) == b"here"


def test_a_control_message_that_is_too_large_is_not_sent(make_links: Make) -> None:
    zero, _, _ = make_links()
    assert isinstance(failure(lambda: zero.send_control(1, bytes(MAX_CONTROL_BYTES + 1))), FrameError)


def test_control_goes_to_neighbours_only(make_links: Make) -> None:
    zero, _, _ = make_links()
    assert failure(lambda: zero.send_control(0, b"me")).party == ""
    failure(lambda: zero.receive_control(5, 0.0))


def test_a_silent_neighbour_times_out(make_links: Make) -> None:
    zero, one, _ = make_links(timeout=0.05)
    zero.phase = "sign of relu_1"
    error = failure(lambda: zero.exchange([b"x"], [], 4, 0))
    assert isinstance(error, LinkTimeoutError)
    assert "server0 ← server1, sign of relu_1" in str(error)
    assert error.party == "server1"
    # Half a round is lost: the lane is over, and the neighbours are told.
    failure(lambda: zero.exchange([], [], 0, 0))
    said = failure(lambda: (one.exchange([], [], 0, 1), one.exchange([], [], 0, 1)))
    assert "server1 ← server0, idle: it gave up: server0 ← server1, sign of relu_1" in str(said)
    assert said.party == "server1"


@pytest.mark.slow
def test_who_is_rounds_ahead_waits_for_all_of_them_and_then_for_one(make_links: Make, pool: ThreadPoolExecutor) -> None:
    """Nothing is due for zero in forty rounds, which the others take a second for: twice what a round may take."""
    zero, one, two = make_links(timeout=0.5)

    def busy(link: Link) -> None:
        for _ in range(40):
            threading.Event().wait(0.025)
            if link is one:
                link.exchange([b"x"], [], 1, 0)
            else:
                link.exchange([], [b"x"], 0, 1)
        link.exchange([b"y"] if link is two else [], [], 0, 0)

    def ahead(link: Link) -> None:
        for _ in range(40):
            link.exchange([], [], 0, 0)
        assert link.exchange([], [], 0, 1)[1].tobytes() == b"y"
        link.exchange([], [], 0, 0)
        said = failure(lambda: link.exchange([], [], 0, 1))
        assert "nothing came for 1 s" in str(said)  # two rounds of half a second

    run(pool, (zero, one, two), ahead, busy, busy)


@pytest.mark.parametrize("due", [7, 9, 10_000_000])
def test_a_wrong_length_is_an_error_at_once(make_links: Make, due: int) -> None:
    zero, one, _ = make_links()
    one.phase = "linear"
    zero.exchange([b"12345678"], [], 0, 0)
    error = failure(lambda: one.exchange([], [], 0, due))
    assert isinstance(error, FrameError)
    assert error.party == "server0"
    assert "server1 ← server0, linear" in str(error)
    assert f"expected a payload of {due} bytes, got 8" in str(error)


def test_a_wrong_type_is_an_error(make_links: Make) -> None:
    zero, one, two = make_links()
    zero.exchange([b"1234"], [], 0, 0)
    assert isinstance(failure(lambda: one.receive_control(0)), FrameError)
    two.send_control(0, b"1234")
    error = failure(lambda: zero.exchange([], [], 0, 4))
    assert "server0 ← server2" in str(error)
    assert "server0 ← server1" in str(error) or "expected a DATA frame, got CONTROL" in str(error)


def test_close_wakes_the_neighbours(make_links: Make, pool: ThreadPoolExecutor) -> None:
    links = make_links()
    waiting = [pool.submit(failure, lambda link=link: link.exchange([], [], 8, 8)) for link in links[:2]]
    links[2].close()
    for future in waiting:
        assert "server" in str(future.result(10.0))
    links[2].close()
    failure(lambda: links[2].exchange([], [], 0, 1))


def test_close_in_another_thread_ends_our_own_wait(make_links: Make, pool: ThreadPoolExecutor) -> None:
    zero, _, _ = make_links()
    waiting = pool.submit(failure, lambda: zero.exchange([], [], 8, 8))
    zero.close()
    assert "this side closed the link" in str(waiting.result(10.0))


def test_the_reason_of_a_close_arrives(make_links: Make) -> None:
    zero, one, two = make_links()
    zero.close("the plans differ")
    for link in (one, two):
        error = failure(lambda link=link: link.receive_control(0))
        assert "it gave up: the plans differ" in str(error)
        assert error.party == "server0"


def test_the_first_to_die_is_named_by_everyone(make_links: Make, pool: ThreadPoolExecutor) -> None:
    zero, one, two = make_links()
    zero_waits = pool.submit(failure, lambda: zero.exchange([], [], 8, 0))  # for server1, which waits for server2
    one_waits = pool.submit(failure, lambda: one.exchange([], [], 8, 0))
    two.close()
    assert "server1 ← server2" in str(one_waits.result(10.0))
    error = zero_waits.result(10.0)
    assert "server0 ← server1" in str(error)
    assert "server1 ← server2" in str(error)
    assert error.party == one_waits.result(10.0).party == "server2"


def test_sending_to_a_neighbour_that_left_is_an_error_and_not_a_hang(make_links: Make) -> None:
    zero, one, _ = make_links()
    one.close("out of memory")

    def send_until_noticed() -> None:
        for _ in range(100):
            zero.exchange([bytes(100_000)], [], 0, 0)

    assert "server0 → server1" in str(failure(send_until_noticed))


def test_errors_hold_no_payload(make_links: Make) -> None:
    zero, one, _ = make_links()
    zero.exchange([b"secret share"], [], 0, 0)
    error = failure(lambda: one.exchange([], [], 0, 5))
    assert "secret" not in str(error)
    assert "secret" not in repr(zero)


def test_a_buffer_that_cannot_be_sent_ends_the_lane(make_links: Make) -> None:
    zero, one, _ = make_links()
    with pytest.raises(ValueError, match="contiguous"):
        zero.exchange([np.zeros((4, 4), np.uint64).T[:2]], [], 0, 0)
    error = failure(lambda: one.exchange([], [], 0, 8))
    assert "it gave up" in str(error)
    assert error.party == "server0"  # a defect of its own
