"""What a kind tells the rewriting passes of its ops is true: checked by what its samples compute."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from keras_private.plan.attributes import constant, constant_array
from keras_private.plan.evaluate import apply
from keras_private.plan.ops import KINDS, rectified
from keras_private.plan.passes.graph import full_rank
from keras_private.plan.plan import Op, Shape

from .sample import FRAC, Sample
from .samples import SAMPLES

CONSTANTS = ("factor", "multiplier")  # attributes that hold one

every_kind = pytest.mark.parametrize("kind", SAMPLES)


class Given:
    """A sample's op with real operands, three rows of each input."""

    def __init__(self, kind: str, sample: Sample) -> None:
        random = np.random.default_rng(7)
        self.op, self.kind = sample.op(kind), KINDS[kind]
        self.shape = sample.plan(kind).tensors["y"].shape
        self.xs = [random.normal(size=(3, *shape)) for shape in sample.inputs]
        self.ws = [random.normal(size=shape) for shape in sample.weights]

    @property
    def alone(self) -> bool:
        return len(self.xs) == 1

    def __call__(self, *xs: np.ndarray, op: Op | None = None, ws: Sequence[np.ndarray] | None = None) -> np.ndarray:
        return apply(self.op if op is None else op, xs, self.ws if ws is None else ws)


def samples_of(kind: str) -> list[Given]:
    return [Given(kind, sample) for sample in SAMPLES[kind]]


def factors(shape: Shape) -> list[np.ndarray]:
    """Positive ones with as many axes as `shape`, for every choice of axes along which they vary."""
    random = np.random.default_rng(5)
    grids = itertools.product(*((1, size) if size > 1 else (1,) for size in shape))
    return [random.uniform(0.5, 2.0, grid) for grid in grids]


@every_kind
def test_a_factor_that_moves_past_an_op_leaves_its_result(kind: str) -> None:
    for one in samples_of(kind):
        (x, *_), given = one.xs, one.xs[0].shape[1:]
        for back, public, sign in itertools.product((False, True), (False, True), (1.0, -1.0)):
            for factor in factors(one.shape if back else given):
                moved = one.kind.moved_factor(one.op, sign * factor, given, back=back, public=public)
                if moved is None:
                    continue
                assert one.alone
                assert moved.ndim == len(given if back else one.shape)
                before, after = (moved, sign * factor) if back else (sign * factor, moved)
                np.testing.assert_allclose(one(before * x), after * one(x), atol=1e-12)


@every_kind
def test_whether_a_secret_factor_moves_does_not_depend_on_it(kind: str) -> None:
    for one in samples_of(kind):
        given = one.xs[0].shape[1:]
        for back in (False, True):
            for factor in factors(one.shape if back else given):
                found = {
                    one.kind.moved_factor(one.op, value, given, back=back, public=False) is None
                    for value in (factor, -factor, 0 * factor)
                }
                assert len(found) == 1


def test_factors_do_move() -> None:
    """So that the tests above are of something."""
    for kind in ("relu", "reshape", "transpose", "pad", "gather", "sum_pool2d", "max_pool2d"):
        one = samples_of(kind)[0]
        for back, shape in ((False, one.xs[0].shape[1:]), (True, one.shape)):
            everywhere = np.full((1,) * len(shape), 0.5)
            assert one.kind.moved_factor(one.op, everywhere, one.xs[0].shape[1:], back=back, public=True) is not None


@every_kind
def test_a_transpose_that_moves_past_an_op_leaves_its_result(kind: str) -> None:
    for one in samples_of(kind):
        rank = one.xs[0].ndim - 1
        for perm in itertools.permutations(range(rank)):
            attrs = one.kind.transposed(one.op, perm)
            if attrs is None:
                continue
            back = np.argsort(perm)

            def turned(value: np.ndarray, back: Any = back, rank: int = rank) -> np.ndarray:
                return full_rank(value, rank).transpose(back)

            constants = {name: constant_array(attrs[name]) for name in CONSTANTS if name in attrs}
            attrs = {**attrs, **{name: constant(turned(array)) for name, array in constants.items()}}
            xs = [x.transpose(0, *(back + 1)) for x in one.xs]
            found = one(*xs, op=replace(one.op, attrs=attrs), ws=[turned(weight) for weight in one.ws])
            np.testing.assert_allclose(found.transpose(0, *(axis + 1 for axis in perm)), one(*one.xs), atol=1e-12)


@every_kind
def test_what_does_nothing_does_nothing(kind: str) -> None:
    for one in samples_of(kind):
        if one.kind.does_nothing(one.op, one.xs[0].shape[1:]):
            np.testing.assert_array_equal(one(*one.xs), one.xs[0])


@every_kind
def test_the_properties_that_a_kind_declares(kind: str) -> None:
    for one, sample in zip(samples_of(kind), SAMPLES[kind], strict=True):
        result, (x, *_) = one(*one.xs), one.xs
        if rectified(one.op):
            assert result.min(initial=0.0) >= 0
        if one.kind.elementwise and one.alone:
            other = x.copy()
            other.reshape(3, -1)[:, 0] += 1.0
            np.testing.assert_array_equal(one(other).reshape(3, -1)[:, 1:], result.reshape(3, -1)[:, 1:])
        if one.kind.public_linear and one.alone:
            nothing = one(0 * x)
            np.testing.assert_allclose(one(-2.5 * x) - nothing, -2.5 * (result - nothing), atol=1e-9)
        if one.kind.carries:
            assert not one.kind.interactive
            assert sample.plan(kind).tensors["y"].frac == (0 if sample.bits else FRAC)
        if one.kind.pads_zeros:
            top, bottom, left, right = one.op.attrs["pads"]
            padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
            bare = replace(one.op, attrs={**one.op.attrs, "pads": (0, 0, 0, 0)})
            np.testing.assert_allclose(one(padded, *one.xs[1:], op=bare), result, atol=1e-12)
