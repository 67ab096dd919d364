"""What the protocols cost: rounds and bytes of each, as a function of shape. `schedule.py` adds them up for a plan.

These are declarations; `tests/mpc` holds them against what the links counted, byte for byte. Bytes are the payload
that each party sends to its peers, frame headers and TLS not included. A round is one exchange in which at least one
party waits for another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from keras_private.plan.plan import CONTRACT_BITS, Op, Plan


@dataclass(frozen=True, slots=True)
class Cost:
    """Rounds, and bytes sent by the three parties. `+` is one after the other, `|` in the same rounds."""

    rounds: int = 0
    sent: tuple[int, int, int] = (0, 0, 0)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.rounds + other.rounds, _sum(self.sent, other.sent))

    def __or__(self, other: Cost) -> Cost:
        return Cost(max(self.rounds, other.rounds), _sum(self.sent, other.sent))


def _sum(a: tuple[int, int, int], b: tuple[int, int, int]) -> tuple[int, int, int]:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


class Window(NamedTuple):
    """The bits of a value that a comparison looks at: `groups` groups of `size` bits from bit `low`, then the sign
    bit; and how many groups the carry tree takes together at each of its levels."""

    low: int
    groups: int
    size: int
    radix: int = 2

    @property
    def top(self) -> int:
        """The sign bit's index."""
        return self.low + self.groups * self.size

    @property
    def levels(self) -> int:
        """Exchanges of the pair: one for the groups, one for each level of the tree."""
        return len(self.exchanges)

    def groups_at(self, level: int) -> int:
        """How many groups of bits are left after the exchange number `level`."""
        groups = self.groups
        for _ in range(level):
            groups = -(-groups // self.radix)
        return groups

    @property
    def exchanges(self) -> tuple[tuple[int, int], ...]:
        """For each level: the bit planes that the dealer shares for it, and the planes that the pair then opens."""
        return _exchanges(self)

    @property
    def dealt(self) -> int:
        """All bit planes that the dealer shares."""
        return sum(dealt for dealt, _ in self.exchanges)


@lru_cache(maxsize=4096)
def _exchanges(window: Window) -> tuple[tuple[int, int], ...]:
    found = [(window.groups * ((1 << window.size) - 1) + 1, 2 * window.groups - 1)]
    groups = window.groups
    while groups > 1:
        nodes = [min(window.radix, groups - at) for at in range(0, groups, window.radix)]
        joined = [children for children in nodes if children > 1]  # a group left over passes on as it is
        lowest = joined[0]
        dealt = sum(3 * (1 << children - 1) + (1 << children - 1) - 2 for children in joined) - (1 << lowest - 1)
        found.append((dealt, 2 * len(joined) - 1))
        groups = len(nodes)
    return tuple(found)


# The parties choose windows by these numbers, each for itself: a change of them needs a new party.messages.VERSION.
GROUP_SIZES = (2, 3, 4, 5, 6, 7, 8, 9, 10)
RADICES = (2, 3, 4, 5, 6)
ROUND_BYTES = 24_000  # sent by all parties, worth as much as a round: 20 µs at 10 Gbit/s


@lru_cache(maxsize=4096)
def window(bound: int | None, drop: int, count: int) -> Window:
    """The cheapest window to compare `count` values |x| < 2^bound (None: the contract's bound), ignoring `drop` low
    bits.

    Bits below the window take with them a carry, so that a value may look one unit of the window smaller than it is:
    the window is one bit wider than the bound, lest the smallest value wrap around; where there is no such bit, none
    is ignored. Whole groups only: rounding goes downwards, which makes the comparison finer, and upwards at the bottom
    of the word. Large groups and nodes save levels of the carry tree, but 2^size products are dealt for each: right
    for few values, wrong for many.
    """
    top = CONTRACT_BITS if bound is None else min(bound, 63)
    if top == 63:
        drop = 0
    top += drop > 0
    candidates = []
    for size in GROUP_SIZES:
        groups = max(1, -(-(top - drop) // size))
        found = Window(max(0, top - groups * size), groups, size)
        if found.top < 64:
            candidates += [found._replace(radix=radix) for radix in RADICES]
    return min(candidates, key=lambda found: price(sign(count, found)))


def price(cost: Cost) -> int:
    """What alternatives are compared by: bytes, and as many for a round as are worth one."""
    return cost.rounds * ROUND_BYTES + sum(cost.sent)


def plane_words(count: int) -> int:
    """64-bit words of a bit plane of `count` values."""
    return -(-count // 64)


def short_bytes(count: int, d: int) -> int:
    """Bytes of a message of `count` words of at least d bits (`truncation.short_type`), filled up to 64-bit words."""
    return -(-count * (2 if d <= 16 else 4 if d <= 32 else 8) // 8) * 8


def parts(count: int, number: int) -> list[tuple[int, int]]:
    """Where each of `number` parts of `count` values starts and stops: whole words of a bit plane, but for the last."""
    ends = [min(count, 64 * plane_words(-(-count * part // number))) for part in range(number + 1)]
    return list(pairwise(ends))


# --- protocols (count = number of values; sent by the roles P0, P1, P2)


def reshare(count: int) -> Cost:
    return Cost(1, (8 * count, 8 * count, 16 * count))


def truncation(count: int, d: int) -> Cost:
    short = short_bytes(count, d)
    return Cost(2, (short, short, 8 * count + short))


def floor(count: int, d: int, bound: int | None = None, *, relu: bool = False) -> Cost:
    """A truncation, a comparison of d bits, and a number for each of its bits; a ReLU compares in the same rounds."""
    found = dealt_ahead(truncation(count, d) | sign(count, window(d, 0, count)), number(count))
    if not relu:
        return found
    return dealt_ahead(found | sign(count, window(bound, d, count)), select(count))


def sign(count: int, window: Window) -> Cost:
    plane = 8 * plane_words(count)
    exchanged = plane * sum(results for _, results in window.exchanges)
    return Cost(1 + window.levels, (exchanged, exchanged, plane * window.dealt))


def choose(count: int, terms: int = 1, channels: int = 1) -> Cost:
    """A selection: `count` sums of so many terms, in every channel by the same bits."""
    each = 8 * count * channels
    return Cost(2, (each, each, 8 * count * terms * (1 + channels)))


def number_bytes(count: int, *, short: bool = False) -> int:
    """Bytes of a message of so many numbers; short ones have 16 bits, filled up to 64-bit words."""
    return -(-count * (2 if short else 8) // 8) * 8


def number(count: int, results: int | None = None, *, short: bool = False) -> Cost:
    """Sums of `count` bits as numbers."""
    each = number_bytes(count if results is None else results, short=short)
    return Cost(2, (each, each, number_bytes(count, short=short)))


def dealt_ahead(first: Cost, then: Cost) -> Cost:
    """One protocol after the other, where what the dealer sends for the later one travels in the earlier one's first
    round."""
    return Cost(first.rounds + then.rounds - 1, _sum(first.sent, then.sent))


def select(count: int) -> Cost:
    return choose(count)


def one_hot_levels(size: int, bound: int | None) -> int:
    """Levels of the trees that deal an index |x| < 2^bound among `size` places: one bit more than either has, so that
    no other index looks like one of the places; three at least."""
    reach = CONTRACT_BITS if bound is None else bound
    return max(3, max((size - 1).bit_length(), reach) + 1)


ONE_HOT_TREES = 256  # over an index that a party walks together, at most
ONE_HOT_NODES = 1 << 17  # that they then have in their last level, at most


def one_hot(count: int, size: int, bound: int | None) -> Cost:
    """A round in which the dealer alone sends; what the pair makes of it is its own."""
    return Cost(1, (0, 0, 2 * (16 * one_hot_levels(size, bound) + 8) * count))


def lookup(count: int, size: int, bound: int | None, results: int) -> Cost:
    """The rows of `count` indices, `results` values: each party deals once, then the sums are opened."""
    (*_, dealt), opened = one_hot(count, size, bound).sent, reshare(results)
    return Cost(1 + opened.rounds, _sum((dealt, dealt, dealt), opened.sent))


def relu(count: int, bound: int | None, drop: int) -> Cost:
    """The dealer's messages for the selection travel with those for the comparison."""
    compared = sign(count, window(bound, drop, count))
    if drop:
        compared |= truncation(count, drop)
    return dealt_ahead(compared, select(count))


def clip(count: int, bound: int | None, drop: int) -> Cost:
    """Two comparisons, and a truncation in the same rounds."""
    padded = 2 * 64 * plane_words(count)
    compared = sign(padded, window(further(bound), drop, padded))
    if drop:
        compared |= truncation(count, drop)
    return dealt_ahead(compared, choose(count, 2))


def absolute(count: int, bound: int | None) -> Cost:
    return dealt_ahead(sign(count, window(bound, 0, count)), choose(count))


def linear(count: int, drop: int, relu_bound: int | None = None) -> Cost:
    """A secret product of `count` outputs, its truncation, and its ReLU if the product's bound is given.

    What follows the product begins in the round that opens it.
    """
    opened = reshare(count)
    if relu_bound is not None:
        follow = relu(count, relu_bound, drop)
    elif drop:
        follow = truncation(count, drop)
    else:
        return opened
    return Cost(follow.rounds, _sum(opened.sent, follow.sent))


# --- ops


def further(bound: int | None) -> int:
    """The bound for the difference of two numbers of this bound."""
    return (CONTRACT_BITS if bound is None else bound) + 1


def product_bound(op: Op) -> int:
    """The bound of a secret product before its truncation."""
    return int(op.attrs.get("bound", CONTRACT_BITS))


def difference_bound(op: Op, plan: Plan) -> int:
    """The bound for the difference of two values of a `max_pool2d`."""
    return further(plan.tensors[op.inputs[0]].bound)


def maximum_bound(op: Op, plan: Plan) -> int | None:
    """The bound for the result of a `max_pool2d` whose negative results become 0; None if it keeps them."""
    bound = plan.tensors[op.inputs[0]].bound
    return (CONTRACT_BITS if bound is None else bound) if op.attrs["relu"] else None
