"""Identities: what does nothing goes, what does the same thing twice becomes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_private.plan.attributes import MAX_EXTENT, constant
from keras_private.plan.ops import kind_of, rectified
from keras_private.plan.passes.graph import Graph, rewrite
from keras_private.plan.plan import Draft, Op


def identities(draft: Draft) -> Draft:
    return rewrite(draft, [_nothing, _as_reshape, _twice, _by_itself, _subtract_weight, _constants, _pad_into_window])


def _nothing(graph: Graph, op: Op) -> bool:
    """Remove an op that returns its input."""
    if kind_of(op).does_nothing(op, graph.shape(op.inputs[0])):
        graph.drop(op)
        return True
    return False


def _as_reshape(graph: Graph, op: Op) -> bool:
    """A transpose that moves only axes of size one moves no data."""
    if op.kind != "transpose":
        return False
    shape = graph.shape(op.inputs[0])
    moved = [axis for axis in op.attrs["perm"] if shape[axis] != 1]
    if moved != sorted(moved):
        return False
    graph.replace(op, graph.new("reshape", op.inputs[0], op, shape=graph.shape(op.output)))
    return True


def _twice(graph: Graph, op: Op) -> bool:
    """reshape of reshape, transpose of transpose, slice of slice, gather of gather, relu of relu."""
    first = graph.producer(op.inputs[0])
    if first is None:
        return False
    if op.kind == "reshape" and first.kind == "reshape":
        graph.replace(op, graph.new("reshape", first.inputs[0], op, shape=op.attrs["shape"]))
        return True
    if op.kind == "transpose" and first.kind == "transpose":
        perm = tuple(first.attrs["perm"][axis] for axis in op.attrs["perm"])
        graph.replace(op, graph.new("transpose", first.inputs[0], op, perm=perm))
        return True
    if op.kind == first.kind == "slice":
        graph.replace(op, graph.new("slice", first.inputs[0], op, **_slice_of(first.attrs, op.attrs)))
        return True
    if op.kind == first.kind == "gather" and op.attrs["axis"] == first.attrs["axis"]:
        places = tuple(first.attrs["indices"][index] for index in op.attrs["indices"])
        graph.replace(op, graph.new("gather", first.inputs[0], op, axis=op.attrs["axis"], indices=places))
        return True
    if op.kind == "relu" and rectified(first):
        graph.drop(op)
        return True
    return False


def _slice_of(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of both slices in one."""
    steps = list(zip(first["starts"], first["strides"], strict=True))
    return {
        "starts": tuple(at + start * step for (at, step), start in zip(steps, then["starts"], strict=True)),
        "stops": tuple(at + (stop - 1) * step + 1 for (at, step), stop in zip(steps, then["stops"], strict=True)),
        "strides": tuple(
            min(step * stride, MAX_EXTENT) for (_, step), stride in zip(steps, then["strides"], strict=True)
        ),
    }


def _by_itself(graph: Graph, op: Op) -> bool:
    """x·x is a square, which is known never to be negative."""
    if op.kind != "mul" or len(op.inputs) != 2 or op.inputs[0] != op.inputs[1]:
        return False
    graph.replace(op, graph.new("square", op.inputs[0], op))
    return True


def _subtract_weight(graph: Graph, op: Op) -> bool:
    if op.kind != "sub" or not op.weights:
        return False
    name = graph.weight(-graph.factor(op), op.weights[0])
    graph.replace(op, graph.new("add", op.inputs[0], op, weights=[name]))
    return True


def _constants(graph: Graph, op: Op) -> bool:
    """Two constants in a row are one: scale and mul multiply, additions of weights add."""
    if graph.is_factor(op):
        first = graph.before(op)
        if first is None or not graph.is_factor(first):
            return False
        product = graph.factor(first) * graph.factor(op)
        if op.kind == first.kind == "scale":
            new = graph.new("scale", first.inputs[0], op, factor=constant(product))
        else:
            name = graph.weight(product, (*op.weights, *first.weights)[0])
            new = graph.new("mul", first.inputs[0], op, weights=[name])
    elif op.kind == "add" and op.weights:
        first = graph.before(op, "add")
        if first is None or not first.weights:
            return False
        name = graph.weight(graph.factor(first) + graph.factor(op), op.weights[0])
        new = graph.new("add", first.inputs[0], op, weights=[name])
    else:
        return False
    graph.replace(op, new)
    return True


def _pad_into_window(graph: Graph, op: Op) -> bool:
    """Zero padding of rows and columns before a window op becomes the op's own; before another pad, part of that."""
    first = graph.producer(op.inputs[0])
    if first is None or first.kind != "pad":
        return False
    paddings = first.attrs["paddings"]
    if op.kind == "pad":
        both = tuple((a + c, b + d) for (a, b), (c, d) in zip(paddings, op.attrs["paddings"], strict=True))
        graph.replace(op, graph.new("pad", first.inputs[0], op, paddings=both))
        return True
    if not kind_of(op).pads_zeros or op.attrs["data_format"] != "NHWC":
        return False
    rows, columns, channels = paddings
    if any(channels):
        return False
    pads = tuple(own + more for own, more in zip(op.attrs["pads"], (*rows, *columns), strict=True))
    inputs = (first.inputs[0], *op.inputs[1:])
    graph.replace(op, graph.new(op.kind, inputs, op, weights=op.weights, **{**op.attrs, "pads": pads}))
    return True
