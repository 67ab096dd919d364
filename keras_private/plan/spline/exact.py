"""Elementary functions to some 30 decimal digits, the same ones on every machine.

Parties must come to equal tables without sending them. `decimal` rounds every operation correctly, exp, ln and sqrt
too, as its specification says (General Decimal Arithmetic), so what is made of a fixed sequence of them does not depend
on a processor, a compiler or a mathematical library. Binary floating point does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from functools import wraps
from typing import TypeAlias

Exact: TypeAlias = Callable[[Decimal], Decimal]

ZERO, HALF, ONE, TWO = Decimal(0), Decimal("0.5"), Decimal(1), Decimal(2)
SQRT_PI = Decimal("1.7724538509055160272981674833411451827975494561224")
SQRT_2 = Decimal("1.4142135623730950488016887242096980785696718753769")
LN_4 = Decimal("1.3862943611198906188344642429163531361510002687205")
SQRT_2_OVER_PI = Decimal("0.79788456080286535587989211986876373695171726232986")

_CONTEXT = Context(
    prec=36,
    rounding=ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    clamp=0,
    flags=[],
    traps=[InvalidOperation, DivisionByZero, Overflow],
)
_NOTHING = Decimal(-1000)  # e to this is below every unit
_ERF_IS_ONE = Decimal(9)


def exact_context() -> AbstractContextManager[Context]:
    """Decimal arithmetic as it is here, whatever a user of this process has set for theirs."""
    return localcontext(_CONTEXT)


def exactly(function: Exact) -> Exact:
    """`function` in a context of its own, whatever its caller's is."""

    @wraps(function)
    def inside(x: Decimal) -> Decimal:
        with exact_context():
            return function(x)

    return inside


def exp(x: Decimal) -> Decimal:
    return ZERO if x < _NOTHING else x.exp()


def sigmoid(x: Decimal) -> Decimal:
    small = exp(-abs(x))
    return (ONE if x >= 0 else small) / (ONE + small)


def tanh(x: Decimal) -> Decimal:
    small = exp(-TWO * abs(x))
    return ((ONE - small) / (ONE + small)).copy_sign(x)


def erf(x: Decimal) -> Decimal:
    """2/sqrt(pi) · e^(-x²) · sum of 2^k x^(2k+1) / (1·3·…·(2k+1)), whose terms are all of one sign
    (Abramowitz and Stegun, 7.1.6)."""
    if abs(x) > _ERF_IS_ONE:
        return ONE.copy_sign(x)
    square = x * x
    term = total = x
    odd = 1
    while abs(term) > abs(total) * Decimal("1e-33"):
        odd += 2
        term = term * TWO * square / odd
        total += term
    return total * TWO * exp(-square) / SQRT_PI


def softplus(x: Decimal) -> Decimal:
    return max(x, ZERO) + (ONE + exp(-abs(x))).ln()
