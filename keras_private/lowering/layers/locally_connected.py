"""LocallyConnected1D and 2D of tf_keras: convolutions with a kernel of its own for every place.

The windows are laid out one beside the other (what moves is free), each times its own matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from keras_private.lowering.layers.activation import activate, check_activation
from keras_private.lowering.layout import keep, sizes
from keras_private.lowering.registry import Refusal, array, lowers, secret


def _check(layer: Any) -> Iterable[Refusal]:
    if layer.implementation != 1:
        yield Refusal(f"implementation={layer.implementation} keeps the kernel as a matrix of zeros", "use 1")
    yield from check_activation(layer.activation)


@lowers("LocallyConnected1D", "LocallyConnected2D", check=_check)
def lower_locally_connected(prot: Any, layer: Any, x: Any) -> Any:
    """Padding is valid, always, with the only implementation that is known."""
    first, axes, window = layer.data_format == "channels_first", len(x.shape) - 2, layer.kernel_size
    x = prot.transpose(x, [0, *range(2, axes + 2), 1]) if first else x
    channels = sizes(x)[-1]
    counts = [
        (size - length) // stride + 1 for size, length, stride in zip(sizes(x), window, layer.strides, strict=False)
    ]
    for axis, (count, length, stride) in enumerate(zip(counts, window, layer.strides, strict=True), 1):
        x = keep(prot, x, axis, [place * stride + tap for place in range(count) for tap in range(length)])
    x = prot.reshape(x, [-1, *(size for pair in zip(counts, window, strict=True) for size in pair), channels])
    x = prot.transpose(x, [0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1])
    x = prot.reshape(x, [-1, math.prod(counts), math.prod(window) * channels])

    kernel = array(layer.kernel)
    if first:  # each window's channels before its places
        kernel = kernel.reshape(len(kernel), channels, -1, layer.filters).swapaxes(1, 2).reshape(kernel.shape)
    y = prot.einsum("bpk,pkf->bpf", x, secret(prot, kernel, "kernel"))
    y = prot.reshape(y, [-1, *counts, layer.filters])
    y = prot.transpose(y, [0, axes + 1, *range(1, axes + 1)]) if first else y
    if layer.use_bias:  # tf_keras keeps it with the filters last, and does not transpose but reshape it
        y = prot.add(y, secret(prot, array(layer.bias).reshape(sizes(y)), "bias"))
    return activate(prot, layer.activation, y)
