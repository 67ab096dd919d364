"""All passes in order: from what the lowering recorded to what the parties execute."""

from __future__ import annotations

from collections.abc import Callable

from keras_private.plan.fixed_point import fixed_point
from keras_private.plan.passes.fold import fold
from keras_private.plan.passes.identities import identities
from keras_private.plan.passes.layout import layout
from keras_private.plan.passes.max_pooling import max_pooling
from keras_private.plan.passes.pooling import average_pooling
from keras_private.plan.plan import Draft

PASSES: tuple[Callable[[Draft], Draft], ...] = (layout, identities, fold, max_pooling, average_pooling)
_ROUNDS = 8  # one pass may open the way for another; two rounds are usual


def simplify(draft: Draft) -> Draft:
    """The recorded plan after all rewrites, still in real numbers."""
    for _ in range(_ROUNDS):
        before = draft.plan.ops
        for run in PASSES:
            draft = run(draft)
        if draft.plan.ops == before:
            break
    return draft


def optimise(draft: Draft, *, precision: int = 16) -> Draft:
    """The executable plan of a recorded one: rewritten, bounded, in fixed point.

    Args:
        draft: recorded, with the weights in plain; not changed.
        precision: fractional bits of every value between layers, 1 to 24.

    Returns:
        The executable draft. Its weights are still real numbers, to be encoded with `plan.weights[name].frac` bits.

    Raises:
        PlanError: the weights or the declared range do not fit; the message names the layer and what to do.
    """
    return fixed_point(simplify(draft), precision)
