"""What a run takes of a party's memory, as a function of its rows: an estimate from above, held against measurements.

Theory of operation. While an op runs, a party holds the tensors that a later op still reads, the op's own operands
and its output, each as two summands of 8 bytes a value; and what the op's protocol needs beside them. That is counted
here per value of the op's output, from the protocols as they are written: arrays of words (masks, messages to and
from two peers) and planes of bits, of which a comparison needs a few for every bit of its window. Everything grows in
proportion to the rows, so one row says it all. The weights are counted where they are loaded (`limits.model_mb`).

With much memory something else ends a run first: a message is one frame, and what a dealer sends ahead for a whole
op is one message.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from keras_private.config import Limits
from keras_private.errors import PlanError
from keras_private.net.frames import MAX_DATA_BYTES
from keras_private.plan.cost import INTERACTIVE, costs, difference_bits, product_bits, window
from keras_private.plan.ops import PRODUCTS
from keras_private.plan.plan import Op, Plan

_SHARE = 16  # bytes of a value: two summands
_RESHARE = 48  # the product, the masked summand, two masks, what comes from two peers
_TRUNCATION = 48
_SELECT = 88  # what is dealt and its masks, the halves, the results
_LOCAL = 8  # one summand is made while the other is kept: some ops make a copy in between


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
    sizes = {name: math.prod(tensor.shape) for name, tensor in plan.tensors.items()}
    live = {plan.input}
    peak = _SHARE * sizes[plan.input]
    for position, op in enumerate(plan.ops):
        live.add(op.output)
        peak = max(peak, _SHARE * sum(sizes[name] for name in live) + _working_bytes(op, plan, sizes[op.output]))
        live -= {name for name in op.inputs if last_use[name] == position and name != plan.output}
    return peak + 2 * _SHARE * sizes[plan.output]  # refreshed, and encoded for the clients


def message_bytes(plan: Plan) -> int:
    """At most so much is in one message for each row of a run: all that a party sends in an op, lest it be one."""
    return max((max(cost.sent) for cost in costs(plan, 1)), default=0)


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
    words = math.prod(plan.input_shape) + math.prod(plan.output_shape)
    asked = _SHARE * words + 8 * math.prod(plan.input_shape)
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


def _working_bytes(op: Op, plan: Plan, count: int) -> int:
    """What an op takes beside its operands and its output."""
    if op.kind not in INTERACTIVE:
        return _LOCAL * count
    bits = plan.tensors[op.inputs[0]].bits
    drop = int(op.attrs.get("truncate", op.attrs.get("bits", 0) if op.kind == "truncate" else 0) or 0)
    if op.kind in PRODUCTS:
        factors = 16 * count if op.kind == "mul" else 0
        if op.attrs.get("relu"):
            return _RESHARE * count + factors + _relu(count, product_bits(op), drop)
        return (_RESHARE + (_SHARE + _TRUNCATION if drop else 0)) * count + factors
    if op.kind == "truncate":
        return _TRUNCATION * count
    if op.kind == "relu":
        return _relu(count, bits, drop)
    # A tournament whose levels all live at once: the candidates, at every level what is compared, and the comparisons.
    places = int(math.prod(op.attrs["pool"]))
    compared = (places - 1) * count
    words = _SHARE * (places * count + 4 * compared)
    final = _relu(count, bits, 0) if op.attrs["relu"] else 0
    return words + (_relu(compared, difference_bits(op, plan), 0) if compared else 0) + final


def _relu(count: int, bits: int | None, drop: int) -> int:
    seen = window(bits, drop, count)
    # Planes: the window's bits, what is dealt and its masks, and the exchanged pairs of bits: sent, got, two masks.
    planes = seen.size * seen.groups + 1 + 2 * seen.dealt + 4 * (2 * seen.groups)
    return planes * -(-count // 64) * 8 + (_SELECT + _SHARE) * count + (_TRUNCATION + _SHARE if drop else 0) * count
