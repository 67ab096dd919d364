"""Run an executable plan in the clear, rounding where the parties round: how far its answers are off.

Theory of operation. Raw integers of up to 62 bits are held as float64, whose 53 bits are finer than any unit that a
plan keeps; so products run at the speed of BLAS, and what float64 loses is far below what fixed point loses. Inputs,
weights and biases are rounded as they are encoded. A truncation rounds to one of the two neighbours at random, the
nearer one being the likelier, as the parties' does. Functions of one number are read from the parties' tables.

This is a measurement, not a bound: worst cases add up to thousands of times what happens in a deep net and would say
nothing. It is taken on a few sample inputs, so that some answers of many may be off by more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan.evaluate import apply
from keras_private.plan.measure import Measured
from keras_private.plan.ops import CONTRACT_BITS, describe, dropped, kind_of
from keras_private.plan.ops.piecewise import Spline, looked_up
from keras_private.plan.plan import REAL, Accuracy, Draft

Array = NDArray[np.float64]

_SEED = 21
_FEW = 2.0  # the largest error of thousands of answers, over that of the few that were tried


def rehearsed(draft: Draft, measured: Measured) -> Draft:
    """An executable draft with the error that its answers are expected to have, and the sizes of its values, by what it
    does with the sample inputs.

    Whole numbers and bits do not count: they are exact, or, where two values are as good as equal, another choice.

    Raises:
        PlanError: a value of the run outgrows the contract; names the layer.
    """
    sizes: dict[str, float] = {}
    answers = simulate(draft, measured.inputs, sizes)
    found = [
        Accuracy(_FEW * float(np.max(np.abs(got - expected))), float(np.ptp(expected)), len(expected))
        for made, got, expected in zip(draft.plan.outputs, answers, measured.outputs, strict=True)
        if made.kind == REAL
    ]
    none = Accuracy(0.0, 0.0, len(measured.inputs[0]))
    return replace(draft, accuracy=max(found, key=lambda each: each.relative, default=none), sizes=sizes)


def simulate(draft: Draft, xs: Sequence[Array], sizes: dict[str, float] | None = None) -> tuple[Array, ...]:
    """What the parties would answer to these inputs, (batch, *input shape) each, but for what chance decides.

    Args:
        sizes: is given the largest magnitude of every tensor that an op makes.

    Returns:
        the outputs, float64 (batch, *output shape) each, in the plan's order.

    Raises:
        PlanError: a value outgrows the contract; names the layer.
    """
    plan, random = draft.plan, np.random.default_rng(_SEED)
    last_use = {name: index for index, op in enumerate(plan.ops) for name in op.inputs}
    values = {
        given.tensor: rounded(x, plan.tensors[given.tensor].frac) for given, x in zip(plan.inputs, xs, strict=True)
    }
    for index, op in enumerate(plan.ops):
        weights = [rounded(draft.values[name], plan.weights[name].frac) for name in op.weights]
        result = apply(op, [values[name] for name in op.inputs], weights)
        if isinstance(kind_of(op), Spline):
            result = looked_up(op, plan, values[op.inputs[0]], random)
        frac, drop = plan.tensors[op.output].frac, dropped(op)
        largest = float(np.max(np.abs(result)))
        if sizes is not None:
            sizes[op.output] = largest
        if not largest < 2.0 ** (CONTRACT_BITS - frac - drop):
            limit = CONTRACT_BITS - frac - drop
            raise PlanError(
                f"{describe(op)}: its values reach {largest:.3g} for ordinary inputs, and 2^{limit} "
                "is the limit; declare the inputs' input_range, lower precision_fractional or rescale the layer"
            )
        if op.kind == "floor":
            result = np.floor(result * 2.0**frac) * 2.0**-frac
        elif drop:
            result = _to_a_neighbour(result * 2.0**frac, random) * 2.0**-frac
        values[op.output] = result
        for name in {*op.inputs, op.output} - plan.ends:
            if last_use.get(name, -1) <= index:
                del values[name]
    return tuple(values[made.tensor] for made in plan.outputs)


def rounded(value: Array, frac: int) -> Array:
    """`value` as it is encoded with `frac` fractional bits."""
    result = np.asarray(value * 2.0**frac)  # exact, as are all products with powers of two; no scalar
    np.rint(result, out=result)
    result *= 2.0**-frac
    return result


def _to_a_neighbour(scaled: Array, random: np.random.Generator) -> Array:
    result: Array = np.floor(scaled + random.random(scaled.shape))
    return result
