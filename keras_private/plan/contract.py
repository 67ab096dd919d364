"""How much input a plan without a declared range can take: what its first products add up must stay below the contract.

Nothing is proven of such a plan. With weights of about one, the magnitudes that one result of a product adds up must
stay below 2^(62 - both sides' fractional bits); beyond, it wraps. That much a client can check. Larger weights wrap
earlier, and the client, who must not know them, cannot see that: only a declared range helps.
"""

from __future__ import annotations

import math

from keras_private.plan.ops import PRODUCTS
from keras_private.plan.plan import Op, Plan


def input_terms(plan: Plan) -> int:
    """How many inputs one result of the plan's first products adds up, at most."""
    first, terms = {plan.input}, 1
    for op in plan.ops:
        if first.isdisjoint(op.inputs):
            continue
        if op.kind in PRODUCTS:
            terms = max(terms, _fan_in(op, plan))
        else:
            first.add(op.output)
    return terms


def _fan_in(op: Op, plan: Plan) -> int:
    shape = plan.weights[op.weights[0]].shape
    if op.kind == "mul":
        return 1
    return math.prod(shape[:2] if op.kind == "depthwise_conv2d" else shape[:-1])
