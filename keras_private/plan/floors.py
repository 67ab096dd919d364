"""Exact truncation: an executable plan in which every truncation is the floor, and depends on nothing but the number.

Theory of operation. A truncation that is fused into another op (a product, a ReLU, a clip) rounds by a threshold of the
sharing (docs/protocols.md). Here it becomes an op of its own, `floor`, which takes a ReLU along: a product and its
floor are one stage. Before a clip it leaves that a narrower comparison: its ends are whole units. What an op's declared
error allows, the floor keeps to, so all that was proven holds.

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
        attrs = {**op.attrs, "drop": 0, **({"relu": False} if "relu" in op.attrs else {})}
        relu = bool(op.attrs.get("relu"))
        return [replace(op, output=whole, attrs=attrs), _floor(op, whole, drop, op.output, relu=relu)]
    (given,) = op.inputs
    if op.kind == _FLOOR:
        return [op]
    if op.kind in ("truncate", "relu"):
        return [_floor(op, given, drop, op.output, relu=op.kind == "relu")]
    before = tensors[given]
    low = _added(tensors, op, "floor", Tensor(before.shape, before.frac - drop, _after(before.bound, drop)))
    return [_floor(op, given, drop, low, relu=False), replace(op, inputs=(low,), attrs={**op.attrs, "drop": 0})]


def _floor(like: Op, given: str, drop: int, output: str, *, relu: bool) -> Op:
    return Op(_FLOOR, (given,), (), output, {"drop": drop, "relu": relu}, like.layer)


def _after(bound: int | None, drop: int) -> int | None:
    """The bound of floor(x / 2^drop), which may be -2^(bound - drop)."""
    return None if bound is None else max(1, bound - drop + 1)


def _added(tensors: dict[str, Tensor], op: Op, what: str, tensor: Tensor) -> str:
    name = f"{op.output}.{what}"
    while name in tensors:
        name += "_"
    tensors[name] = tensor
    return name
