"""An executable plan in integers, as the parties compute it, in the clear: what a run should give, to the unit.

In 64 bits, where values wrap around as theirs do, or, on request, in integers that are as long as they must be.
"""

from __future__ import annotations

import numpy as np

from keras_private.plan.attributes import constant_array
from keras_private.plan.builder import Draft
from keras_private.plan.ops import kind_of
from keras_private.plan.ops.order import Clip
from keras_private.plan.ops.public import signs
from keras_private.plan.ops.windows import windows_of
from keras_private.plan.plan import Op
from keras_private.sharing import fixed


def run(draft: Draft, *xs: np.ndarray, unbounded: bool = False) -> dict[str, np.ndarray]:
    """Every tensor's raw value, int64, or, `unbounded`, Python's integers; products before truncation under
    '<name> product'."""
    plan, held = draft.plan, object if unbounded else np.int64
    weights = {
        name: fixed.encode(value, plan.weights[name].frac).view(np.int64).astype(held)
        for name, value in draft.values.items()
    }
    raw = {
        given.tensor: fixed.encode(x, plan.tensors[given.tensor].frac).view(np.int64).astype(held)
        for given, x in zip(plan.inputs, xs, strict=True)
    }
    for op in plan.ops:
        result = _apply(op, [raw[name] for name in op.inputs], [weights[name] for name in op.weights])
        raw[f"{op.output} product"] = result
        if op.attrs.get("relu") or op.kind == "relu":
            result = np.maximum(result, 0)
        drop = op.attrs.get("drop", 0)
        result = result >> drop
        if op.kind == "clip":
            result = np.clip(result, *Clip.ends(op, plan.tensors[op.output].frac))
        raw[op.output] = result
    return raw


def _apply(op: Op, xs: list[np.ndarray], ws: list[np.ndarray]) -> np.ndarray:
    plain = kind_of(op).plain
    if op.kind in ("conv2d", "depthwise_conv2d") and not ws:
        return np.concatenate([_apply(op, [x[None]], [kernel]) for x, kernel in zip(*xs, strict=True)])
    if op.kind == "matmul" and ws:
        result = xs[0] @ ws[0]
    elif op.kind in ("conv2d", "depthwise_conv2d"):
        windows = np.ascontiguousarray(windows_of(op, xs[0], ws[0].shape[:2], op.attrs["dilation"], 0))
        rule = "brcnij,ijnm->brcm" if op.kind == "conv2d" else "brcnij,ijnm->brcnm"
        result = np.einsum(rule, windows, ws[0])
        result = result.reshape(*result.shape[:3], -1)
    elif op.kind == "scale_int":
        return xs[0] * constant_array(op.attrs["multiplier"])
    elif op.kind == "public_matmul":
        return xs[0] @ constant_array(op.attrs["matrix"])
    elif op.kind in ("relu", "truncate", "clip", "floor", "to_number"):
        return xs[0]
    elif op.kind == "project":
        return xs[0] @ signs(xs[0].shape[-1], op.attrs["signs"])
    elif op.kind in ("below", "equal_to", "not"):
        return plain(op, xs, ws).astype(np.int64)
    elif op.kind == "max_pool2d":
        return plain(op, [xs[0].astype(np.float64)], []).astype(np.int64)  # raw values are below 2^53 here
    else:
        return plain(op, xs, ws)
    return result + ws[1] if len(ws) == 2 else result
