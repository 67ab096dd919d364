"""Rows of a secret table, at places that nobody learns.

Theory of operation. A table is W = W_0 + W_1 + W_2, and each summand is known to two of the parties. These two are the
pair of one of the three turns, in which the third one deals: it tells them where the index is, by a point function
(`one_hot.py`), and the row of W_j is then a sum over all places, of the numbers times W_j, that is split between them.
All three deal in the same round, and one `reshare` opens the sum of the three rows.

    round 1   each to both   16 bytes a level and 8, an index
    round 2   reshare

A sum runs over all places of the table whatever the index is, so neither time nor memory tells of it.
(The replicated sharing's three products, each by two parties: Araki et al., CCS 2016, section 2.2. A table that two
hold, read by a point function: Boyle, Gilboa and Ishai, CCS 2016, section 1.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_private.mpc.kernels import ring
from keras_private.mpc.one_hot import one_hot
from keras_private.mpc.ops.registry import Run, runs
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share, reshare
from keras_private.mpc.rounds import Protocol, together
from keras_private.plan.plan import Op, Plan, Shape
from keras_private.sharing.share import Share

TURNS = (0, 1, 2)


@runs("lookup")
def bind_lookup(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    (table,), bound = weights, plan.tensors[op.inputs[0]].bound
    size, columns = table.shape[0], math.prod(table.shape[1:])
    flat = Share(table.mine.reshape(size, columns), table.next.reshape(size, columns))

    def run(party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        (x,), seats = xs, party.seats(TURNS)
        numbers = yield from together(*(one_hot(seat, x, size, bound) for seat in seats))
        rows = np.zeros((x.mine.size, columns), np.uint64)
        for seat, found in zip(seats, numbers, strict=True):
            if not seat.is_dealer:
                known = seat.inner(flat).reshape(size, columns)
                for values, places, each in found:
                    ring.add_rows(each, known[places], rows[values])
        return (yield from reshare(party, rows, empty_share(shape)))

    return run
