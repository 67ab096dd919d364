"""Formulas over shared bits, and equality, against numpy."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.bits import SharedBits
from keras_private.mpc.equal import equal
from keras_private.mpc.gates import gates
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol
from keras_private.plan import gates as plan_gates
from keras_private.plan.gates import AND, WINNER, Gates, conjunction, products
from keras_private.sharing.share import Share

from .strategies import ring_arrays
from .three import Three, shares_of

ODD = Gates(4, (((), (0,), (1, 2, 3)), ((0, 3), (2,)), ((),), ((1,), (1, 2), (0, 1, 2, 3))))


def shared_planes(planes: np.ndarray, noise: np.random.Generator) -> list[SharedBits]:
    first, second = (noise.integers(0, 2**64, planes.shape, np.uint64) for _ in range(2))
    parts = [first, second, planes ^ first ^ second]
    return [SharedBits(parts[i], parts[(i + 1) % 3]) for i in range(3)]


def opened(outputs: list[SharedBits]) -> np.ndarray:
    for i in range(3):
        np.testing.assert_array_equal(outputs[i].next, outputs[(i + 1) % 3].mine)
    return outputs[0].mine ^ outputs[1].mine ^ outputs[2].mine


def meaning(formulas: Gates, planes: np.ndarray) -> np.ndarray:
    ones = np.full(planes.shape[1:], ~np.uint64(0))
    terms = [[reduce(np.bitwise_and, [planes[i] for i in term], ones) for term in out] for out in formulas.outputs]
    return np.stack([reduce(np.bitwise_xor, out) for out in terms])


@pytest.mark.parametrize("wait", [0, 2])
@pytest.mark.parametrize("formulas", [AND, WINNER, ODD, products(7, 4, fresh=False)])
def test_formulas(three: Three, formulas: Gates, wait: int) -> None:
    noise = np.random.default_rng(formulas.inputs)
    planes = noise.integers(0, 2**64, (formulas.inputs, 1, 5), np.uint64)

    def protocol(party: Party, b: SharedBits) -> Protocol[SharedBits]:
        return (yield from gates(party, formulas, b, wait=wait))

    outputs = three.run(protocol, shared_planes(planes, noise))
    np.testing.assert_array_equal(opened(outputs), meaning(formulas, planes))
    declared = plan_gates.cost(formulas, 5)
    assert three.counted() == (declared.rounds + wait, declared.sent)


def test_exactly_one_of_four_wins_whatever_the_bits_are() -> None:
    for bits in range(64):
        planes = np.array([[[(bits >> i & 1) * (2**64 - 1)]] for i in range(6)], np.uint64)
        b, c, d = (bool(plane[0, 0]) for plane in meaning(WINNER, planes))
        ab, cd, ac, ad, bc, bd = (bool(bits >> i & 1) for i in range(6))
        meets = {(0, 2): ac, (0, 3): ad, (1, 2): bc, (1, 3): bd}
        first, second = int(ab), 2 + int(cd)
        winner = second if meets[first, second] else first
        assert (b, c, d) == (winner == 1, winner == 2, winner == 3)


@given(data=st.data(), width=st.sampled_from([1, 2, 7, 21, 64]), wait=st.integers(0, 1))
def test_equality_is_exact(three: Three, data: st.DataObject, width: int, wait: int) -> None:
    x = data.draw(ring_arrays(min(width, 63))) if width > 1 else data.draw(ring_arrays(2))
    constants = [0, int(x.flat[0]), -1]

    def protocol(party: Party, x: Share) -> Protocol[SharedBits]:
        return (yield from equal(party, x, width, constants, wait=wait))

    planes = opened(three.run(protocol, shares_of(x.view(np.uint64))))
    bits = np.unpackbits(planes.view(np.uint8), axis=1, bitorder="little")[:, : x.size].astype(bool)
    low = np.uint64(2**width - 1)
    for found, constant in zip(bits, constants, strict=True):
        np.testing.assert_array_equal(found, ((x.ravel() - constant).view(np.uint64) & low) == 0)
    declared = plan_gates.equal(x.size, width, 3)
    assert three.counted() == (declared.rounds + wait, declared.sent)


@pytest.mark.parametrize("width", [1, 2, 5, 10, 21, 63, 64])
@pytest.mark.parametrize("count", [1, 1000, 100_000])
def test_a_conjunction_ends_in_one_bit(width: int, count: int) -> None:
    levels = conjunction(width, count)
    assert levels[0].fresh
    assert [level.inputs for level in levels] == [width, *(len(level.outputs) for level in levels[:-1])]
    assert len(levels[-1].outputs) == 1
    assert not any(level.fresh for level in levels[1:])


def test_formulas_of_many_numbers_of_values_are_kept_once() -> None:
    """They may be thousands of products; a party meets as many numbers of values as there are sizes of batches."""
    found = {id(level) for count in range(1, 40_000, 64) for level in conjunction(63, count)}
    assert len(found) < 10
