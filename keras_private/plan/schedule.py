"""Who plays which role in which op, and what each op of a plan costs: rounds, and bytes that each server sends."""

from __future__ import annotations

from keras_private.plan.cost import Cost
from keras_private.plan.ops import kind_of
from keras_private.plan.plan import Plan


def turns(plan: Plan) -> dict[str, int]:
    """Who plays which role in which op, by the op's output: server i is P_(i + turn).

    The roles move on by one party at every op with messages, so that all three send and compute about as much.
    """
    found, turn = {}, 0
    for op in plan.ops:
        found[op.output] = turn
        turn = (turn + kind_of(op).interactive) % 3
    return found


def costs(plan: Plan, batch: int) -> list[Cost]:
    """The declared cost of every op of an executable plan, for a batch of `batch` samples.

    Raises:
        PlanError: an op's kind is unknown or not executable.
    """
    turn_of = turns(plan)
    found = []
    for op in plan.ops:
        cost, turn = kind_of(op).cost(op, plan, batch), turn_of[op.output]
        found.append(Cost(cost.rounds, (cost.sent[turn], cost.sent[(1 + turn) % 3], cost.sent[(2 + turn) % 3])))
    return found


def total(plan: Plan, batch: int) -> Cost:
    """The declared cost of a whole query, without the client's messages."""
    return sum(costs(plan, batch), Cost())
