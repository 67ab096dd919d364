"""The functions of one number that a spline op knows: by name, with public parameters.

Each says what it is three times: exactly, for the tables that the parties build; in float64, the plain meaning; and
what it looks like from afar, the lines that it tends to and where it turns. One that is defined on a stretch only,
from `low` to `high`, keeps outside the value at the nearer end. (A table does so but for its cells about the ends.)

Errors are measured absolutely; or, of functions whose values span many powers of two, in parts of the value, or of
`floor` where that is larger; or in parts of 1/x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan.spline import exact as ex
from keras_private.plan.spline.exact import HALF, ONE, ZERO, Exact

Array: TypeAlias = NDArray[np.float64]
Plain: TypeAlias = Callable[[Array], Array]
Line: TypeAlias = tuple[Decimal, int]  # offset, slope: 0 or 1

FLAT: Line = (ZERO, 0)
AT_ONE: Line = (ONE, 0)
AT_MINUS_ONE: Line = (-ONE, 0)
DIAGONAL: Line = (ZERO, 1)

MAX_EXPONENT = 30  # of the ends of a stretch, powers of two
MAX_PARAMETER = 64.0
WINDOW_PEAK = 0.697482981786336  # where (1 - psi(x)) / x is largest, of `window_reciprocal`


@dataclass(frozen=True, eq=False)
class Function:
    """A function of one number.

    Args:
        exact: in decimal, for `low` <= x <= `high`.
        plain: the same in float64.
        below: the line that it tends to far below, if there is one; above: far above.
        low: the lowest number that it is defined for; None: there is none.
        high: the highest one.
        turning: where it turns from falling to growing or back, in order.
        floor: errors are measured in parts of max(floor, |value|); None: absolutely.
        inverse: errors are measured in parts of 1/x.
    """

    exact: Exact
    plain: Plain
    below: Line | None = None
    above: Line | None = None
    low: float | None = None
    high: float | None = None
    turning: tuple[float, ...] = ()
    floor: float | None = None
    inverse: bool = False

    def __call__(self, x: Array) -> Array:
        """The plain meaning, for any x."""
        low, high = -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high
        with np.errstate(over="ignore", under="ignore"):
            return self.plain(np.clip(x, low, high))

    def reach(self, low: Array, high: Array) -> tuple[Array, Array]:
        """The lowest and the highest value between two numbers."""
        at_low, at_high = self(low), self(high)
        least, most = np.minimum(at_low, at_high), np.maximum(at_low, at_high)
        for turn in self.turning:
            inside, value = (low < turn) & (turn < high), self(np.array(turn))
            least = np.where(inside, np.minimum(least, value), least)
            most = np.where(inside, np.maximum(most, value), most)
        return least, most


Make: TypeAlias = Callable[..., Function]

_MAKERS: dict[str, tuple[int, Make]] = {}


def function(name: str, parameters: tuple[float, ...] = ()) -> Function:
    """The function of this name.

    Raises:
        PlanError: there is none, or its parameters cannot be.
    """
    count, make = _MAKERS.get(name, (0, None))
    if make is None:
        raise PlanError(f"there is no function {name[:40]!r}; there are {', '.join(sorted(_MAKERS))}")
    if len(parameters) != count or not all(type(value) is float and math.isfinite(value) for value in parameters):
        raise PlanError(f"function {name!r} takes {count} finite parameters, not {str(parameters)[:60]}")
    return _made(name, parameters)


def names() -> frozenset[str]:
    """Of every function that there is."""
    return frozenset(_MAKERS)


@lru_cache(maxsize=256)
def _made(name: str, parameters: tuple[float, ...]) -> Function:
    return _MAKERS[name][1](*parameters)


def _is(name: str, found: Function) -> None:
    _MAKERS[name] = (0, lambda: found)


def _takes(name: str, count: int) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        _MAKERS[name] = (count, make)
        return make

    return register


def _square(x: Decimal) -> Decimal:
    return x * x


# --- in float64


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _erf(x: Array) -> Array:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), np.float64)


def _bent(x: Array) -> Array:
    """What the tanh of gelu's second form is taken of."""
    return float(ex.SQRT_2_OVER_PI) * (x + 0.044715 * x * x * x)


# --- defined everywhere

_is("sigmoid", Function(ex.exactly(ex.sigmoid), _sigmoid, FLAT, AT_ONE))
_is("tanh", Function(ex.exactly(ex.tanh), np.tanh, AT_MINUS_ONE, AT_ONE))
_is("erf", Function(ex.exactly(ex.erf), _erf, AT_MINUS_ONE, AT_ONE))
_is("softplus", Function(ex.exactly(ex.softplus), _softplus, FLAT, DIAGONAL))
_is(
    "softsign",
    Function(ex.exactly(lambda x: x / (ONE + abs(x))), lambda x: x / (1.0 + np.abs(x)), AT_MINUS_ONE, AT_ONE),
)
_is(
    "silu",
    Function(
        ex.exactly(lambda x: x * ex.sigmoid(x)),
        lambda x: x * _sigmoid(x),
        FLAT,
        DIAGONAL,
        turning=(-1.278464542761074,),
    ),
)
_is(
    "gelu",
    Function(
        ex.exactly(lambda x: x * HALF * (ONE + ex.erf(x / ex.SQRT_2))),
        lambda x: x * 0.5 * (1.0 + _erf(x * math.sqrt(0.5))),
        FLAT,
        DIAGONAL,
        turning=(-0.7517915246935645,),
    ),
)
_is(
    "gelu_tanh",
    Function(
        ex.exactly(lambda x: x * ex.sigmoid(2 * ex.SQRT_2_OVER_PI * (x + Decimal("0.044715") * x * x * x))),
        lambda x: x * 0.5 * (1.0 + np.tanh(_bent(x))),
        FLAT,
        DIAGONAL,
        turning=(-0.7524614220710162,),
    ),
)
_is(
    "mish",
    Function(
        ex.exactly(lambda x: x * ex.tanh(ex.softplus(x))),
        lambda x: x * np.tanh(_softplus(x)),
        FLAT,
        DIAGONAL,
        turning=(-1.1924312145154172,),
    ),
)
_is(
    "sparse_plus",  # 0 below -1, x above 1, (x + 1)²/4 between
    Function(
        ex.exactly(lambda x: _square(min(max(x + ONE, ZERO), ex.TWO)) / 4 + max(x - ONE, ZERO)),
        lambda x: np.clip(x + 1.0, 0.0, 2.0) ** 2 / 4 + np.maximum(x - 1.0, 0.0),
        FLAT,
        DIAGONAL,
    ),
)


@_takes("elu", 1)
def _elu(alpha: float) -> Function:
    """x where positive, alpha·(e^x - 1) elsewhere."""
    if not 0 < alpha <= MAX_PARAMETER:
        raise PlanError(f"elu needs an alpha above 0, {MAX_PARAMETER} at most, not {alpha}")
    factor = Decimal(alpha)
    return Function(
        ex.exactly(lambda x: x if x >= 0 else factor * (ex.exp(x) - ONE)),
        lambda x: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0.0))),
        (factor.copy_negate(), 0),
        DIAGONAL,
    )


@_takes("squareplus", 1)
def _squareplus(b: float) -> Function:
    """(x + sqrt(x² + b)) / 2."""
    if not 0 < b <= MAX_PARAMETER:
        raise PlanError(f"squareplus needs a b above 0, {MAX_PARAMETER} at most, not {b}")
    under = Decimal(b)
    return Function(
        ex.exactly(lambda x: (x + (x * x + under).sqrt()) * HALF),
        lambda x: (x + np.sqrt(x * x + b)) * 0.5,
        FLAT,
        DIAGONAL,
    )


# --- defined on a stretch


@_takes("exp", 2)
def _exp(high: float, floor: float) -> Function:
    """e^x up to `high`. Errors are measured in parts of the value, or of `floor`, a power of two, if that is larger."""
    if not 0 <= high <= 16:
        raise PlanError(f"exp needs a highest argument from 0 to 16, not {high}")
    if math.frexp(floor)[0] != 0.5 or not 2.0**-MAX_EXPONENT <= floor <= 1:
        raise PlanError(f"exp needs a floor that is a power of two from 2^-30 to 1, not {floor}")
    return Function(ex.exactly(ex.exp), np.exp, FLAT, None, None, high, floor=floor)


@_takes("window_reciprocal", 1)
def _window_reciprocal(octaves: float) -> Function:
    """(psi(x) - psi(2^octaves·x)) / x, where psi falls from 1 at 1/4 to 0 at 1, smoothly: 1/x in a window of so many
    octaves below 1/4, and 0 beyond it; and the same times x sums to psi(x) - psi(2^(octaves·T)·x) over x, 2^octaves·x,
    … 2^(octaves·(T - 1))·x. For the softmax (`ops/softmax.py`). Errors are measured in parts of 1/x."""
    if octaves != int(octaves) or not 3 <= octaves <= 24:
        raise PlanError(f"window_reciprocal needs a whole number of octaves from 3 to 24, not {octaves}")
    up = 1 << int(octaves)

    def step(x: Decimal) -> Decimal:
        if x >= ONE:
            return ZERO
        at = min(-x.ln() / ex.LN_4, ONE)
        return at * at * (3 - 2 * at)

    def plain_step(x: Array) -> Array:
        at = np.clip(-np.log(x) / math.log(4), 0.0, 1.0)
        return at * at * (3 - 2 * at)

    return Function(
        ex.exactly(lambda x: (step(x) - step(x * up)) / x),
        lambda x: (plain_step(x) - plain_step(x * up)) / x,
        low=0.125 / up,
        high=2.0,
        turning=(WINDOW_PEAK / up,),
        inverse=True,
    )


@_takes("reciprocal", 3)
def _reciprocal(low: float, high: float, floor: float) -> Function:
    """1/x. Errors are measured in parts of the value, or of `floor` (0, or a power of two) if that is larger."""
    _check_stretch("reciprocal", low, high)
    if floor and (math.frexp(floor)[0] != 0.5 or not 2.0**-MAX_EXPONENT <= floor <= 2.0**MAX_EXPONENT):
        raise PlanError(f"reciprocal needs a floor that is 0 or a power of two from 2^-30 to 2^30, not {floor}")
    return Function(ex.exactly(lambda x: ONE / x), lambda x: 1.0 / x, low=low, high=high, floor=floor)


@_takes("rsqrt", 3)
def _rsqrt(low: float, high: float, factor: float) -> Function:
    """factor / sqrt(x)."""
    _check_stretch("rsqrt", low, high)
    if not 1 <= factor <= 2.0**15:
        raise PlanError(f"rsqrt needs a factor from 1 to 2^15, not {factor}")
    exact = Decimal(factor)
    return Function(ex.exactly(lambda x: exact / x.sqrt()), lambda x: factor / np.sqrt(x), low=low, high=high, floor=0)


def _check_stretch(name: str, low: float, high: float) -> None:
    ends = [math.frexp(end) for end in (low, high)]
    if any(fraction != 0.5 or not -MAX_EXPONENT <= exponent - 1 <= MAX_EXPONENT for fraction, exponent in ends):
        raise PlanError(f"{name} is taken from one power of two to another, 2^-30 to 2^30, not {low} to {high}")
    if not low < high:
        raise PlanError(f"{name} needs a stretch of numbers, not {low} to {high}")


def _stretch(name: str, exact: Exact, plain: Plain, floor: float | None) -> None:
    def make(low: float, high: float) -> Function:
        _check_stretch(name, low, high)
        return Function(ex.exactly(exact), plain, None, None, low, high, floor=floor)

    _takes(name, 2)(make)


_stretch("sqrt", lambda x: x.sqrt(), np.sqrt, floor=0)
_stretch("log", lambda x: x.ln(), np.log, floor=None)

FUNCTIONS: Mapping[str, int] = MappingProxyType({name: count for name, (count, _) in _MAKERS.items()})
"""How many parameters each takes."""
