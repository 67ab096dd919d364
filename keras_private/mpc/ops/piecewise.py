"""Functions of one number."""

# ruff: noqa: ARG001 - one signature for all of them
from __future__ import annotations

from collections.abc import Sequence

from keras_private.mpc.beside import compared
from keras_private.mpc.ops.registry import Run, runs
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, together
from keras_private.mpc.spline import spline
from keras_private.plan.cost import parts
from keras_private.plan.ops.piecewise import table_for
from keras_private.plan.plan import Op, Plan, Shape
from keras_private.plan.spline.table import Compared
from keras_private.sharing.share import Share


@runs("spline")
def bind_spline(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    table_for(op, plan, 1)  # made when the model is loaded, and refused then if it cannot be

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        """Each party that deals does so for a part of the values."""
        (x,), out = xs, empty_share(shape)
        seats, running = party.seats() if len(party.turns) > 1 else [party], []
        for seat, (start, stop) in zip(seats, parts(x.mine.size, len(seats)), strict=True):
            table, into = table_for(op, plan, stop - start), _part(out, start, stop)
            part = _part(x, start, stop)
            if isinstance(table, Compared):
                running.append(compared(seat, part, table, into))
            else:
                running.append(spline(seat, part, table, out=into))
        yield from together(*running)
        return out

    return run


def _part(x: Share, start: int, stop: int) -> Share:
    return Share(x.mine.reshape(-1)[start:stop], x.next.reshape(-1)[start:stop])
