"""Average pooling after a convolution: pool the *input* of the convolution, then convolve with a stride.

The sum over a pooling window of a stride-1 convolution's outputs is the same convolution of the sums over equally large
windows of its input: sum_p Σ_k w[k]·x[s·i + p + d·k] = Σ_k w[k]·B[s·i + d·k] with B[j] = sum_p x[j + p]. Box sums are
local and free; only every s-th output is convolved, opened and truncated: a quarter for 2x2. The bias is met once
for every cell of the window.
"""

from __future__ import annotations

from keras_private.plan.ops import Convolution, kind_of
from keras_private.plan.passes.graph import Graph, rewrite
from keras_private.plan.plan import Draft, Op


def average_pooling(draft: Draft) -> Draft:
    return rewrite(draft, [_pool_input])


def _pool_input(graph: Graph, op: Op) -> bool:
    if op.kind != "sum_pool2d" or any(op.attrs["pads"]) or op.attrs["data_format"] != "NHWC":
        return False
    conv = graph.before(op)
    if (
        conv is None
        or not isinstance(kind_of(conv), Convolution)
        or conv.attrs["strides"] != (1, 1)
        or conv.attrs["data_format"] != "NHWC"
    ):
        return False
    pooled, convolved = graph.shape(op.output), graph.shape(conv.output)
    if pooled[0] * pooled[1] >= convolved[0] * convolved[1]:
        return False  # nothing is saved
    pool = op.attrs["pool"]
    # The convolution's zero padding is part of what is summed.
    attrs = {"pool": pool, "strides": (1, 1), "pads": conv.attrs["pads"], "data_format": "NHWC"}
    box = graph.new("sum_pool2d", conv.inputs[0], op, **attrs)
    names = list(conv.weights)
    if len(names) == 2:
        names[1] = graph.weight(graph.value(names[1]) * (pool[0] * pool[1]), names[1])
    attrs = {**conv.attrs, "strides": op.attrs["strides"], "pads": (0, 0, 0, 0)}
    inputs = (box.output, *conv.inputs[1:])
    graph.replace(op, box, graph.new(conv.kind, inputs, conv, weights=names, **attrs))
    return True
