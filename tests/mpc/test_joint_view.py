"""A party's masks and messages *together* tell it nothing of what the others hold.

Theory of operation. Every value of a long array has the very same input sharing, so only masks vary from value to
value. Each bit of a party's view (the masks it drew, the messages it received) is then a row of random bits over the
values. If some of the rows, however many, add up to a constant, that constant depends on inputs: a mask was used
twice, or was known to the receiver, or was missing. So the rows, and a row of ones, must be linearly independent over
GF(2). The rows of lowest bits catch every combination with factors +1 and -1 in Z/2^64 as well.

For independent random rows a false alarm has a probability of about 2^-(values - rows), below 2^-1000 here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from keras_private.mpc import sign as sign_module
from keras_private.mpc import spline as spline_module
from keras_private.mpc import truncation as truncation_module
from keras_private.mpc.beside import compared
from keras_private.mpc.bits import SharedBits
from keras_private.mpc.equal import equal
from keras_private.mpc.floor import floor
from keras_private.mpc.maximum import maximum
from keras_private.mpc.ops.product import SecretProduct, lay_values
from keras_private.mpc.party import Party
from keras_private.mpc.relu import relu
from keras_private.mpc.reshare import empty_share, reshare
from keras_private.mpc.rounds import Protocol, together
from keras_private.mpc.select import select
from keras_private.mpc.sign import sign
from keras_private.mpc.spline import spline
from keras_private.mpc.truncation import truncation
from keras_private.plan.cost import Window
from keras_private.plan.plan import Op
from keras_private.plan.spline.table import Uniform
from keras_private.sharing.share import Share
from tests.plan.spline import handmade

from .three import Three
from .view import messages_to, views_of

VALUES = 4096
PLANE = VALUES // 64  # words


def rows_of(array: np.ndarray) -> Iterator[np.ndarray]:
    """The bits of a mask or message as rows of VALUES packed bits: of numbers, of short words, or of bit planes."""
    if array.dtype == np.uint64 and array.size % VALUES:
        yield from array.reshape(-1, PLANE)
        return
    width = array.size // VALUES
    kind = array.dtype if array.dtype != np.uint8 else np.dtype(f"u{width if width in (2, 4, 8) else 2}")
    for column in array.view(kind).reshape(-1, VALUES):
        bits = np.unpackbits(column[:, None].view(np.uint8), axis=1, bitorder="little")
        yield from np.packbits(bits.T, axis=1, bitorder="little").copy().view(np.uint64)


def dependent(rows: np.ndarray) -> int:
    """How many of the rows of packed bits are sums of others (over GF(2))."""
    rows, missing = rows.copy(), 0
    for i in range(len(rows)):
        filled = np.flatnonzero(rows[i])
        if not filled.size:
            missing += 1
            continue
        word = filled[0]
        bit = rows[i, word] & (~rows[i, word] + np.uint64(1))
        later = i + 1 + np.flatnonzero(rows[i + 1 :, word] & bit)
        rows[later] ^= rows[i]
    return missing


def deficits(three: Three, turn: int, protocol: Callable[..., Protocol[Any]], *arguments: list[Any]) -> list[int]:
    """For each party: how many rows of its view are sums of others."""
    views = views_of(three, turn, protocol, *arguments)
    found = []
    for view in views:
        seen = [*view.drawn, *messages_to(views, view.party.index)]
        rows = [row for array in seen for row in rows_of(array)]
        rows.append(np.full(PLANE, 2**64 - 1, np.uint64))
        assert len(rows) < VALUES - 1000
        found.append(dependent(np.stack(rows)))
    return found


def fixed(summands: tuple[int, int, int]) -> list[Share]:
    """The same sharing for every value."""
    arrays = [np.full(VALUES, summand % 2**64, np.uint64) for summand in summands]
    return [Share(arrays[i].copy(), arrays[(i + 1) % 3].copy()) for i in range(3)]


def fixed_bits(bits: tuple[int, int, int]) -> list[SharedBits]:
    planes = [np.full(PLANE, (2**64 - 1) * bit, np.uint64) for bit in bits]
    return [SharedBits(planes[i].copy(), planes[(i + 1) % 3].copy()) for i in range(3)]


def layer(kind: str, drop: int, *, with_relu: bool) -> Callable[[Party, Share], Protocol[Share]]:
    op = Op(kind, ("x",), ("w",), "y", {"drop": drop, "relu": with_relu, "bound": 40})
    weight = Share(np.full(1, 3, np.uint64), np.full(1, 5, np.uint64))
    return lambda party, x: SecretProduct(op, lay_values, [weight])(party, [x], x.shape)


def multiplied(kind: str, drop: int, **attrs: bool) -> Callable[[Party, Share], Protocol[Share]]:
    """The product of two tensors whose sharings depend on each other, or a square."""
    op = Op(kind, ("x", "y"), (), "z", {"drop": drop, "bound": 40, **attrs})
    return lambda party, x: SecretProduct(op, lay_values, [])(
        party, [x] if kind == "square" else [x, halved(x)], x.shape
    )


def three_ops(party: Party, x: Share) -> Protocol[Share]:
    """A layer, another, and a maximum: the views of all of them together, the dealer moving on."""
    first = yield from layer("mul", 16, with_relu=True)(party, x)
    party.take_turn(party.role - party.index + 1)
    second = yield from layer("mul", 17, with_relu=False)(party, first)
    party.take_turn(party.role - party.index + 1)
    return (yield from maximum(party, stacked(first, second), 20))


def side_by_side(party: Party, x: Share) -> Protocol[list[Share]]:
    """Several protocols of one secret in the same rounds, as in a stage."""
    return together(relu(party, x, 38), truncation(party, x, 16), sign(party, x, Window(15, 4, 6, 4)))


def halved(x: Share) -> Share:
    """Another secret made of the same sharing, as in a layer with two users."""
    return Share(x.mine >> np.uint64(1), x.next >> np.uint64(1))


PLAIN_TABLE = Uniform(10, 6, 2, -2, np.full((2, 4), 3), (0, 1), (5, -2), 16)


def stacked(*candidates: Share) -> Share:
    """(1, candidates, count), as `maximum` takes them."""
    return Share(np.stack([x.mine for x in candidates])[None], np.stack([x.next for x in candidates])[None])


def in_fours(x: Share) -> Share:
    """So few values that they meet in fours, and five channels: what the tests look at has one bit of each a row."""
    return stacked(x, halved(x), x, halved(x))


PROTOCOLS: dict[str, Callable[[Party, Share], Protocol[Any]]] = {
    "reshare": lambda party, x: reshare(party, x.mine, empty_share(x.shape)),
    "truncation by 16": lambda party, x: truncation(party, x, 16),
    "truncation by 17": lambda party, x: truncation(party, x, 17),
    "truncation by 40": lambda party, x: truncation(party, x, 40),
    "floor by 16": lambda party, x: floor(party, x, 16),
    "floor by 33": lambda party, x: floor(party, x, 33),
    "floor with relu": lambda party, x: floor(party, x, 16, 38, relu=True),
    "sign, groups of 3 in pairs": lambda party, x: sign(party, x, Window(15, 7, 3, 2)),
    "sign, groups of 6 in one node": lambda party, x: sign(party, x, Window(15, 4, 6, 4)),
    "sign, groups of 2 in threes": lambda party, x: sign(party, x, Window(15, 10, 2, 3)),
    "relu": lambda party, x: relu(party, x, 38),
    "relu with truncation": lambda party, x: relu(party, x, 50, 20),
    "maximum of 3 and a relu": lambda party, x: maximum(party, stacked(x, halved(x), x), 20, 20),
    "maximum of 4 at once": lambda party, x: maximum(party, in_fours(x), 20),
    "equality": lambda party, x: equal(party, x, 21),
    "equality with three constants": lambda party, x: equal(party, x, 7, [1, 2, -3]),
    "product of two tensors": multiplied("mul", 0, relu=False),
    "product of two tensors with truncation and relu": multiplied("mul", 17, relu=True),
    "square with truncation": multiplied("square", 16),
    "three ops": three_ops,
    "side by side": side_by_side,
    "spline, uniform table, few places": lambda party, x: spline(party, x, PLAIN_TABLE),
    "spline, compared": lambda party, x: compared(
        party, x, handmade.compared(40, 12, 8, -3, 6, 5), empty_share(x.shape)
    ),
}
BY_TREE = {
    "uniform table": Uniform(15, 7, 2, -2, np.full((2, 4), 3), (0, 1), (5, -2), 16),
    "refined table": handmade.refined(12, 2, [(-2, 1)]),
}
# Both values of the top bit of every summand, small and large secrets.
SHARINGS = [(1, 2, 3), (2**63 + 5, 2**62, -(2**63) - 2**62 + 77), (-1, 2**63 + 9, 2**40 - 2**63)]


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("turn", [0, 1, 2])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_nothing_adds_up_to_a_constant(
    memory_three: Three, name: str, turn: int, sharing: tuple[int, int, int]
) -> None:
    assert deficits(memory_three, turn, PROTOCOLS[name], fixed(sharing)) == [0, 0, 0]


@pytest.mark.parametrize("turn", [0, 1, 2])
@pytest.mark.parametrize("bits", [(0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)])
def test_select_adds_up_to_no_constant(memory_three: Three, bits: tuple[int, int, int], turn: int) -> None:
    for sharing in SHARINGS:
        assert deficits(memory_three, turn, select, fixed(sharing), fixed_bits(bits)) == [0, 0, 0]


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("turn", [0, 1, 2])
@pytest.mark.parametrize("name", BY_TREE)
def test_splines_by_trees_add_up_to_no_constant(
    memory_three: Three, name: str, turn: int, sharing: tuple[int, int, int]
) -> None:
    """Of keys this shows that no seed or mask is missing; that they tell nothing is an assumption (`mpc/dpf.py`)."""
    table = BY_TREE[name]
    assert deficits(memory_three, turn, lambda party, x: spline(party, x, table), fixed(sharing)) == [0, 0, 0]


# That the test can fail: protocols that are right in their results and wrong in their masks.


def reshare_with_a_mask_twice(party: Party, x: Share) -> Protocol[Share]:
    """x_2 serves as P1's mask too, so that P0 can take everything but z_2 off P2's message."""
    z, out = x.mine, empty_share(x.shape)
    if party.is_dealer:
        out.next[:] = party.masks.next.words(z.size)
        out.mine[:] = party.masks.mine.words(z.size)
        sent = z + party.masks.next.words(z.size) + out.mine - out.next - out.mine
        yield party.dealer_step([sent], [sent])
        return out
    outer = party.outer(out)
    outer[:] = party.outer_masks.words(z.size)
    sent = z - (party.outer_masks.words(z.size) if party.role == 0 else outer)
    peer, dealer = party.pair_received((yield party.pair_step([sent], sent.nbytes, sent.nbytes)))
    party.inner(out)[:] = sent + peer.view(np.uint64) + dealer.view(np.uint64)
    return out


def test_a_mask_used_twice_would_be_noticed(memory_three: Three) -> None:
    assert deficits(memory_three, 0, reshare_with_a_mask_twice, fixed(SHARINGS[0]))[0] > 0


def test_a_level_of_the_tree_under_the_masks_of_another_would_be_noticed(
    memory_three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two levels of a carry tree are dealt and opened under the same masks."""
    kept: dict[tuple[int, int], np.ndarray] = {}
    draw = sign_module._planes

    def again(stream: Any, rows: int, words: int) -> np.ndarray:
        return kept.setdefault((id(stream), rows), draw(stream, rows, words))

    monkeypatch.setattr(sign_module, "_planes", again)
    window = Window(0, 3, 2, 2)
    assert window.exchanges[1] == window.exchanges[2]  # of one size, so that the masks of one fit the other
    assert deficits(memory_three, 0, lambda party, x: sign(party, x, window), fixed(SHARINGS[0]))[1] > 0


def test_a_mask_used_for_two_numbers_would_be_noticed(memory_three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a truncation the bit of the dealer's and the share of P0's under one mask instead of two."""
    first: dict[int, np.ndarray] = {}
    draw = truncation_module._shorts
    monkeypatch.setattr(
        truncation_module, "_shorts", lambda stream, *size: first.setdefault(id(stream), draw(stream, *size))
    )
    assert deficits(memory_three, 0, PROTOCOLS["truncation by 16"], fixed(SHARINGS[0]))[1] > 0


def test_two_sums_under_one_mask_would_be_noticed(memory_three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a spline, what is opened of a table's offsets and of its slopes."""
    draw = spline_module._words

    def twice(stream: Any, shape: tuple[int, ...]) -> np.ndarray:
        words = draw(stream, shape)
        if shape[0] == 2:
            words[1] = words[0]
        return words

    monkeypatch.setattr(spline_module, "_words", twice)
    table = Uniform(10, 6, 2, -2, np.full((2, 4), 3), (0, 0), (0, 0), 16)
    found = deficits(memory_three, 0, lambda party, x: spline(party, x, table), fixed(SHARINGS[0]))
    assert found[0] > 0
    assert found[1] > 0
