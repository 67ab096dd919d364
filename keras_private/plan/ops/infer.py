"""`infer`: what an op makes of its operands, or why it cannot.

One rule for both forms of a plan, and the only place that applies it: the builder, the passes and the parser all call
it, so a plan that a party accepts adds up in the same sense as the one the owner wrote.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan.ops.kind import Kind, describe, kind_of, shape_fits
from keras_private.plan.plan import Op, Tensor, Weight
from keras_private.sharing.fixed import MAX_FRAC


def infer(op: Op, inputs: Sequence[Tensor], weights: Sequence[Weight], precision: int) -> Tensor:
    """The tensor that `op` makes of these inputs and weights (no bound).

    Args:
        precision: fractional bits of an executable plan; 0 for a recorded one.

    Raises:
        PlanError: unknown kind, wrong arity or attributes, shapes or fractional bits that do not add up.
    """
    where = describe(op)
    kind = kind_of(op)
    extra = kind.executable if precision else kind.recorded
    if extra is None or (precision and not kind.rowwise):
        raise PlanError(f"{where} does not belong in {'an executable' if precision else 'a recorded'} plan")
    for what, given, (low, high) in (("inputs", inputs, kind.inputs), ("weights", weights, kind.weights)):
        if not low <= len(given) <= high:
            raise PlanError(f"{where} takes {low} to {high} {what}, not {len(given)}")
    at.check_attributes(where, op.attrs, {**kind.attrs, **extra}, kind.optional)
    if precision and not kind.any_ranks and len({len(tensor.shape) for tensor in inputs}) > 1:
        # Parties compute on (batch, *shape): broadcasting would lay one tensor's batch axis over an axis of the other.
        raise PlanError(f"{where}: inputs need as many axes as each other, not {[tensor.shape for tensor in inputs]}")
    bit = _bit(where, kind, inputs)
    shape = kind.shape(op, [tensor.shape for tensor in inputs], [weight.shape for weight in weights])
    if not shape_fits(shape):
        raise PlanError(
            f"{where} would make a tensor of shape {shape}; every axis must be 1 or more, 2^28 elements at most"
        )
    frac = kind.frac(op, inputs, weights) if precision else 0
    if not 0 <= frac <= MAX_FRAC:
        raise PlanError(f"{where} would make a value with {frac} fractional bits; 0 to {MAX_FRAC} are possible")
    return Tensor(shape, frac, bit=bit)


def _bit(where: str, kind: Kind, inputs: Sequence[Tensor]) -> bool:
    """Whether the output is bits."""
    given = [tensor.bit for tensor in inputs]
    for domain in kind.domains:
        if domain.takes(given):
            return domain.output
    names = ", ".join("bits" if bit else "numbers" for bit in given)
    raise PlanError(f"{where} does not take {names}; bits become numbers by to_number, numbers bits by a comparison")
