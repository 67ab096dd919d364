from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.errors import PlanError
from keras_private.plan.spline.table import Level, Refined, Uniform, signed
from tests.plan.spline import handmade

RANGES = [(-3, 2), (-5, 3), (-4, 4), (0, 6), (3, 9)]


def every_x(bound: int) -> np.ndarray:
    return np.arange(-(1 << bound) + 1, 1 << bound, dtype=np.int64)


def some_u(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 64, count, dtype=np.uint64)


@given(st.integers(0, 1 << 30), st.integers(2, 7))
def test_the_cells_of_a_uniform_table_hold_what_they_should(seed: int, width: int) -> None:
    table = handmade.uniform(10, width, 0, -(1 << (8 - width)), 3 << (8 - width))
    x = every_x(10)
    np.testing.assert_array_equal(table.value(x, some_u(len(x), seed)), x)


@given(st.integers(0, 1 << 30), st.integers(0, 1))
def test_the_cells_of_a_refined_table_hold_what_they_should(seed: int, last: int) -> None:
    table = handmade.refined(10, 0, RANGES[: len(RANGES) - last])
    x = every_x(10)
    np.testing.assert_array_equal(table.value(x, some_u(len(x), seed)), x)


def test_low_bits_that_are_left_out_make_values_smaller_by_less_than_two_units() -> None:
    x = every_x(10)
    for table in (handmade.uniform(10, 5, 3, -40, 90), handmade.refined(10, 3, RANGES[:2])):
        y = table.value(x, some_u(len(x), 5))
        inside = (y != x) | (x % 8 == 0)
        assert inside.any()
        assert np.all((y <= x) & (x < y + 16))


def test_every_u_has_as_many_leaves() -> None:
    table = handmade.refined(10, 0, RANGES)
    for u in range(1 << len(table.levels)):
        a, b, leaves = 0, 1, 0
        for count, level in enumerate(table.levels):
            bit = u >> count & 1
            children = range(2 * a + bit, 2 * b + bit)
            a, b = level.refined
            leaves += sum(not a <= child < b for child in children) if level.rows.size else 0
        assert leaves == table.leaves


def test_signed_takes_the_low_bits() -> None:
    got = signed(np.array([0, 3, 4, 7, 8, 12], np.uint64), 3)
    np.testing.assert_array_equal(got, [0, 3, -4, -1, 0, -4])


def test_tables_that_do_not_fit_together_are_refused() -> None:
    rows = np.zeros((2, 4), np.int64)
    for width, drop, first, given_rows in [(3, 4, 0, rows), (3, 0, 14, rows), (3, 0, 0, rows[0]), (6, 0, 0, rows)]:
        with pytest.raises(PlanError):
            Uniform(4, width, drop, first, given_rows, (0, 0), (0, 0), 16)
    good = handmade.refined(10, 0, RANGES).levels
    with pytest.raises(PlanError, match="last level"):
        Refined(10, 16, good[:-1])
    with pytest.raises(PlanError, match="width"):
        Refined(11, 16, good)
    wide = Level(good[3].width, 0, (-6, 3), good[3].first, good[3].rows)
    with pytest.raises(PlanError, match="parents"):
        Refined(10, 16, (*good[:3], wide, *good[4:]))
