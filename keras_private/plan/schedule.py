"""Which ops run in the same rounds, who plays which role in them, and what each op of a plan costs.

Theory of operation. Most ops are a *stage* of their own. But a product that ends in a bare opening (`Kind.opens`) tells
the dealer its part of the result before the round, and a protocol in whose first round only the dealer sends
(`Kind.deals_first`) needs no more than that to begin. So such products, the local ops behind them and one such
protocol are one stage: what is dealt travels in the round that opens the products, which saves a round. An addition
of two branches before a ReLU, or a spline behind a layer, is such a stage. Where little is dealt, so that rounds count
more than bytes, further protocols that read none of the others' results join it: the stage takes the rounds of its
longest. `arrange.py` puts ops next to each other that can join.

All ops of a stage have the same dealer. The dealer sends most, so each stage is given to the party that has least to
send so far, the largest stage first. Where a stage is so large that its dealer would send more than a third of
everything, its values are dealt by two or three parties, in the same rounds: of an op alone, or of a product and what
follows it at once, value by value.
"""

from __future__ import annotations

from typing import NamedTuple

from keras_private.errors import PlanError
from keras_private.plan.cost import Cost, parts
from keras_private.plan.ops import describe, kind_of
from keras_private.plan.ops.kind import values
from keras_private.plan.plan import Op, Plan

Turns = tuple[int, ...]

SPLIT_BYTES = 1 << 16  # of a dealer: what is less is not worth the work of a second protocol


class Stage(NamedTuple):
    """Ops that run in the same rounds: those at the positions `first` … `last` of the plan.

    turns: server i is P_(i + turn). Several: each part of an op's values has one (`cost.parts`).
    """

    first: int
    last: int
    turns: Turns


def stages(plan: Plan) -> tuple[Stage, ...]:
    """The stages of an executable plan, in order.

    Raises:
        PlanError: an op's kind is unknown or not executable.
    """
    spans, position = [], 0
    while position < len(plan.ops):
        last = _last(plan, position)
        spans.append((position, last))
        position = last + 1
    costs = [sum((_whole(op, plan, 1) for op in plan.ops[first : last + 1]), Cost()) for first, last in spans]
    share = sum(sum(cost.sent) for cost in costs) / 3
    sent = [0, 0, 0]
    turns: list[Turns] = [(0,)] * len(spans)
    for number in sorted(range(len(spans)), key=lambda number: -costs[number].sent[2]):
        first, last = spans[number]
        dealt, count = costs[number].sent[2], 1
        if dealt > max(share, SPLIT_BYTES) and _divisible(plan, first, last):
            count = 2 if dealt < 1.5 * share else 3
        if not any(costs[number].sent):
            continue
        found: list[int] = []
        for _ in range(count):  # to whom it adds least to the most that anybody sends
            part = tuple(-(-bytes_ // count) for bytes_ in costs[number].sent)
            options = [[sent[i] + part[(i + turn) % 3] for i in range(3)] for turn in range(3)]
            turn = min((turn for turn in range(3) if turn not in found), key=lambda turn: max(options[turn]))
            found.append(turn)
            sent = options[turn]
        turns[number] = tuple(found)
    return tuple(Stage(first, last, turns[number]) for number, (first, last) in enumerate(spans))


class Joining:
    """A stage as it grows, op by op."""

    def __init__(self) -> None:
        self._made: set[str] = set()  # by openings and local ops: by the dealer at once, by the pair after a round
        self._late: set[str] = set()  # by protocols: when the stage is over
        self._dealt = 0

    @property
    def begun(self) -> bool:
        return bool(self._made or self._late)

    def takes(self, op: Op, sent: int) -> bool:
        """Whether it can run in the same rounds. sent: what is `dealt` for it."""
        kind = kind_of(op)
        if not self._late.isdisjoint(op.inputs):
            return False
        if not kind.interactive:
            return True
        if not kind.deals_first(op) and not self._made.isdisjoint(op.inputs):
            return False
        return not self._late or self._dealt + sent <= SPLIT_BYTES

    def add(self, op: Op, sent: int) -> None:
        kind = kind_of(op)
        (self._late if kind.interactive and not kind.opens(op) else self._made).add(op.output)
        self._dealt += sent


def dealt(op: Op, plan: Plan) -> int:
    """Bytes that the dealer of an op sends for one row."""
    return _whole(op, plan, 1).sent[2]


def _last(plan: Plan, first: int) -> int:
    """Where the stage that begins at the position `first` ends."""
    if not kind_of(plan.ops[first]).interactive:
        return first
    joining, last = Joining(), first
    for position in range(first, len(plan.ops)):
        op = plan.ops[position]
        sent = dealt(op, plan)
        if not joining.takes(op, sent):
            break
        joining.add(op, sent)
        last = position if kind_of(op).interactive else last
    return last


def costs(plan: Plan, batch: int) -> list[Cost]:
    """The declared cost of every op of an executable plan, for a batch of `batch` samples.

    Raises:
        PlanError: an op's kind is unknown or not executable.
    """
    found = []
    for stage in stages(plan):
        rounds = 0  # so far: all begin in the stage's first
        for op in plan.ops[stage.first : stage.last + 1]:
            cost = _split(op, plan, batch, stage.turns)
            found.append(Cost(max(0, cost.rounds - rounds), cost.sent))
            rounds = max(rounds, cost.rounds)
    return found


def total(plan: Plan, batch: int) -> Cost:
    """The declared cost of a whole query, without the client's messages."""
    return sum(costs(plan, batch), Cost())


def _whole(op: Op, plan: Plan, batch: int) -> Cost:
    """By roles."""
    return kind_of(op).cost(op, plan, batch)


def _split(op: Op, plan: Plan, batch: int, turns: Turns) -> Cost:
    """By servers."""
    if len(turns) == 1:
        return _turned(_whole(op, plan, batch), turns[0])
    found = Cost()
    for turn, (start, stop) in zip(turns, parts(values(op, plan, batch), len(turns)), strict=True):
        part = kind_of(op).part_cost(op, plan, stop - start)
        if part is None:
            raise PlanError(f"{describe(op)}: its values are not dealt by several parties")
        found |= _turned(part, turn)
    return found


def _divisible(plan: Plan, first: int, last: int) -> bool:
    """Whether the values of a stage may be dealt by several parties: of one op, or of a product and of what reads the
    very same values of it."""
    ops = plan.ops[first : last + 1]
    follows = len(ops) == 1 or (len(ops) == 2 and ops[1].inputs == (ops[0].output,))
    return follows and all(kind_of(op).part_cost(op, plan, 1) is not None for op in ops)


def _turned(cost: Cost, turn: int) -> Cost:
    return Cost(cost.rounds, (cost.sent[turn], cost.sent[(1 + turn) % 3], cost.sent[(2 + turn) % 3]))
