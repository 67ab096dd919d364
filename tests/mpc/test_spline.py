"""Splines give what their table says, bit for bit, for what they declare."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.errors import PlanError
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share, reshare
from keras_private.mpc.rounds import Protocol, together
from keras_private.mpc.spline import spline
from keras_private.plan.spline import cost
from keras_private.plan.spline.table import SPARE_BITS, Level, Refined, Table, Uniform
from keras_private.sharing.share import Share, reconstruct
from tests.plan.spline import handmade

from .three import Three, shares_of


def check(three: Three, table: Table, x: np.ndarray, turn: int = 0) -> None:
    for party in three.parties:
        party.take_turn(turn)
    shares = shares_of(x.view(np.uint64))
    outputs = three.run(spline, shares, table)
    for party in three.parties:
        party.take_turn(0)
    for i in range(3):  # what two parties hold is the same
        assert np.array_equal(outputs[i].next, outputs[(i + 1) % 3].mine)
    u = shares[-turn % 3].next  # x_1 of P0
    assert np.array_equal(reconstruct(outputs).view(np.int64), table.value(x, u))
    declared = cost.spline(x.size, table)
    assert three.counted() == (declared.rounds, tuple(declared.sent[(i + turn) % 3] for i in range(3)))


def values(random: np.random.Generator, bound: int, count: int, near: list[int]) -> np.ndarray:
    """Of the whole domain, small ones, and at the edges of the domain and of cells."""
    high = (1 << bound) - 1
    x = random.integers(-high, high + 1, count)
    x >>= random.integers(0, bound, count)
    edges = [edge + more for edge in (0, high, -high, *near) for more in (-1, 0, 1)]
    chosen = random.choice([edge for edge in edges if abs(edge) <= high], count)
    return np.where(random.random(count) < 0.5, chosen, x)


@st.composite
def uniform_tables(draw: st.DrawFn) -> Uniform:
    """Rows that have nothing to do with one another, so that a wrong cell is noticed."""
    bound = draw(st.integers(1, 62))
    places = draw(st.integers(SPARE_BITS, min(bound + SPARE_BITS, 17)))
    width = bound + SPARE_BITS - places
    if width > 58:
        width -= 6
    half = 1 << (bound + SPARE_BITS - width - 1)
    first = draw(st.integers(-min(half, 500), min(half, 500)))
    cells = draw(st.integers(0, min(half - first, 300)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    lines = [draw(st.sampled_from([(0, 0), (5, 0), (-7, 0), (5, 1), (0, -4), (9, 1 << 20)])) for _ in range(2)]
    rows = random.integers(-(2**63), 2**63, (2, cells))
    return Uniform(bound, width, draw(st.integers(0, width)), first, rows, lines[0], lines[1], 16)


@given(table=uniform_tables(), seed=st.integers(0, 2**32), count=st.sampled_from([1, 63, 200]))
def test_uniform_tables(three: Three, table: Uniform, seed: int, count: int) -> None:
    near = [table.first << table.width, (table.first + table.cells) << table.width]
    check(three, table, values(np.random.default_rng(seed), table.bound, count, near), seed % 3)


@st.composite
def refined_tables(draw: st.DrawFn) -> Refined:
    bound = draw(st.integers(1, 62))
    depth = draw(st.integers(SPARE_BITS + 1, min(bound + SPARE_BITS, 14)))
    whole = draw(st.integers(SPARE_BITS, min(depth - 1, 4)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels, (a, b) = [], (0, 1)
    for number in range(1, depth + 1):
        width, first, leaves = bound + SPARE_BITS - number, 2 * a, number > whole
        rows = random.integers(-(2**63), 2**63, (2, 2 * (b - a) + 1 if leaves else 0))
        if not leaves:
            a, b = -(1 << number - 1), 1 << number - 1
        elif number < depth and a < b:
            low = draw(st.integers(first + 1, 2 * b))
            a, b = low, draw(st.integers(low, min(2 * b, low + 20)))
        else:
            a = b = first + 1
        levels.append(Level(width, draw(st.integers(0, width)), (a, b), first, rows))
        if a == b:
            break
    return Refined(bound, 16, tuple(levels))


@given(table=refined_tables(), seed=st.integers(0, 2**32), count=st.sampled_from([1, 63, 200]))
def test_refined_tables(three: Three, table: Refined, seed: int, count: int) -> None:
    near = [end << level.width for level in table.levels for end in level.refined]
    check(three, table, values(np.random.default_rng(seed), table.bound, count, near), seed % 3)


BY_TREE = handmade.uniform(30, 18, 5, -70, 131)
PLAIN = handmade.uniform(20, 14, 3, -8, 16)
REFINED = handmade.refined(30, 2, [(-3, 2), (-2, 2), (-3, 3), (-5, 5), (-4, 4)])


@pytest.mark.parametrize("table", [BY_TREE, PLAIN, REFINED])
@pytest.mark.parametrize("shape", [(1,), (64,), (cost.CHUNK,), (2 * cost.CHUNK + 5,), (3, 1, 5), (0,), (2, 0)])
def test_shapes(memory_three: Three, table: Table, shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    check(memory_three, table, values(np.random.default_rng(1), table.bound, size, []).reshape(shape))


def test_the_tables_here_take_every_way() -> None:
    assert cost.tree_levels(BY_TREE)
    assert not cost.tree_levels(PLAIN)
    assert [tail.above for tail in cost.tails(PLAIN)] == [True, False]


@pytest.mark.parametrize("table", [BY_TREE, PLAIN, REFINED])
def test_behind_a_product_the_deal_travels_in_the_round_that_opens_it(memory_three: Three, table: Table) -> None:
    """The pair's part of x is only there after the first round."""
    x = np.random.default_rng(2).integers(-(2**19), 2**19, 100)
    parts = np.random.default_rng(3).integers(0, 2**64, (3, x.size), dtype=np.uint64)
    parts[2] = x.view(np.uint64) - parts[0] - parts[1]
    openings: list[np.ndarray] = []

    def protocol(party: Party, z: np.ndarray) -> Protocol[Share]:
        out = empty_share(z.shape)
        _, y = yield from together(reshare(party, z, out), spline(party, out, table))
        if party.role == 0:
            openings.append(out.next)
        return y

    y = memory_three.value(protocol, list(parts)).view(np.int64)
    assert np.array_equal(y, table.value(x, openings[0]))
    declared = cost.spline(x.size, table)
    assert memory_three.counted()[0] == declared.rounds


@pytest.mark.parametrize("table", [BY_TREE, PLAIN, REFINED])
def test_rounds_that_go_by_first(memory_three: Three, table: Table) -> None:
    x = np.random.default_rng(2).integers(-(2**19), 2**19, 10)
    shares = shares_of(x.view(np.uint64))
    outs = [empty_share(x.shape) for _ in range(3)]
    y = memory_three.value(lambda party, x, out: spline(party, x, table, wait=2, out=out), shares, outs)
    assert np.array_equal(y.view(np.int64), table.value(x, shares[0].next))
    assert np.array_equal(reconstruct(outs), y)
    assert memory_three.counted()[0] == cost.spline(x.size, table).rounds + 2


def test_the_cheapest_table() -> None:
    """Few values are worth the bytes of a refined table, many are not."""
    tables: list[Table] = [BY_TREE, REFINED]
    assert cost.cheapest(1, tables) is REFINED
    assert cost.cheapest(10**5, tables) is BY_TREE


def test_cells_too_wide_for_a_word_of_places() -> None:
    table = Uniform(62, 60, 0, 0, np.zeros((2, 1), np.int64), (0, 0), (0, 0), 16)
    with pytest.raises(PlanError, match="too coarse; make them narrower"):
        cost.spline(1, table)


@settings(max_examples=10)
@given(count=st.integers(1, 5000))
def test_memory_grows_with_the_values(count: int) -> None:
    for table in (BY_TREE, PLAIN, REFINED):
        assert cost.memory(count, table) > sum(cost.spline(count, table).sent) / 3
