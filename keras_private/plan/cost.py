"""What a plan costs: rounds and bytes of every protocol and of every op, as a function of shape.

These are declarations; `tests/mpc` holds them against what the links counted, byte for byte. Bytes are the payload
that each party sends to its peers, frame headers and TLS not included. A round is one exchange in which at least one
party waits for another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from keras_private.plan.plan import Op, Plan

CONTRACT_BITS = 62  # every value before its truncation is smaller than 2^62 in magnitude


@dataclass(frozen=True, slots=True)
class Cost:
    """Rounds, and bytes sent by server0, server1, server2. `+` is one after the other, `|` in the same rounds."""

    rounds: int = 0
    sent: tuple[int, int, int] = (0, 0, 0)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.rounds + other.rounds, _sum(self.sent, other.sent))

    def __or__(self, other: Cost) -> Cost:
        return Cost(max(self.rounds, other.rounds), _sum(self.sent, other.sent))


def _sum(a: tuple[int, int, int], b: tuple[int, int, int]) -> tuple[int, int, int]:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


class Window(NamedTuple):
    """The bits of a value that a comparison looks at: `groups` groups of three from bit `low`, then the sign bit."""

    low: int
    groups: int

    @property
    def top(self) -> int:
        """The sign bit's index."""
        return self.low + 3 * self.groups


def window(bits: int | None, drop: int) -> Window:
    """The window for |x| < 2^bits (None: the contract's bound) in which the low `drop` bits may be ignored.

    Bits below the window take with them a carry, so that a value may look one unit of the window smaller than it is:
    the window is one bit wider than the bound, lest the smallest value wrap around. Whole groups only: rounding goes
    downwards, which makes the comparison finer, and upwards at the bottom of the word.
    """
    top = CONTRACT_BITS if bits is None else min(bits, CONTRACT_BITS)
    top += drop > 0
    groups = max(1, -(-(top - drop) // 3))
    return Window(max(0, top - 3 * groups), groups)


FULL = Window(0, 21)  # all 64 bits


def plane_words(count: int) -> int:
    """64-bit words of a bit plane of `count` values."""
    return -(-count // 64)


def short_bytes(count: int, d: int) -> int:
    """Bytes of `count` words of at least d bits, filled up to whole 64-bit words."""
    return -(-count * (2 if d <= 16 else 4 if d <= 32 else 8) // 8) * 8


# --- protocols (count = number of values)


def reshare(count: int) -> Cost:
    return Cost(1, (8 * count, 8 * count, 16 * count))


def truncation(count: int, d: int) -> Cost:
    short = short_bytes(count, d)
    return Cost(2, (short, short, 8 * count + short))


def sign(count: int, window: Window) -> Cost:
    plane = 8 * plane_words(count)
    groups = window.groups
    exchanged = plane * (2 * groups - 1)
    cost = Cost(2, (exchanged, exchanged, plane * (7 * groups + 1)))
    while groups > 1:
        level = plane * (2 * (groups // 2) - 1)
        cost += Cost(1, (level, level, level))
        groups = (groups + 1) // 2
    return cost


def select(count: int) -> Cost:
    return Cost(2, (16 * count, 16 * count, 16 * count))


def relu(count: int, window: Window, drop: int) -> Cost:
    compared = sign(count, window)
    return (compared | truncation(count, drop) if drop else compared) + select(count)


def maximum(count: int, candidates: int, window: Window) -> Cost:
    cost = Cost()
    while candidates > 1:
        cost += relu(count * (candidates // 2), window, 0)
        candidates -= candidates // 2
    return cost


def linear(count: int, drop: int, relu_window: Window | None) -> Cost:
    """A secret product of `count` outputs with its truncation and ReLU: both begin in the round that opens it."""
    opened = reshare(count)
    if relu_window is not None:
        follow = relu(count, relu_window, drop)
    elif drop:
        follow = truncation(count, drop)
    else:
        return opened
    # The first round of what follows is the opening round itself.
    return Cost(follow.rounds, _sum(opened.sent, follow.sent))


# --- ops


def product_window(op: Op) -> Window:
    """The comparison window of a secret product that is followed by its ReLU."""
    return window(int(op.attrs.get("bits", CONTRACT_BITS)), int(op.attrs["truncate"]))


def input_window(op: Op, plan: Plan) -> Window:
    """The comparison window of a `relu` op."""
    return window(plan.tensors[op.inputs[0]].bits, int(op.attrs["truncate"]))


def difference_window(op: Op, plan: Plan) -> Window:
    """The window for the difference of two values of a `max_pool2d`, in which no bit is ignored."""
    tensor = plan.tensors[op.inputs[0]]
    return window(None if tensor.bits is None else tensor.bits + 1, 0)


def cost_of(op: Op, plan: Plan, batch: int) -> Cost:
    """The declared cost of an op of an executable plan for a batch of `batch` samples."""
    count = batch * math.prod(plan.tensors[op.output].shape)
    if op.kind in {"matmul", "conv2d", "depthwise_conv2d", "mul"}:
        return linear(count, int(op.attrs["truncate"]), product_window(op) if op.attrs.get("relu") else None)
    if op.kind == "truncate":
        return truncation(count, int(op.attrs["bits"]))
    if op.kind == "relu":
        return relu(count, input_window(op, plan), int(op.attrs["truncate"]))
    if op.kind == "max_pool2d":
        pool = op.attrs["pool"]
        cost = maximum(count, int(pool[0]) * int(pool[1]), difference_window(op, plan))
        if op.attrs["relu"]:
            cost += relu(count, window(plan.tensors[op.inputs[0]].bits, 0), 0)
        return cost
    return Cost()


def total(plan: Plan, batch: int) -> Cost:
    """The declared cost of a whole query, without the client's messages."""
    cost = Cost()
    for op in plan.ops:
        cost += cost_of(op, plan, batch)
    return cost
