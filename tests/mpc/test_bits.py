"""Bits between their two forms, and what keeps them from being taken for numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.errors import InputError, PlanError
from keras_private.mpc.bits import empty_bits, pack, unpack
from keras_private.plan.ops import infer
from keras_private.plan.plan import Op, Tensor
from keras_private.sharing.share import Share

from .strategies import SHAPES

BITS, NUMBERS = Tensor((4,), bit=True), Tensor((4,), 16)


@given(shape=SHAPES, seed=st.integers(0, 2**32))
def test_bits_survive_being_planes(shape: tuple[int, ...], seed: int) -> None:
    generator = np.random.default_rng(seed)
    share = Share(*(generator.integers(0, 2, shape, np.uint8) for _ in range(2)))
    planes = empty_bits(share.mine.size)
    pack(share, planes)
    packed = np.packbits(share.mine.ravel(), bitorder="little")
    np.testing.assert_array_equal(planes.mine.view(np.uint8)[: packed.size], packed)
    assert not planes.mine.view(np.uint8)[packed.size :].any()  # what fills the last word up
    again = unpack(planes, shape)
    np.testing.assert_array_equal(again.mine, share.mine)
    np.testing.assert_array_equal(again.next, share.next)


@pytest.mark.parametrize("dtypes", [("u8", "u1"), ("u1", "u8"), ("u4", "u4"), ("i8", "i8"), ("?", "?")])
def test_a_share_is_of_numbers_or_of_bits(dtypes: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="two uint64"):
        Share(*(np.zeros(3, dtype) for dtype in dtypes))


@pytest.mark.parametrize(
    "op",
    [
        Op("add", ("x", "y"), (), "z", {}),
        Op("relu", ("x",), (), "z", {"drop": 0}),
        Op("truncate", ("x",), (), "z", {"drop": 1}),
        Op("scale_int", ("x",), (), "z", {"multiplier": 2, "shift": 1}),
        Op("concat", ("x", "y", "y"), (), "z", {"axis": 0}),
    ],
)
def test_bits_and_numbers_do_not_meet(op: Op) -> None:
    given = [BITS, NUMBERS, NUMBERS][: len(op.inputs)]
    with pytest.raises(PlanError, match="does not take bits"):
        infer(op, given, [], 16)


def test_moved_bits_are_bits() -> None:
    assert infer(Op("reshape", ("x",), (), "z", {"shape": (2, 2)}), [BITS], [], 16) == Tensor((2, 2), bit=True)
    assert infer(Op("concat", ("x", "y"), (), "z", {"axis": 0}), [BITS, BITS], [], 16) == Tensor((8,), bit=True)
