"""Folding: constants and biases disappear into the neighbouring linear op's weights.

    scale, mul   into the linear op before (its output channels) or after (its input channels), also across ops that
                 they commute with; zero padding keeps zeros, so this is exact
    add          into the bias of the linear op before; into the bias of the one after unless that pads with zeros,
                 which the addition would have to miss

A secret factor never crosses a ReLU or a maximum: whether it may would tell its sign, and the plan is public.
"""

from __future__ import annotations

import numpy as np

from keras_private.plan.ops import kind_of, with_weight
from keras_private.plan.passes.graph import Array, Graph, channels_only, full_rank, rewrite
from keras_private.plan.plan import Draft, Op


def fold(draft: Draft) -> Draft:
    return rewrite(draft, [_factor, _addition_after, _addition_before, _scale_last])


def _factor(graph: Graph, op: Op) -> bool:
    """A scale or mul into the nearest linear op; backwards first, because that keeps the values in between small."""
    return graph.is_factor(op) and (_backwards(graph, op) or _forwards(graph, op))


def _backwards(graph: Graph, op: Op) -> bool:
    factor = full_rank(graph.factor(op), len(graph.shape(op.output)))
    found = _linear_before(graph, graph.before(op), factor, public=not op.weights)
    if found is None:
        return False
    for source, vector in found:
        linear = with_weight(source)
        assert linear is not None, "found as such"  # noqa: S101
        names = [graph.weight(linear.scaled_outputs(graph.value(source.weights[0]), vector), source.weights[0])]
        names += [graph.weight(graph.value(name) * vector, name) for name in source.weights[1:]]
        graph.replace(source, graph.new(source.kind, source.inputs, source, weights=names, **source.attrs))
    graph.drop(op)
    return True


def _linear_before(graph: Graph, made: Op | None, factor: Array, *, public: bool) -> list[tuple[Op, Array]] | None:
    """The linear op that can take a factor of what `made` makes, or those of all parts that it joins, each with the
    factors of its channels; None if there is none, or one cannot."""
    moved: Array | None = factor
    while made is not None and moved is not None:
        if with_weight(made) is not None:
            vector = channels_only(moved, graph.shape(made.output))
            return None if vector is None else [(made, vector)]
        if made.kind == "concat":
            return _linears_before(graph, made, moved, public=public)
        moved = kind_of(made).moved_factor(made, moved, graph.shape(made.inputs[0]), back=True, public=public)
        made = graph.before(made)
    return None


def _linears_before(graph: Graph, joined: Op, factor: Array, *, public: bool) -> list[tuple[Op, Array]] | None:
    axis, found, start = joined.attrs["axis"], [], 0
    for place, name in enumerate(joined.inputs):
        size = graph.shape(name)[axis]
        part = factor if factor.shape[axis] == 1 else factor.take(range(start, start + size), axis)
        linears = _linear_before(graph, graph.before(joined, place=place), part, public=public)
        if linears is None:
            return None
        found += linears
        start += size
    return found


def _forwards(graph: Graph, op: Op) -> bool:
    factor: Array | None = full_rank(graph.factor(op), len(graph.shape(op.output)))
    at = op
    while factor is not None and (user := graph.after(at)) is not None:
        if with_weight(user) is not None:
            vector = channels_only(factor, graph.shape(at.output))
            if vector is None:
                return False
            names = [graph.weight(graph.value(user.weights[0]) * vector[:, None], user.weights[0]), *user.weights[1:]]
            graph.replace(user, graph.new(user.kind, user.inputs, user, weights=names, **user.attrs))
            graph.drop(op)
            return True
        given = graph.shape(at.output)
        factor = kind_of(user).moved_factor(user, factor, given, back=False, public=not op.weights)
        at = user
    return False


def _scale_last(graph: Graph, op: Op) -> bool:
    """s·x + c = s·(x + c/s) for a public s, so that the scale can go on to a linear op that c must not enter."""
    first = graph.before(op, "scale") if op.kind == "add" and op.weights else None
    if first is None or not np.all(graph.factor(first)):
        return False
    name = graph.weight(graph.factor(op) / graph.factor(first), op.weights[0])
    added = graph.new("add", first.inputs[0], op, weights=[name])
    graph.replace(op, added, graph.new("scale", added.output, first, factor=first.attrs["factor"]))
    return True


def _addition_after(graph: Graph, op: Op) -> bool:
    """linear(x) + c: c becomes, or joins, the bias."""
    if op.kind != "add" or not op.weights:
        return False
    source = graph.before(op)
    added = channels_only(graph.factor(op), graph.shape(op.output))
    if source is None or added is None or with_weight(source) is None:
        return False
    old = graph.value(source.weights[1]) if len(source.weights) == 2 else np.zeros(added.shape)
    bias = graph.weight(old + added, (*source.weights[1:], op.weights[0])[0])
    new = graph.new(source.kind, source.inputs, source, weights=[source.weights[0], bias], **source.attrs)
    graph.replace(op, new)
    return True


def _addition_before(graph: Graph, op: Op) -> bool:
    """linear(x + c) = linear(x) + linear(c), where linear(c) is the same everywhere."""
    linear = with_weight(op)
    if linear is None or any(op.attrs.get("pads", ())):
        return False
    flat = graph.before(op, "reshape") if op.kind == "matmul" and len(graph.shape(op.inputs[0])) == 1 else None
    source = graph.before(flat if flat is not None else op, "add")
    if source is None or not source.weights:
        return False
    factor, shape = graph.factor(source), graph.shape(source.output)
    weight = graph.value(op.weights[0])
    if flat is not None:
        gained = linear.of_constant(weight, np.broadcast_to(factor, shape).reshape(-1))
    else:
        vector = channels_only(factor, shape)
        if vector is None:
            return False
        gained = linear.of_constant(weight, vector)
    old = graph.value(op.weights[1]) if len(op.weights) == 2 else 0.0
    bias = graph.weight(old + gained, (*op.weights[1:], source.weights[0])[0])
    new = graph.new(op.kind, op.inputs, op, weights=[op.weights[0], bias], **op.attrs)
    graph.replace(op, new)
    graph.drop(source)
    return True
