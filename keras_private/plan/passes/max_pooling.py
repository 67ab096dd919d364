"""Max pooling before ReLU instead of after: they commute, and a pool of 2x2 leaves a quarter of the comparisons."""

from __future__ import annotations

from keras_private.plan.passes.graph import Graph, rewrite
from keras_private.plan.plan import Draft, Op


def max_pooling(draft: Draft) -> Draft:
    return rewrite(draft, [_relu_after])


def _relu_after(graph: Graph, op: Op) -> bool:
    """max_pool(relu(x)) and relu(max_pool(x)) become one max_pool2d with relu=True."""
    if op.kind == "max_pool2d":
        first = graph.before(op, "relu")
        pool = op
    elif op.kind == "relu":
        first = graph.before(op, "max_pool2d")
        pool = first if first is not None else op
    else:
        return False
    if first is None:
        return False
    graph.replace(op, graph.new("max_pool2d", first.inputs[0], op, **{**pool.attrs, "relu": True}))
    return True
