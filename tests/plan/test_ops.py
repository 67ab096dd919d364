"""Fractional bits in an executable plan; the shapes are tested through the builder and against the evaluation."""

import pytest

from keras_private.errors import PlanError
from keras_private.plan.ops import KINDS, MAX_ELEMENTS, infer, shape_fits, window_count
from keras_private.plan.plan import Op, Tensor, Weight

X = Tensor((4,), 16)


def op(kind: str, **attrs: object) -> Op:
    return Op(kind, ("x",), (), "y", attrs)


@pytest.mark.parametrize(
    ("given", "inputs", "weights", "frac"),
    [
        (op("matmul", drop=0, relu=False), [X], [Weight((4, 2), 18)], 34),
        (op("matmul", drop=18, relu=True, bound=40), [X], [Weight((4, 2), 18), Weight((2,), 34)], 16),
        (op("matmul", drop=20, relu=False), [Tensor((4,), 24)], [Weight((4, 2), 18)], 22),
        (op("mul", drop=16, relu=False), [X], [Weight((4,), 16)], 16),
        (op("mul", drop=16, relu=True), [X, Tensor((1,), 20)], [], 20),
        (op("square", drop=0), [Tensor((4,), 20)], [], 40),
        (op("matmul", drop=16, relu=False), [X, Tensor((2, 4, 3), 32)], [], 32),
        (op("einsum", drop=0, relu=False, equation="i,ij->"), [X], [Weight((4, 2), 9)], 25),
        (op("scale_int", multiplier=3, shift=5), [X], [], 21),
        (op("truncate", drop=4), [Tensor((4,), 20)], [], 16),
        (op("relu", drop=4), [Tensor((4,), 20)], [], 16),
        (op("add"), [Tensor((4,), 32), Tensor((4,), 32)], [], 32),
        (op("add"), [Tensor((4,), 32)], [Weight((4,), 32)], 32),
        (op("concat", axis=0), [X, X, X], [], 16),
        (op("reshape", shape=(2, 2)), [Tensor((4,), 40)], [], 40),
        (op("gather", axis=0, indices=(3, 0, 0)), [Tensor((4,), 40)], [], 40),
        (op("slice", starts=(1,), stops=(4,), strides=(2,)), [Tensor((4,), 40)], [], 40),
        (op("stack", axis=1), [X, X], [], 16),
        (op("sum", axes=(0,), keepdims=False), [Tensor((4,), 40)], [], 40),
        (op("public_matmul", matrix=((4, 1), (1, 2, 3, 4)), shift=5), [X], [], 21),
    ],
)
def test_fractional_bits(given: Op, inputs: list[Tensor], weights: list[Weight], frac: int) -> None:
    assert infer(given, inputs, weights, 16).frac == frac


@pytest.mark.parametrize(
    ("given", "inputs", "weights", "reason"),
    [
        (op("matmul", drop=0, relu=False), [X], [Weight((4, 2), 16), Weight((2,), 16)], "bias needs 32"),
        (op("matmul", drop=40, relu=False), [X], [Weight((4, 2), 16)], "-8 fractional bits"),
        (op("matmul", drop=0, relu=False), [X], [Weight((4, 2), 60)], "76 fractional bits"),
        (op("matmul"), [X], [Weight((4, 2), 16)], "missing"),
        (op("add"), [X, Tensor((4,), 17)], [], "cannot meet"),
        (op("add"), [X], [Weight((4,), 17)], "weight needs 16"),
        (op("concat", axis=0), [X, Tensor((4,), 17)], [], "cannot meet"),
        (op("gather", axis=0, indices=(0, 4)), [X], [], "no place 4"),
        (op("gather", axis=1, indices=(0,)), [X], [], "axis 1"),
        (op("gather", axis=0, indices=()), [X], [], "indices is malformed"),
        (op("gather", axis=0, indices=(-1,)), [X], [], "indices is malformed"),
        (op("gather", axis=-1, indices=(0,)), [X], [], "axis is malformed"),
        (op("slice", starts=(0, 0), stops=(1, 1), strides=(1, 1)), [X], [], "do not fit"),
        (op("slice", starts=(0,), stops=(1,), strides=(1, 1)), [X], [], "do not fit"),
        (op("slice", starts=(0,), stops=(5,), strides=(1,)), [X], [], "not all in"),
        (op("slice", starts=(2,), stops=(2,), strides=(1,)), [X], [], "not all in"),
        (op("slice", starts=(-1,), stops=(4,), strides=(1,)), [X], [], "starts is malformed"),
        (op("slice", starts=(0,), stops=(4,), strides=(0,)), [X], [], "strides is malformed"),
        (op("stack", axis=2), [X, X], [], "along axis 2"),
        (op("stack", axis=-1), [X, X], [], "axis is malformed"),
        (op("stack", axis=0), [X, Tensor((5,), 16)], [], "cannot be stacked"),
        (op("stack", axis=0), [X, Tensor((4,), 17)], [], "cannot meet"),
        (op("sum", axes=(1,), keepdims=True), [X], [], "has no axis 1"),
        (op("sum", axes=(), keepdims=True), [X], [], "axes is malformed"),
        (op("sum", axes=(0, 0), keepdims=True), [X], [], "axes is malformed"),
        (op("sum", axes=(-1,), keepdims=True), [X], [], "axes is malformed"),
        (op("public_matmul", matrix=((3, 1), (1, 2, 3)), shift=0), [X], [], "does not fit a matrix"),
        (op("public_matmul", matrix=((4,), (1, 2, 3, 4)), shift=0), [X], [], "matrix is malformed"),
        (op("public_matmul", matrix=((4, 1), (1, 2, 3)), shift=0), [X], [], "matrix is malformed"),
        (op("public_matmul", matrix=((4, 1), (1, 2, 3, 0.5)), shift=0), [X], [], "matrix is malformed"),
        (op("public_matmul", matrix=5, shift=0), [X], [], "matrix is malformed"),
        (op("public_matmul", matrix=((4, 1), (1, 2, 3, 4)), shift=50), [X], [], "66 fractional bits"),
        (op("public_matmul", matrix=((1, 4), (1, 2, 3, 4)), shift=0), [Tensor((), 16)], [], "does not fit a matrix"),
        (op("add"), [X, Tensor((5, 4), 16)], [], r"as many axes as each other, not \[\(4,\), \(5, 4\)\]"),
        (op("sub"), [Tensor((2, 2, 1), 16), Tensor((), 16)], [], "as many axes"),
        (op("concat", axis=0), [X, Tensor((4, 1), 16)], [], "as many axes"),
        (op("add"), [X], [Weight((1, 4), 16)], "does not fit"),
        (op("sub"), [X], [Weight((3, 4), 16)], "does not fit"),
        (op("mul", drop=0, relu=False), [X], [Weight((1, 4), 16)], "does not fit"),
        (op("mul", drop=0, relu=False), [X, X], [Weight((4,), 16)], "two inputs and no weight"),
        (op("mul", drop=0, relu=False), [X], [], "two inputs and no weight"),
        (op("mul", drop=0, relu=False), [X, Tensor((3, 4), 16)], [], "as many axes"),
        (op("mul", drop=0, relu=False), [X, Tensor((3,), 16)], [], "do not broadcast"),
        (op("square", drop=0), [X, X], [], "takes 1 to 1 inputs"),
        (op("matmul", drop=0, relu=False), [X, Tensor((3, 4), 16)], [], "do not fit each other"),
        (op("matmul", drop=0, relu=False), [X, X], [Weight((4, 2), 16)], "two inputs and no weight"),
        (op("matmul", drop=0, relu=False), [Tensor((), 16), X], [], "do not fit each other"),
        (op("einsum", drop=0, relu=False, equation="i,j->ij"), [X, Tensor((3, 4), 16)], [], "do not have the axes"),
        (op("einsum", drop=0, relu=False, equation="i,i->"), [X, Tensor((3,), 16)], [], "do not fit i,i->"),
        (op("einsum", drop=0, relu=False, equation="ii,i->"), [Tensor((2, 1), 16), X], [], "diagonal of unequal"),
        (op("einsum", drop=0, relu=False, equation="i,i->ii"), [X, X], [], "equation is malformed"),
        (op("einsum", drop=0, relu=False, equation="i,i->j"), [X, X], [], "equation is malformed"),
        (op("einsum", drop=0, relu=False, equation="...i,i->..."), [X, X], [], "equation is malformed"),
        (op("einsum", drop=0, relu=False, equation="i->"), [X, X], [], "equation is malformed"),
        (op("einsum", drop=0, relu=False, equation="abcdefghi,i->"), [X, X], [], "equation is malformed"),
        (op("scale_int", multiplier=((1, 4), (1, 2, 3, 4)), shift=0), [X], [], "does not fit"),
        (op("scale_int", multiplier=1, shift=50), [X], [], "66 fractional bits"),
        (op("truncate"), [X], [], "missing"),
        (op("scale", factor=0.5), [X], [], "does not belong in an executable"),
        (op("relu", drop=0), [X, X], [], "takes 1 to 1 inputs"),
        (op("x" * 500), [X], [], "unknown op kind 'x{40}'$"),
    ],
)
def test_refusals(given: Op, inputs: list[Tensor], weights: list[Weight], reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        infer(given, inputs, weights, 16)


def test_a_recorded_plan_may_broadcast_between_ranks() -> None:
    """It names values of one sample; `fixed_point` spells the missing axes out before anybody runs it."""
    assert infer(op("add"), [Tensor((4,)), Tensor((5, 4))], [], 0).shape == (5, 4)


def test_parts_of_unequal_rank_cannot_be_joined() -> None:
    with pytest.raises(PlanError, match="cannot be joined"):
        infer(op("concat", axis=1), [Tensor((4, 5)), Tensor((4,))], [], 0)


def test_limits() -> None:
    assert shape_fits(())
    assert shape_fits((MAX_ELEMENTS,))
    assert not shape_fits((MAX_ELEMENTS, 2))
    assert not shape_fits((0,))
    with pytest.raises(PlanError, match="elements at most"):
        infer(op("gather", axis=0, indices=(0,) * 1025), [Tensor((1, 1 << 18), 16)], [], 16)
    with pytest.raises(PlanError, match="elements at most"):
        infer(op("pad", paddings=((0, MAX_ELEMENTS),)), [X], [], 16)


@pytest.mark.parametrize(
    ("kind", "size", "pool", "reason"),
    [
        ("max_pool2d", 2, 1 << 19, "places"),
        ("max_pool2d", 1 << 15, 1 << 14, "all windows"),
        ("sum_pool2d", 1 << 15, 1 << 14, "all windows"),
    ],
)
def test_pools_are_limited_by_what_their_windows_hold(kind: str, size: int, pool: int, reason: str) -> None:
    """Padding makes room for windows far larger than the image: no party shall lay them out."""
    relu = {"relu": False} if kind == "max_pool2d" else {}
    pooling = op(kind, pool=(1, pool), strides=(1, 1), pads=(0, 0, 0, pool - 1), **relu)
    with pytest.raises(PlanError, match=reason):
        infer(pooling, [Tensor((1, size, 1), 16)], [], 16)


def test_window_count() -> None:
    assert window_count(28, 3, 1, 0, 0) == 26
    assert window_count(28, 3, 2, 1, 1) == 14
    assert window_count(7, 3, 1, 0, 0, 3) == 1
    assert window_count(6, 3, 1, 0, 0, 3) <= 0


def test_every_kind_belongs_somewhere() -> None:
    assert all(kind.recorded is not None or kind.executable is not None for kind in KINDS.values())
