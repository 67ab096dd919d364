"""Formulas over shared bits that one exchange computes, each an exclusive or of products of bits (`mpc/gates.py`), and
what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, combinations
from typing import TypeAlias

from keras_private.plan.cost import Cost, plane_words, price

Monomial: TypeAlias = tuple[int, ...]  # a product of input bits: their places, ascending; () is 1


@dataclass(frozen=True)
class Gates:
    """The formulas of one exchange.

    inputs: how many bits go in. outputs: for each bit that comes out the products whose exclusive or it is.
    fresh: the bits that go in are not shared yet, but exclusive ors of one that the pair and one that the dealer knows.
    """

    inputs: int
    outputs: tuple[tuple[Monomial, ...], ...]
    fresh: bool = False

    @cached_property
    def dealt(self) -> tuple[Monomial, ...]:
        """The products of its bits that the dealer shares: all that occur, and the parts of these."""
        least = 1 if self.fresh else 2  # the pair has shares of single bits
        parts = {
            part
            for output in self.outputs
            for product in output
            for size in range(least, len(product) + 1)
            for part in combinations(product, size)
        }
        return tuple(sorted(parts, key=lambda part: (len(part), part)))

    @cached_property
    def terms(self) -> tuple[tuple[tuple[Monomial, tuple[Monomial, ...]], ...], ...]:
        """Of each output: the products of the dealer's bits, each with those of the pair's that it is multiplied by."""
        found = []
        for output in self.outputs:
            terms: dict[Monomial, list[Monomial]] = {}
            for product in output:
                for size in range(len(product) + 1):
                    for part in combinations(product, size):
                        terms.setdefault(part, []).append(tuple(i for i in product if i not in part))
            found.append(tuple((part, tuple(rests)) for part, rests in terms.items()))
        return tuple(found)


AND = Gates(2, (((0, 1),),))

# The winner of four numbers a, b, c, d by the bits ab = [a < b], cd, ac, ad, bc, bd, in this order: [b wins], [c wins],
# [d wins]. The winner of a and b meets that of c and d, so that exactly one of four wins whatever the bits are.
_AB, _CD, _AC, _AD, _BC, _BD = range(6)
WINNER = Gates(
    6,
    (
        ((_AB,), (_AB, _BC), (_AB, _CD, _BC), (_AB, _CD, _BD)),
        ((_AC,), (_AB, _AC), (_AB, _BC), (_CD, _AC), (_AB, _CD, _AC), (_AB, _CD, _BC)),
        ((_CD, _AD), (_AB, _CD, _AD), (_AB, _CD, _BD)),
    ),
)

# The same in numbers: for b, c and d the products of three bits, of which one is 1 if it wins; a bit that is False
# counts as its complement.
Literals: TypeAlias = tuple[tuple[int, bool], ...]
WINNING: tuple[tuple[Literals, ...], ...] = (
    (((_AB, True), (_CD, False), (_BC, False)), ((_AB, True), (_CD, True), (_BD, False))),
    (((_CD, False), (_AB, False), (_AC, True)), ((_CD, False), (_AB, True), (_BC, True))),
    (((_CD, True), (_AB, False), (_AD, True)), ((_CD, True), (_AB, True), (_BD, True))),
)


def _parts(terms: tuple[Literals, ...]) -> tuple[Monomial, ...]:
    """The products of one bit and more that occur when these are multiplied out."""
    found = {
        tuple(sorted(place for place, _ in part))
        for term in terms
        for size in range(1, len(term) + 1)
        for part in combinations(term, size)
    }
    return tuple(sorted(found, key=lambda part: (len(part), part)))


WINNING_PARTS = tuple(_parts(terms) for terms in WINNING)  # by candidate
WINNING_BITS = _parts(tuple(term for terms in WINNING for term in terms))  # of all of them


@lru_cache(maxsize=1024)
def products(inputs: int, groups: int, *, fresh: bool) -> Gates:
    """The products of neighbouring bits, in groups of nearly one size. There is one of it for all numbers of values:
    what it deals may be thousands of products."""
    sizes = [inputs // groups + (at < inputs % groups) for at in range(groups)]
    ends = accumulate(sizes)
    outputs = tuple((tuple(range(end - size, end)),) for size, end in zip(sizes, ends, strict=True))
    return Gates(inputs, outputs, fresh)


def cost(formulas: Gates, words: int, variants: int = 1) -> Cost:
    """Of formulas over planes of so many words."""
    exchanged = 8 * words * variants * len(formulas.outputs)
    return Cost(2, (exchanged, exchanged, 8 * words * len(formulas.dealt)))


MAX_GROUP = 10  # bits of which one exchange makes a product: 2^10 of them are dealt


@lru_cache(maxsize=4096)
def conjunction(width: int, count: int, variants: int = 1) -> tuple[Gates, ...]:
    """The cheapest exchanges to multiply `width` fresh bits of `count` values, one after the other.

    Args:
        variants: of the first exchange, see `mpc.gates`.
    """
    plane = 8 * plane_words(count)
    splits = _splits(width, variants)
    _, cheapest = min((price(Cost(len(groups), (0, 0, plane * planes))), groups) for planes, groups in splits)
    found, inputs = [], width
    for number, groups in enumerate(cheapest):
        found.append(products(inputs, groups, fresh=number == 0))
        inputs = groups
    return tuple(found)


@lru_cache(maxsize=4096)
def _splits(width: int, variants: int = 1, *, fresh: bool = True) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Into how many groups of nearly one size bits may be multiplied in each exchange, and the planes that are sent.

    For each number of exchanges the fewest planes, if they are fewer than with fewer exchanges.
    """
    if width == 1 and not fresh:
        return ((0, ()),)
    found: dict[int, tuple[int, tuple[int, ...]]] = {}
    for groups in range(-(-width // MAX_GROUP), max(2, width)):
        size, larger = divmod(width, groups)
        dealt = (groups + larger << size) - groups - (0 if fresh else width)  # 2^bits - 1 for every group
        for more, rest in _splits(groups, fresh=False):
            option = dealt + variants * (2 * groups + more), (groups, *rest)
            found[len(option[1])] = min(found.get(len(option[1]), option), option)
    ordered = [found[exchanges] for exchanges in sorted(found)]
    return tuple(one for at, one in enumerate(ordered) if all(one[0] < fewer[0] for fewer in ordered[:at]))


def _ahead(levels: tuple[Gates, ...], words: int) -> Cost:
    """Exchanges of which all that is dealt travels in an earlier round."""
    costs = [cost(level, words) for level in levels]
    return Cost(len(costs), sum(costs, Cost()).sent)


def equal(count: int, width: int, variants: int = 1) -> Cost:
    """Whether numbers of `width` bits equal each of `variants` constants."""
    first, *rest = conjunction(width, count, variants)
    return cost(first, plane_words(count), variants) + _ahead(tuple(rest), variants * plane_words(count))
