"""Splines of numbers far beside their cells: the row inside, the line beside, one of both about an end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.errors import PlanError
from keras_private.mpc.beside import compared
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share, reshare
from keras_private.mpc.rounds import Protocol, together
from keras_private.plan.spline import cost
from keras_private.plan.spline.table import Compared, Periodic
from keras_private.sharing.share import Share, reconstruct
from tests.plan.spline import handmade

from .three import Three, shares_of

LINES = [(0, 0), (5, 0), (-7, 0), (5, 1), (0, -4), (9, 1 << 20)]


@st.composite
def tables(draw: st.DrawFn) -> Compared:
    """Rows that have nothing to do with one another, so that a wrong cell is noticed."""
    width, cells = draw(st.integers(1, 50)), draw(st.integers(3, 300))
    first = draw(st.integers(-min(cells, 510) + 2, min(510 - cells, 100)))
    bits = max((max(-first, first + cells) - 1).bit_length() + 1, 6)
    bound = draw(st.integers(min(width + bits, 62), 62))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = random.integers(-(2**63), 2**63, (2, cells))
    inner = Periodic(width + bits, width, draw(st.integers(0, width)), first, rows, (0, 0), (0, 0), 16)
    return Compared(bound, inner, *(draw(st.sampled_from(LINES)) for _ in range(2)), draw(st.sampled_from([0, 1, 30])))


def read(party: Party, x: Share, table: Compared) -> Protocol[Share]:
    return compared(party, x, table, empty_share(x.shape))


def allowed(table: Compared, x: np.ndarray, y: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Where y is what the table says."""
    row = y == table.inner.value(x, u)
    found = np.zeros(x.shape, bool)
    near = 1 << table.compare_from
    for here, inside, (offset, slope) in (
        (x < table.low + near, x >= table.low, table.below),
        (x > table.high - near, x <= table.high, table.above),
    ):
        line = np.int64(offset) + np.int64(slope) * (x >> np.int64(table.down))
        near_line = np.abs(y - line) <= (abs(slope) if table.down else 0)  # a unit of the truncation
        found |= here & (near_line | (inside & row))
    return found | (row & (x >= table.low + near) & (x <= table.high - near))


def check(three: Three, table: Compared, x: np.ndarray, turn: int = 0) -> None:
    for party in three.parties:
        party.take_turn(turn)
    shares = shares_of(x.view(np.uint64))
    outputs = three.run(read, shares, table)
    for party in three.parties:
        party.take_turn(0)
    for i in range(3):  # what two parties hold is the same
        assert np.array_equal(outputs[i].next, outputs[(i + 1) % 3].mine)
    y = reconstruct(outputs).view(np.int64)
    assert np.all(allowed(table, x, y, shares[-turn % 3].next))
    declared = cost.spline(x.size, table)
    assert three.counted() == (declared.rounds, tuple(declared.sent[(i + turn) % 3] for i in range(3)))


def values(random: np.random.Generator, table: Compared, count: int) -> np.ndarray:
    """Of the whole domain, inside the cells, and at every edge."""
    top, near = (1 << table.bound) - 1, 1 << table.compare_from
    anywhere = random.integers(-top, top, count, endpoint=True)
    inside = random.integers(table.low, table.high, count, endpoint=True)
    ends = [table.low, table.low + near, table.high, table.high - near, 0, top, -top]
    edges = random.choice([end + more for end in ends for more in (-1, 0, 1) if abs(end + more) <= top], count)
    return np.choose(random.integers(0, 3, count), [anywhere, inside, edges])


@given(table=tables(), seed=st.integers(0, 2**32), count=st.sampled_from([1, 63, 200]))
def test_rows_inside_and_lines_beside(three: Three, table: Compared, seed: int, count: int) -> None:
    check(three, table, values(np.random.default_rng(seed), table, count), seed % 3)


TABLE = handmade.compared(40, 20, 16, -9, 20, 10)


@pytest.mark.parametrize("shape", [(1,), (64,), (cost.CHUNK,), (2 * cost.CHUNK + 5,), (3, 1, 5), (0,), (2, 0)])
def test_shapes(memory_three: Three, shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    check(memory_three, TABLE, values(np.random.default_rng(1), TABLE, size).reshape(shape))


def test_behind_a_product_the_deal_travels_in_the_round_that_opens_it(memory_three: Three) -> None:
    """The pair's part of x is only there after the first round."""
    x = values(np.random.default_rng(2), TABLE, 100)
    parts = np.random.default_rng(3).integers(0, 2**64, (3, x.size), dtype=np.uint64)
    parts[2] = x.view(np.uint64) - parts[0] - parts[1]

    def protocol(party: Party, z: np.ndarray) -> Protocol[Share]:
        out = empty_share(z.shape)
        _, y = yield from together(reshare(party, z, out), read(party, out, TABLE))
        return y

    y = memory_three.value(protocol, list(parts)).view(np.int64)
    assert np.abs(y - (x >> 10)).max() <= 1 << 17 - 10
    assert memory_three.counted()[0] == cost.spline(x.size, TABLE).rounds


def test_many_values_that_may_be_large_are_compared() -> None:
    tables = [handmade.uniform(50, 20, 5, -70, 131), handmade.compared(50, 20, 16, -70, 131)]
    assert cost.cheapest(1, tables) is tables[0]
    assert cost.cheapest(10**5, tables) is tables[1]


@pytest.mark.parametrize(("bound", "cells"), [(23, 20), (40, 2)])
def test_cells_beyond_the_bound_or_none_are_refused(bound: int, cells: int) -> None:
    with pytest.raises(PlanError, match="outside its domain"):
        handmade.compared(bound, 20, 16, -9, cells)
