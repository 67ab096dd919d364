"""Which ops run in the same rounds, and that no party sends much more than another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.plan.arrange import arranged
from keras_private.plan.cost import Cost, parts
from keras_private.plan.ops import infer, kind_of
from keras_private.plan.plan import Op, Plan, Tensor, Weight
from keras_private.plan.schedule import costs, stages, total
from tests.plans import plan_of

OPEN, DROP = ({"drop": drop, "relu": False, "bound": 40} for drop in (0, 16))


def plan(*ops: Op, shape: tuple[int, ...] = (64,)) -> Plan:
    """`mul` and `matmul` take a weight of as many fractional bits as they drop."""
    tensors, weights = {"x": Tensor(shape, 16, 20)}, {}
    for op in ops:
        weights |= {name: Weight(shape, op.attrs["drop"]) for name in op.weights}
        tensors[op.output] = infer(op, [tensors[name] for name in op.inputs], [weights[w] for w in op.weights], 16)
    return plan_of(16, ["x"], [ops[-1].output], tensors, ops, weights=weights)


def mul(x: str, out: str, **attrs: Any) -> Op:
    return Op("mul", (x,), (f"w{out}",), out, {**OPEN, **attrs})


def relu(x: str, out: str, drop: int = 0) -> Op:
    return Op("relu", (x,), (), out, {"drop": drop})


ADD = Op("add", ("a", "b"), (), "sum")


def spans(*ops: Op) -> list[tuple[int, int]]:
    return [(stage.first, stage.last) for stage in stages(plan(*ops))]


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ([mul("x", "a"), relu("a", "y")], [(0, 1)]),
        ([mul("x", "a"), mul("x", "b"), ADD, relu("sum", "y")], [(0, 3)]),
        ([mul("x", "a"), mul("a", "b"), ADD, relu("sum", "y")], [(0, 0), (1, 3)]),  # the second needs the first's value
        ([mul("x", "a"), mul("x", "b"), ADD], [(0, 1), (2, 2)]),
        ([mul("x", "a"), relu("x", "b"), ADD], [(0, 1), (2, 2)]),
        ([mul("x", "a", **DROP), relu("a", "y")], [(0, 0), (1, 1)]),
        ([relu("x", "a"), relu("a", "y")], [(0, 0), (1, 1)]),
    ],
)
def test_what_is_dealt_travels_with_the_openings_before_it(ops: list[Op], expected: list[tuple[int, int]]) -> None:
    assert spans(*ops) == expected


def test_a_joined_stage_saves_a_round_for_every_opening() -> None:
    joined = plan(mul("x", "a"), mul("x", "b"), ADD, relu("sum", "y"))
    alone = [kind_of(op).cost(op, joined, 1) for op in joined.ops]
    assert total(joined, 1).rounds == alone[3].rounds == sum(cost.rounds for cost in alone) - 2
    assert sum(total(joined, 1).sent) == sum(sum(cost.sent) for cost in alone)
    assert [cost.rounds for cost in costs(joined, 1)] == [1, 0, 0, alone[3].rounds - 1]


def test_a_layer_that_outweighs_all_others_is_dealt_by_several_parties() -> None:
    large = plan(Op("mul", ("x",), ("w",), "y", DROP), shape=(100, 100))
    (stage,) = stages(large)
    assert len(stage.turns) == len(set(stage.turns)) > 1
    sent = total(large, 1).sent
    whole = kind_of(large.ops[0]).cost(large.ops[0], large, 1)
    assert total(large, 1).rounds == whole.rounds
    assert sum(sent) == sum(whole.sent)
    assert max(sent) < 0.45 * sum(sent) < max(whole.sent)


SIGMOID = {"function": "sigmoid", "parameters": (), "goal": 20, "frac": 24}


def test_a_layer_and_the_function_behind_it_are_dealt_by_the_same_parties() -> None:
    both = plan(mul("x", "a"), Op("spline", ("a",), (), "y", SIGMOID), shape=(1000,))
    (stage,) = stages(both)
    assert (stage.first, stage.last, len(stage.turns)) == (0, 1, 3)
    alone = [kind_of(op).cost(op, both, 1) for op in both.ops]
    sent = total(both, 1).sent
    assert sum(sent) == sum(sum(cost.sent) for cost in alone)
    assert max(sent) < 0.4 * sum(sent)


def test_what_is_moved_between_a_layer_and_a_function_has_one_dealer() -> None:
    """Of a value that has moved, another party might deal than of where it was."""
    moved = Op("transpose", ("a",), (), "b", {"perm": (1, 0)})
    (stage,) = stages(plan(mul("x", "a"), moved, Op("spline", ("b",), (), "y", SIGMOID), shape=(40, 25)))
    assert (stage.first, stage.last, len(stage.turns)) == (0, 2, 1)


def test_a_small_layer_is_not_split() -> None:
    (stage,) = stages(plan(Op("mul", ("x",), ("w",), "y", DROP)))
    assert len(stage.turns) == 1


def test_many_layers_are_spread() -> None:
    many = plan(mul("x", "t0"), *(mul(f"t{i}", f"t{i + 1}") for i in range(11)))
    assert sum(total(many, 1).sent) == 3 * max(total(many, 1).sent)


def test_a_stage_without_messages_moves_no_turn() -> None:
    quiet = plan(Op("add", ("x", "x"), (), "a"), Op("sub", ("a", "x"), (), "y"))
    assert total(quiet, 1) == Cost()


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_parts_cover_all_values_once(count: int, number: int) -> None:
    found = parts(count, number)
    assert len(found) == number
    assert [value for start, stop in found for value in range(start, stop)] == list(range(count))
    assert all(start % 64 == 0 or start == count for start, _ in found)


def test_small_protocols_that_read_nothing_of_each_other_share_their_rounds() -> None:
    ops = [mul("x", "a"), relu("a", "p"), relu("a", "q"), Op("add", ("p", "q"), (), "y")]
    assert spans(*ops) == [(0, 2), (3, 3)]
    joined = plan(*ops)
    alone = [kind_of(op).cost(op, joined, 1) for op in joined.ops]
    assert total(joined, 1).rounds == alone[1].rounds
    assert sum(total(joined, 1).sent) == sum(sum(cost.sent) for cost in alone)


def test_large_ones_do_not() -> None:
    ops = [mul("x", "a"), relu("a", "p"), relu("a", "q"), Op("add", ("p", "q"), (), "y")]
    found = [(stage.first, stage.last) for stage in stages(plan(*ops, shape=(2000,)))]
    assert found == [(0, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        # Two branches, one written down behind the other.
        (
            [relu("x", "a"), relu("a", "b"), relu("x", "c"), relu("c", "d"), Op("add", ("b", "d"), (), "y")],
            ["a", "c", "b", "d", "y"],
        ),
        # The local op is ready from the start; the opening behind it must not wait for a round of the stage before.
        (
            [relu("x", "a"), Op("add", ("x", "x"), (), "s"), mul("s", "c"), Op("add", ("a", "c"), (), "y")],
            ["s", "a", "c", "y"],
        ),
        ([relu("x", "a"), relu("a", "b"), relu("b", "y")], ["a", "b", "y"]),
    ],
)
def test_ops_that_can_share_rounds_lie_next_to_each_other(ops: list[Op], expected: list[str]) -> None:
    before = plan(*ops)
    order = arranged(before)
    assert [op.output for op in order] == expected
    after = replace(before, ops=order)
    assert arranged(after) == order
    assert total(after, 1).rounds <= total(before, 1).rounds


def test_what_is_large_stays_where_it_is() -> None:
    ops = [relu("x", "a"), relu("a", "b"), relu("x", "c"), relu("c", "d"), Op("add", ("b", "d"), (), "y")]
    assert arranged(plan(*ops, shape=(5000,))) == tuple(ops)


OPS = st.tuples(st.sampled_from(["relu", "mul", "sub", "abs"]), st.integers(0, 9), st.integers(0, 9))


@settings(max_examples=40, deadline=None)
@given(st.lists(OPS, max_size=9))
def test_every_op_comes_once_and_behind_what_it_reads(drawn: list[tuple[str, int, int]]) -> None:
    tensors, ops = ["x"], []
    for number, (kind, left, right) in enumerate(drawn):
        x, y, out = tensors[left % len(tensors)], tensors[right % len(tensors)], f"t{number}"
        made = {
            "relu": relu(x, out),
            "mul": Op("mul", (x,), (f"w{out}",), out, OPEN),
            "sub": Op("sub", (x, y), (), out),
            "abs": Op("abs", (x,), (), out, {}),
        }
        ops.append(made[kind])
        tensors.append(out)
    if not ops:
        return
    before = plan(*ops, shape=(3,))
    order = arranged(before)
    assert sorted(op.output for op in order) == sorted(op.output for op in ops)
    known = {"x"}
    for op in order:
        assert known.issuperset(op.inputs)
        known.add(op.output)
    assert total(replace(before, ops=order), 1).rounds <= total(before, 1).rounds
