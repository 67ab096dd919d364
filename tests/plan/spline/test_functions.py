from __future__ import annotations

import decimal
import itertools
from decimal import Decimal

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.plan.spline.functions import FUNCTIONS, Function, function

STRETCH = (2.0**-10, 2.0**10)
PARAMETERS = {
    "elu": (1.5,),
    "squareplus": (4.0,),
    "exp": (2.0, 1.0),
    "window_reciprocal": (5.0,),
    "reciprocal": (*STRETCH, 0.0),
    "rsqrt": (*STRETCH, 1.0),
}


def every_function() -> list[tuple[str, tuple[float, ...]]]:
    return [(name, PARAMETERS.get(name, STRETCH if count == 2 else ())) for name, count in FUNCTIONS.items()]


def places(found: Function) -> np.ndarray:
    """Where the function is defined, densely about zero."""
    x = np.concatenate([np.linspace(-20, 20, 801), [-(2.0**15), -300.5, 300.5, 2.0**15], np.exp2(np.arange(-10, 11))])
    low, high = found.low, found.high
    return x[(x >= (-np.inf if low is None else low)) & (x <= (np.inf if high is None else high))]


every = pytest.mark.parametrize(("name", "parameters"), every_function())


@every
def test_the_exact_function_and_the_plain_one_are_the_same(name: str, parameters: tuple[float, ...]) -> None:
    found = function(name, parameters)
    x = places(found)
    exact = np.array([float(found.exact(Decimal(value))) for value in x])
    np.testing.assert_allclose(found(x), exact, rtol=1e-12, atol=1e-13)


@every
def test_between_the_turning_points_it_is_monotone(name: str, parameters: tuple[float, ...]) -> None:
    found = function(name, parameters)
    x = np.sort(places(found))
    edges = [-np.inf, *found.turning, np.inf]
    for low, high in itertools.pairwise(edges):
        steps = np.diff(found(x[(x >= low) & (x <= high)]))
        assert np.all(steps >= -1e-12) or np.all(steps <= 1e-12)
    for turn in found.turning:
        sides = found(np.array([turn - 1e-3, turn, turn + 1e-3]))
        assert (sides[0] - sides[1]) * (sides[2] - sides[1]) > 0


@every
def test_far_away_it_is_on_its_lines_or_keeps_its_last_value(name: str, parameters: tuple[float, ...]) -> None:
    found = function(name, parameters)
    for line, end, x in ((found.below, found.low, -(2.0**20)), (found.above, found.high, 2.0**20)):
        if line is not None:
            assert abs(found(np.array(x)) - (float(line[0]) + line[1] * x)) < 1e-5
        else:
            assert end is not None
            assert found(np.array(x)) == found(np.array(end))


@every
def test_the_reach_holds_all_values_and_no_more(name: str, parameters: tuple[float, ...]) -> None:
    found, random = function(name, parameters), np.random.default_rng(3)
    low, high = np.sort(random.normal(size=(2, 200)) * 3, axis=0)
    least, most = found.reach(low, high)
    values = found(
        np.concatenate([np.linspace(low, high, 400), *(np.clip(turn, low, high)[None] for turn in found.turning)])
    )
    assert np.all((least <= values + 1e-12) & (values <= most + 1e-12))
    np.testing.assert_allclose(values.min(0), least, atol=2e-4, rtol=2e-2)
    np.testing.assert_allclose(values.max(0), most, atol=2e-4, rtol=2e-2)


def test_a_callers_decimal_context_changes_nothing() -> None:
    gelu, x = function("gelu"), Decimal("0.7")
    before = gelu.exact(x)
    with decimal.localcontext(prec=5, rounding=decimal.ROUND_UP):
        assert gelu.exact(x) == before


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cosh", ()),
        ("sigmoid", (1.0,)),
        ("elu", ()),
        ("elu", (0.0,)),
        ("elu", (float("nan"),)),
        ("elu", (1,)),
        ("squareplus", (-1.0,)),
        ("exp", (17.0, 1.0)),
        ("exp", (1.0, 0.3)),
        ("reciprocal", (0.0, 1.0, 0.0)),
        ("reciprocal", (1.0, 1.0, 0.0)),
        ("reciprocal", (1.0, 2.0, 0.3)),
        ("rsqrt", (2.0**-31, 1.0, 1.0)),
        ("rsqrt", (1.0, 2.0, 0.5)),
        ("window_reciprocal", (2.5,)),
        ("window_reciprocal", (40.0,)),
        ("log", (3.0, 8.0)),
    ],
)
def test_what_is_no_function_is_refused(name: str, parameters: tuple[float, ...]) -> None:
    with pytest.raises(PlanError):
        function(name, parameters)
