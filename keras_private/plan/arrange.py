"""In which order an executable plan does its ops: those next to each other that can run in the same rounds.

Theory of operation. Ops of different branches need nothing of each other: both directions of a recurrent layer, the
pictures of a film, the truncation of a state and the function of it. A stage (`schedule.py`) is a row of ops, so
branches that were written down one after the other would run one after the other. Here stages are filled one at a time
from all that is ready, the earliest first. What is large stays in its place: its bytes count more than its rounds, its
values may be dealt by several parties if it is alone, and it would be held in memory for longer.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from keras_private.plan.ops import kind_of
from keras_private.plan.plan import Op, Plan
from keras_private.plan.schedule import SPLIT_BYTES, Joining, dealt, total

VALUE_BYTES = 16  # of a party's share
REACH = 32  # ops that are passed over in search of others for a stage


def arranged(plan: Plan) -> tuple[Op, ...]:
    """The ops of an executable plan, each behind those whose results it reads; as they are if no order saves a round.

    Raises:
        PlanError: an op's kind is unknown or not executable.
    """
    ordered = tuple(plan.ops[position] for position in _Arrangement(plan).order())
    saves = total(replace(plan, ops=ordered), 1).rounds < total(plan, 1).rounds
    return ordered if saves else plan.ops


class _Arrangement:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._dealt = [dealt(op, plan) for op in plan.ops]
        made = {op.output for op in plan.ops}
        self._waits = [len(made.intersection(op.inputs)) for op in plan.ops]
        self._users: defaultdict[str, list[int]] = defaultdict(list)
        for position, op in enumerate(plan.ops):
            for name in set(op.inputs):
                self._users[name].append(position)
        # Local ops first: what a stage reads must be there before it begins.
        self._ready = [self._entry(position) for position, waits in enumerate(self._waits) if not waits]
        heapq.heapify(self._ready)
        self._placed = [False] * len(plan.ops)
        self._first = 0  # position of the first op that has no place yet
        self._order: list[int] = []

    def order(self) -> Sequence[int]:
        while self._ready:
            self._stage()
        return self._order

    def _stage(self) -> None:
        """Give a place to all ops that can run in the next rounds, and to local ones before and behind them."""
        joining = Joining()
        put_off: list[tuple[bool, int]] = []
        late: list[str] = []
        while self._ready and len(put_off) < REACH:
            entry = heapq.heappop(self._ready)
            interactive, position = entry
            op, sent = self._plan.ops[position], self._dealt[position]
            fits = self._in_place(position) or self._is_small(position)
            if not fits or (interactive and not joining.takes(op, sent)):
                put_off.append(entry)
                continue
            self._place(position)
            if interactive or joining.begun:
                joining.add(op, sent)
            if interactive and not kind_of(op).opens(op):
                late.append(op.output)
            else:
                self._release(op.output)
        for output in late:
            self._release(output)
        for entry in put_off:
            heapq.heappush(self._ready, entry)

    def _entry(self, position: int) -> tuple[bool, int]:
        return kind_of(self._plan.ops[position]).interactive, position

    def _in_place(self, position: int) -> bool:
        while self._placed[self._first]:
            self._first += 1
        return position == self._first

    def _is_small(self, position: int) -> bool:
        held = VALUE_BYTES * math.prod(self._plan.tensors[self._plan.ops[position].output].shape)
        return held <= SPLIT_BYTES and self._dealt[position] <= SPLIT_BYTES

    def _place(self, position: int) -> None:
        self._placed[position] = True
        self._order.append(position)

    def _release(self, output: str) -> None:
        for user in self._users[output]:
            self._waits[user] -= 1
            if not self._waits[user]:
                heapq.heappush(self._ready, self._entry(user))
