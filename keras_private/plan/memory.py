"""What a run takes of a party's memory, as a function of its rows: an estimate from above, held against measurements.

Theory of operation. While a stage of ops runs (`schedule.py`), a party holds the tensors that a later op still reads,
its own operands and outputs, each as two summands of 8 bytes a value (of a bit: 1); and what each op's kind declares
that its protocol needs beside them (`working.py`). Everything grows in proportion to the rows, so one row says it all.
The weights are counted where they are loaded (`limits.model_mb`).

With much memory something else ends a run first: a message is one frame, and what a dealer sends ahead for a whole
op is one message.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from keras_private.config import Limits
from keras_private.errors import PlanError
from keras_private.net.frames import MAX_DATA_BYTES
from keras_private.plan.cost import Cost
from keras_private.plan.ops import kind_of
from keras_private.plan.plan import Plan
from keras_private.plan.schedule import costs, stages
from keras_private.plan.working import BITS, SHARE


class Room(NamedTuple):
    """Rows for which a party has memory."""

    run_rows: int
    """Of one run; a larger query takes several."""
    query_rows: int
    """Of one query."""
    row_bytes: int
    """What a run takes for each of its rows."""


def row_bytes(plan: Plan) -> int:
    """Bytes that a run of an executable plan takes for each of its rows, its input and output included."""
    last_use = {name: position for position, op in enumerate(plan.ops) for name in op.inputs}
    counts = {name: math.prod(tensor.shape) for name, tensor in plan.tensors.items()}
    sizes = {name: (BITS if plan.tensors[name].bit else SHARE) * count for name, count in counts.items()}
    apart = len(plan.inputs) > 1, len(plan.outputs) > 1  # several are copied out of a row's vector, and into it
    held = SHARE * plan.input_words
    peak = held * (1 + apart[0])
    for stage in stages(plan):
        ops = plan.ops[stage.first : stage.last + 1]
        held += sum(sizes[op.output] for op in ops)
        peak = max(peak, held + sum(kind_of(op).memory(op, plan, counts[op.output]) for op in ops))
        read = {name for op in ops for name in op.inputs} - plan.ends
        held -= sum(sizes[name] for name in read if last_use[name] <= stage.last)
    return peak + (2 + apart[1]) * SHARE * plan.output_words  # refreshed, and encoded for the clients


def message_bytes(plan: Plan) -> int:
    """At most so much is in one message for each row of a run: all that a party sends in a stage, lest it be one."""
    sent = costs(plan, 1)
    joined = [sum(sent[stage.first : stage.last + 1], Cost()) for stage in stages(plan)]
    return max((max(cost.sent) for cost in joined), default=0)


def room(plan: Plan, limits: Limits) -> Room:
    """How many rows fit into `limits.memory_mb`: half of it is for runs, half for what clients send and are sent.

    Raises:
        PlanError: not even one row fits, or its messages are too large.
    """
    rows_sent = MAX_DATA_BYTES // max(1, message_bytes(plan))
    if not rows_sent:
        raise PlanError(
            f"one row of this model takes messages of up to {message_bytes(plan) >> 20} MB between the parties, the "
            f"limit is {MAX_DATA_BYTES >> 20} MB; make its largest layer smaller"
        )
    each = row_bytes(plan)
    # A query's shares, and the message that they were in; of its half, a client that is alone may take half.
    asked = SHARE * (plan.input_words + plan.output_words) + 8 * plan.input_words
    run_rows = min(limits.max_batch, limits.memory_bytes // 2 // each, rows_sent)
    query_rows = min(limits.max_batch, limits.memory_bytes // 4 // asked)
    if min(run_rows, query_rows) < 1:
        needed = -(-max(2 * each, 4 * asked) // 2**20)
        raise PlanError(
            f"not even one row of this model fits into a party's memory: limits.memory_mb is {limits.memory_mb}, "
            f"it takes {needed} in cluster.yaml of all three parties"
        )
    return Room(run_rows, query_rows, each)


def said(fits: Room, limits: Limits) -> str:
    """How many rows fit, in a line for people."""
    memory, run, query = f"{fits.row_bytes / 2**20:,.2f} MB", fits.run_rows, fits.query_rows
    return (
        f"Memory: a run takes up to {memory} a row at each party; {run} rows fit into a run, {query} into a query "
        f"(limits.memory_mb {limits.memory_mb}, max_batch {limits.max_batch})."
    )
