"""Functions of one number."""

# ruff: noqa: ARG001 - one signature for all of them
from __future__ import annotations

from collections.abc import Sequence

from keras_private.mpc.ops.registry import Run, runs
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol
from keras_private.mpc.spline import spline
from keras_private.plan.ops.piecewise import table_for
from keras_private.plan.plan import Op, Plan, Shape
from keras_private.sharing.share import Share


@runs("spline")
def bind_spline(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    table_for(op, plan, 1)  # made when the model is loaded, and refused then if it cannot be

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        return spline(party, xs[0], table_for(op, plan, xs[0].mine.size))

    return run
