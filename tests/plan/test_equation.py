"""Equations mean what numpy's einsum means by them, and no equation lets rows of a batch meet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.errors import PlanError
from keras_private.plan.ops.equation import Equation, canonical, without_batch

RANDOM = np.random.default_rng(4)


@st.composite
def equations(draw: st.DrawFn) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """Of letters that meet, are summed, are on a diagonal, broadcast; with shapes."""
    left, right = ("".join(draw(st.lists(st.sampled_from("abcde"), max_size=4))) for _ in range(2))
    out = draw(st.lists(st.sampled_from(sorted({*left, *right}) or [""]), unique=True, max_size=5))
    sizes = {letter: draw(st.integers(1, 3)) for letter in "abcde"}
    shapes = []
    for part in (left, right):
        one = draw(st.sampled_from(["", *part])) if len(set(part)) == len(part) else ""
        shapes.append(tuple(1 if letter == one else sizes[letter] for letter in part))
    return f"{left},{right}->{''.join(out)}", shapes[0], shapes[1]


@given(equations())
def test_an_equation_is_numpys(drawn: tuple[str, tuple[int, ...], tuple[int, ...]]) -> None:
    text, left, right = drawn
    x, y = RANDOM.normal(size=(2, *left)), RANDOM.normal(size=(2, *right))
    expected = np.stack([np.einsum(text, *pair) for pair in zip(x, y, strict=True)])
    equation = Equation.read(text)
    np.testing.assert_allclose(equation.multiply(x, y, of_batch=True), expected, atol=1e-12)
    assert equation.shape(left, right) == expected.shape[1:]
    one = np.stack([np.einsum(text, each, y[0]) for each in x])
    np.testing.assert_allclose(equation.multiply(x, y[0], of_batch=False), one, atol=1e-12)
    again = Equation.read(str(equation))
    np.testing.assert_allclose(again.multiply(x, y, of_batch=True), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("left", "right"),
    [((4,), (4,)), ((4,), (4, 2)), ((3, 4), (4,)), ((3, 4), (4, 2)), ((5, 3, 4), (4, 2)), ((3, 4), (5, 4, 2)),
     ((5, 1, 3, 4), (6, 4, 2)), ((4,), (6, 4, 2)), ((6, 3, 4), (4,)), ((1, 3, 4), (6, 4, 2))],
)  # fmt: skip
def test_matmul_is_numpys_of_each_sample(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    x, y = RANDOM.normal(size=(2, *left)), RANDOM.normal(size=(2, *right))
    equation = Equation.of_matmul(len(left), len(right))
    expected = np.stack([np.matmul(*pair) for pair in zip(x, y, strict=True)])
    np.testing.assert_allclose(equation.multiply(x, y, of_batch=True), expected, atol=1e-12)
    assert equation.shape(left, right) == expected.shape[1:]


@pytest.mark.parametrize(
    ("text", "left", "right"),
    [
        ("ij,jk", (2, 3), (3, 4)),
        ("ba , ca", (2, 3), (4, 3)),
        ("ii,i", (3, 3), (3,)),
        ("...ij,...jk->...ik", (5, 2, 3), (5, 3, 4)),
        ("...ij,...jk", (5, 2, 3), (3, 4)),
        ("i...,...i->...", (3, 2), (4, 2, 3)),
        ("...,...", (), (2,)),
        ("ij,kl->", (2, 3), (3, 4)),
    ],
)
def test_other_forms_that_numpy_takes(text: str, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    x, y = RANDOM.normal(size=left), RANDOM.normal(size=right)
    equation = Equation.read(canonical(text, [len(left), len(right)]))
    np.testing.assert_allclose(equation.multiply(x[None], y[None], of_batch=True)[0], np.einsum(text, x, y))


@pytest.mark.parametrize(
    ("text", "ranks"),
    [("ij", [2, 0]), ("ij,jk,kl", [2, 2]), ("ij,jk", [3, 2]), ("ij,jk", [1, 2]), ("i..j,jk", [3, 2]),
     ("..ij,j", [3, 1]), ("...i,i->", [3, 1]), ("...i...,i", [3, 1]), ("i,i->ii", [1, 1]), ("i,i->k", [1, 1]),
     ("i,i>", [1, 1])],
)  # fmt: skip
def test_what_numpy_refuses(text: str, ranks: list[int]) -> None:
    with pytest.raises(PlanError):
        canonical(text, ranks)
    with pytest.raises(ValueError, match=r"."):
        np.einsum(text, *(np.ones((2,) * rank) for rank in ranks))


@pytest.mark.parametrize(
    ("text", "ranks", "tensors", "expected"),
    [
        ("bij,bjk->bik", [3, 3], [True, True], "ij,jk->ik"),
        ("bi,io->bo", [2, 2], [True, False], "i,io->o"),
        ("io,bi->bo", [2, 2], [False, True], "io,i->o"),
        ("...i,io->...o", [3, 2], [True, False], "...i,io->...o"),
        ("...i,...i->...", [3, 3], [True, True], "...i,...i->..."),
    ],
)
def test_the_batch_goes(text: str, ranks: list[int], tensors: list[bool], expected: str) -> None:
    assert without_batch(text, ranks, tensors) == expected


@pytest.mark.parametrize(
    ("text", "ranks", "tensors"),
    [
        ("bij,bjk->ik", [3, 3], [True, True]),  # summed over the batch
        ("bi,ci->bc", [2, 2], [True, True]),  # every row with every other
        ("bi,bi->ib", [2, 2], [True, True]),
        ("ib,bi->bi", [2, 2], [True, True]),
        ("bb,b->b", [2, 1], [True, True]),
        ("bi,bi->bi", [2, 2], [True, False]),  # a weight with a number for each row
        ("...i,...i->...", [3, 2], [True, True]),  # the batch of one meets another axis
        ("...i,...i->...", [3, 3], [True, False]),
        ("bi,bi->", [2, 2], [True, True]),
        ("bi,bi", [2, 2], [True, True]),
    ],
)
def test_rows_do_not_meet(text: str, ranks: list[int], tensors: list[bool]) -> None:
    with pytest.raises(PlanError):
        without_batch(text, ranks, tensors)
