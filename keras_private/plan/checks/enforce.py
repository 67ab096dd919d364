"""Inputs that the parties hold to their declared ranges: a row with a value outside gets zeros for an answer, and a
notice.

Theory of operation. Comparisons look at no more bits than the declared range leaves possible, so an input beyond it
makes a precise oracle of them (docs/security.md). A party cannot see values, but the parties can compare them in
secret: every value with both ends of its input's range, in all 64 bits, since a client may have shared any word. The
bit that comes of it selects each output, or zeros in its place. Nothing is opened to the parties, so that they learn
nothing of the query, and the client learns of a refused row nothing but that it was refused.

The comparisons are exact, and so is the selection; all rows are for themselves.
"""

from __future__ import annotations

import math
from dataclasses import replace

from keras_private.errors import PlanError
from keras_private.plan.checks.addition import Addition
from keras_private.plan.plan import CHECKS, REAL, Draft, Input, Output
from keras_private.plan.ports import check_ports

_LAYER = CHECKS[1]


def enforced(draft: Draft) -> Draft:
    """The executable draft that answers only rows whose inputs are all in range. It must be the last rewriting: every
    output that it does not know of would be given unchecked.

    Raises:
        PlanError: an input has no declared range.
    """
    plan = draft.plan
    addition = Addition(draft, _LAYER, "range")
    unranged = [given.name for given in plan.inputs if given.range is None]
    if unranged:
        raise PlanError(
            f"enforce_range needs an input_range for every input, and {unranged[0]!r} has none; "
            "share(cluster, input_range=(low, high), enforce_range=True)"
        )
    margins = []
    for given in plan.inputs:
        low, high = raw_ends(given, plan.frac(given))
        # Written anew, so that no proven bound of the input, which rests on its range, narrows the comparison.
        anew = addition.op("scale_int", given.tensor, multiplier=1, shift=0)
        margins.append(addition.margins(addition.flat(anew), low, high))
    answered = addition.none_negative(margins)
    withheld: dict[str, str] = {}
    for made in plan.outputs:
        if made.tensor not in withheld:
            withheld[made.tensor] = _withheld(addition, made, draft, answered)
    refused = addition.number(addition.op("not", answered, bound=1))
    outputs = [replace(made, tensor=withheld[made.tensor]) for made in plan.outputs]
    notice = addition.notice("range", refused)
    done = addition.finished([*plan.ops, *addition.taken()], [*outputs, notice])
    check_ports(done.plan)
    return done


def raw_ends(given: Input, frac: int) -> tuple[int, int]:
    """The lowest and highest raw value that an input in range is encoded as."""
    if given.range is None:
        raise PlanError(f"input {given.name!r} has no range")
    low, high = (math.ldexp(end, frac if given.kind == REAL else 0) for end in given.range)
    return round(low), round(high)  # half to even, as `sharing.fixed` encodes


def _withheld(addition: Addition, made: Output, draft: Draft, answered: str) -> str:
    rank, bound = len(draft.plan.shape(made)), draft.plan.tensors[made.tensor].bound
    bit = addition.op("reshape", answered, bound=1, shape=(1,) * rank)
    zeros = addition.op("scale_int", made.tensor, bound=bound, multiplier=0, shift=0)
    return addition.op("select", bit, made.tensor, zeros, bound=bound)
