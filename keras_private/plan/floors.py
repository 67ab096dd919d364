"""Exact truncation: an executable plan in which every truncation is the floor, and depends on nothing but the number.

Theory of operation. A truncation that is fused into another op (a product, a ReLU, a clip) rounds by a threshold of the
sharing (docs/protocols.md). Here it becomes an op of its own, `floor`, before what is left of that op: a product and
its floor are one stage, a ReLU or clip of a floor is the floor of a ReLU or clip whose ends are whole units, and its
comparison is narrower. What an op's declared error allows, the floor keeps to, so all that was proven holds.

Maxima whose comparisons may ignore low bits get ones that do not. Tables of functions (`spline`) read their input by
the sharing as ever: they are not truncations, and their results vary by their declared error.
"""

from __future__ import annotations

from dataclasses import replace

from keras_private.plan.cost import product_bound
from keras_private.plan.ops import CONTRACT_BITS, Product, dropped, kind_of
from keras_private.plan.plan import Op, Plan, Tensor

_FLOOR = "floor"


def floored(plan: Plan) -> Plan:
    """The executable plan with exact truncations."""
    tensors = dict(plan.tensors)
    ops: list[Op] = []
    for op in plan.ops:
        ops += _exact(op, tensors)
    return replace(plan, ops=tuple(ops), tensors=tensors)


def is_floored(plan: Plan) -> bool:
    """Whether a plan has exact truncations."""
    return any(op.kind == _FLOOR for op in plan.ops)


def _exact(op: Op, tensors: dict[str, Tensor]) -> list[Op]:
    """The ops that make the same output; their tensors are added."""
    if op.attrs.get("coarse"):
        return [replace(op, attrs={**op.attrs, "coarse": 0})]
    drop, made = dropped(op), tensors[op.output]
    if not drop:
        return [op]
    if isinstance(kind_of(op), Product):
        bound = product_bound(op)
        proven = bound if bound < CONTRACT_BITS else None
        whole = _added(tensors, op, "whole", Tensor(made.shape, made.frac + drop, proven))
        product = replace(op, output=whole, attrs={**op.attrs, "drop": 0})
        if not op.attrs.get("relu"):
            return [product, _floor(op, whole, drop, op.output)]
        low = _added(tensors, op, "floor", Tensor(made.shape, made.frac, _after(tensors[whole].bound, drop)))
        unrectified = replace(product, attrs={**product.attrs, "relu": False})
        relu = Op("relu", (low,), (), op.output, {"drop": 0}, op.layer)
        return [unrectified, _floor(op, whole, drop, low), relu]
    (given,) = op.inputs
    if op.kind in ("truncate", _FLOOR):
        return [_floor(op, given, drop, op.output)]
    before = tensors[given]
    low = _added(tensors, op, "floor", Tensor(before.shape, before.frac - drop, _after(before.bound, drop)))
    return [_floor(op, given, drop, low), replace(op, inputs=(low,), attrs={**op.attrs, "drop": 0})]


def _floor(like: Op, given: str, drop: int, output: str) -> Op:
    return Op(_FLOOR, (given,), (), output, {"drop": drop}, like.layer)


def _after(bound: int | None, drop: int) -> int | None:
    """The bound of floor(x / 2^drop), which may be -2^(bound - drop)."""
    return None if bound is None else max(1, bound - drop + 1)


def _added(tensors: dict[str, Tensor], op: Op, what: str, tensor: Tensor) -> str:
    name = f"{op.output}.{what}"
    while name in tensors:
        name += "_"
    tensors[name] = tensor
    return name
