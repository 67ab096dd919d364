"""Where it is known from how large the values of an executable plan get.

*Proved*: an interval says so, for every input in the declared range. *Measured*: nothing proves it, and the owner's
data never came near what there is room for (2^MARGIN_BITS more than it had, `fractions.py`). *Guessed*: the same of
random inputs. Windows of comparisons follow proofs alone: without one they look at every bit that there may be.
"""

from __future__ import annotations

import math

from keras_private.plan.ops import CONTRACT_BITS, Product, kind_of
from keras_private.plan.plan import CHECKS, Draft, Op, Plan

PROVED, MEASURED, GUESSED = "proved", "measured", "guessed"


def is_proved(plan: Plan, op: Op) -> bool:
    """Whether what `op` makes is proven to fit, before and after its truncation. Checks take whatever there is."""
    if op.layer in CHECKS:
        return True
    product = isinstance(kind_of(op), Product) and op.attrs.get("bound", CONTRACT_BITS) >= CONTRACT_BITS
    return not product and plan.tensors[op.output].bound is not None


def origins(plan: Plan, *, calibrated: bool) -> dict[str, str]:
    """For each tensor, where its bound is from.

    Args:
        calibrated: whether data of the owner's was measured.
    """
    otherwise = MEASURED if calibrated else GUESSED
    found = {given.tensor: PROVED if given.range is not None else otherwise for given in plan.inputs}
    return found | {op.output: PROVED if is_proved(plan, op) else otherwise for op in plan.ops}


def reaches(draft: Draft) -> dict[str, str]:
    """How far the values go whose bound is not proved, for a table: "~2^k" as measured, "?2^k" as guessed."""
    signs = {MEASURED: "~", GUESSED: "?"}
    return {
        name: f"{signs[origin]}2^{math.frexp(draft.sizes[name])[1]}"
        for name, origin in draft.origins.items()
        if origin in signs and draft.sizes.get(name)
    }


def guess(draft: Draft) -> str:
    """What an owner is told of ranges that were guessed; "": none was."""
    layers = {op.layer or op.kind: None for op in draft.plan.ops if draft.origins.get(op.output) == GUESSED}
    if not layers:
        return ""
    names = ", ".join(list(layers)[:3]) + (f" and {len(layers) - 3} more" if len(layers) > 3 else "")
    missing = "" if draft.plan.ranged else "input_range=(low, high), "
    return (
        f"ranges guessed from random inputs, not proved: {names}; share({missing}calibration=x) measures them on your "
        "data and has them proved"
    )
