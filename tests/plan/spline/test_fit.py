from __future__ import annotations

import decimal
from typing import Any

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.plan.spline import fit, functions, rows
from keras_private.plan.spline.fit import MAX_CELLS, Fitted, compared, refined, uniform
from keras_private.plan.spline.functions import function
from keras_private.plan.spline.request import Request

from .test_functions import every_function

GOAL = 21  # half bits
WIDE = (2.0**-20, 2.0**10)
NINE_DECADES: dict[str, tuple[float, ...]] = {"reciprocal": (0.0,), "rsqrt": (1.0,), "sqrt": ()}

# What the tables of a version of the plan are: parties of one version must come to the same ones.
DIGESTS = {
    "sigmoid": (
        "65ae2208dcf0dcdc95e98025d8953bcc61c5300b92687af020d2fa474b89e8d8",
        "31b900eb0a979fc62d6b8e4c97f6fcb0a2dd87f8252d691586015f0cff60ef2e",
        "8adb7c2d15670f3990cc5ef97d7cf8bd634d6a7be43ee7b7313959059e55e174",
    ),
    "gelu": (
        "c9ef6088ddfc5204ea8d8ce92126237479238e8f9313c525099bd16a6f1823fd",
        "e4a2bb1511b92950f720271d8a236fbedb766fd8e714a8e0a0510c92810c1573",
        "806591e50c5ee8cde21a4193181248f5e4e13384c97f8cb6d816f02d2b6f2e4d",
    ),
    "elu": (
        "f4b6936fbfe936ec2344d96b980010f86db9b1e9580faf4c11f952481c67860a",
        "",
        "",
    ),
    "reciprocal": (
        "cd21920a2538ccc9fb08abab67258a8785515c495452fdc705c420646785e2b7",
        "",
        "",
    ),
}


def request(name: str, parameters: tuple[float, ...], frac: int = 32) -> Request:
    return Request(name, parameters, 31, 16, frac, GOAL)


def digests(asked: Request) -> tuple[str, str, str]:
    even, beside = uniform(asked), compared(asked)
    return refined(asked).digest, "" if even is None else even.digest, "" if beside is None else beside.digest


def swept(fitted: Fitted, asked: Request, count: int = 10_000) -> tuple[float, float]:
    """The largest errors found: where the function is defined, in its own measure, and anywhere."""
    found, random, top = function(asked.name, asked.parameters), np.random.default_rng(1), (1 << asked.bound) - 1
    near = random.normal(size=count) * 2.0 ** min(asked.bound, asked.x_frac + 2)
    sizes = np.exp2(random.uniform(0, asked.bound, count)) * random.choice([-1, 1], count)
    edges = np.array([-top, -1, 0, 1, top])
    x = np.clip(np.concatenate([near, sizes, edges]), -top, top).astype(np.int64)
    real = np.ldexp(x.astype(float), -asked.x_frac)
    value = np.ldexp(fitted.table.value(x, random.integers(0, 1 << 64, len(x), dtype=np.uint64)), -asked.frac)
    plain = found(real)
    error = np.abs(value - plain)
    low, high = -np.inf if found.low is None else found.low, np.inf if found.high is None else found.high
    inside = (low <= real) & (real <= high)
    measure = np.ones_like(plain) if found.floor is None else np.maximum(found.floor, np.abs(plain))
    if found.inverse:
        measure = np.where(inside, 1 / np.where(inside, real, 1.0), 1.0)
    return float(np.max((error / measure)[inside])), float(np.max(error))


@pytest.mark.parametrize(("name", "parameters"), every_function())
def test_tables_are_as_exact_as_they_say_and_as_was_asked(name: str, parameters: tuple[float, ...]) -> None:
    asked = request(name, parameters)
    for fitted in (refined(asked), uniform(asked), compared(asked)):
        if fitted is not None:
            error, anywhere = swept(fitted, asked)
            assert error <= fitted.error <= 2 ** (-GOAL / 2)
            assert anywhere <= fitted.anywhere
            assert error > fitted.error / 2


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "erf", "gelu", "gelu_tanh", "silu"])
def test_activations_have_tables_of_both_forms_over_their_whole_range(name: str) -> None:
    fitted = uniform(request(name, ()))
    assert fitted is not None
    assert fitted.table.bound == 31
    assert refined(request(name, ())).error <= 2**-10.5


@pytest.mark.parametrize("name", list(NINE_DECADES))
def test_nine_decades(name: str) -> None:
    asked = Request(name, (*WIDE, *NINE_DECADES[name]), 43, 32, 32, 20)
    fitted = refined(asked)
    error, _ = swept(fitted, asked)
    assert error <= fitted.error <= 2**-10


@pytest.mark.parametrize(
    ("bound", "x_frac", "frac"), [(8, 8, 24), (20, 16, 24), (44, 32, 32), (62, 40, 30), (12, 0, 20)]
)
def test_sizes_and_fractional_bits_of_every_kind(bound: int, x_frac: int, frac: int) -> None:
    for name in ("sigmoid", "silu"):
        asked = Request(name, (), bound, x_frac, frac, 18)
        for fitted in (refined(asked), uniform(asked), compared(asked)):
            if fitted is not None:
                assert swept(fitted, asked)[0] <= fitted.error <= 2**-9


def test_values_that_no_word_holds_are_where_no_number_comes() -> None:
    asked = Request("elu", (1.7,), 62, 16, 26, GOAL)
    fitted, random = refined(asked), np.random.default_rng(3)
    x = (random.normal(size=5000) * 2.0 ** random.uniform(14, 50, 5000)).astype(np.int64)
    value = fitted.table.value(x, random.integers(0, 1 << 64, len(x), dtype=np.uint64)) * 2.0**-26
    assert np.max(np.abs(value - function("elu", (1.7,))(x * 2.0**-16))) <= fitted.error * (1 + 1e-6)


def test_lines_that_the_fractional_bits_cannot_tell_have_no_uniform_table() -> None:
    assert uniform(Request("silu", (), 40, 32, 31, GOAL)) is None
    assert uniform(Request("silu", (), 40, 32, 32, GOAL)) is not None
    assert uniform(Request("sigmoid", (), 40, 32, 24, GOAL)) is not None


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "silu", "softplus", "mish"])
def test_activations_have_a_table_to_be_compared_with_however_large_x_may_be(name: str) -> None:
    for bound, x_frac in ((62, 50), (54, 20), (38, 26)):
        asked = Request(name, (), bound, x_frac, 26, GOAL)
        fitted = compared(asked)
        assert fitted is not None
        assert swept(fitted, asked)[0] <= fitted.error <= 2 ** (-GOAL / 2)


def test_numbers_that_may_not_be_beside_the_cells_are_not_compared_with_them() -> None:
    assert compared(Request("sigmoid", (), 17, 16, 26, GOAL)) is None


def test_an_exponential_for_sums_of_a_thousand() -> None:
    asked = Request("exp", (0.0, 1.0), 40, 32, 36, 26)
    fitted = uniform(asked)
    assert fitted is not None
    assert swept(fitted, asked)[0] <= 2**-13


@pytest.mark.parametrize("name", list(DIGESTS))
def test_every_machine_comes_to_the_same_tables(name: str) -> None:
    asked = request(name, dict(every_function())[name])
    assert digests(asked) == DIGESTS[name]


@pytest.mark.parametrize("given", [{"prec": 5, "rounding": decimal.ROUND_UP}, {"traps": [decimal.Inexact]}])
def test_a_callers_decimal_context_changes_no_table(given: dict[str, Any]) -> None:
    """Else an owner who has set one for their own sums would simulate other tables than the parties read."""
    with decimal.localcontext(decimal.Context(**given)):
        for name in ("gelu", "elu"):
            asked = request(name, dict(every_function())[name])
            for kept in (uniform, compared, fit._refined, functions._made, rows.exact_value):
                kept.cache_clear()
            assert digests(asked) == DIGESTS[name]


def test_a_digest_is_of_every_number() -> None:
    fitted = refined(request("sigmoid", ()))
    before = fitted.digest
    rows = fitted.table.levels[5].rows  # type: ignore[union-attr]
    rows[1, 2] += 1
    try:
        assert fitted.digest != before
    finally:
        rows[1, 2] -= 1


@pytest.mark.parametrize(
    "asked",
    [
        Request("sigmoid", (), 63, 16, 28, GOAL),
        Request("sigmoid", (), 31, -1, 28, GOAL),
        Request("sigmoid", (), 31, 16, 41, GOAL),
        Request("sigmoid", (), 31, 16, 28, 40),
        Request("sigmoid", (), 31, 16, 16, 30),
        Request("reciprocal", (2.0**-30, 2.0**30, 0.0), 62, 30, 40, 24),
        Request("reciprocal", (2.0**-20, 2.0**10, 0.0), 31, 16, 32, GOAL),
        Request("rsqrt", (2.0**20, 2.0**30, 1.0), 31, 16, 32, GOAL),
        Request("squareplus", (64.0,), 62, 16, 16, 30),
    ],
)
def test_what_cannot_be_had_is_refused_soon(asked: Request) -> None:
    """Before many values of the function have been taken; and at once when it is asked for again, as in every run."""
    found = function(asked.name, asked.parameters)
    taken = []

    def counted(x: object) -> object:
        taken.append(x)
        return exact(x)

    exact = found.exact
    object.__setattr__(found, "exact", counted)
    try:
        with pytest.raises(PlanError):
            refined(asked)
        first = len(taken)
        assert first < 16 * MAX_CELLS
        with pytest.raises(PlanError):
            refined(asked)
        assert len(taken) == first
    finally:
        object.__setattr__(found, "exact", exact)
