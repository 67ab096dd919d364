"""Convolutions of sequences, images and volumes: Conv, DepthwiseConv, SeparableConv, ConvTranspose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering.convolve import Windows, convolve, depthwise
from keras_private.lowering.geometry import Transposed, transposed
from keras_private.lowering.layers.activation import activate, check_activation
from keras_private.lowering.layout import along, images, keep, kernel_of, sizes
from keras_private.lowering.registry import Refusal, array, lowers


def _check(layer: Any) -> Iterable[Refusal]:
    if layer.padding not in ("same", "valid", "causal"):
        yield Refusal(f"padding {layer.padding!r} is not supported", "use 'same', or 'valid' after a ZeroPadding layer")
    yield from check_activation(layer.activation)


def _check_transposed(layer: Any) -> Iterable[Refusal]:
    if layer.padding == "same" and layer.output_padding is not None:
        for size, added in zip(layer.kernel_size, layer.output_padding, strict=True):
            if size % 2 == 0 and added == 0:  # a size that no convolution has the input's size for
                yield Refusal("output_padding 0 with an even kernel has no defined result", "leave output_padding out")
    if (
        type(layer).__module__.startswith("tf_keras.")
        and len(layer.kernel_size) == 3
        and set(layer.dilation_rate) != {1}
    ):
        yield Refusal(f"Keras ignores its dilation_rate {tuple(layer.dilation_rate)}", "leave dilation_rate out")
    yield from _check(layer)


@lowers("Conv1D", "Conv2D", "Conv3D", check=_check)
def lower_conv(prot: Any, layer: Any, x: Any) -> Any:
    y, windows, back = _windows(prot, layer, x)
    y = convolve(prot, y, kernel_of(layer.kernel), _bias(layer), windows, layer.groups)
    return activate(prot, layer.activation, back(y))


@lowers("DepthwiseConv1D", "DepthwiseConv2D", check=_check)
def lower_depthwise_conv(prot: Any, layer: Any, x: Any) -> Any:
    kernel = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel  # tf_keras, keras
    y, windows, back = _windows(prot, layer, x)
    return activate(prot, layer.activation, back(depthwise(prot, y, kernel_of(kernel), _bias(layer), windows)))


@lowers("SeparableConv1D", "SeparableConv2D", check=_check)
def lower_separable_conv(prot: Any, layer: Any, x: Any) -> Any:
    y, windows, back = _windows(prot, layer, x)
    y = depthwise(prot, y, kernel_of(layer.depthwise_kernel), None, windows)
    y = convolve(prot, y, kernel_of(layer.pointwise_kernel), _bias(layer), Windows((1, 1), "valid", (1, 1)))
    return activate(prot, layer.activation, back(y))


@lowers("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", check=_check_transposed)
def lower_conv_transpose(prot: Any, layer: Any, x: Any) -> Any:
    """Makes a block of outputs as the filters of one place, which are then put where they belong."""
    kernel = kernel_of(layer.kernel).swapaxes(-1, -2)  # Keras keeps it as (…, filters, channels)
    strides, dilation = along(layer.strides, x), along(layer.dilation_rate, x)
    added = (None,) * len(strides) if layer.output_padding is None else along(layer.output_padding, x, missing=None)
    y, back = images(prot, x, layer.data_format)
    ways = [
        transposed(*each[:4], layer.padding, each[4])
        for each in zip(sizes(y)[1:], kernel.shape, strides, dilation, added, strict=False)
    ]
    for axis, way in enumerate(ways, 2):
        y = keep(prot, y, axis, range(max(0, -way.before), sizes(y)[axis - 1] - max(0, -way.after)))
    pads = [(0, 0), (0, 0), *((max(0, way.before), max(0, way.after)) for way in ways)]
    y = prot.pad(y, pads) if any(map(any, pads)) else y
    bias = None if not layer.use_bias else np.repeat(array(layer.bias), math.prod(strides))
    y = convolve(prot, y, _blocks(kernel, ways, dilation), bias, Windows([1] * len(ways), "valid", dilation))
    return activate(prot, layer.activation, back(_spread(prot, y, strides, [way.length for way in ways])))


def _blocks(kernel: NDArray[np.float64], ways: Sequence[Transposed], dilation: Sequence[int]) -> NDArray[np.float64]:
    """(spatial…, channels, filters) as (spatial…, channels, filters times outputs of a block)."""
    axes = len(ways)
    for axis, (way, step) in enumerate(zip(ways, dilation, strict=True)):
        taps = way.taps[::step]  # with a dilation there is no stride, and those between are none of the kernel's
        zero = kernel.shape[axis]  # the place of a tap that is 0
        places = [[zero if tap is None else tap // step for tap in row] for row in taps]
        wider = np.concatenate([kernel, np.zeros_like(kernel[(slice(None),) * axis + (slice(1),)])], axis)
        kernel = np.moveaxis(wider.take(places, axis), axis + 1, -1)
    return kernel.reshape(*kernel.shape[: axes + 1], -1)


def _spread(prot: Any, y: Any, strides: Sequence[int], lengths: Sequence[int]) -> Any:
    """The filters of every place to the places of their outputs."""
    axes, size = len(strides), sizes(y)[1:]
    if set(strides) != {1}:
        y = prot.reshape(y, [-1, sizes(y)[0] // math.prod(strides), *strides, *size])
        order = [axis for each in range(axes) for axis in (2 + axes + each, 2 + each)]
        y = prot.transpose(y, [0, 1, *order])
        y = prot.reshape(y, [-1, sizes(y)[0], *(length * stride for length, stride in zip(size, strides, strict=True))])
    for axis, length in enumerate(lengths, 2):
        y = keep(prot, y, axis, range(length))
    return y


def _windows(prot: Any, layer: Any, x: Any) -> tuple[Any, Windows, Callable[[Any], Any]]:
    """The images, how the kernel goes over them, and the way back. Causal: no output sees a later step."""
    y, back = images(prot, x, layer.data_format)
    padding, dilation = layer.padding, along(layer.dilation_rate, x)
    if padding == "causal":
        before = dilation[1] * (along(layer.kernel_size, x)[1] - 1)
        y, padding = prot.pad(y, [[0, 0], [0, 0], [0, 0], [before, 0]]), "valid"
    return y, Windows(along(layer.strides, x), padding, dilation), back


def _bias(layer: Any) -> NDArray[np.float64] | None:
    return array(layer.bias) if layer.use_bias else None
