"""Layout: everything in NHWC, as Keras wrote it, and no transposes left.

TF Encrypted's 2D ops are NCHW, Keras is NHWC, so a recorded model is full of transposes. Each 2D op becomes an NHWC op
between two transposes; then transposes sink towards the output past whatever works element by element, and meet and
cancel. One that reaches Flatten + Dense becomes a permutation of the weight's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_private.plan.attributes import constant, constant_array
from keras_private.plan.ops import kind_of
from keras_private.plan.passes.graph import Array, Graph, full_rank, rewrite
from keras_private.plan.plan import Draft, Op

_TO_NHWC, _TO_NCHW = (1, 2, 0), (2, 0, 1)


def layout(draft: Draft) -> Draft:
    return rewrite(draft, [_channels_last, _merge, _sink_transpose, _sink_pair, _sink_reshape, _into_matmul])


def _channels_last(graph: Graph, op: Op) -> bool:
    if op.attrs.get("data_format") != "NCHW":
        return False
    turn = graph.new("transpose", op.inputs[0], op, perm=_TO_NHWC)
    inputs = (turn.output, *op.inputs[1:])
    work = graph.new(op.kind, inputs, op, weights=op.weights, **{**op.attrs, "data_format": "NHWC"})
    graph.replace(op, turn, work, graph.new("transpose", work.output, op, perm=_TO_NCHW))
    return True


def _merge(graph: Graph, op: Op) -> bool:
    """Two transposes are one, or none."""
    if op.kind != "transpose":
        return False
    perm = op.attrs["perm"]
    if perm == tuple(range(len(perm))):
        graph.drop(op)
        return True
    first = graph.producer(op.inputs[0])
    if first is None or first.kind != "transpose":
        return False
    combined = tuple(first.attrs["perm"][axis] for axis in perm)
    graph.replace(op, graph.new("transpose", first.inputs[0], op, perm=combined))
    return True


def _sink_transpose(graph: Graph, op: Op) -> bool:
    """op(transpose(x)) = transpose(op'(x)), where the kind says so."""
    turn = graph.producer(op.inputs[0])
    if turn is None or turn.kind != "transpose" or len(op.inputs) != 1:
        return False
    perm = turn.attrs["perm"]
    attrs = kind_of(op).transposed(op, perm)
    if attrs is None:
        return False
    back = np.argsort(perm)
    moved = _moved(graph, op, turn.inputs[0], attrs, lambda value: full_rank(value, len(perm)).transpose(back))
    graph.replace(op, moved, graph.new("transpose", moved.output, op, perm=perm))
    return True


def _sink_pair(graph: Graph, op: Op) -> bool:
    """op(transpose(x), transpose(y), …) = transpose(op'(x, y, …)), where the kind says so."""
    if len(op.inputs) < 2:
        return False
    turns = [graph.producer(name) for name in op.inputs]
    perms = {turn.attrs["perm"] for turn in turns if turn is not None and turn.kind == "transpose"}
    if len(perms) != 1 or any(turn is None or turn.kind != "transpose" for turn in turns):
        return False
    ranks = {len(graph.shape(name)) for name in op.inputs}
    if len(ranks) != 1:
        return False
    perm = perms.pop()
    attrs = kind_of(op).transposed(op, perm)
    if attrs is None:
        return False
    moved = graph.new(op.kind, [turn.inputs[0] for turn in turns if turn is not None], op, **attrs)
    graph.replace(op, moved, graph.new("transpose", moved.output, op, perm=perm))
    return True


def _sink_reshape(graph: Graph, op: Op) -> bool:
    """op(reshape(x)) = reshape(op'(x)) for an elementwise op whose constant does not have to grow."""
    flat = graph.producer(op.inputs[0])
    if not kind_of(op).elementwise or len(op.inputs) != 1 or flat is None or flat.kind != "reshape":
        return False
    inner, outer = graph.shape(flat.inputs[0]), graph.shape(flat.output)

    def fits(value: Array) -> bool:
        of_channels = value.ndim > 0 and value.size == value.shape[-1]
        same_channels = of_channels and bool(inner) and bool(outer) and inner[-1] == outer[-1]
        return value.size == 1 or value.shape == outer or same_channels

    if not all(map(fits, graph.applied(op))):
        return False

    def reshaped(value: Array) -> Array:
        if value.size == 1:
            return value.reshape(())
        return value.reshape(inner) if value.shape == outer else value.reshape(-1)

    moved = _moved(graph, op, flat.inputs[0], op.attrs, reshaped)
    graph.replace(op, moved, graph.new("reshape", moved.output, op, shape=outer))
    return True


def _into_matmul(graph: Graph, op: Op) -> bool:
    """matmul(flatten(transpose(x)); w) = matmul(flatten(x); w with its rows permuted)."""
    flat = graph.producer(op.inputs[0]) if op.kind == "matmul" and op.weights else None
    turn = graph.producer(flat.inputs[0]) if flat is not None and flat.kind == "reshape" else None
    if flat is None or turn is None or turn.kind != "transpose" or len(graph.shape(flat.output)) != 1:
        return False
    weight = graph.value(op.weights[0])
    back = [int(axis) for axis in np.argsort(turn.attrs["perm"])]
    rows = weight.reshape(*graph.shape(turn.output), -1).transpose(*back, len(back)).reshape(weight.shape)
    new_flat = graph.new("reshape", turn.inputs[0], flat, shape=graph.shape(flat.output))
    names = (graph.weight(rows, op.weights[0]), *op.weights[1:])
    graph.replace(op, new_flat, graph.new("matmul", new_flat.output, op, weights=names))
    return True


def _moved(graph: Graph, op: Op, source: str, attrs: Mapping[str, Any], turn: Callable[[Array], Array]) -> Op:
    """`op` on `source` with other attributes, and what it applies turned to match."""
    weights = [graph.weight(turn(graph.value(name)), name) for name in op.weights]
    if "factor" in op.attrs:
        factor = constant_array(op.attrs["factor"])
        attrs = {**attrs, "factor": constant(turn(factor)) if factor.ndim else factor.item()}
    return graph.new(op.kind, source, op, weights=weights, **attrs)
